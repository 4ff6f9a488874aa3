#!/bin/sh
# Figure 3 of HeLMS: what five skills learned from red_on_blue do when each is held fixed, the transition prior, and how
# much each skill is used, for three seeds; a page for each run.
#   python -m experiments.collect --config=experiments/configs/collect.py:red_on_blue
#   sh launch/helms_figure_3.sh            PRESET=cpu and PYTHON=.venv/bin/python choose others; flags go to the sweep
# With --to=slurm and the like it ends where the jobs are handed over; once they are done, run it again without.
set -e
folder=runs/helms_red_on_blue
"${PYTHON:-python}" -m launch.sweep --experiment=helms_offline \
  --config="experiments/configs/helms_offline.py:${PRESET:-paper},task=red_on_blue" \
  --sweep=config:agent=helms --sweep=config.seed=0..2 --folder="$folder" "$@"
case " $* " in *" --dry_run "* | *" --to="*) exit ;; esac
for seed in 0 1 2; do
  "${PYTHON:-python}" -m experiments.helms_skills --run="$folder/agent=helms,seed=$seed"
done

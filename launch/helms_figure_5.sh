#!/bin/sh
# The offline half of Figure 5 of HeLMS: ten skills learned from all_pairs beside the motor primitives (NPMP) they are
# compared with, for three seeds; a table of their errors on held-out demonstrations.
#   python -m experiments.collect --config=experiments/configs/collect.py:all_pairs
#   sh launch/helms_figure_5.sh            PRESET=cpu and PYTHON=.venv/bin/python choose others; flags go to the sweep
# With --to=slurm and the like it ends where the jobs are handed over; once they are done, run it again without.
set -e
folder=runs/helms_all_pairs
"${PYTHON:-python}" -m launch.sweep --experiment=helms_offline \
  --config="experiments/configs/helms_offline.py:${PRESET:-paper},task=all_pairs" \
  --sweep=config:agent=helms,npmp --sweep=config.seed=0..2 --folder="$folder" "$@"
case " $* " in *" --dry_run "* | *" --to="*) exit ;; esac
"${PYTHON:-python}" -m experiments.compare --runs="$folder/*" --group=config.agent.name --metric=heldout/action_mse \
  --out="$folder/compare"

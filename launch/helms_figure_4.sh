#!/bin/sh
# The offline half of Figures 4, 7, 8 and 10 and Table 1 of HeLMS: five skills learned from red_on_blue beside what they
# are compared with, for three seeds; a table of their errors on held-out demonstrations.
#   python -m experiments.collect --config=experiments/configs/collect.py:red_on_blue
#   sh launch/helms_figure_4.sh            PRESET=cpu and PYTHON=.venv/bin/python choose others; flags go to the sweep
# With --to=slurm and the like it ends where the jobs are handed over; once they are done, run it again without.
set -e
folder=runs/helms_red_on_blue
"${PYTHON:-python}" -m launch.sweep --experiment=helms_offline \
  --config="experiments/configs/helms_offline.py:${PRESET:-paper},task=red_on_blue" \
  --sweep=config:agent=helms,helms_discrete,npmp,npmp_ar1,bc,hierarchical_bc --sweep=config.seed=0..2 \
  --folder="$folder" "$@"
case " $* " in *" --dry_run "* | *" --to="*) exit ;; esac
"${PYTHON:-python}" -m experiments.compare --runs="$folder/*" --group=config.agent.name --metric=heldout/action_mse \
  --out="$folder/compare"

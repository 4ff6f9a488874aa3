#!/bin/sh
# The offline half of Figure 9 of HeLMS: five skills learned from red_on_blue with and without a KL of the latent to its
# prior (beta_z), for three seeds; a table of their errors on held-out demonstrations.
#   python -m experiments.collect --config=experiments/configs/collect.py:red_on_blue
#   sh launch/helms_figure_9.sh            PRESET=cpu and PYTHON=.venv/bin/python choose others; flags go to the sweep
# With --to=slurm and the like it ends where the jobs are handed over; once they are done, run it again without.
set -e
folder=runs/helms_beta_z
"${PYTHON:-python}" -m launch.sweep --experiment=helms_offline \
  --config="experiments/configs/helms_offline.py:${PRESET:-paper},task=red_on_blue" \
  --sweep=config.agent.beta_z=0,0.01 --sweep=config.seed=0..2 --folder="$folder" "$@"
case " $* " in *" --dry_run "* | *" --to="*) exit ;; esac
"${PYTHON:-python}" -m experiments.compare --runs="$folder/*" --group=config.agent.beta_z --metric=heldout/action_mse \
  --out="$folder/compare"

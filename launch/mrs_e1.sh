#!/bin/sh
# E1 (MRS, Figure 1): how far ahead a goal should lie, for a point that follows a path; nothing is learned.
#   sh launch/mrs_e1.sh                    flags go to experiments.mrs_path; PYTHON, RUNS as in launch/figures.sh
set -e
python=${PYTHON:-python} runs=${RUNS:-runs/mrs}
"$python" -m experiments.mrs_path "$@" --out="$runs/e1"
"$python" -m experiments.mrs_path "$@" --out="$runs/e1_each_step" --hold=1
"$python" -m experiments.mrs_path "$@" --out="$runs/e1_damped" --dynamics=damped

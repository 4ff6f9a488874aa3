#!/bin/sh
# E12 (MRS, section 4): parameters, updates and time of MRS, Director and DreamerV3.
#   sh launch/mrs_e12.sh                    flags go to experiments.benchmark; PYTHON as in launch/figures.sh
set -e
"${PYTHON:-python}" -m experiments.benchmark --suite=managers "$@"

#!/bin/sh
# E5 (MRS, Table 3): trained agents whose choice of a resolution is their own, chance's, or always the same.
#   PRESET=cpu sh launch/mrs_e5.sh                    launch/mrs.sh lists all options
. "$(dirname "$0")/mrs.sh"
more=$(as_seen walker_walk,quadruped_walk)
learn suite "$suite,$more" mrs
set --
for task in $(printf '%s' "$suite,$more" | tr , ' '); do set -- "$@" "$runs/suite/agent=mrs,task=$task"; done
each_learned mrs_choices "$@"

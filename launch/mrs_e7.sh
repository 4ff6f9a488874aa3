#!/bin/sh
# E7 to E10 (MRS, Figures 6 and 7, appendices D, G.1 and H): visited memories by the choice in force and the purity of
# their clusters, choices over training, decoded goals of each resolution, states by choice: on the page of each run.
#   PRESET=cpu sh launch/mrs_e7.sh                    launch/mrs.sh lists all options
. "$(dirname "$0")/mrs.sh"
learn suite "$suite" mrs
learn_in fetch "$fetch" mrs
set --
for task in $(printf '%s' "$suite" | tr , ' '); do set -- "$@" "$runs/suite/agent=mrs,task=$task"; done
for world in $(printf '%s' "$fetch" | tr , ' '); do set -- "$@" "$runs/fetch/agent=mrs,name=$world"; done
each_learned mrs_goals "$@"

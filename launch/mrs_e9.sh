#!/bin/sh
# E9 and E11 (MRS, appendices G.2 and F): goals of agents that have only explored, and films of what they do.
#   PRESET=cpu sh launch/mrs_e9.sh                    launch/mrs.sh lists all options
. "$(dirname "$0")/mrs.sh"
tasks=$(as_seen walker_run,quadruped_run,cheetah_run,hopper_hop)
for task in $(printf '%s' "$tasks" | tr , ' '); do
  learn_together explored "$task" mrs --config.agent.task_weight=0 --config.agent.novelty_weight=1
done
set --
for task in $(printf '%s' "$tasks" | tr , ' '); do set -- "$@" "$runs/explored/agent=mrs,task=$task"; done
each_seed mrs_goals "$@"
each_seed watch "$@"

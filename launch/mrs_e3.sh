#!/bin/sh
# E3 (MRS, Table 2): one resolution alone, Director (infinity alone) and all of them.
#   PRESET=cpu sh launch/mrs_e3.sh                    launch/mrs.sh lists all options
. "$(dirname "$0")/mrs.sh"
tasks=$(as_seen cheetah_run,quadruped_run,hopper_hop)
learn suite "$tasks" mrs,director
of_family --config="experiments/configs/mrs.py:$preset,agent=mrs" --sweep="config:task=$tasks" \
  --sweep=config.agent.resolutions=8,16,32,64 --folder="$runs/alone" "$seeds" --config.agent.infinity=false
set --
for task in $(printf '%s' "$tasks" | tr , ' '); do
  set -- "$@" --runs="$runs/suite/agent=mrs,task=$task$of_seed" --runs="$runs/suite/agent=director,task=$task$of_seed"
done
returns e3 "$@" --runs="$runs/alone/*" --group=config.agent.name,config.agent.resolutions --along=config.agent \
  --panels=config.env.name

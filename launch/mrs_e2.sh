#!/bin/sh
# E2 (MRS, Table 1, Figure 4): MRS beside Director, DreamerV3 and HiPPO in the control suite, at a table and in mazes;
# returns over frames, with what others published on the same tasks.
#   PRESET=cpu sh launch/mrs_e2.sh                    launch/mrs.sh lists all options
. "$(dirname "$0")/mrs.sh"
agents=mrs,director,dreamerv3
learn suite "$suite" $agents
learn_in fetch "$fetch" $agents
learn_in mazes "$mazes" $agents
# sub-policies without a model see the world's entries, and have a budget of their own
learn suite_entries cartpole_swingup,pendulum_swingup,walker_run,cheetah_run,hopper_hop,quadruped_run hippo
learn_in fetch_entries fetch.push,fetch.pick_and_place hippo
learn_in mazes_entries antmaze.m,antmaze.l hippo
for worlds in suite fetch mazes; do
  set --
  [ $worlds = suite ] && set -- --reference="$suite"
  returns e2_$worlds --runs="$runs/$worlds/*" --runs="$runs/${worlds}_entries/*" --group=config.agent.name \
    --along=config.agent,config.env --panels=config.env.name --different_budgets "$@"
done

#!/bin/sh
# E6 (MRS, Figure 5): exploring without a reward, then the task: MRS, MRS that explores as Director does, ReST, DIAYN.
#   PRESET=cpu sh launch/mrs_e6.sh                    launch/mrs.sh lists all options
. "$(dirname "$0")/mrs.sh"
explores="--config.agent.task_weight=0 --config.agent.novelty_weight=1"
for task in walker_run cheetah_run hopper_hop quadruped_run; do
  pictures=$task$seen
  # shellcheck disable=SC2086  # settings are words
  learn explored "$pictures" mrs --config.seeds=3 $explores
  # shellcheck disable=SC2086
  learn explored_as_director "$pictures" mrs --config.seeds=3 $explores --config.agent.novelty=infinity
  learn skills "$task" diayn,rest --config.seeds=3
  go_on "tuned/$task" explored "$pictures" "$pictures" mrs
  go_on "tuned_as_director/$task" explored_as_director "$pictures" "$pictures" mrs --config.agent.novelty=infinity
  go_on "tuned_skills/$task" skills "$task" "$task" diayn,rest --config.agent.phase=task \
    --config.transfer.anew=control/critic
done
returns e6 --runs="$runs/tuned/*/*" --runs="$runs/tuned_as_director/*/*" --runs="$runs/tuned_skills/*/*" \
  --group=config.agent.name,config.agent.novelty --along=config.agent,config.env,config.init_from,config.transfer \
  --panels=config.env.name --different_budgets

#!/bin/sh
# E6 (MRS, Figure 5): exploring without a reward, then the task: MRS, MRS that explores as Director does, ReST, DIAYN.
#   PRESET=cpu sh launch/mrs_e6.sh                    launch/mrs.sh lists all options
. "$(dirname "$0")/mrs.sh"
case $preset in paper) updates=250000 ;; cpu) updates=9000 ;; debug) updates=40 ;; esac # of each phase of mrs
half=--config.train.updates=$updates
explores="$half --config.agent.task_weight=0 --config.agent.novelty_weight=1"
for task in walker_run cheetah_run hopper_hop quadruped_run; do
  pictures=$task$seen
  # shellcheck disable=SC2086  # settings are words
  learn_together explored "$pictures" mrs $explores
  # shellcheck disable=SC2086
  learn_together explored_as_director "$pictures" mrs $explores --config.agent.novelty=infinity
  learn_together skills "$task" diayn,rest
  go_on "tuned/$task" explored "$pictures" "$pictures" mrs $half
  go_on "tuned_as_director/$task" explored_as_director "$pictures" "$pictures" mrs $half --config.agent.novelty=infinity
  go_on "tuned_skills/$task" skills "$task" "$task" diayn,rest --config.agent.phase=task \
    --config.transfer.anew=control/critic
done
returns e6 --runs="$runs/tuned/*/*" --runs="$runs/tuned_as_director/*/*" --runs="$runs/tuned_skills/*/*" \
  --group=config.agent.name,config.agent.novelty --along=config.agent,config.env,config.init_from,config.transfer \
  --panels=config.env.name --different_budgets

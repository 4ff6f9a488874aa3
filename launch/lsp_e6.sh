#!/bin/sh
# E6 (LSP, Figure 9): from walking among random obstacles to a target behind a cove, paid only there. LSP's policy stays
# as it is, and plans four skills of 30 decisions each, by the task's reward alone. The runs' report.html has the share
# of episodes that reach the target.
#   PRESET=cpu sh launch/lsp_e6.sh                    launch/lsp.sh lists all options
. "$(dirname "$0")/lsp.sh"
source_runs quadruped_obstacles_random lsp,dreamer
# a predictor of skills depends on how long they are held, so that of the source does not fit; it is not needed
plans="--config.agent.period=30 --config.agent.horizon=30 --config.agent.plan_horizon=120 --config.agent.mi_scale=0"
transfer cove quadruped_obstacles_random quadruped_obstacles_cove lsp --config.train.updates=$cove_updates "$frozen" \
  --config.transfer.anew=skills $plans
transfer cove quadruped_obstacles_random quadruped_obstacles_cove dreamer --config.train.updates=$cove_updates
returns e6 --runs="$runs/cove/*" --group=config.agent.name --along=config.agent,config.transfer,config.init_from
paths "$runs/cove/agent=lsp" "$runs/cove/agent=dreamer"

#!/bin/sh
# E2 (LSP, Figure 5a): from getting up and walking to reaching a target; the policy and skills of LSP go on learning, or
# stay as they are.
#   PRESET=cpu sh launch/lsp_e2.sh                    launch/lsp.sh lists all options
. "$(dirname "$0")/lsp.sh"
source_runs quadruped_walk "lsp,dreamer$hiro"
transfer reach quadruped_walk quadruped_reach "lsp,dreamer$hiro" --config.train.updates=$target_updates
transfer reach_fixed quadruped_walk quadruped_reach lsp --config.train.updates=$target_updates "$frozen"
returns e2 --runs="$runs/reach/*" --runs="$runs/reach_fixed/*" --group=config.agent.name,config.transfer.freeze \
  --along=config.agent,config.init_from

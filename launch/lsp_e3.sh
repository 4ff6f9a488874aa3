#!/bin/sh
# E3 (LSP, Figure 5b): from walking to reaching a target, both from upright starts; rows of the source are kept, with
# the reward that the target would have paid.
#   PRESET=cpu sh launch/lsp_e3.sh                    launch/lsp.sh lists all options
. "$(dirname "$0")/lsp.sh"
source_runs quadruped_walk_upright "lsp,dreamer$hiro"
set -- --config.train.updates=$target_updates "$relabelled"
transfer relabelled quadruped_walk_upright quadruped_reach_upright "lsp,dreamer$hiro" "$@"
transfer relabelled_fixed quadruped_walk_upright quadruped_reach_upright lsp "$@" "$frozen"
returns e3 --runs="$runs/relabelled/*" --runs="$runs/relabelled_fixed/*" \
  --group=config.agent.name,config.transfer.freeze --along=config.agent,config.init_from

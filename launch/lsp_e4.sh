#!/bin/sh
# E4 (LSP, Figure 6b): what the intrinsic reward is good for, and what planning is: LSP, LSP without it, and Dreamer.
#   PRESET=cpu sh launch/lsp_e4.sh                    launch/lsp.sh lists all options
. "$(dirname "$0")/lsp.sh"
learn state quadruped_walk lsp,no_mi,dreamer
set --
for agent in lsp no_mi dreamer; do set -- "$@" --runs="$runs/state/agent=$agent,task=quadruped_walk$of_seed"; done
returns e4 "$@" --group=config.agent.name --along=config.agent --reference=quadruped_walk,quadruped_walk@pixels

#!/bin/sh
# E5 (LSP, Figure 7): what each skill does that LSP has learned from walking and reaching (E3), held for 40 decisions
# from one start. The pages are the runs' report.html.
#   PRESET=cpu sh launch/lsp_e5.sh                    launch/lsp.sh lists all options
. "$(dirname "$0")/lsp.sh"
source_runs quadruped_walk_upright lsp
transfer relabelled quadruped_walk_upright quadruped_reach_upright lsp --config.train.updates=$target_updates \
  "$relabelled"
held "$runs/relabelled/agent=lsp"

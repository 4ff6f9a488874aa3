#!/bin/sh
# E7 (LSP, Figures 1 and 8): where the robots of E6 went in their first 40 episodes in the cove, and where skills are
# chosen; the runs and pages are those of E6.
#   PRESET=cpu sh launch/lsp_e7.sh                    launch/lsp.sh lists all options
exec sh "$(dirname "$0")/lsp_e6.sh" "$@"

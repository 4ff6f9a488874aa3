#!/bin/sh
# E8 (LSP, Figure 10): skills end apart only if their predictor sees noisy states: how far, beside the noise.
#   PRESET=cpu sh launch/lsp_e8.sh                    launch/lsp.sh lists all options
. "$(dirname "$0")/lsp.sh"
of_family --config="experiments/configs/lsp.py:$preset,task=quadruped_walk_upright,agent=lsp" --folder="$runs/noise" \
  --sweep=config.agent.pred_noise=0,0.1,0.3,1 "$three" --config.train.updates=$source_updates
for noise in 0 0.1 0.3 1; do held "$runs/noise/pred_noise=$noise"; done
run "$python" -m experiments.lsp_noise --runs="$runs/noise/*" --out="$runs/e8"

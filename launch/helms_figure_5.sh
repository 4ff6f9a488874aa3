#!/bin/sh
# Figure 5 of HeLMS (E5): ten skills learned from all_pairs build a pyramid, under its sparse staged reward of 9 stages.
#   PRESET=cpu sh launch/helms_figure_5.sh            launch/helms.sh lists all options
. "$(dirname "$0")/helms.sh"
skills all_pairs helms,npmp
learn pyramid pyramid sparse_staged 4 helms_mix,helms_cat,npmp_kl,mpo --when="agent=helms_mix --config.agent.eta_z=0.1"
success_page figure_5 --runs="$runs/all_pairs/pyramid/*" --group=config.agent.name --along=config.agent,config.init_from

#!/bin/sh
# Figure 7c of HeLMS (E9): red on blue paid only while red lies on blue, on the objects of the data (set 4); HeLMS
# beside all that it is compared with.
#   PRESET=cpu sh launch/helms_figure_7c.sh           launch/helms.sh lists all options
. "$(dirname "$0")/helms.sh"
skills red_on_blue helms,npmp,bc,hierarchical_bc
learn sparse red_on_blue sparse 4 helms_mix,helms_cat,npmp_kl,bc_finetuned,hierarchical_bc_finetuned,mpo
success_page figure_7c --runs="$runs/red_on_blue/sparse/*set=4*" \
  --group=config.agent.name --along=config.agent,config.init_from

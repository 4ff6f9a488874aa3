#!/bin/sh
# Figure 7b of HeLMS (E8): red on blue under sparse staged reward, on the objects of the data (set 4); HeLMS beside
# all that it is compared with.
#   PRESET=cpu sh launch/helms_figure_7b.sh           launch/helms.sh lists all options
. "$(dirname "$0")/helms.sh"
skills red_on_blue helms,npmp,bc,hierarchical_bc
learn sparse_staged red_on_blue sparse_staged 4 helms_mix,helms_cat,npmp_kl,bc_finetuned,hierarchical_bc_finetuned,mpo
success_page figure_7b --runs="$runs/red_on_blue/sparse_staged/*set=4*" \
  --group=config.agent.name --along=config.agent,config.init_from

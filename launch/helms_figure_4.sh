#!/bin/sh
# Figure 4 of HeLMS (E4): red on blue under sparse staged reward on object sets 1, 2, 3 and 5, of which the skills' data
# show none; HeLMS beside all that it is compared with.
#   PRESET=cpu sh launch/helms_figure_4.sh            launch/helms.sh lists all options
. "$(dirname "$0")/helms.sh"
skills red_on_blue helms,npmp,bc,hierarchical_bc
learn sparse_staged red_on_blue sparse_staged 1,2,3,5 helms_mix,helms_cat,npmp_kl,bc_finetuned,hierarchical_bc_finetuned,mpo
success_page figure_4 --runs="$runs/red_on_blue/sparse_staged/*set=[1235]*" \
  --group=config.agent.name --along=config.agent,config.init_from --panels=config.env.name

#!/bin/sh
# Figure 8 of HeLMS (E11): what it is good for that skills are both discrete and continuous. HeLMS-mix beside discrete
# skills alone (components without variance, chosen by HeLMS-cat) and a continuous latent alone (NPMP with KL); sparse
# staged reward, on objects of the data (set 4, easy) and others (set 3, hard).
#   PRESET=cpu sh launch/helms_figure_8.sh            launch/helms.sh lists all options
. "$(dirname "$0")/helms.sh"
skills red_on_blue helms,npmp,helms_discrete
learn sparse_staged red_on_blue sparse_staged 3,4 helms_mix,npmp_kl
SKILLS=helms_discrete
learn discrete_only red_on_blue sparse_staged 3,4 helms_cat
success_page figure_8 --runs="$runs/red_on_blue/sparse_staged/agent=helms_mix,set=[34]*" \
  --runs="$runs/red_on_blue/sparse_staged/agent=npmp_kl,set=[34]*" --runs="$runs/red_on_blue/discrete_only/*" \
  --group=config.agent.name --along=config.agent,config.init_from --panels=config.env.name

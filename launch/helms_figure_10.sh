#!/bin/sh
# Figure 10 of HeLMS (E13): NPMP as it was published (a prior that is AR(1), offline), with the prior N(0, I), and with
# N(0, I) and a KL to it while it learns online; sparse staged reward on every object set.
#   PRESET=cpu sh launch/helms_figure_10.sh           launch/helms.sh lists all options
. "$(dirname "$0")/helms.sh"
skills red_on_blue npmp,npmp_ar1
learn sparse_staged red_on_blue sparse_staged 1,2,3,4,5 npmp_kl
learn no_kl red_on_blue sparse_staged 1,2,3,4,5 npmp_kl --config.agent.eta_z=0
SKILLS=npmp_ar1
learn ar1 red_on_blue sparse_staged 1,2,3,4,5 npmp_kl --config.agent.eta_z=0 --config.agent.ar_coefficient=0.95
success_page figure_10 --runs="$runs/red_on_blue/sparse_staged/agent=npmp_kl,*" --runs="$runs/red_on_blue/no_kl/*" \
  --runs="$runs/red_on_blue/ar1/*" --group=config.agent.ar_coefficient,config.agent.eta_z --along=config.init_from \
  --panels=config.env.name

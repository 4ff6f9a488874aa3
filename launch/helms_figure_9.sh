#!/bin/sh
# Figure 9 of HeLMS (E12): how near HeLMS-mix is kept to the offline skills (eta_z), beside HeLMS-cat, which keeps
# them as they are; from skills learned with and without a KL of the latent to its prior (beta_z); sparse staged
# reward, sets 3 (hard) and 4 (easy).
#   PRESET=cpu sh launch/helms_figure_9.sh            launch/helms.sh lists all options
. "$(dirname "$0")/helms.sh"
skills red_on_blue helms --sweep=config.agent.beta_z=0,0.01
for beta in 0 0.01; do
  SKILLS=helms,beta_z=$beta
  learn beta_z=$beta red_on_blue sparse_staged 3,4 helms_mix --sweep=config.agent.eta_z=0.01,0.1,1,10,100
  learn beta_z=$beta red_on_blue sparse_staged 3,4 helms_cat
done
success_page figure_9 --runs="$runs/red_on_blue/beta_z=*/*" --group=config.agent.name,config.agent.eta_z --along=config.agent \
  --panels=config.init_from,config.env.name

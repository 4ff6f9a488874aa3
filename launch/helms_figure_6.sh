#!/bin/sh
# Figure 6 of HeLMS (E6): red on blue from pictures and the arm's own senses, under sparse staged reward, on the objects
# of the data (set 4). HeLMS-mix learns new high and mid levels, the mid level near that of states; its critic sees
# states. MPO beside it, with such a critic and with one that sees what the actor sees.
#   PRESET=cpu sh launch/helms_figure_6.sh            launch/helms.sh lists all options
. "$(dirname "$0")/helms.sh"
skills red_on_blue helms
learn pictures red_on_blue sparse_staged 4 helms_mix,mpo --sweep=config:view=asymmetric
learn pictures red_on_blue sparse_staged 4 mpo --sweep=config:view=pixels
success_page figure_6 --runs="$runs/red_on_blue/pictures/*" --group=config.agent.name,config.agent.critic \
  --along=config.agent,config.init_from

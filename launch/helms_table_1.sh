#!/bin/sh
# Table 1 of HeLMS (E10): what agents do before they learn anything online. How much of the world they move, by groups of
# the state, and what they would be paid, over 1000 episodes of red on blue on the objects of the data (set 4).
#   PRESET=cpu sh launch/helms_table_1.sh             launch/helms.sh lists all options
. "$(dirname "$0")/helms.sh"
skills red_on_blue helms,npmp,bc,hierarchical_bc
wait_for "the skills"
case $preset in long) episodes=cpu ;; *) episodes=$preset ;; esac # nothing learns here
set -- # of launch.sweep
for system in helms npmp bc hierarchical_bc; do
  set -- "$@" --skills="$skilled/red_on_blue/skills/agent=$system"
done
eval "run \"\$python\" -m experiments.zero_shot --config=experiments/configs/zero_shot.py:$episodes \"\$@\" \
  --workdir=\"\$skilled/table_1\" $agent_flags"

#!/bin/sh
# E1 (LSP, Figure 4): LSP beside Dreamer, random skills and HIRO, from entries and from pictures; returns over frames,
# with what others published on the same tasks.
#   PRESET=cpu sh launch/lsp_e1.sh                    launch/lsp.sh lists all options
. "$(dirname "$0")/lsp.sh"
[ -n "${HIRO+given}" ] || hiro=,hiro,hiro_mi # HIRO= leaves them out
quadruped=quadruped_walk,quadruped_walk_upright,quadruped_run,quadruped_reach
others=walker_walk,walker_run,cheetah_run,hopper_hop
pictures=cheetah_run@pixels,quadruped_run@pixels,walker_run@pixels
learn state "$quadruped,$others" "lsp,dreamer,random_skills,rand_skills_init$hiro"
learn pixels "$pictures" lsp,dreamer,random_skills,rand_skills_init
set --
for agent in lsp dreamer random_skills rand_skills_init $(printf '%s' "$hiro" | tr , ' '); do
  set -- "$@" --runs="$runs/state/agent=$agent,*"
done
returns e1_state "$@" --group=config.agent.name --along=config.agent --panels=config.env.name \
  --reference="quadruped_walk,quadruped_run,$others"
returns e1_pixels --runs="$runs/pixels/*" --group=config.agent.name --along=config.agent --panels=config.env.name \
  --reference="$pictures"

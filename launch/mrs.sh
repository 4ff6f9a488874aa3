# Functions that the scripts of the MRS experiments share (E2 to E12). They source this file, which starts nothing by
# itself; learned.sh has what they share with those of LSP.
#
#   learn_in FOLDER WORLDS AGENTS [FLAGS]   as `learn`, in worlds by their names: $runs/FOLDER/agent=AGENT,name=WORLD
#
# paper learns from pictures, as the paper does; cpu and debug from entries.
family=mrs
. "$(dirname "$0")/learned.sh"
case $preset in paper) seen=@pixels ;; *) seen= ;; esac

as_seen() { # TASK,...: from pictures where the preset says so
  printf '%s' "$1" | sed "s/,/$seen,/g; s/\$/$seen/"
}

suite=$(as_seen cartpole_swingup,pendulum_swingup,walker_run,cheetah_run,hopper_hop,quadruped_run)
fetch=$(as_seen fetch.push,fetch.pick_and_place)
mazes=$(as_seen antmaze.m,antmaze.l)

learn_in() { # FOLDER WORLDS AGENTS [FLAGS]
  into=$1 in_worlds=$2 by_agents=$3
  shift 3
  of_family --config="experiments/configs/mrs.py:$preset" --sweep="config:agent=$by_agents" \
    --sweep="config.env.name=$in_worlds" --folder="$runs/$into" "$seeds" "$@"
}

# Functions that the scripts on learned worlds share, of LSP and of MRS. lsp.sh and mrs.sh source this file after setting
# `family`; it starts nothing by itself.
#
#   learn FOLDER TASKS AGENTS [FLAGS]   $runs/FOLDER/agent=AGENT,task=TASK; in paper a run for each seed
#   learn_together ...                  the same, always three seeds in one program: what others begin with
#   go_on FOLDER SOURCES SOURCE TARGET AGENTS [FLAGS]   agents that begin with $runs/SOURCES/agent=AGENT,task=SOURCE and
#                                       learn TARGET, three seeds in one program: $runs/FOLDER/agent=AGENT
#   returns NAME RUNS-AND-FLAGS         one page of their returns over frames: $runs/NAME/compare.html
#   each_seed COMMAND RUN ...           an entry point on every seed of runs of three seeds
#   each_learned COMMAND RUN ...        the same of runs of `learn`
. "$(dirname "$0")/figures.sh"
case $preset in paper) of_seed=",seed=*" ;; *) of_seed= ;; esac # how the folders of `learn` end

three=--config.seeds=3

of_family() { # FLAGS: an agents' sweep with them, and --config.NAME=VALUE of the script
  set -- --experiment=$family "$@"
  eval "sweep \"\$@\" $sweep_flags $agent_flags"
}

in_tasks() { # SEEDS FOLDER TASKS AGENTS [FLAGS]
  how_seeded=$1 into=$2 which_tasks=$3 by_agents=$4
  shift 4
  of_family --config="experiments/configs/$family.py:$preset" --sweep="config:agent=$by_agents" \
    --sweep="config:task=$which_tasks" --folder="$runs/$into" "$how_seeded" "$@"
}

learn() { in_tasks "$seeds" "$@"; }

learn_together() { in_tasks "$three" "$@"; }

go_on() { # FOLDER SOURCES SOURCE TARGET AGENTS [FLAGS]
  into=$1 sources=$2 source=$3 target=$4 by_agents=$5
  shift 5
  wait_for "the sources"
  for agent in $(printf '%s' "$by_agents" | tr , ' '); do
    begin=$(quoted "$runs/$sources/agent=$agent,task=$source:all")
    set -- "$@" "--when=agent=$agent --init_from=$begin"
  done
  of_family --config="experiments/configs/$family.py:$preset,task=$target" --sweep="config:agent=$by_agents" \
    --folder="$runs/$into" "$three" "$@"
}

returns() { # NAME RUNS-AND-FLAGS
  name=$1
  shift
  page "$name" eval/return,episodes/return --x=frames "$@"
}

each_of() { # HOW COMMAND RUN ...: the entry point on the runs' seeds, whose folders end in HOW and a number
  how=$1 command=$2
  shift 2
  wait_for "some runs"
  for folder in "$@"; do
    for seed in 0 1 2; do run "$python" -m "experiments.$command" --run="$folder$how$seed"; done
  done
}

each_seed() { each_of /seed_ "$@"; }

each_learned() { case $preset in paper) each_of ,seed= "$@" ;; *) each_of /seed_ "$@" ;; esac; }

# Functions that the scripts on learned worlds share, of LSP and of MRS. lsp.sh and mrs.sh source this file after setting
# `family`; it starts nothing by itself.
#
#   learn FOLDER TASKS AGENTS [FLAGS]   $runs/FOLDER/agent=AGENT,task=TASK
#   go_on FOLDER SOURCES SOURCE TARGET AGENTS [FLAGS]   agents that begin with $runs/SOURCES/agent=AGENT,task=SOURCE and
#                                       learn TARGET, three seeds in one program: $runs/FOLDER/agent=AGENT
#   returns NAME RUNS-AND-FLAGS         one page of their returns over frames: $runs/NAME/compare.html
#   each_seed COMMAND RUN ...           an entry point on every seed of the runs
. "$(dirname "$0")/figures.sh"
case $preset in paper) of_seed=",seed=*" ;; *) of_seed= ;; esac # how the folders of `learn` end

three=--config.seeds=3

of_family() { # FLAGS: an agents' sweep with them, and --config.NAME=VALUE of the script
  set -- --experiment=$family "$@"
  eval "sweep \"\$@\" $sweep_flags $agent_flags"
}

learn() { # FOLDER TASKS AGENTS [FLAGS]
  folder=$1 tasks=$2 agents=$3
  shift 3
  of_family --config="experiments/configs/$family.py:$preset" --sweep="config:agent=$agents" \
    --sweep="config:task=$tasks" --folder="$runs/$folder" "$seeds" "$@"
}

go_on() { # FOLDER SOURCES SOURCE TARGET AGENTS [FLAGS]
  folder=$1 sources=$2 source=$3 target=$4 agents=$5
  shift 5
  wait_for "the sources"
  for agent in $(printf '%s' "$agents" | tr , ' '); do
    begin=$(quoted "$runs/$sources/agent=$agent,task=$source:all")
    set -- "$@" "--when=agent=$agent --init_from=$begin"
  done
  of_family --config="experiments/configs/$family.py:$preset,task=$target" --sweep="config:agent=$agents" \
    --folder="$runs/$folder" "$three" "$@"
}

returns() { # NAME RUNS-AND-FLAGS
  name=$1
  shift
  page "$name" eval/return,episodes/return --x=frames "$@"
}

each_seed() { # COMMAND RUN ...: the entry point on every seed of the runs
  command=$1
  shift
  wait_for "some runs"
  for folder in "$@"; do
    for seed in 0 1 2; do run "$python" -m "experiments.$command" --run="$folder/seed_$seed"; done
  done
}

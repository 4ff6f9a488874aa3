# Functions that the scripts of the experiments on learned worlds share (E1 to E8). They source this file, which starts
# nothing by itself:
#
#   learn FOLDER TASKS AGENTS [FLAGS]               $runs/FOLDER/agent=AGENT,task=TASK
#   source_runs TASK AGENTS                         what transfers begin with: $runs/sources/agent=AGENT,task=TASK
#   transfer FOLDER SOURCE TARGET AGENTS [FLAGS]    agents that go on from SOURCE in TARGET: $runs/FOLDER/agent=AGENT
#   returns NAME RUNS-AND-FLAGS                     one page of their returns over frames: $runs/NAME/compare.html
#   held RUN ..., paths RUN ...                     pages of each seed of the runs: what skills do, where robots went
#
# Environment variables, beside those of figures.sh: HIRO, agents to add where the paper compares with HIRO; by default
# hiro,hiro_mi in E1, none in transfers, whose updates are counted for agents that imagine (HIRO's are a decision each).
#
# Transfers have three seeds in one program; each begins with the same seed of its source.
family=lsp
. "$(dirname "$0")/figures.sh"
hiro=${HIRO:+,$HIRO}
three=--config.seeds=3
case $preset in paper) of_seed=",seed=*" ;; *) of_seed= ;; esac # how the folders of `learn` end
case $preset in # updates of sources, and of targets
  paper) source_updates=100000 target_updates=60000 cove_updates=40000 ;; # of 5 frames each
  cpu) source_updates=10000 target_updates=6000 cove_updates=6000 ;; # of 10
  debug) source_updates=40 target_updates=40 cove_updates=40 ;;
esac
# settings of transfers: the policy and its skills stay as they are; rows of the source are kept with the target's reward
frozen=--config.transfer.freeze=worker/actor,skills
relabelled=--config.transfer.replay=relabel

of_lsp() { # FLAGS: an agents' sweep with them, and --config.NAME=VALUE of the script
  set -- --experiment=lsp "$@"
  eval "sweep \"\$@\" $sweep_flags $agent_flags"
}

learn() { # FOLDER TASKS AGENTS [FLAGS]
  folder=$1 tasks=$2 agents=$3
  shift 3
  of_lsp --config="experiments/configs/lsp.py:$preset" --sweep="config:agent=$agents" --sweep="config:task=$tasks" \
    --folder="$runs/$folder" "$seeds" "$@"
}

source_runs() { # TASK AGENTS
  of_lsp --config="experiments/configs/lsp.py:$preset" --sweep="config:agent=$2" --sweep="config:task=$1" \
    --folder="$runs/sources" "$three" --config.train.updates=$source_updates
}

transfer() { # FOLDER SOURCE TARGET AGENTS [FLAGS]
  folder=$1 source=$2 target=$3 agents=$4
  shift 4
  wait_for "the sources"
  for agent in $(printf '%s' "$agents" | tr , ' '); do
    begin=$(quoted "$runs/sources/agent=$agent,task=$source:all")
    set -- "$@" "--when=agent=$agent --init_from=$begin"
  done
  of_lsp --config="experiments/configs/lsp.py:$preset,task=$target" --sweep="config:agent=$agents" \
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

held() { each_seed lsp_skills "$@"; }

paths() { each_seed lsp_paths "$@"; }

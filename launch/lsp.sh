# Functions that the scripts of the experiments on learned worlds share (E1 to E8). They source this file, which starts
# nothing by itself:
#
#   source_runs TASK AGENTS                         what transfers begin with: $runs/sources/agent=AGENT,task=TASK
#   transfer FOLDER SOURCE TARGET AGENTS [FLAGS]    agents that go on from SOURCE in TARGET: $runs/FOLDER/agent=AGENT
#   held RUN ..., paths RUN ...                     pages of each seed of the runs: what skills do, where robots went
#
# learned.sh has what they share with those of MRS. Environment variables, beside those of figures.sh: HIRO, agents to
# add where the paper compares with HIRO; by default hiro,hiro_mi in E1, none in transfers, whose updates are counted for
# agents that imagine (HIRO's are a decision each).
#
# Transfers have three seeds in one program; each begins with the same seed of its source.
family=lsp
. "$(dirname "$0")/learned.sh"
hiro=${HIRO:+,$HIRO}
case $preset in # updates of sources, and of targets
  paper) source_updates=100000 target_updates=60000 cove_updates=40000 ;; # of 5 frames each
  cpu) source_updates=10000 target_updates=6000 cove_updates=6000 ;; # of 10
  debug) source_updates=40 target_updates=40 cove_updates=40 ;;
esac
# settings of transfers: the policy and its skills stay as they are; rows of the source are kept with the target's reward
frozen=--config.transfer.freeze=worker/actor,skills
relabelled=--config.transfer.replay=relabel

source_runs() { learn_together sources "$1" "$2" --config.train.updates=$source_updates; } # TASK AGENTS

transfer() { # FOLDER SOURCE TARGET AGENTS [FLAGS]
  folder=$1 source=$2 target=$3 agents=$4
  shift 4
  go_on "$folder" "sources" "$source" "$target" "$agents" "$@"
}

held() { each_seed lsp_skills "$@"; }

paths() { each_seed lsp_paths "$@"; }

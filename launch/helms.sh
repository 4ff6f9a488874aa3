# What the scripts of the HeLMS figures share. They read it, and it starts nothing by itself:
#
#   skills TASK SYSTEM,...                  what agents begin with, learned offline: $runs/TASK/skills/agent=SYSTEM
#   learn FOLDER TASK REWARD SETS AGENTS    agents put to work: $runs/TASK/FOLDER/agent=AGENT,set=SET
#   page NAME RUNS-AND-FLAGS                one page of runs: $runs/NAME/compare.html
#
# In the environment:
#   PRESET   the budget of skills and agents alike: paper (if not said), cpu, or debug, which tries a script out
#   PYTHON   the interpreter; python if not said
#   RUNS     where all runs and pages lie; runs/helms/$PRESET if not said
#   DATA     demonstrations to learn from; if not said, the expert makes datasets/TASK_varied, once
#   OFFLINE  preset of experiments/configs/helms_offline.py; if not said that of PRESET, and transfer for cpu
# Flags of a script go to launch.sweep (--parallel=2, --to=slurm, --dry_run), --config.NAME=VALUE to the agents alone.
#
# Runs are shared: a figure takes what another has made. What is done is skipped, so the same command goes on; with
# --to it ends where jobs are handed over, and goes on from there once they are done.
#
# Three seeds, all of which begin with the same skills (seed 0), so intervals are of the learning put to work alone.
# cpu: three seeds in one program, config.seeds=3. paper: a run each, which a cluster runs side by side.
set -e
python=${PYTHON:-python} preset=${PRESET:-paper}
SKILLS= own= every= dry= away= undone= learning=
runs=${RUNS:-runs/helms/$preset}
case $preset in cpu) offline=${OFFLINE:-transfer} ;; *) offline=${OFFLINE:-$preset} ;; esac
case $preset in
  paper) seeds=--sweep=config.seed=0..2 ;;
  cpu | debug) seeds=--config.seeds=3 ;;
  *) echo "PRESET=$preset is not known; choose paper, cpu or debug" >&2; exit 2 ;;
esac

quoted() { # TEXT as one word of a command
  printf "'%s' " "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"
}

for flag in "$@"; do
  case $flag in
    --config.*) own="$own$(quoted "$flag")" ;; # of the agents
    *) every="$every$(quoted "$flag")" ;;
  esac
  case $flag in
    --dry_run) dry=yes ;;
    --to=local) ;;
    --to=*) away=yes ;;
    --to) echo "write --to=PLACE" >&2; exit 2 ;;
  esac
done
[ -n "$dry" ] || sh "$0" "$@" --dry_run >/dev/null # a slip of the pen is told before hours of learning

sweep() { # FLAGS; `undone` is then set if some of its runs are left to others
  code=0
  told=$("$python" -m launch.sweep "$@") || code=$?
  [ -z "$told" ] || printf '%s\n' "$told"
  [ $code = 0 ] || exit $code
  [ -n "$away" ] && [ -z "$dry" ] || return 0
  case $told in *" done, 0 begun, 0 new"*) ;; *) undone=yes ;; esac
}

finished() { # WHAT: ends here while it is not
  [ -z "$undone" ] || { echo "$1 are handed over; once they are done, the same command goes on" >&2; exit 0; }
}

show() { # COMMAND: runs it, or with --dry_run only shows it
  [ -n "$dry" ] || { "$@"; return; }
  for word in "$@"; do
    case $word in *[!A-Za-z0-9=/.,:_-]*) quoted "$word" ;; *) printf '%s ' "$word" ;; esac
  done
  echo
}

skills() { # TASK SYSTEM,... [FLAGS]
  task=$1 systems=$2
  shift 2
  if [ -n "$DATA" ]; then data=$DATA
  elif [ "$preset" = debug ]; then data=toy
  else
    data=datasets/${task}_varied
    show "$python" -m experiments.collect --config="experiments/configs/collect.py:$task,manner=varied" --workdir="$data"
  fi
  set -- --experiment=helms_offline --config="experiments/configs/helms_offline.py:$offline,task=$task" \
    --sweep="config:agent=$systems" --folder="$runs/$task/skills" --config.data.path="$data" "$@"
  eval "sweep \"\$@\" $every"
}

learn() { # FOLDER TASK REWARD SETS AGENTS [FLAGS]; SKILLS names the agents' skills where it is not the usual system
  folder=$1 goal=$2 reward=$3 sets=$4 agents=$5
  shift 5
  [ -n "$learning" ] || finished "the skills"
  learning=yes
  case $goal in pyramid) task=all_pairs ;; *) task=red_on_blue ;; esac
  for agent in $(printf '%s' "$agents" | tr , ' '); do
    case $agent in mpo) continue ;; helms_*) system=helms ;; *) system=$agent ;; esac
    set -- "$@" "--when=agent=$agent --init_from=$(quoted "$runs/$task/skills/agent=${SKILLS:-$system}:skills")"
  done
  set -- --experiment=helms_transfer --folder="$runs/$task/$folder" \
    --config="experiments/configs/helms_transfer.py:$preset,task=$goal,reward=$reward" \
    --sweep="config:agent=$agents" --sweep="config:set=$sets" "$@" "$seeds"
  eval "sweep \"\$@\" $every $own"
}

page() { # NAME RUNS-AND-FLAGS
  name=$1
  shift
  finished "some runs"
  show "$python" -m experiments.compare "$@" --metric=eval/staged,eval/success,episodes/return --out="$runs/$name"
}

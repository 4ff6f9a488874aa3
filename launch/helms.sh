# Functions that the scripts of the HeLMS figures share. They source this file, which starts nothing by itself:
#
#   skills TASK SYSTEM,...                  offline training of skills: $runs/TASK/skills/agent=SYSTEM
#   learn FOLDER TASK REWARD SETS AGENTS    online training of agents on them: $runs/TASK/FOLDER/agent=AGENT,set=SET
#   page NAME RUNS-AND-FLAGS                one page of runs: $runs/NAME/compare.html
#
# Environment variables:
#   PRESET   the budget of skills and agents: paper (default), cpu, or debug, which tries a script out
#   PYTHON   the interpreter (python)
#   RUNS     the folder of all runs and pages (runs/helms/$PRESET)
#   DATA     demonstrations to learn from (the expert collects datasets/TASK_varied, once)
#   OFFLINE  preset of experiments/configs/helms_offline.py (that of PRESET; transfer for cpu)
# Flags of a script go to launch.sweep (--parallel=2, --to=slurm, --dry_run), --config.NAME=VALUE only to the agents.
#
# Figures share runs. Runs that are done are skipped, so the same command goes on where it was stopped. With --to a
# script ends once jobs are submitted; the same command goes on when they are done.
#
# Three seeds, all of which begin with the same skills (seed 0), so intervals are those of online training alone.
# cpu: three seeds in one program, config.seeds=3. paper: a run each, which a cluster runs side by side.
set -e
python=${PYTHON:-python} preset=${PRESET:-paper}
SKILLS= agent_flags= sweep_flags= dry= remote= unfinished= learning=
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
    --config.*) agent_flags="$agent_flags$(quoted "$flag")" ;;
    *) sweep_flags="$sweep_flags$(quoted "$flag")" ;;
  esac
  case $flag in
    --dry_run) dry=yes ;;
    --to=local) ;;
    --to=*) remote=yes ;;
    --to) echo "write --to=PLACE" >&2; exit 2 ;;
  esac
done
[ -n "$dry" ] || sh "$0" "$@" --dry_run >/dev/null # reports a mistake in any part before hours of training

sweep() { # FLAGS; sets `unfinished` if runs are submitted to a cluster and not done yet
  code=0
  output=$("$python" -m launch.sweep "$@") || code=$?
  [ -z "$output" ] || printf '%s\n' "$output"
  [ $code = 0 ] || exit $code
  [ -n "$remote" ] && [ -z "$dry" ] || return 0
  case $output in *" done, 0 begun, 0 new"*) ;; *) unfinished=yes ;; esac
}

wait_for() { # RUNS: ends the script while they are not done
  [ -z "$unfinished" ] || { echo "$1 are submitted; once they are done, the same command goes on" >&2; exit 0; }
}

run() { # COMMAND: runs it, or with --dry_run only prints it
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
    run "$python" -m experiments.collect --config="experiments/configs/collect.py:$task,manner=varied" --workdir="$data"
  fi
  set -- --experiment=helms_offline --config="experiments/configs/helms_offline.py:$offline,task=$task" \
    --sweep="config:agent=$systems" --folder="$runs/$task/skills" --config.data.path="$data" "$@"
  eval "sweep \"\$@\" $sweep_flags"
}

learn() { # FOLDER TASK REWARD SETS AGENTS [FLAGS]; SKILLS names another system to take skills from
  folder=$1 goal=$2 reward=$3 sets=$4 agents=$5
  shift 5
  [ -n "$learning" ] || wait_for "the skills"
  learning=yes
  case $goal in pyramid) task=all_pairs ;; *) task=red_on_blue ;; esac
  for agent in $(printf '%s' "$agents" | tr , ' '); do
    case $agent in
      mpo) continue ;;
      helms_*) system=helms ;;
      npmp_kl) system=npmp ;;
      *) system=${agent%_finetuned} ;;
    esac
    set -- "$@" "--when=agent=$agent --init_from=$(quoted "$runs/$task/skills/agent=${SKILLS:-$system}:all")"
  done
  set -- --experiment=helms_transfer --folder="$runs/$task/$folder" \
    --config="experiments/configs/helms_transfer.py:$preset,task=$goal,reward=$reward" \
    --sweep="config:agent=$agents" --sweep="config:set=$sets" "$@" "$seeds"
  eval "sweep \"\$@\" $sweep_flags $agent_flags"
}

page() { # NAME RUNS-AND-FLAGS
  name=$1
  shift
  wait_for "some runs"
  run "$python" -m experiments.compare "$@" --metric=eval/staged,eval/success,episodes/return --out="$runs/$name"
}

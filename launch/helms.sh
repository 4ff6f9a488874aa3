# Functions that the scripts of the HeLMS figures share. They source this file, which starts nothing by itself:
#
#   skills TASK SYSTEM,...                  offline training of skills: $skilled/TASK/skills/agent=SYSTEM
#   learn FOLDER TASK REWARD SETS AGENTS    online training of agents on them: $runs/TASK/FOLDER/agent=AGENT,set=SET
#   success_page NAME RUNS-AND-FLAGS        one page of runs: $runs/NAME/compare.html
#
# Environment variables, beside those of figures.sh, which has what figures of all papers share:
#   DATA     demonstrations to learn from (the expert collects datasets/TASK_varied, once)
#   OFFLINE  preset of experiments/configs/helms_offline.py (that of PRESET; transfer for cpu and long)
#   PROTOCOL tuned (each agent has rates and target periods of its own) or paper (all have the same, in $runs/paper)
#
# Two more presets: sketch, cpu cut short, on demonstrations of its own, shows in minutes a run that a figure can be had;
# long is cpu with 1024 worlds and eighteen times the control steps.
#
# Three seeds, all of which begin with the same skills (seed 0), so intervals are those of online training alone.
family=helms more_presets="long sketch" SKILLS= learning=
. "$(dirname "$0")/figures.sh"
case $preset in cpu | long) offline=${OFFLINE:-transfer} ;; *) offline=${OFFLINE:-$preset} ;; esac
skilled=$runs
[ "$PROTOCOL" != paper ] || runs=$runs/paper

skills() { # TASK SYSTEM,... [FLAGS]
  task=$1 systems=$2
  shift 2
  if [ -n "$DATA" ]; then data=$DATA
  elif [ "$preset" = debug ]; then data=toy
  else
    data=datasets/${task}_varied episodes=
    case $preset-$task in
      sketch-red_on_blue) data=datasets/${task}_sketch episodes=--config.episodes=200 ;;
      sketch-all_pairs) data=datasets/${task}_sketch episodes=--config.episodes=6 ;; # of each of 30 tasks
    esac
    run "$python" -m experiments.collect --config="experiments/configs/collect.py:$task,manner=varied" \
      --workdir="$data" $episodes
  fi
  set -- --experiment=helms_offline --config="experiments/configs/helms_offline.py:$offline,task=$task" \
    --sweep="config:agent=$systems" --folder="$skilled/$task/skills" --config.data.path="$data" "$@"
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
    set -- "$@" "--when=agent=$agent --init_from=$(quoted "$skilled/$task/skills/agent=${SKILLS:-$system}:all")"
  done
  set -- --experiment=helms_transfer --folder="$runs/$task/$folder" \
    --config="experiments/configs/helms_transfer.py:$preset,task=$goal,reward=$reward${PROTOCOL:+,protocol=$PROTOCOL}" \
    --sweep="config:agent=$agents" --sweep="config:set=$sets" "$@" "$seeds"
  eval "sweep \"\$@\" $sweep_flags $agent_flags"
}

success_page() { # NAME RUNS-AND-FLAGS
  name=$1
  shift
  page "$name" eval/staged,eval/success,episodes/return "$@"
}

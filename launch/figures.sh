# What the scripts of figures share: flags, presets, seeds, sweeps. A family of scripts sources it after setting `family`,
# and `more_presets` if it has any (helms.sh, lsp.sh); it starts nothing by itself.
#
#   sweep FLAGS             launch.sweep
#   run COMMAND             a command, which --dry_run only prints
#   wait_for WHAT           ends the script while runs are submitted and not done
#   page NAME METRICS RUNS-AND-FLAGS   one page of runs: $runs/NAME/compare.html
#
# Environment variables:
#   PRESET   the budget of all runs: paper (default), cpu, or debug, which tries a script out; a family may have more
#   PYTHON   the interpreter (python)
#   RUNS     the folder of all runs and pages (runs/$family/$PRESET)
# Flags of a script go to launch.sweep (--parallel=2, --to=slurm, --dry_run), --config.NAME=VALUE only to the agents.
#
# Figures share runs. Runs that are done are skipped, so the same command goes on where it was stopped. With --to a
# script ends once jobs are submitted; the same command goes on when they are done.
#
# paper: a run for each of three seeds, which a cluster runs side by side. Else: three seeds in one program.
set -e
python=${PYTHON:-python} preset=${PRESET:-paper}
agent_flags= sweep_flags= dry= remote= unfinished=
runs=${RUNS:-runs/$family/$preset}
presets="paper${more_presets:+ $more_presets} cpu debug"
case " $presets " in
  *" $preset "*) ;;
  *) echo "PRESET=$preset is not known; choose $(printf '%s' "$presets" | sed 's/ /, /g')" >&2; exit 2 ;;
esac
case $preset in paper) seeds=--sweep=config.seed=0..2 ;; *) seeds=--config.seeds=3 ;; esac

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

page() { # NAME METRICS RUNS-AND-FLAGS
  name=$1 metrics=$2
  shift 2
  wait_for "some runs"
  run "$python" -m experiments.compare "$@" --metric="$metrics" --out="$runs/$name"
}

#!/bin/sh
# Figure 3 of HeLMS (E1 to E3): what five skills learned from red_on_blue do when each is held for whole episodes, the
# transition prior, and how much each skill is used; the page is the run's report.html.
#   PRESET=cpu sh launch/helms_figure_3.sh            launch/helms.sh lists all options
# It needs skills that are fully distinct, so cpu does not share those of the other figures (OFFLINE=transfer).
case ${PRESET:-paper} in cpu | long) OFFLINE=${OFFLINE:-cpu} RUNS=${RUNS:-runs/helms/$PRESET/told_apart} ;; esac
. "$(dirname "$0")/helms.sh"
skills red_on_blue helms
wait_for "the skills"
run "$python" -m experiments.helms_skills --run="$skilled/red_on_blue/skills/agent=helms" \
  --env=sawyer.stack_red_on_blue.set4

#!/bin/sh
# E4 (MRS, section 3.2): without goals any number of rows ahead.
#   PRESET=cpu sh launch/mrs_e4.sh                    launch/mrs.sh lists all options
. "$(dirname "$0")/mrs.sh"
learn suite "$suite" mrs
learn finite "$suite" mrs --config.agent.infinity=false
returns e4 --runs="$runs/suite/agent=mrs,*" --runs="$runs/finite/*" --group=config.agent.infinity --along=config.agent \
  --panels=config.env.name

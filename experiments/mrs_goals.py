"""What the goals of an agent look like, where each resolution is chosen, and whether its memory is told apart by it.

python -m experiments.mrs_goals --run=runs/mrs
python -m experiments.mrs_goals --run=runs/mrs/seed_0 --episodes=8 --rows=500

For agents whose manager names goals in the memory of a world model (mrs, director): --episodes episodes of the agent as
it is evaluated. Writes into RUN/goals: goals.json (shares of the resolutions; visited memories in two dimensions, and
the purity of clusters of them beside shuffled choices; how far random goals lie apart), goals.jpg (random goals of each
resolution from the same rows) and choices.jpg (rows at which each was in force); and RUN/report.html again. A goal is
shown as the picture that the model decodes, and where a world shows numbers, by posing it at the decoded numbers. MRS,
Figures 6, 11 and appendices D, G, H.
"""

import time

import jax
import numpy as np
from absl import flags

from experiments.imagined_goals import looks, sections, visits
from experiments.imagined_skills import opening
from experiments.shared import (
    acting_flags,  # noqa: F401  defines the flags
    cli,
    run_report,
    saved,
)
from skillhier import files

EPISODES = 4  # unless --episodes says otherwise


check = opening.check


def main(run: cli.Run) -> None:
    args = flags.FLAGS
    begin = time.perf_counter()
    path, settings, name, world_settings, env = opening.open_run(EPISODES)
    agent = saved.agent(path, settings, env)
    if agent.propose is None:
        raise cli.Refused(f"{path} is a run of {settings['agent']['name']}, which has no goals; give one of mrs")
    rows = opening.decisions(env)
    task = saved.task_or_none(name, args.engine, world_settings)
    collect_key, goal_key = jax.random.split(jax.random.key(args.rollout_seed))
    taken = visits.collect(env, agent, collect_key, rows, drawn=task is not None)
    goals = looks.draw_goals(agent, taken, goal_key, args.rollout_seed)
    counts = np.bincount(taken.choice.ravel(), minlength=len(agent.coders))
    content = {
        "env": name,
        "episodes": env.spec.worlds,
        "rows": int(counts.sum()),
        "rollout_seed": args.rollout_seed,
        "coders": list(agent.coders),
        "shares": {coder: float(count / counts.sum()) for coder, count in zip(agent.coders, counts, strict=True)},
        "apart": looks.apart(goals, taken),
        "map": visits.map_of(taken, args.rollout_seed),
    }
    folder = path / sections.FOLDER
    folder.mkdir(exist_ok=True)
    artist = looks.artist(env, taken, task)
    sheets = {sections.GOALS: None, sections.CHOICES: None}
    if artist is not None:
        sheets[sections.GOALS] = looks.goal_sheet(artist, goals)
        sheets[sections.CHOICES] = looks.choice_sheet(artist, taken, agent.coders, args.rollout_seed)
    for file, sheet in sheets.items():
        (folder / file).unlink(missing_ok=True)
        if sheet is not None:
            files.write_bytes(folder / file, sheet)
    files.write_json(folder / sections.CONTENT, content)
    run_report.write(path)
    print(sections.sentence(content))
    print(f"in {folder}, in {time.perf_counter() - begin:.0f} s; report: {path / 'report.html'}")


if __name__ == "__main__":
    cli.run(main, needs_config=False)

"""What each skill of an agent with continuous skills does when it is held fixed, and whether they end apart.

python -m experiments.lsp_skills --run=runs/lsp
python -m experiments.lsp_skills --run=runs/lsp/seed_0 --rows=40 --episodes=4 --repeats=3

Every skill that the agent can hold (of lsp eight, the same in all runs) is held for 40 decisions from the same
--episodes starts, --repeats times each, with the actions that the skill thinks best. Writes into RUN/skills:
skills.json (paths, and the mean distance between the ends of different skills, and of one skill with other keys) and
strip.jpg (frames, a line for each skill, all from one start); and RUN/report.html again. LSP, Figures 7 and 10.
"""

import time

import jax
from absl import flags

from experiments.imagined_skills import held, opening, sections
from experiments.shared import (
    acting_flags,  # noqa: F401  defines the flags
    cli,
    pictures,
    run_report,
    saved,
)
from skillhier import files
from skillhier.report import drawing

ROWS, STARTS = 40, 4  # unless --rows and --episodes say otherwise
FRAMES, SIZE = 8, (135, 180)  # images of each skill, and their height and width

flags.DEFINE_integer("repeats", 2, "of each skill from each start", 1, 10**4)


check = opening.check


def main(run: cli.Run) -> None:
    args = flags.FLAGS
    begin = time.perf_counter()
    path, settings, name, world_settings, env = opening.open_run(STARTS)
    rows = opening.decisions(env, ROWS)
    agent = saved.agent(path, settings, env)
    if not agent.skills:
        own = settings["agent"]["name"]
        raise cli.Refused(f"{path} is a run of {own}, which has no skills to hold; give one of lsp or a variant")
    model = saved.model_or_none(name, args.engine, world_settings)
    episodes = held.collect(
        env, model, agent, jax.random.key(args.rollout_seed), rows=rows, repeats=args.repeats, frames=FRAMES
    )
    about = {"env": name, "rows": rows, "seconds": rows * env.spec.interval, "rollout_seed": args.rollout_seed}
    content = about | held.measure(episodes)
    folder = path / sections.HELD
    folder.mkdir(exist_ok=True)
    (folder / sections.STRIP).unlink(missing_ok=True)
    if model is not None:
        names = [(f"skill {skill}", drawing.hex_colour(skill)) for skill in range(agent.skills)]
        strip = pictures.held_strip(model, SIZE, names, episodes.records, episodes.frames * env.spec.interval)
        files.write_bytes(folder / sections.STRIP, strip)
    files.write_json(folder / sections.HELD_JSON, content)
    run_report.write(path)
    print(f"{name}: {agent.skills} skills. {sections.distances(content)}")
    print(f"in {folder}, in {time.perf_counter() - begin:.0f} s; report: {path / 'report.html'}")


if __name__ == "__main__":
    cli.run(main, needs_config=False)

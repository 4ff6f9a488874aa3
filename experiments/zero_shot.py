"""What agents do before they learn anything online: how much of the world they move, and what they would be paid.

python -m experiments.zero_shot --config=experiments/configs/zero_shot.py:cpu --skills=runs/skills \\
    --skills=runs/skills/rivals/npmp --workdir=runs/zero_shot
python -m experiments.zero_shot --config=experiments/configs/zero_shot.py:cpu --skills='runs/table/agent=*' \\
    --config.choice=held --config.choice_period=40

In other worlds of option task= too, such as cpu,task=dmc.walker_walk, whose entries' variances stand in the table.
--skills names runs of experiments/helms_offline.py, each the row of an agent that begins with it: HeLMS (cat and mix
act alike here), NPMP, BC, hierarchical BC. Their new nets are what experiments/helms_transfer.py begins with, in its
worlds. MPO from scratch stands beside them, and whom else config.baselines names. HeLMS, Table 1.

Writes zero_shot.json, zero_shot.md and zero_shot.html into the run folder; the episodes of each agent are kept in
episodes/, so the same command on the same --workdir goes on with the agents that are missing.
"""

import glob
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from experiments.shared import cli, online_run, scripted, warm_start
from experiments.shared import coverage as entries
from experiments.stacking import coverage as stacking
from experiments.stacking.worlds import is_stacking
from skillhier import files
from skillhier.agents import registry as known_agents
from skillhier.agents import units
from skillhier.report import coverage_page
from skillhier.report.coverage_page import Row
from skillhier.train import checkpoint, coverage, metrics
from skillhier.types import Env, Params, Policy

flags.DEFINE_multi_string(
    "skills", [], "runs of helms_offline, as a shell pattern in quotes; may be given several times"
)

TITLES = {
    "helms": "HeLMS",
    "helms_discrete": "HeLMS, discrete only",
    "npmp": "NPMP",
    "npmp_ar1": "NPMP, AR(1)",
    "bc": "BC",
    "hierarchical_bc": "hierarchical BC",
    "mpo": "MPO from scratch",
    "random": "random actions",
    "expert": "scripted expert",
}
CHOOSING = ("helms", "helms_discrete", "npmp", "npmp_ar1")  # systems with a choice to make


class Agent(NamedTuple):
    label: str
    source: str  # the run that it begins with
    acts: str  # what makes its choices
    stamp: str  # of what its episodes depend on beside the config
    make: Callable[[], tuple[Policy, Params]]


def check(run: cli.Run) -> None:
    """Refuses a command that lets nobody act. Raises Refused."""
    if not flags.FLAGS.skills and not run.config.baselines:
        raise cli.Refused("--skills is missing and config.baselines is empty; give runs of experiments.helms_offline")


def main(run: cli.Run) -> None:
    config = run.config
    sources = skill_runs(flags.FLAGS.skills)
    stacks = is_stacking(config.env.name)
    env = online_run.make_worlds(config.env, config.env.worlds, **({"reward": "dense"} if stacks else {}))
    measured = (stacking if stacks else entries).measures(env.spec)
    agents = [
        *(begun(path, settings_, params, config, env) for path, (settings_, params) in sources.items()),
        *(beside(name, config, env) for name in config.baselines),
    ]
    agents = told_apart(agents)
    path, _ = cli.open_run(run)
    rows = [row(agent, config, env, measured, path / "episodes") for agent in agents]
    physics = f" · physics {'drawn anew' if config.env.randomise else 'fixed'}" if stacks else ""
    subtitle = (
        f"{config.env.name} · {config.episodes:,} episodes of {env.spec.limit} control steps · delay "
        f"{' to '.join(map(str, config.env.delay))} steps{physics}"
        f" · {'drawn' if config.stochastic else 'likeliest'} actions"
    )
    table = coverage_page.markdown(rows, measured.columns, config.seed)
    title = "Before anything is learned online"
    about = {"config": cli.flat(config), "agents": coverage_page.content(rows, measured.columns, config.seed)}
    files.write_json(path / "zero_shot.json", about)
    files.write_text(path / "zero_shot.md", f"# {title}\n\n{subtitle}\n\n{table}")
    page = coverage_page.page(rows, measured.columns, config.seed, title=title, subtitle=subtitle)
    files.write_text(path / "zero_shot.html", page)
    print(table)
    print(f"page: {path / 'zero_shot.html'}")


def skill_runs(patterns: list[str]) -> dict[Path, tuple[dict, Params]]:
    """The runs that match, in the order given, with their agents' settings and parameters. Raises Refused, Broken."""
    paths = []
    for pattern in patterns:
        matches = (
            [pattern] if Path(pattern).is_dir() else sorted(filter(lambda p: Path(p).is_dir(), glob.glob(pattern)))
        )
        if not matches:
            raise cli.Refused(f"no folder matches --skills={pattern}; give runs of experiments.helms_offline")
        paths += map(Path, matches)
    return {path: warm_start.load_skills(path) for path in dict.fromkeys(paths)}


def begun(path: Path, agent: dict, params: Params, config: ConfigDict, env: Env) -> Agent:
    """The agent that begins with the skills of a run."""
    kind = agent["name"]
    name = next(name for name in config.agents if kind in known_agents.entry(name).sources)
    choice = config.choice if kind in CHOOSING else "agent"

    def make() -> tuple[Policy, Params]:
        if choice == "prior":
            system = known_agents.make(**agent, spec=env.spec, units=units.of(params))
            shapes = jax.eval_shape(system.learner.init, jax.random.key(0)).params
            if jax.tree.map(jnp.shape, params) != jax.tree.map(jnp.shape, shapes):
                raise cli.Refused(f"the skills of {path} see other things than these worlds show; set config.env.stack")
            return system.explore if config.stochastic else system.exploit, params
        policy, fresh = new(name, config, env, source=params, **known_agents.entry(name).settings_of(agent))
        return (held(policy, config.choice_period) if choice == "held" else policy), fresh

    rows = "1 row" if config.choice_period == 1 else f"{config.choice_period} rows"
    chance = config.agents[name].get("repeat_probability", 0.0) if config.stochastic else 0.0
    own = "new high level" + (f", kept with chance {chance:g}" if chance else "")
    acts = {"agent": own, "prior": "learned prior", "held": f"new high level, {rows} each"}[choice]
    home = path if (path / "checkpoints").is_dir() else path.parent
    stamp = f"{path.resolve()} {max(checkpoint.steps(home / 'checkpoints'), default=0)}"
    return Agent(TITLES[kind], str(path), acts if kind in CHOOSING else "clone", stamp, make)


def beside(name: str, config: ConfigDict, env: Env) -> Agent:
    """An agent that begins with nothing."""
    if name == "mpo":
        return Agent(TITLES[name], "", "new actor", name, lambda: new(name, config, env))
    policy = scripted.make(name, config.env.name, env)
    return Agent(TITLES[name], "", "script" if name == "expert" else "chance", name, lambda: (policy, ()))


def new(name: str, config: ConfigDict, env: Env, **skills) -> tuple[Policy, Params]:
    """An agent as experiments.helms_transfer begins with it. Raises Refused."""
    statistics = warm_start.statistics(warm_start.random_rollout(env))
    try:
        agent = known_agents.make(**{**config.agents[name], **skills}, spec=env.spec, statistics=statistics)
        params = jax.jit(agent.learner.init)(jax.random.key(config.seed)).params
    except ValueError as error:
        raise cli.Refused(error.args[0]) from None
    return agent.explore if config.stochastic else agent.exploit, params


def held(policy: Policy, period: int) -> Policy:
    """A hierarchy that renews its choice at every row, made to renew it at an episode's first and after `period`."""

    def act(params, carry, step, key):
        inner, age = carry
        renewed = step.first | (age >= period)
        inner = inner._replace(age=renewed.astype(jnp.int32))  # it renews what is 1 row old, or more
        inner, action, notes = policy.act(params, inner, step, key)
        return (inner, jnp.where(renewed, 1, age + 1)), action, notes

    return Policy(lambda worlds: (policy.init(worlds), jnp.zeros(worlds, jnp.int32)), act)


def told_apart(agents: list[Agent]) -> list[Agent]:
    """The agents, those of one name with their run's behind it."""
    names = [agent.label for agent in agents]
    last = lambda agent: Path(agent.source).resolve().name  # noqa: E731
    named = [
        agent._replace(label=f"{agent.label} ({last(agent)})") if names.count(agent.label) > 1 else agent
        for agent in agents
    ]
    if len({agent.label for agent in named}) < len(named):
        named = [agent._replace(label=f"{agent.label} ({agent.source})" if agent.source else agent.label)
                 for agent in agents]  # fmt: skip
    return named


def row(agent: Agent, config: ConfigDict, env: Env, measured: entries.Measures, folder: Path) -> Row:
    """The agent's episodes, so many worlds at a time; those of a former start of the same command are read."""
    file = folder / f"{re.sub(r'[^A-Za-z0-9]+', '_', agent.label).strip('_')}.npz"
    seen = read(file, agent.stamp)
    if seen is None:
        policy, params = agent.make()
        groups, totals, poses, _ = measured
        measure = coverage.episodes(env, policy, groups=groups, totals=totals, success=env.spec.success, poses=poses)
        bar = metrics.progress(config.episodes, label=agent.label, unit="episodes")
        chunks = []
        for i, first in enumerate(range(0, config.episodes, env.spec.worlds)):
            key = jax.random.fold_in(jax.random.key(config.seed), i)
            chunks.append(jax.device_get(measure(params, key)))
            bar.write(min(first + env.spec.worlds, config.episodes), {})
        bar.close()
        seen = {name: np.concatenate([chunk[name] for chunk in chunks])[: config.episodes] for name in chunks[0]}
        folder.mkdir(exist_ok=True)
        with files.draft(file) as part, part.open("wb") as out:
            np.savez(out, stamp=np.array(agent.stamp), **seen)
    kept = whole(seen)
    return Row(agent.label, agent.source, agent.acts, kept, len(seen["broken"]) - len(kept["broken"]))


def whole(seen: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The episodes that no broken world cut short; of stacking whether each was paid at all by its sparse rewards."""
    kept = {name: values[seen["broken"] < 0.5] for name, values in seen.items()}
    totals = {"held": "return/staged", "paid": "return/sparse"}
    return kept | {name: 1.0 * (kept[total] > 0) for name, total in totals.items() if total in kept}


def read(file: Path, stamp: str) -> dict[str, np.ndarray] | None:
    """The episodes that a file holds; None where there are none of that stamp."""
    try:
        with np.load(file) as kept:
            seen = {name: kept[name] for name in kept.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):  # damaged: measured again
        return None
    return seen if str(seen.pop("stamp", "")) == stamp else None


if __name__ == "__main__":
    cli.run(main)

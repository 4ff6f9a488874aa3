"""The set-up that online entry points share: worlds, replay, source, evaluations, and the run itself.

An entry point makes an agent for `open_worlds(run).env`, and hands it to `train`.
"""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.shared import cli, frames, learning, run_report, world_settings
from skillhier import files
from skillhier.agents import registry as agents
from skillhier.data import online, replay
from skillhier.distributed import hosts
from skillhier.envs import registry
from skillhier.report import dreams
from skillhier.train import checkpoint, evaluate, loop, metrics, run_folder, session
from skillhier.train.evaluate import Evaluation
from skillhier.types import Agent, Env, Policy, Source, Spec

REPLAY = "source/replay"  # the replay's place in the run state
DREAM_ROWS, DREAM_CONTEXT = 50, 5  # rows of the window that a run's page shows, and how many of them are seen


class Worlds(NamedTuple):
    """The worlds of a run."""

    env: Env | None  # data are collected here; None where there are data already
    evals: dict[str, Env]  # by the name of the evaluation


def open_worlds(run: cli.Run) -> Worlds:
    """The worlds that the config describes. Raises Refused."""
    config = run.config
    for name in config.evals:
        if name not in config or "episodes" not in config[name]:
            raise cli.Refused(f"config.evals names {name}, and there is no group config.{name} of its settings")
    shared = ("env.worlds", "train.batch_size") if "batch_size" in config.train else ("env.worlds",)
    learning.check_divisible(run, *shared, *(f"{name}.episodes" for name in config.evals))
    env = make_worlds(config.env, config.env.worlds)
    return Worlds(env, {name: make_worlds(config.env, **config[name].env, worlds=config[name].episodes)
                        for name in config.evals})  # fmt: skip


def make_worlds(settings: ConfigDict, worlds: int, **changes: Any) -> Env:
    """`worlds` worlds by the settings of a config, with changes. Raises Refused."""
    settings = {**settings, **changes, "worlds": worlds}
    name = settings.pop("name")
    try:
        return registry.make(name, **world_settings.suited(name, settings))
    except ValueError as error:
        raise cli.Refused(str(error)) from None


def make_agent(config: ConfigDict, spec: Spec, **settings: Any) -> Agent:
    """The config's agent for worlds of `spec`; raises Refused where its settings do not fit them."""
    return learning.make_agent(agents.make, **{**config.agent, **settings}, spec=spec)


def make_replay(config: ConfigDict, spec: Spec, extras: Mapping[str, jax.ShapeDtypeStruct] = ()) -> replay.Replay:
    """The config's replay of worlds of `spec`, which holds the policy's notes `extras` too. Raises Refused."""
    room = config.replay.max_gib * replay.GIB or None
    try:
        return replay.make(config.replay.rows, spec, extras=dict(extras), max_bytes=room, copies=config.seeds)
    except ValueError as error:
        raise cli.Refused(str(error)) from None


def make_source(config: ConfigDict, env: Env, policy: Policy, agent: Agent | None = None, **settings: Any) -> Source:
    """Batches from a replay that `policy` fills in `env`; with the agent's parameters and notes, if it acts by them."""
    extras = {} if agent is None else agent.replay_extras
    if agent is not None:
        settings["first_params"] = lambda key: agent.learner.init(key).params
    source = online.online(
        env,
        policy,
        make_replay(config, env.spec, extras),
        unroll_length=config.train.unroll_length,
        updates_per_collect=config.train.updates_per_collect,
        batch_size=config.train.batch_size,
        sequence_length=config.train.sequence_length,
        pretrain=config.train.pretrain,
        prefill=config.replay.prefill,
        **settings,
    )
    return frames.counted(source, config.env.get("repeat", 1))


def evaluations(config: ConfigDict, worlds: Worlds, agent: Agent) -> list[Evaluation]:
    """The config's evaluations of an agent."""

    def one(name: str) -> Evaluation:
        settings, env = config[name], worlds.evals[name]
        missing = [entry for entry in settings.totals if entry not in env.spec.obs]
        if missing:
            known = ", ".join(sorted(env.spec.obs))
            raise cli.Refused(f"config.{name}.totals: these worlds do not show {missing[0]}; choose of {known}")
        return evaluate.of_episodes(
            name,
            settings.every or config.train.eval_every,
            env,
            agent.explore if settings.stochastic else agent.exploit,
            settings.seed,
            success=env.spec.success,
            totals={entry.rpartition(".")[2]: entry for entry in settings.totals},
        )

    return [one(name) for name in worlds.evals]


def train(
    run: cli.Run,
    worlds: Worlds,
    agent: Agent,
    source: Source,
    *,
    spec: Spec | None = None,
    terms: tuple[str, ...],
    summarise: Callable[..., dict],
    origin: dict[str, Any] | None = None,
    gap: str = "new rows",
    about: dict[str, str] | None = None,
) -> None:
    """Trains to the config's budget in the run folder, and writes summaries and reports. Raises RunStopped.

    spec       what the agent sees, where there are no worlds but data alone
    terms      metrics shown on the terminal
    summarise  (lines of metrics.jsonl, config=...) -> what came out, in numbers
    origin     how the agent's skills were made: written to origin.json, for those who load the agent
    gap        what a run goes on with whose checkpoint holds no replay
    about      what a continued run must share with this one, beside its settings
    """
    config = run.config
    evaluated = evaluations(config, worlds, agent)
    spec = spec or (worlds.env and worlds.env.spec)
    path, shared = cli.open_run(run)
    if origin is not None and hosts.is_main_host():
        files.write_sealed(path / run_folder.ORIGIN, origin)
    place = f"in {config.env.worlds} worlds {config.env.name}" if worlds.env else f"on {config.data.path}"
    print(f"{path}: {config.agent.name} {place}", file=sys.stderr)
    if checkpoint.was_left_out(path, REPLAY):
        print(
            f"{path}: its checkpoint holds no replay; it goes on with {gap} alone, and will not be the run that it "
            "would have been without a break (config.replay.in_checkpoint=true keeps the replay)",
            file=sys.stderr,
        )
    if worlds.env and not worlds.env.spec.restorable and checkpoint.steps(path / "checkpoints"):
        print(
            f"{path}: worlds of {config.env.name} are in no checkpoint and are opened anew; the run will not be the "
            "one that it would have been without a break",
            file=sys.stderr,
        )
    outcome = session.execute(
        path,
        agent.learner,
        source,
        seed=config.seed,
        seeds=config.seeds,
        budget=config.train.updates,
        updates=config.train.updates_per_epoch,
        save_every=config.train.save_every,
        evaluations=evaluated,
        terms=terms,
        label=config.agent.name,
        left_out=(REPLAY,) if "replay" in config and not config.replay.in_checkpoint else (),
        about={**shared, **(about or {})},
        mesh=run.mesh,
        tracker=run.tracker,
    )
    learning.check_stopped(outcome, path)
    if agent.dream is not None and hosts.is_main_host():
        record_dreams(path, config, agent, source, outcome.state, spec)
    session.finish(path, config.seed, config.seeds, partial(summarise, config=config), run_report.write)


def record_dreams(
    path: Path, config: ConfigDict, agent: Agent, source: Source, state: loop.RunState, spec: Spec
) -> None:
    """Writes what the agent of every seed believes and dreams of one window of its replay into the seed's folder."""
    span = config.train.sequence_length if source.constant else config.replay.prefill - config.env.stack + 1
    length = min(DREAM_ROWS, span)
    context = min(DREAM_CONTEXT, length - 1)

    @jax.jit
    def record(state: loop.RunState) -> dict[str, dict[str, jax.Array]]:
        peek_key, dream_key = jax.random.split(jax.random.key(config.seed))
        longer = () if source.constant else (length,)
        windows = source.peek(state.source, peek_key, *longer)
        window = jax.tree.map(lambda x: x[:, :1], windows)
        return agent.dream(state.learner.params, window, context, dream_key)

    for i, folder in enumerate(run_folder.seed_folders(path, config.seed, config.seeds)):
        one = state
        if config.seeds > 1:
            rows = state.source if source.constant else loop.of_seed(state.source, i)
            one = state._replace(learner=loop.of_seed(state.learner, i), source=rows)
        recorded = jax.tree.map(lambda x: np.asarray(x[:, 0]), record(one))
        dreams.write(folder, recorded, context, spec.interval)


def late(rows: list[dict], name: str) -> float | None:
    """The mean of a metric over the last tenth of a run's updates; None where it was not measured."""
    values = [row[name] for row in rows if row["step"] > 0.9 * rows[-1]["step"] and row.get(name) is not None]
    return float(sum(values) / len(values)) if values else None


def returns(rows: list[dict], config: ConfigDict, measured: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What an agent came to, in numbers: `rows` are the lines of metrics.jsonl. Tenths are of the updates.

    measured: further numbers, each the mean of a metric over the last tenth, from names to metrics.
    """
    return totals(rows) | {
        "frames": rows[-1].get(metrics.FRAMES, 0),
        "return_last_tenth": late(rows, "episodes/return"),
        "eval_return": rows[-1].get("eval/return"),
        **{name: late(rows, metric) for name, metric in (measured or {}).items()},
    }


def totals(rows: list[dict]) -> dict[str, Any]:
    """What every summary of an online run says: updates, environment steps, seconds."""
    last, seconds = rows[-1], sum(row["time/epoch_seconds"] for row in rows)
    return {
        "train_steps": last["step"],
        "env_steps": last.get("total/env_steps", 0),
        "updates_per_second": last["step"] / seconds,
        "seconds": {"train": seconds},
    }

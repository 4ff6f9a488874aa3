"""A run whose data come from worlds while it learns: its worlds, its replay, its trials, and the run itself."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
from ml_collections import ConfigDict

from experiments.shared import cli, run_report
from skillhier.data import replay
from skillhier.envs import registry
from skillhier.train import checkpoint, evaluate, session
from skillhier.types import Env, Learner, LearnerState, Policy, Source, Spec

REPLAY = "source/replay"  # of the replay in the run state


def make_worlds(config: ConfigDict, count: int) -> Env:
    """`count` worlds of the config's task. Raises ValueError."""
    settings = config.env.to_dict() | {"worlds": count}
    return registry.make(settings.pop("name"), **settings)


def make_replay(config: ConfigDict, spec: Spec, extras: dict[str, jax.ShapeDtypeStruct] | None = None) -> replay.Replay:
    """The config's replay of worlds of `spec`, which keeps the policy's notes `extras` too. Raises ValueError."""
    room = config.replay.max_gib * replay.GIB or None
    return replay.make(config.replay.rows, spec, extras=extras, max_bytes=room, copies=config.seeds)


def make_evaluator(
    arena: Env, policy: Policy, seed: int, *, success: str, totals: dict[str, str] | None = None
) -> Callable[[LearnerState], dict[str, float]]:
    """Figures of the agent in worlds of its own: the same starts every time. success, totals: evaluate.episodes."""
    episodes = evaluate.episodes(arena, policy, success=success, totals=totals)

    def figures(state: LearnerState) -> dict[str, float]:
        told = jax.device_get(episodes(state.params, jax.random.key(seed)))
        return {f"eval/{name}": float(value) for name, value in told.items()}

    return figures


def train(
    run: cli.Run,
    path: Path,
    about: dict[str, str],
    learner: Learner,
    source: Source,
    *,
    assess: Callable[[LearnerState], dict[str, float]],
    terms: tuple[str, ...],
    summarise: Callable[..., dict],
    rows: str = "new rows",
) -> None:
    """Trains to the config's budget in the opened folder `path`, and writes summaries and reports.

    terms: metrics shown on the terminal; summarise(lines of metrics.jsonl, config=...) -> what came out, in numbers;
    rows: what a run goes on with whose checkpoint holds no replay. Raises Stopped.
    """
    config = run.config
    if checkpoint.was_left_out(path, REPLAY):
        print(
            f"{path}: its checkpoint holds no replay; it goes on with {rows} alone, and will not be the run that it "
            "would have been without a break (config.replay.in_checkpoint=true keeps the replay)",
            file=sys.stderr,
        )
    outcome = session.execute(
        path,
        learner,
        source,
        seed=config.seed,
        seeds=config.seeds,
        budget=config.train.updates,
        updates=config.train.updates_per_epoch,
        save_every=config.train.save_every,
        assess=assess,
        assess_every=config.train.eval_every,
        terms=terms,
        label=config.agent.name,
        left_out=() if config.replay.in_checkpoint else (REPLAY,),
        about=about,
        mesh=run.mesh,
    )
    if outcome.stopped:
        raise cli.RunStopped(outcome.stopped, f"stopped at update {outcome.done}; the same command continues {path}")
    session.finish(path, config.seed, config.seeds, partial(summarise, config=config), run_report.write)


def env_steps(config: ConfigDict, updates: int) -> int:
    """Control steps that all worlds have taken by so many updates."""
    chunks = -(-config.replay.prefill // config.train.unroll_length) + -(-updates // config.train.updates_per_collect)
    return chunks * config.train.unroll_length * config.env.worlds

"""The jobs of the suite `gpu`: every engine, agent and renderer by itself, timed and held to be sound.

Each returns the figures of `measured`. They run in a process of their own (worker.py), which adds the device memory.
"""

import statistics
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from experiments.benchmarks import agents, helms_offline, mpo_reference, physics, timing, transfer_parts
from experiments.shared import online_run
from skillhier import rollout
from skillhier.envs import batch, registry
from skillhier.envs.render import pixels, rays
from skillhier.train import loop
from skillhier.types import Learner, Metrics, Source

SECONDS, FEWEST, MOST = 1.5, 3, 20  # s of repeated calls, and how many there are at least and at most


def measured(job: Callable[[], Any], amount: float, unit: str, check: Callable[[Any], None]) -> dict[str, Any]:
    """Calls `job`, which does `amount` of `unit` each time, until its time is known. Raises what `check` raises.

    compile_seconds is what the first call took beyond a later one: tracing, compiling, and loading the program.
    """
    result, first = timing.timed(job)
    check(jax.device_get(result))
    seconds: list[float] = []
    while len(seconds) < FEWEST or (sum(seconds) < SECONDS and len(seconds) < MOST):
        result, taken = timing.timed(job)
        seconds.append(taken)
    check(jax.device_get(result))
    median = statistics.median(seconds)
    return {
        "compile_seconds": max(0.0, first - median),
        "seconds_per_call": median,
        "calls": len(seconds),
        "per_second": amount / median,
        "unit": unit,
    }


def steps(world: str, engine: str, worlds: int, rows: int, **settings: Any) -> dict[str, Any]:
    """`rows` control steps of all worlds under random actions, from where the call before ended."""
    env = registry.make(world, worlds=worlds, engine=engine, **settings)
    policy = physics.random(env)
    held = [jax.jit(lambda key: rollout.start(env, policy, key))(jax.random.key(0))]
    run = jax.jit(lambda actor, key: rollout.rollout(env, policy, (), actor, key, rows))

    def job() -> dict[str, jax.Array]:
        held[0], taken = run(held[0], jax.random.key(1))
        broken = (taken.step.first[1:] & ~taken.step.last[:-1]).sum()
        return {"obs": held[0].step.obs, "reward": taken.step.reward, "broken": broken}

    def check(shown: dict[str, Any]) -> None:
        finite(shown)
        if shown["broken"]:
            raise ArithmeticError(f"{shown['broken']} of {worlds * rows} steps broke their world")

    return measured(job, worlds * rows, "control steps", check)


def offline_epoch(name: str, preset: str, updates: int, seeds: int = 1) -> dict[str, Any]:
    """An epoch of an offline agent on made-up demonstrations, in `seeds` runs side by side."""
    _, learner, source = helms_offline.prepare("red_on_blue", {}, preset, name)
    return epochs(learner, source, updates, seeds)


def online_epoch(name: str, preset: str, world: str, engine: str, updates: int) -> dict[str, Any]:
    """An epoch of an online agent as a run has it: worlds, replay, updates. It sees all that a small world shows."""
    config = transfer_parts.settings(name, preset, seeds=1)
    env = registry.make(
        world, worlds=config.env.worlds, engine=engine, limit=config.env.limit or None, stack=config.env.stack
    )
    agent = agents.online(config, preset, env.spec, entries=env.spec.visible)
    memory = online_run.make_replay(config, env.spec, agent.replay_extras)
    first_params = lambda key: agent.learner.init(key).params  # noqa: E731
    return epochs(agent.learner, transfer_parts.source_of(config, env, agent, memory, first_params), updates)


def epochs(learner: Learner, source: Source, updates: int, seeds: int = 1) -> dict[str, Any]:
    """The loop's epoch of `updates` updates, which goes on where it stopped."""
    key = jax.random.key(0)
    held = [loop.start(learner, source, jax.random.split(key, seeds) if seeds > 1 else key)]
    run = loop.epoch(learner, source, updates, seeds > 1)

    def job() -> Metrics:
        held[0], metrics, _ = run(held[0])
        return {**metrics, "skipped": held[0].learner.health.skipped}

    return measured(job, updates * seeds, "updates", learned)


def online_updates(name: str, preset: str, updates: int, seeds: int = 1) -> dict[str, Any]:
    """Updates of an online agent from noise in the shapes of the stacking cell, in `seeds` runs side by side."""
    config = transfer_parts.settings(name, preset, seeds=1)
    agent = agents.online(config, preset, mpo_reference.spec())
    train, keys = config.train, transfer_parts.per_seed(jax.random.key(0), seeds)

    def draw(key: jax.Array) -> Any:
        rows = mpo_reference.made_up(key, train.sequence_length, train.batch_size)
        return transfer_parts.noted(agent, rows)

    def learn(state: Any, rows: Any, key: jax.Array) -> Any:
        state, metrics = jax.lax.scan(
            lambda state, key: agent.learner.update(state, rows, key), state, jax.random.split(key, updates)
        )
        return state, jax.tree.map(lambda x: x[-1], metrics)

    held = [transfer_parts.each(agent.learner.init, seeds)(keys)]
    rows = transfer_parts.each(draw, seeds)(keys)
    run = jax.jit(jax.vmap(learn) if seeds > 1 else learn, donate_argnums=0)

    def job() -> Metrics:
        held[0], metrics = run(held[0], rows, keys)
        return {**metrics, "skipped": held[0].health.skipped}

    return measured(job, updates * seeds, "updates", learned)


def frames(world: str, engine: str, renderer: str, worlds: int) -> dict[str, Any]:
    """Pictures of 64 x 64 pixels of all worlds where their episodes open, by `renderer`: rays or warp."""
    task = registry.task(world, worlds=worlds, engine=engine)
    data = jax.jit(batch.make(task, worlds).reset)(jax.random.key(0))[0].data
    camera, size = pixels.camera_of(world), 64
    if renderer == "warp":
        from skillhier.envs.render import warp  # it needs warp-lang when it is imported

        draw = warp.renderer(task.physics, camera, size, size, worlds)
    else:
        draw = rays.renderer(task.physics.model, camera, size, size)
    run = jax.jit(batch.with_full_precision(jax.vmap(draw)))

    def check(pictures: np.ndarray) -> None:
        if (np.ptp(pictures.reshape(worlds, -1, 3).astype(int), axis=1).max(-1) == 0).any():
            raise ValueError("a picture has one colour throughout")

    return measured(lambda: run(data)["rgb"], worlds, "frames", check)


def finite(values: Any) -> None:
    """Raises FloatingPointError where a number among `values` is NaN or infinite."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(values):
        if not np.isfinite(leaf).all():
            raise FloatingPointError(f"{jax.tree_util.keystr(path)} holds numbers that are not finite")


def learned(metrics: dict[str, Any]) -> None:
    """Raises FloatingPointError where an update was left out or the loss is not finite. Other metrics may be NaN."""
    if np.any(metrics["skipped"]):
        raise FloatingPointError(f"{np.max(metrics['skipped'])} updates had losses or gradients that are not finite")
    finite({"loss": metrics["learner/loss"]})

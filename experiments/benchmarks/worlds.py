"""Every task beside the bare batch of its model: control steps a second, what resets cost, seconds to the first step.

python -m experiments.benchmarks.worlds '{"name": ..., "worlds": ...}' takes those seconds in a process of its own, for
what a process has imported, traced or compiled before is not cold.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from experiments.benchmarks import physics, timing
from skillhier import rollout
from skillhier.envs import registry
from skillhier.envs.render import pixels
from skillhier.types import Array

ROOT = Path(__file__).parents[2]
SAWYER = "sawyer.stack_red_on_blue.set4"
FAMILIES = ("dmc.", "antmaze.", "fetch.")  # measured in full
NAMES = (*(n for n in registry.names() if n.startswith(FAMILIES) and not n.endswith(pixels.SUFFIX)), SAWYER)
FEW = (
    "dmc.pendulum_swingup",
    "dmc.cheetah_run",
    "dmc.quadruped_walk",
    "antmaze.m",
    SAWYER,
)  # measured at 64 worlds too, and in mjx
TARGET = 0.85  # share of the bare batch's control steps that a task should reach on native
COLD = 3.0  # s from the registry to the first step, at most
SHORT = 20  # control steps of an episode that is cut short
SUBSTEPS = 40  # physics steps of a run in every world, at least: else starting the run would count


def native(name: str, worlds: int, repeats: int, rows: int | None = None, **settings: Any) -> dict[str, Any]:
    """`physics.native` of world `name` as the registry makes it."""
    substeps = registry.task(name, engine="native", **settings).physics.substeps
    size = physics.Size(worlds, rows or max(4, SUBSTEPS // substeps))
    stack = registry.STACK.get(name.split(".")[0], 1)
    return {"world": name} | physics.native(name, size, repeats, stack=stack, **settings) | {"target": TARGET}


def resets(name: str, worlds: int, rows: int, repeats: int, **settings: Any) -> dict[str, Any]:
    """Control steps a second of episodes of SHORT steps, of which some open at every row, beside whole episodes.

    Both act alike; but those that open often stay near their starts, where contacts may be fewer or more.
    """

    def job(limit: int | None) -> tuple[Callable[[], Array], list[Array]]:
        env = registry.make(name, worlds=worlds, engine="native", limit=limit, **settings)
        policy = physics.playing()
        actor = jax.jit(lambda key: rollout.start(env, policy, key))(jax.random.key(0))
        if limit is not None:
            actor = actor._replace(env=actor.env._replace(steps=jnp.arange(worlds, dtype=jnp.int32) % limit))
        run = jax.jit(lambda actor, acts: rollout.rollout(env, policy, acts, actor, jax.random.key(1), rows))
        acts, held, opened = physics.drawn(env, rows, jax.random.key(2)), [actor], []

        def go():
            held[0], taken = run(physics.rewound(held[0]), acts)
            opened.append(taken.step.first[1:].sum() + held[0].step.first.sum())
            return taken.step.reward

        return go, opened

    (ours, opened), (whole, _) = job(SHORT), job(None)
    short, long = timing.in_turns(repeats, ours, whole)
    return {
        "world": name,
        "worlds": worlds,
        "rows": rows,
        "control_steps_per_second": timing.rate(worlds * rows, short),
        "whole_steps_per_second": timing.rate(worlds * rows, long),
        **timing.shares(short, long),
        "opened": sum(int(count) for count in opened[1:]) / (repeats * worlds * rows),  # of all rows; near 1 in SHORT
        "seconds": {"short": short, "whole": long},
    }


def cold(name: str, worlds: int, **settings: Any) -> dict[str, Any]:
    """Seconds from `registry.make` to the first finished step, in a fresh process that finds its starts on disk.

    `process` is all that the process took, most of which is importing.
    """
    jax.eval_shape(registry.make(name, engine="native", **settings).reset, jax.random.key(0))  # starts are made
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    request = json.dumps({"name": name, "worlds": worlds, **settings})
    command = [sys.executable, "-m", "experiments.benchmarks.worlds", request]
    environment = {**environment, "PYTHONPATH": str(ROOT)}
    done, whole = timing.timed(
        lambda: subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with code {done.returncode}")
    return {"world": name, "target": COLD, "process": whole} | json.loads(done.stdout.splitlines()[-1])


def first_step(name: str, worlds: int, **settings: Any) -> dict[str, float]:
    """Seconds of each stage from `registry.make` to the first finished step, and their sum."""
    jax.config.update("jax_compilation_cache_dir", None)
    registry.WORLDS[name]()  # imports what the task needs
    taken: dict[str, float] = {}

    def stage(what: str, job: Callable[[], Any]) -> Any:
        result, seconds = timing.timed(job)
        taken[what] = taken.get(what, 0.0) + seconds
        return result

    key = jax.random.key(0)
    jax.block_until_ready(jnp.zeros(()) + 1)  # JAX itself has started
    env = stage("make", lambda: registry.make(name, worlds=worlds, engine="native", **settings))
    action = jnp.zeros((worlds, *env.spec.action.shape))
    reset = stage("trace", lambda: jax.jit(env.reset).lower(key))
    reset = stage("compile", reset.compile)
    state, _ = stage("run", lambda: reset(key))
    step = stage("trace", lambda: jax.jit(env.step).lower(state, action))
    step = stage("compile", step.compile)
    stage("run", lambda: step(state, action))
    return {"seconds": sum(taken.values()), **taken}


if __name__ == "__main__":
    print(json.dumps(first_step(**json.loads(sys.argv[1]))))

"""What several devices and several seeds are worth: each beside one, in turns within one process.

python -m experiments.benchmarks.scaling '{"count": 4, ...}' measures in a process of its own, for on a CPU the number
of devices is fixed when JAX starts.
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

from experiments.benchmarks import helms_offline, physics, timing
from skillhier import rollout
from skillhier.distributed import sharding
from skillhier.envs import registry
from skillhier.train import loop

ROOT = Path(__file__).parents[2]
FORCED = "--xla_force_host_platform_device_count"


def among(count: int, **settings: Any) -> dict[str, Any]:
    """The figures of `measured` for that many devices, from a process of its own; on a CPU the devices are made up."""
    flags = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if not flag.startswith(FORCED)]
    forced = [f"{FORCED}={count}"] if jax.default_backend() == "cpu" else []
    environment = {**os.environ, "XLA_FLAGS": " ".join(flags + forced), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "experiments.benchmarks.scaling", json.dumps({"count": count, **settings})]
    done = subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def measured(
    count: int, changes: dict[str, Any], updates: int, world: str, worlds: int, rows: int, starts: int, repeats: int
) -> dict[str, Any]:
    """Updates a second, and control steps a second of native worlds, of `count` devices beside one."""
    mesh = sharding.mesh(count)
    _, learner, source = helms_offline.prepare("red_on_blue", changes)
    ours, one = (epochs(learner, source, updates, on) for on in (mesh, None))
    learned = timing.in_turns(repeats, ours, one)
    env = registry.make(world, worlds=worlds, starts=starts, engine="native", stack=physics.STACK)
    ours, one = (steps(env, rows, on) for on in (mesh, None))
    stepped = timing.in_turns(repeats, ours, one)
    return {
        "devices": count,
        "updates": beside("updates", updates, *learned),
        "control_steps": beside("control_steps", worlds * rows, *stepped),
    }


def beside(what: str, amount: int, ours: list[float], one: list[float]) -> dict[str, Any]:
    """Rates of the same work done by several devices and by one; `share` is of the one: 1 is no gain."""
    return {
        f"{what}_per_second": timing.rate(amount, ours),
        f"one_{what}_per_second": timing.rate(amount, one),
        **timing.shares(ours, one),
        "seconds": {"ours": ours, "one": one},
    }


def epochs(learner, source, updates: int, mesh=None, seeds: int = 0) -> Callable[[], Any]:
    """A job of `updates` updates, which goes on where it stopped."""
    key = jax.vmap(jax.random.key)(jnp.arange(seeds)) if seeds else jax.random.key(0)
    held = [loop.start(learner, source, key, mesh)]
    run = loop.epoch(learner, source, updates, bool(seeds), mesh)

    def job() -> Any:
        held[0], metrics, _ = run(held[0])
        return metrics

    return job


def steps(env, rows: int, mesh=None) -> Callable[[], Any]:
    """A job of `rows` control steps under random actions in every world of `env`, which goes on where it stopped."""
    policy = physics.random(env)
    where = sharding.named_sharding(mesh, 0) if mesh else None

    def traced(job: Callable) -> Callable:
        def over(*arguments):
            with sharding.use_mesh(mesh):
                return job(*arguments)

        return jax.jit(over, **({"out_shardings": where} if mesh else {}))

    start = traced(lambda key: rollout.start(env, policy, key))
    run = traced(lambda actor, key: rollout.rollout(env, policy, (), actor, key, rows)[0])
    key = sharding.put(jax.random.key(0), sharding.named_sharding(mesh)) if mesh else jax.random.key(0)
    held = [start(key)]

    def job() -> Any:
        held[0] = run(held[0], key)
        return held[0].step.reward

    return job


def seeds(counts: tuple[int, ...], changes: dict[str, Any], updates: int, repeats: int) -> list[dict[str, Any]]:
    """Updates a second of several seeds in one program; `share` is of as many runs of one seed one after the other."""
    _, learner, source = helms_offline.prepare("red_on_blue", changes)
    jobs = [epochs(learner, source, updates, seeds=count) for count in counts]
    one, *taken = timing.in_turns(repeats, epochs(learner, source, updates), *jobs)
    return [
        {
            "seeds": count,
            "updates_per_second": timing.rate(count * updates, ours),
            "one_updates_per_second": timing.rate(updates, one),
            **timing.shares(ours, [count * seconds for seconds in one]),
            "seconds": {"ours": ours, "one": one},
        }
        for count, ours in zip(counts, taken, strict=True)
    ]


if __name__ == "__main__":
    print(json.dumps(measured(**json.loads(sys.argv[1]))))

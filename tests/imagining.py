"""Agents with a world model, in sizes for tests."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.agents import imagination, registry
from skillhier.data import online, replay
from skillhier.types import Bounds, Spec, TimeStep, Trajectory

SPEC = Spec({"state": jax.ShapeDtypeStruct((1, 3), jnp.float32)}, Bounds((1,), -1.0, 1.0), 1, 0.1, 10)
WORLD = {"stoch": 3, "deter": 8, "hidden": 8, "encoder": (8,), "decoder": (8,), "reward_hidden": (8,),
         "picture_depth": 1}  # fmt: skip
LEVEL = {"actor_hidden": (8,), "critic_hidden": (8,), "horizon": 4, "starts": 8}
V3 = {"classes": 3, "continue_hidden": (8,)}
SKILLS = {"period": 2, "plan_horizon": 2, "iterations": 1, "proposals": 2, "elites": 1, "skill": 2,
          "predictor_hidden": (8,), "cem_starts": 2}  # fmt: skip


GOALS = {"period": 2, "classes": 3, "continue_hidden": (8,), "codes": 2, "code_classes": 3, "coder_hidden": (8, 8)}
MRS = {**GOALS, "resolutions": (2, 3)}


def made_up(rows, worlds):
    """A batch of noise, of worlds of SPEC."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=(rows, worlds, *shape)), jnp.float32)  # noqa: E731
    no = jnp.zeros((rows, worlds), bool)
    step = TimeStep({"state": draw(1, 3)}, draw(), jnp.ones((rows, worlds)), no, no)
    return Trajectory(step, jnp.tanh(draw(1)), {})


def system(name, spec, **settings):
    """An agent of tiny nets for worlds of `spec`."""
    own = {"dreamer": {}, "dreamerv3": V3, "director": GOALS, "mrs": MRS}.get(name, SKILLS)
    return registry.make(name, spec, **{**WORLD, **LEVEL, **own, **settings})


class Parts(NamedTuple):
    """What an agent gives its learner."""

    init: Any
    loss: Any
    tx: Any
    slow: Any


def parts_of(name, spec, **settings) -> Parts:
    """The parts of the learner of an agent that imagines."""
    given = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imagination, "learner", lambda *parts, **_: given.append(Parts(*parts)))
        registry.make(name, spec, **settings)
    return given[0]


def noisy(parts: Parts):
    """(parameters, slow state) to begin with, no layer of zeros among them, which would hide a gradient."""

    @jax.jit
    def build(key):
        init_key, noise_key = jax.random.split(key)
        params = parts.init(init_key)
        leaves, tree = jax.tree.flatten(params)
        keys = jax.random.split(noise_key, len(leaves))
        params = tree.unflatten([x + 0.3 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)])
        return params, parts.slow.init(params)

    return build(jax.random.key(0))


def source_of(agent, env, batch_size=4, sequence_length=6, unroll_length=4, **settings):
    """Batches from a small replay that the agent fills."""
    memory = replay.make(settings.pop("rows", 60), env.spec, extras=agent.replay_extras)
    return online.online(
        env, agent.explore, memory, unroll_length=unroll_length, batch_size=batch_size,
        sequence_length=sequence_length, prefill=20, first_params=lambda key: agent.learner.init(key).params,
        **settings,
    )  # fmt: skip

"""Fetch under MJX: the same motion as in C, and programs for accelerators."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exports import check_exports
from test_fetch import NAMES, reference, states

from skillhier.envs import batch, physics
from skillhier.envs.fetch import tasks

WORLDS = np.array([0, 1, 3, 5, 8])  # recorded episodes; blocks of three are pushed or lifted in these rows
FIRST, STEPS = 15, 5


@functools.cache
def run(name, engine):
    """Observations [STEPS, 5, 25] under the recorded actions, on the model that MJX worlds have."""
    task = tasks.make(name, engine=engine, profile="fast")
    held = {key: reference(name)[key][WORLDS] for key in ("qpos", "qvel", "goal", "action")}

    def one(state, action):
        state, ctrl = task.control(physics.Data(state, *(jnp.zeros(()),) * 7), (), action)
        data = task.physics.step(state, ctrl, jnp.zeros((), bool), state)
        return data.state, task.observe(data, (), action)[0]["observation"], data.broken

    step, shown = jax.jit(jax.vmap(one)), []
    state = states(name, held["qpos"][:, FIRST], held["qvel"][:, FIRST], held["goal"], np.ones(len(WORLDS)))
    for t in range(FIRST, FIRST + STEPS):
        state, observation, broken = step(state, held["action"][:, t])
        assert not np.asarray(broken).any()
        shown.append(observation)
    return np.stack(shown)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_engines_agree(name):
    """As far as they do: MJX has no Jacobian rate in its weld, which moves the hand by a millimetre in a step.

    A block that is pushed over (one of `push` is) tumbles apart.
    """
    native, mjx = run(name, "native"), run(name, "mjx")
    grip, block = (np.abs(native - mjx)[..., rows].max(-1) for rows in (slice(3), slice(3, 6)))  # [STEPS, 5] m
    assert grip[0].max() < 2e-3 and grip.max() < 8e-3
    assert block[0].max() < 1e-3 and block.max() < 4e-2 and np.median(block[-1]) < 6e-3
    moved = np.abs(native[-1] - native[0])
    assert (moved[:, :3].max(1) > 0.01).sum() >= 4 and (moved[:, 3:6].max(1) > 1e-3).sum() == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_worlds_export_for_accelerators(name):
    check_exports(batch.make(tasks.make(name, engine="mjx"), 2, limit=5))

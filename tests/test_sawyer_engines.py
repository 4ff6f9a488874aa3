"""The two engines on the Sawyer scene itself: the same contacts, the same sensors, the same next instant."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from skillhier.envs import physics
from skillhier.envs.sawyer import controller, model, objects

SUBSTEPS, STEPS = 2, 10  # MJX on a CPU takes a tenth of a second for one physics step of one world
FLOOR = model.BASKET[2]
RED, GREEN, BLUE = ((0.60, 0.0), (0.52, 0.08), (0.66, -0.08))


@functools.cache
def engine(name, substeps=SUBSTEPS):
    """Both engines on the very model that MJX worlds have (native ones have other friction cones and longer steps)."""
    built = model.build(objects.OBJECT_SETS[4], timestep=model.STEPS["mjx"], cone=model.CONES["mjx"])
    return physics.make(built, substeps=substeps, engine=name)


@functools.cache
def stepper(name, substeps=SUBSTEPS):
    return jax.jit(jax.vmap(engine(name, substeps).step))


def scenes() -> physics.State:
    """Four worlds in contact: all at rest; fingers on red; red on blue; red held in the air."""
    m = engine("native").model
    at = model.layout(m)
    arm = np.array(jax.jit(controller.inverse)(jnp.array([*RED, FLOOR + 0.03]), jnp.zeros(())))
    qpos = np.tile(m.qpos0, (4, 1))
    qpos[:, at.arm] = arm
    for k, (x, y) in enumerate((RED, GREEN, BLUE)):
        qpos[:, at.objects[k]] = [x, y, FLOOR + (0.0247, 0.0247, 0.0477)[k], 1, 0, 0, 0]
    qpos[0, at.arm] = qpos[2, at.arm] = np.array(jax.jit(controller.inverse)(jnp.array([0.6, 0, 0.3]), jnp.zeros(())))
    qpos[2, at.objects[0, :3]] = [*BLUE, FLOOR + 0.096 + 0.0247]
    closed = np.zeros((4, m.nu))
    closed[1, at.gripper] = closed[3, at.gripper] = 255.0  # ticks/s, inward
    lift = np.array(closed)
    start = physics.initial(m)
    start = jax.tree.map(lambda x: jnp.broadcast_to(x, (4, *x.shape)), start)
    start = start._replace(qpos=jnp.asarray(qpos), act=start.act.at[:, at.arm].set(qpos[:, at.arm]))
    no, step = jnp.zeros(4, bool), stepper("native", 20)
    state = start
    for _ in range(20):
        state = step(state, jnp.asarray(closed), no, start).state
    up = jax.jit(controller.command)
    for _ in range(15):
        joints, _ = up(state.qpos[3, at.arm], jnp.array([0.0, 0, 1, 0, 1]))
        lift[3, at.arm] = joints
        state = step(state, jnp.asarray(lift), no, start).state
    return state


def run(name, state, steps=STEPS):
    """`steps` control steps of engine `name` from `state`, fingers closing: the records, stacked."""
    at = model.layout(engine("native").model)
    ctrl = jnp.zeros((4, engine("native").model.nu)).at[jnp.array([1, 3]), at.gripper].set(100.0)
    out, opened = [], state
    for _ in range(steps):
        data = stepper(name)(state, ctrl, jnp.zeros(4, bool), opened)
        state = data.state
        out.append(data)
    return jax.tree.map(lambda *x: np.stack(x), *out)


@pytest.fixture(scope="module")
def both():
    state = scenes()
    return run("native", state), run("mjx", state)


def test_the_scenes_are_in_contact(both):
    """What the parity below is worth: every kind of contact that matters occurs."""
    at, seen = model.layout(engine("native").model), both[0].sensordata
    assert (seen[-1, 0, at.object_basket[:, 0]] > 0).all()
    assert (seen[:, 1, at.tip_object[0]] > 0).all() and (seen[:, 1, at.object_basket[0, 0]] > 0).any()
    assert seen[-1, 2, at.object_object[1]] > 0 and seen[:, 2, at.object_basket[0]].max() == 0
    assert (seen[:, 3, at.tip_object[0]] > 0).all() and seen[:, 3, at.object_basket[0]].max() == 0


def test_positions_agree(both):
    """20 physics steps: to a tenth of a millimetre at rest, to millimetres and milliradians where fingers press."""
    native, mjx = both
    difference = np.abs(mjx.state.qpos - native.state.qpos).max((0, 2))
    np.testing.assert_array_less(difference, [2e-4, 5e-3, 2e-4, 5e-3])
    np.testing.assert_allclose(mjx.state.act, native.state.act, atol=1e-3)
    np.testing.assert_allclose(mjx.xpos, native.xpos, atol=2e-3)
    np.testing.assert_allclose(mjx.site_xmat, native.site_xmat, atol=2e-3)
    assert not native.broken.any() and not mjx.broken.any()


def test_nothing_is_thrown(both):
    """With elliptic cones a firm grip in MJX threw what it held, at speeds of 190 (see model.CONES)."""
    native, mjx = both
    assert np.abs(native.state.qvel).max() < 1 and np.abs(mjx.state.qvel).max() < 1


def test_sensors_agree(both):
    """Contacts as yes or no (engines make different numbers of points), the rest as numbers; none is silent.

    Where fingers press against the floor's hold (scene 1) C's own forces scatter from step to step by most of their
    size, so no number is compared there; what is held in the air is compared in the mean.
    """
    native, mjx = both[0].sensordata, both[1].sensordata
    m = engine("native").model
    contact = np.repeat(m.sensor_type == mujoco.mjtSensor.mjSENS_CONTACT, m.sensor_dim)
    agree = (native[..., contact] > 0) == (mjx[..., contact] > 0)
    assert agree[:, [0, 2]].mean() > 0.99 and agree.mean() > 0.98
    scale = np.abs(native[..., ~contact]).max((0, 1))
    assert (scale > 0).all()
    assert (np.abs(mjx[..., ~contact]).max((0, 1)) > 0).all()  # MJX leaves a sensor that it does not know at zero
    difference = np.abs(mjx - native)[..., ~contact] / scale
    assert difference[-1, [0, 2]].max() < 0.01
    assert np.abs((mjx - native)[:, 3][:, ~contact].mean(0) / scale).max() < 0.05


@pytest.mark.slow
def test_in_float64_they_agree_closely():
    """The same comparison with JAX in float64: what is left is the engines' own difference in contact points."""
    code = "from tests import test_sawyer_engines as t; t.compare_in_float64()"
    env = {**os.environ, "JAX_ENABLE_X64": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)


def compare_in_float64():
    state = scenes()
    native, mjx = run("native", state), run("mjx", state)
    np.testing.assert_allclose(mjx.state.qpos[:, [0, 2]], native.state.qpos[:, [0, 2]], atol=1e-4)
    np.testing.assert_allclose(mjx.state.qpos, native.state.qpos, atol=5e-3)

"""The ant maze under MJX: the same motion as in C, and programs for accelerators."""

import functools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from exports import check_exports
from scipy.spatial.transform import Rotation

from skillhier.envs import batch, physics
from skillhier.envs.antmaze import mazes, model, tasks

STEPS = 10  # control steps


@functools.cache
def engine(name):
    """Physics on the model that MJX worlds have."""
    return physics.make(model.build("m", "fast"), substeps=tasks.SUBSTEPS, engine=name)


def starts() -> physics.State:
    """Five worlds: at the start; on its back; on its side; thrown at a wall; in a corner."""
    scene = engine("native").model
    plan = mazes.LAYOUTS["m"]
    qpos = np.tile(scene.qpos0, (5, 1))
    qpos[:, :2] = mazes.centre(plan, *mazes.find(plan, "P"))
    turns = Rotation.from_euler("x", [[0], [180], [80], [0], [0]], degrees=True).as_quat()[:, [3, 0, 1, 2]]
    qpos[:, 3:7] = turns
    qpos[1, 2], qpos[2, 2] = 0.9, 0.7  # m: the joint is half a metre below the torso
    qpos[3, 0] -= 0.8  # of the metre that is left to the wall's face, an ant's leg takes most
    qpos[4, :2] += [-1.02, -1.02]
    state = jax.tree.map(lambda x: jnp.broadcast_to(x, (5, *x.shape)), physics.initial(scene))
    return state._replace(qpos=jnp.asarray(qpos, jnp.float32), qvel=state.qvel.at[3, 0].set(-2.0))


def run(name):
    """The records [STEPS, 5, ...] under random controls."""
    step = jax.jit(jax.vmap(engine(name).step))
    rng = np.random.default_rng(0)
    state, no, records = starts(), jnp.zeros(5, bool), []
    for _ in range(STEPS):
        ctrl = jnp.asarray(rng.uniform(-1, 1, (5, 8)), jnp.float32)
        records.append(step(state, ctrl, no, state))
        state = records[-1].state
    return jax.tree.map(lambda *x: np.stack(x), *records)


def walls_met(records, world) -> int:
    """How many walls the ant of a world touches in any of its records."""
    scene, met = engine("native").model, set()
    for qpos in records.state.qpos[:, world]:
        data = mujoco.MjData(scene)
        data.qpos[:] = qpos
        mujoco.mj_forward(scene, data)
        met |= {scene.geom(i).name for i in data.contact.geom.ravel()}
    return sum(name.startswith("wall_") for name in met)


@pytest.mark.slow
def test_the_engines_agree():
    native, mjx = run("native"), run("mjx")
    assert not native.broken.any() and not mjx.broken.any()
    assert np.abs(mjx.state.qpos - native.state.qpos).max() < 1e-4
    layout = model.layout(engine("native").model)
    for rows in (layout.feet, layout.places, layout.turns, layout.velocimeter, layout.gyro):
        np.testing.assert_allclose(mjx.sensordata[..., rows], native.sensordata[..., rows], atol=1e-3)
    np.testing.assert_allclose(
        mjx.sensordata[..., layout.accelerometer], native.sensordata[..., layout.accelerometer], atol=0.05
    )
    felt = [x.sensordata[..., layout.touch] > tasks.TOUCH for x in (native, mjx)]
    np.testing.assert_array_equal(*felt)
    assert felt[0][:, 1:].any((0, 2)).all()  # all but the standing ant touch something
    assert [walls_met(native, world) for world in range(5)] == [0, 0, 0, 1, 2]
    # MJX leaves a sensor that it does not know at zero
    live = [np.abs(x.sensordata).max((0, 1)) > 1e-4 for x in (mjx, native)]
    np.testing.assert_array_equal(*live)
    assert live[0][np.concatenate([layout.gyro, layout.velocimeter, layout.accelerometer])].all()


@pytest.mark.slow
@pytest.mark.parametrize("maze", mazes.LAYOUTS)
def test_every_maze_exports_for_accelerators(maze):
    check_exports(batch.make(tasks.make(maze, engine="mjx"), 2, limit=5))

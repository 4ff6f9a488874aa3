"""The quadruped under MJX: the same motion as in C, and programs for accelerators."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exports import check_exports
from scipy.spatial.transform import Rotation

from skillhier.envs import batch, physics
from skillhier.envs.dmc import quadruped, quadruped_goals, quadruped_model

STEPS = 15  # control steps


@functools.cache
def engine(name, arena=True):
    """Physics on the model that MJX worlds have."""
    return physics.make(quadruped_model.build("fast", arena), substeps=quadruped.SUBSTEPS, engine=name)


def starts() -> physics.State:
    """Four worlds: standing; on its back; on its side; flying into the cove's end."""
    model = engine("native").model
    qpos = np.tile(model.qpos0, (4, 1))
    turns = Rotation.from_euler("x", [[0], [180], [80], [0]], degrees=True).as_quat()[:, [3, 0, 1, 2]]
    hull = quadruped_model.robot(model).hull
    for row, turn in zip(qpos, turns, strict=True):
        row[:7] = [0, 0, float(quadruped_model.clearance(hull, jnp.asarray(turn))), *turn]
    qpos[3, 0] = 2.8
    state = jax.tree.map(lambda x: jnp.broadcast_to(x, (4, *x.shape)), physics.initial(model))
    places = quadruped_goals.cove()(jax.random.key(0))
    mocap = state.mocap_pos.at[3].set(jnp.concatenate([places.pillars, places.target[None]]))
    return state._replace(qpos=jnp.asarray(qpos, jnp.float32), qvel=state.qvel.at[3, 0].set(3.0), mocap_pos=mocap)


def run(name):
    """The records [STEPS, 4, ...] under random controls."""
    step = jax.jit(jax.vmap(engine(name).step))
    rng = np.random.default_rng(0)
    state, no, out = starts(), jnp.zeros(4, bool), []
    for _ in range(STEPS):
        ctrl = jnp.asarray(rng.uniform(-0.8, 0.8, (4, 12)), jnp.float32)
        out.append(step(state, ctrl, no, state))
        state = out[-1].state
    return jax.tree.map(lambda *x: np.stack(x), *out)


@pytest.mark.slow
def test_the_engines_agree():
    native, mjx = run("native"), run("mjx")
    assert not native.broken.any() and not mjx.broken.any()
    assert native.state.qpos[:, 3, 0].max() < 4.0  # the pillar's face is at 4 m: it was met
    difference = np.abs(mjx.state.qpos - native.state.qpos)
    assert difference[:, :3].max() < 5e-3
    assert difference[:, 3].max() < 0.05  # in free flight into a pillar
    robot = quadruped_model.robot(engine("native").model)
    for rows in (robot.velocity, robot.imu[3:]):
        np.testing.assert_allclose(mjx.sensordata[:5, :3, rows], native.sensordata[:5, :3, rows], atol=0.02)
    assert (np.abs(mjx.sensordata).max((0, 1)) > 0).all()  # MJX leaves a sensor that it does not know at zero
    loads = [np.arcsinh(x.sensordata[:5, :3][..., robot.feelers]) for x in (native, mjx)]
    assert np.median(np.abs(loads[0] - loads[1])) < 0.02


def goals_of(monkeypatch) -> tuple[quadruped_goals.Goal, ...]:
    """What each world of the registry is after, with the settings it has by default."""
    with monkeypatch.context() as patch:
        patch.setattr(quadruped, "make", lambda aims, **settings: aims)
        return tuple(make()[0] for make in quadruped.TASKS.values())


def exported(aims, **settings):
    check_exports(batch.make(quadruped.make(aims, engine="mjx", **settings), len(aims), limit=5))


@pytest.mark.slow
def test_walking_exports_for_accelerators(monkeypatch):
    exported(goals_of(monkeypatch)[:1], layout="suite")


@pytest.mark.slow
def test_every_task_exports_for_accelerators(monkeypatch):
    """All in one program, world by world: tracing MJX takes long."""
    aims = goals_of(monkeypatch)
    assert len(aims) == 8
    exported(aims)

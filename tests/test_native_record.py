"""What native worlds show is what C MuJoCo computes at the state where a step ends, to the bit."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from skillhier.envs import physics, registry
from skillhier.envs.physics import native

WORLDS = 6
APART = {  # whose record is computed by worlds without contacts and forces
    "dmc.cheetah_run": True, "dmc.hopper_hop": True, "dmc.walker_walk": True, "dmc.quadruped_walk": True,
    "dmc.cartpole_swingup": False, "sawyer.stack_red_on_blue.set4": False,
}  # fmt: skip


def stepped(model: mujoco.MjModel, state: physics.State, ctrl: np.ndarray, substeps: int, i: int) -> mujoco.MjData:
    """World `i` after a control step, refreshed as the control suite does."""
    data = mujoco.MjData(model)
    for name in ("qpos", "qvel", "act"):
        getattr(data, name)[:] = getattr(state, name)[i]
    data.ctrl[:] = ctrl[i]
    mujoco.mj_step(model, data, substeps)
    mujoco.mj_step1(model, data)
    return data


@pytest.mark.parametrize("name", APART)
def test_the_record_is_that_of_the_whole_model(name):
    if name.startswith("dmc."):
        pytest.importorskip("dm_control")
    task = registry.task(name, engine="native", **({"starts": 8} if "sawyer" in name else {}))
    model, rng = task.physics.model, np.random.default_rng(0)
    assert native.Worlds(model, 2, ()).separate == APART[name]
    qpos, turning = np.tile(model.qpos0, (WORLDS, 1)), model.jnt_type != mujoco.mjtJoint.mjJNT_FREE
    joints = model.jnt_qposadr[turning]  # these worlds have no ball joints
    qpos[:, joints] += rng.uniform(-0.3, 0.3, (WORLDS, len(joints)))
    heights = model.jnt_qposadr[~turning] + 2
    qpos[:, heights] -= 0.3 if name.startswith("dmc.") else 0.0  # into the floor
    qvel, ctrl = rng.normal(size=(WORLDS, model.nv)), rng.uniform(-0.5, 0.5, (WORLDS, model.nu)).astype(np.float32)
    state = jax.vmap(lambda q, v: physics.initial(model, q, v))(jnp.asarray(qpos), jnp.asarray(qvel))
    renew = jnp.arange(WORLDS) == 2  # one opens anew among those that go on
    shown = jax.jit(jax.vmap(task.physics.step))(state, jnp.asarray(ctrl), renew, state)
    assert not shown.broken.any()
    contacts, late = 0, np.repeat(model.sensor_needstage > mujoco.mjtStage.mjSTAGE_VEL.value, model.sensor_dim)
    for i in range(WORLDS):
        data = stepped(model, state, ctrl, 0 if i == 2 else task.physics.substeps, i)
        contacts += data.ncon
        sensors = np.where(late & (i == 2), 0, data.sensordata)
        np.testing.assert_array_equal(shown.sensordata[i], sensors.astype(np.float32))
        np.testing.assert_array_equal(shown.state.qpos[i], data.qpos.astype(np.float32))
        np.testing.assert_array_equal(shown.state.qvel[i], data.qvel.astype(np.float32))
        for field in ("xpos", "xmat", "site_xpos", "site_xmat"):
            got = getattr(shown, field)[i]
            np.testing.assert_array_equal(got, getattr(data, field).reshape(got.shape).astype(np.float32))
    assert contacts > 0 or not APART[name]  # else leaving them out would be no test

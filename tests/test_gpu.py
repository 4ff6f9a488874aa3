"""On a GPU: the same physics as in C, the same pictures as on a CPU, and every online agent learns."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from experiments.benchmarks import accelerator, accelerator_jobs, agents
from skillhier.envs import batch, physics, registry
from skillhier.envs.render import pixels, rays

pytestmark = pytest.mark.gpu
WORLDS, STEPS = 16, 10
EDGES = 1e-3  # share of pixels


def starts(model, seed: int = 0) -> physics.State:
    """Random states [WORLDS], in the air or on the ground, at some speed."""
    dice = np.random.default_rng(seed)
    start = jax.tree.map(lambda x: jnp.broadcast_to(x, (WORLDS, *x.shape)), physics.initial(model))
    qpos = np.array(start.qpos) + 0.1 * dice.normal(size=start.qpos.shape)
    return start._replace(
        qpos=jnp.asarray(qpos, jnp.float32), qvel=jnp.asarray(dice.normal(size=start.qvel.shape), jnp.float32)
    )


@pytest.mark.parametrize("name", ["dmc.cheetah_run", "dmc.pendulum_swingup"])
def test_mjx_steps_as_c_does(name):
    """Ten control steps from the same states, by the tolerances of test_dmc_engines: contacts differ."""
    pytest.importorskip("dm_control")
    engine = registry.task(name, engine="mjx", profile="parity").physics
    start = starts(engine.model)
    dice = np.random.default_rng(1)
    ctrl = dice.uniform(-1, 1, (STEPS, WORLDS, engine.model.nu)).astype(np.float32)
    step = jax.jit(batch.with_full_precision(jax.vmap(engine.step)))
    state, places = start, []
    for now in ctrl:
        data = step(state, now, jnp.zeros(WORLDS, bool), start)
        state = data.state
        places.append(np.asarray(state.qpos))
        assert data.state.qpos.devices() == {jax.devices()[0]} and not data.broken.any()
    places, plain = np.stack(places), np.zeros((STEPS, *start.qpos.shape))
    for world in range(WORLDS):
        data = mujoco.MjData(engine.model)
        data.qpos[:], data.qvel[:] = start.qpos[world], start.qvel[world]
        for row in range(STEPS):
            data.ctrl[:] = ctrl[row, world]
            mujoco.mj_step(engine.model, data, engine.substeps)
            plain[row, world] = data.qpos
    scale = 1 + np.abs(start.qvel).max()
    np.testing.assert_allclose(places[0], plain[0], atol=1e-4 * scale)
    np.testing.assert_allclose(places, plain, atol=5e-3)
    assert np.ptp(plain, axis=0).max() > 0.01


@pytest.mark.parametrize("name", agents.ONLINE_NAMES)
def test_every_online_agent_learns(name, monkeypatch):
    """An epoch in worlds of engine mjx: its loss is finite and no update is left out (the job raises otherwise)."""
    pytest.importorskip("dm_control")
    monkeypatch.setattr(accelerator_jobs, "SECONDS", 0.0)
    monkeypatch.setattr(accelerator_jobs, "FEWEST", 1)
    figures = accelerator_jobs.online_epoch(name, "debug", accelerator.PENDULUM, "mjx", 4)
    assert figures["calls"] == 1 and figures["per_second"] > 0


@pytest.mark.parametrize("name", ["dmc.cheetah_run", "dmc.walker_walk"])
def test_pictures_are_those_of_a_cpu(name):
    """Within one grey level, but for pixels on an edge, whose ray another rounding may send past it.

    On a CPU, noise of 1e-7 of every number of a record moves no pixel by more than one level, of 1e-6 up to 2e-4 of
    them.
    """
    pytest.importorskip("dm_control")
    gpu, cpu = jax.devices()[0], jax.devices("cpu")[0]
    engine = registry.task(name, engine="mjx").physics
    data = jax.jit(jax.vmap(engine.reset))(jax.device_put(starts(engine.model), cpu))
    draw = batch.with_full_precision(jax.vmap(rays.renderer(engine.model, pixels.camera_of(name), 64, 64)))
    here, there = (np.asarray(jax.jit(draw)(jax.device_put(data, device))["rgb"]).astype(int) for device in (gpu, cpu))
    assert np.ptp(there) > 50
    assert (np.abs(here - there).max(-1) <= 1).mean() > 1 - EDGES

"""The planar cheetah, paid for running up to 10 m/s.

Observed: `position` [8] without the way travelled, m, rad; `velocity` [9] m/s, rad/s.
Starts are joints drawn from their ranges that fell and settled for 200 physics steps. That takes longer than an
episode's step, so the rows of a bank are drawn instead.
"""

from functools import lru_cache
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import mujoco.batch
import numpy as np

from skillhier.envs import bank, batch, physics, rewards
from skillhier.envs.dmc import suite
from skillhier.types import Array, Key

INTERVAL = 0.01  # s
SPEED = 10.0  # m/s
SETTLE = 200  # physics steps
_VERSION = 1  # part of the file name; increase it when the rows change


def make(*, profile: str = "auto", engine: str = "auto", worlds: int = 1, starts: int = 1000) -> batch.Task:
    """A cheetah that runs.

    profile: parity, fast or auto (see `suite`); engine auto, native, mjx or warp; worlds sizes warp's buffers.
    starts: rows of the bank of episode starts, computed at first use and cached on disk. Starts settle as in the
    suite, whatever the profile and the engine.
    """
    engines = suite.world("cheetah", INTERVAL, profile, engine, worlds)
    model = engines.model
    velocity = suite.reader(model, "torso_subtreelinvel")

    def start(key: Key) -> physics.State:
        rows, row = settled(starts), jax.random.randint(key, (), 0, starts)
        return physics.initial(model, jnp.asarray(rows["qpos"])[row], jnp.asarray(rows["qvel"])[row])

    def observe(data: physics.Data) -> dict[str, Array]:
        return {"position": data.state.qpos[1:], "velocity": data.state.qvel}

    def reward(data: physics.Data) -> Array:
        return rewards.tolerance(velocity(data)[0], SPEED, jnp.inf, margin=SPEED, shape="linear", left=0.0)

    return suite.task(engines, INTERVAL, {"position": model.nq - 1, "velocity": model.nv}, start, observe, reward)


@lru_cache(maxsize=8)
def settled(size: int, seed: int = 0, folder: str | None = None) -> bank.Rows:
    """`qpos` [size, 9] and `qvel` [size, 9] of settled starts, from `folder` (default: the cache) or computed."""
    model = suite.load("cheetah")
    dependencies = (_VERSION, (suite.folder() / "cheetah.xml").read_text(), size, seed)
    path = bank.file("cheetah", *dependencies, folder=Path(folder) if folder else bank.cache())
    shapes = {"qpos": (model.nq,), "qvel": (model.nv,)}
    return bank.load(path, size, shapes, lambda: settle(model, _random_joints(model, size, seed)))


def settle(model: mujoco.MjModel, qpos: np.ndarray) -> bank.Rows:
    """Where cheetahs come to from `qpos` [n, nq] at rest in SETTLE physics steps without control, as the suite counts.

    The suite takes the first of them with the forces of the model's own pose, which it had just computed.
    """
    many = mujoco.batch.Batch(model, len(qpos))
    views = {name: many.bind(name) for name in ("qpos", "qvel", "qacc_warmstart")}
    data = mujoco.MjData(model)
    for i, row in enumerate(qpos):
        mujoco.mj_resetData(model, data)
        mujoco.mj_forward(model, data)
        data.qpos[:] = row
        mujoco.mj_step2(model, data)
        for name, view in views.items():
            view[i] = getattr(data, name)
    many.step(None, SETTLE - 1)
    return {name: views[name].astype(np.float32) for name in ("qpos", "qvel")}


def _random_joints(model: mujoco.MjModel, size: int, seed: int) -> np.ndarray:
    """Joints [size, nq] as an episode of the suite begins, before it settles."""
    rng, limited = np.random.default_rng(seed), model.jnt_limited.astype(bool)
    qpos = np.tile(model.qpos0, (size, 1))
    qpos[:, limited] = rng.uniform(*model.jnt_range[limited].T, (size, limited.sum()))
    return qpos

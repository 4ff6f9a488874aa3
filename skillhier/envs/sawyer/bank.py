"""Episode starts: a bank of settled objects and arm postures, computed once per object set and cached on disk.

Source: fact sheet 4.7. Objects fall from 0.12 m in random poses that touch nothing and settle for at most
2 s; the pinch is drawn in a box above them, pointing down, with the gripper open. Then the arm takes one control step
under an action of zeros, as in the logged episodes, whose first rows show its loads and its drift towards the
controller's reference posture. Any arm row goes with any objects row: the hand starts above all of them.
"""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import mujoco.batch
import numpy as np

from skillhier.envs import bank
from skillhier.envs.sawyer import controller, sensing
from skillhier.envs.sawyer import model as sawyer

PINCH_LOW, PINCH_HIGH, YAW = (0.5, -0.14, 0.22), (0.7, 0.14, 0.43), np.pi / 4  # m, m, rad either side
DROP_LOW, DROP_HIGH = (0.5, -0.1, 0.12), (0.7, 0.1, 0.12)  # m
SETTLE = 2.0  # s at most
STILL_VELOCITY, STILL_ACCELERATION = 1e-3, 1e-2  # of every object dof: below both the scene has settled
MOVING = 0.05  # m/s or rad/s: a scene that still moves after SETTLE is rejected
INSIDE = 0.2  # m from the basket's middle in x and y: the open square and the feet of its walls
TRIES = 20  # poses tried for one object before the whole scene is redrawn
_VERSION = 2  # part of the file name; increase it when the rows change
_AWAY = np.array([[10.0, 10.0 * k, 10.0, 1, 0, 0, 0] for k in range(3)])  # poses at which objects touch nothing


class Bank(NamedTuple):
    """Starts of episodes; all parts are float32 and have `size` rows."""

    objects: np.ndarray  # [n, 3, 7] red, green, blue: position (m), quaternion
    arms: np.ndarray  # [n, 7] rad
    rates: np.ndarray  # [n, 7] rad/s
    targets: np.ndarray  # [n, 7] rad, states of the joint actuators
    loads: np.ndarray  # [n, 13] torques of the joints (N m), wrist force (N) and moment (N m): parts of sensing.Load


def load(names: tuple[str, str, str], size: int = 1000, seed: int = 0, *, folder: str | Path | None = None) -> Bank:
    """The bank of the objects `names`, from `folder` (default: the user's cache) or computed and stored there."""
    path = file(names, size, seed, bank.cache() if folder is None else Path(folder))
    shapes = {"objects": (3, 7), "arms": (7,), "rates": (7,), "targets": (7,), "loads": (13,)}
    return Bank(**bank.load(path, size, shapes, lambda: make(names, size, seed)._asdict()))


def file(names: tuple[str, str, str], size: int, seed: int, folder: Path | None) -> Path | None:
    """The path of a bank; the name depends on everything that its rows depend on."""
    return bank.file("-".join(names), _VERSION, sawyer.xml(names), size, seed, folder=folder)


def make(names: tuple[str, str, str], size: int = 1000, seed: int = 0) -> Bank:
    """Computes a bank; the result is the same for the same arguments on the same machine."""
    rng = np.random.default_rng(seed)
    arms = _arms(rng, size)
    model = sawyer.build(names)
    layout = sawyer.layout(model)
    accepted: list[np.ndarray] = []
    while (missing := size - sum(map(len, accepted))) > 0:
        drops = _drops(model, layout, rng, missing + missing // 20 + 1, arms[0])
        accepted.append(_settle(model, layout, drops, arms[0])[:missing])
    return Bank(np.concatenate(accepted).astype(np.float32), *_after_a_step(model, layout, arms))


def _arms(rng: np.random.Generator, size: int) -> np.ndarray:
    """Postures [size, 7] whose pinch is within 1 mm of the place that was drawn."""
    solve = jax.jit(jax.vmap(controller.inverse))
    place = jax.jit(jax.vmap(lambda q: controller.forward(q).pinch))
    accepted = np.zeros((0, 7), np.float32)
    while len(accepted) < size:
        pinch = rng.uniform(PINCH_LOW, PINCH_HIGH, (size, 3)).astype(np.float32)
        yaw = rng.uniform(-YAW, YAW, size).astype(np.float32)
        q = solve(jnp.asarray(pinch), jnp.asarray(yaw))
        good = np.abs(np.asarray(place(q)) - pinch).max(1) < 1e-3
        accepted = np.concatenate([accepted, np.asarray(q)[good]])
    return accepted[:size]


def _after_a_step(model: mujoco.MjModel, layout: sawyer.Layout, arms: np.ndarray) -> tuple[np.ndarray, ...]:
    """Angles, rates, actuator states and loads of the arm [n, ...] one control step after `arms` [n, 7], at rest."""
    batch = mujoco.batch.Batch(model, len(arms))
    qpos, qvel, act, ctrl = (batch.bind(name) for name in ("qpos", "qvel", "act", "ctrl"))
    places = [batch.bind(name) for name in ("xpos", "xmat", "site_xpos", "site_xmat")]
    sensordata = batch.bind("sensordata")
    qpos[:, layout.objects] = _AWAY
    qpos[:, layout.arm], act[:, layout.arm] = arms, arms
    ctrl[:, layout.arm] = jax.jit(jax.vmap(lambda q: controller.command(q, jnp.zeros(5))[0]))(arms)
    batch.step(None, round(controller.INTERVAL / model.opt.timestep))
    felt = sensordata.copy()  # of the last physics step
    batch.forward(stage=mujoco.mjtStage.mjSTAGE_POS.value)
    vectors = [place.reshape(len(arms), -1, *shape) for place, shape in zip(places, ((3,), (3, 3)) * 2, strict=True)]
    load = jax.jit(jax.vmap(sensing.unloaded(model)))(*vectors, felt)
    parts = (qpos[:, layout.arm], qvel[:, layout.arm], act[:, layout.arm], np.concatenate(load, -1))
    return tuple(np.asarray(part, np.float32) for part in parts)


def _drops(model: mujoco.MjModel, layout: sawyer.Layout, rng: np.random.Generator, n: int, arm: np.ndarray):
    """Poses [n, 3, 7] in the air without contacts."""
    data = mujoco.MjData(model)
    poses = np.zeros((n, 3, 7))
    for row in poses:
        while True:
            row[:] = _AWAY
            if all(_place(model, layout, rng, data, row, k, arm) for k in range(3)):
                break
    return poses


def _place(model, layout, rng, data, row, k, arm) -> bool:
    for _ in range(TRIES):
        row[k, :3] = rng.uniform(DROP_LOW, DROP_HIGH)
        row[k, 3:] = rng.normal(size=4)
        row[k, 3:] /= np.linalg.norm(row[k, 3:])
        data.qpos[layout.arm], data.qpos[layout.objects] = arm, row
        mujoco.mj_kinematics(model, data)
        mujoco.mj_collision(model, data)
        if data.ncon == 0:
            return True
    return False


def _settle(model: mujoco.MjModel, layout: sawyer.Layout, drops: np.ndarray, arm: np.ndarray) -> np.ndarray:
    """The poses [m, 3, 7] at which the objects of `drops` [n, 3, 7] come to rest inside the basket; m <= n."""
    batch = mujoco.batch.Batch(model, len(drops))
    qpos, qvel, act, qacc = (batch.bind(name) for name in ("qpos", "qvel", "act", "qacc"))
    qpos[:, layout.arm], act[:, layout.arm] = arm, arm  # the arm holds still well above the objects
    qpos[:, layout.objects] = drops
    dofs, chunk = layout.object_dofs.ravel(), 20
    running = np.arange(len(drops), dtype=np.int32)
    for _ in range(round(SETTLE / model.opt.timestep / chunk)):
        batch.step(running, chunk)
        speed, change = np.abs(qvel[running][:, dofs]).max(1), np.abs(qacc[running][:, dofs]).max(1)
        running = running[(speed > STILL_VELOCITY) | (change > STILL_ACCELERATION)]
        if not len(running):
            break
    poses = qpos[:, layout.objects]
    offset = np.abs(poses[:, :, :2] - np.array(sawyer.BASKET[:2])).max((1, 2))
    low, high = poses[:, :, 2].min(1), poses[:, :, 2].max(1)
    calm = np.abs(qvel[:, dofs]).max(1) < MOVING
    return poses[calm & (offset < INSIDE) & (low > sawyer.BASKET[2]) & (high < DROP_LOW[2])]

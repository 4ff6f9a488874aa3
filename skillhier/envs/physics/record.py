"""The physics state of one world, the record that a task may read of it, and when a world has diverged."""

from typing import NamedTuple

import jax.numpy as jnp
import mujoco
import numpy as np

from skillhier.types import Array

# States beyond these limits count as diverged in both engines. (C MuJoCo by itself silently resets a world to its
# default pose at 1e10 and accepts 1e8; MJX checks nothing.)
POSITION_LIMIT = 1e3  # m, rad: in one episode runners pass 100 m and poles turn by 100 rad
VELOCITY_LIMIT = 1e3  # m/s, rad/s

# Model fields that may differ from world to world (domain randomisation). Of the constants that MuJoCo derives from
# them the engines follow the masses of subtrees (see `subtrees`); invweights stay nominal in both: MJX cannot recompute
# them.
PARAMETERS = (
    "body_mass", "body_inertia", "geom_friction", "pair_friction",
    "dof_damping", "dof_armature", "dof_frictionloss", "actuator_gainprm", "actuator_biasprm",
)  # fmt: skip


class State(NamedTuple):
    """The whole integration state of one world: a step depends on nothing else but the controls."""

    qpos: Array  # [nq] m, rad
    qvel: Array  # [nv] m/s, rad/s
    act: Array  # [na]
    warmstart: Array  # [nv] the solver's initial guess of the acceleration
    time: Array  # [] s
    mocap_pos: Array  # [nmocap, 3] m
    mocap_quat: Array  # [nmocap, 4] wxyz
    eq_active: Array  # [neq] 1 where an equality constraint holds
    params: dict[str, Array]  # model fields of this world that replace the model's own


class Data(NamedTuple):
    """What a task may read of one world, the same from every engine.

    Positions, velocities and their sensors belong to `state`; sensors of accelerations and forces
    are those of the last physics step before it (dm_control's order), and zero right after a reset.
    """

    state: State
    ctrl: Array  # [nu]
    xpos: Array  # [nbody, 3] m
    xmat: Array  # [nbody, 3, 3]
    site_xpos: Array  # [nsite, 3] m
    site_xmat: Array  # [nsite, 3, 3]
    sensordata: Array  # [nsensordata]
    broken: Array  # [] bool: the world diverged in this step and was opened at its start instead


def initial(model: mujoco.MjModel, qpos=None, qvel=None, act=None, params=None) -> State:
    """The state at `qpos` [nq], `qvel` [nv], `act` [na] (defaults: the model's pose, at rest) and time 0."""
    zeros = lambda n: jnp.zeros((n,), jnp.float32)  # noqa: E731
    array = lambda value, default: jnp.asarray(default if value is None else value, jnp.float32)  # noqa: E731
    mocap = [i for _, i in sorted((m, i) for i, m in enumerate(model.body_mocapid) if m >= 0)]
    return State(
        qpos=array(qpos, model.qpos0),
        qvel=array(qvel, zeros(model.nv)),
        act=array(act, zeros(model.na)),
        warmstart=zeros(model.nv),
        time=jnp.zeros((), jnp.float32),
        mocap_pos=jnp.asarray(model.body_pos[mocap].reshape(-1, 3), jnp.float32),
        mocap_quat=jnp.asarray(model.body_quat[mocap].reshape(-1, 4), jnp.float32),
        eq_active=jnp.asarray(model.eq_active0, jnp.float32),
        params={k: jnp.asarray(v, jnp.float32) for k, v in (params or {}).items()},
    )


def subtrees(model: mujoco.MjModel) -> np.ndarray:
    """Which bodies hang from which: [nbody, nbody], 1 where the row's body is or carries the column's.

    `subtrees(model) @ body_mass` is `body_subtreemass`. A world with masses of its own needs its own: C's implicitfast
    takes `subtree_com`, weighted masses over `body_subtreemass`, for the centre of mass of a free body, and a body that
    spins about another point gains energy.
    """
    carries = np.eye(model.nbody, dtype=np.float32)
    for body in range(model.nbody - 1, 0, -1):
        carries[model.body_parentid[body]] += carries[body]
    return carries


def diverged(qpos: Array, qvel: Array, *others: Array, reach: float = POSITION_LIMIT) -> Array:
    """Whether a world has left the allowed range: [...] bool over the last axis. Works on numpy and JAX arrays.

    Positions are allowed below `reach`, m and rad. A NaN fails every comparison, so it counts as diverged.
    """
    within = (abs(qpos) < reach).all(-1) & (abs(qvel) < VELOCITY_LIMIT).all(-1)
    for value in others:
        within = within & (abs(value) < float("inf")).all(-1)
    return ~within


def in_bounds(qpos: np.ndarray, qvel: np.ndarray, *others: np.ndarray, reach: float = POSITION_LIMIT) -> bool:
    """Whether no world has diverged: cheaper than `diverged` world by world, and true at nearly all steps."""
    limits = (reach, VELOCITY_LIMIT, *(float("inf") for _ in others))
    largest = lambda array: max(array.max(initial=0.0), -array.min(initial=0.0))  # noqa: E731
    return all(largest(array) < limit for array, limit in zip((qpos, qvel, *others), limits, strict=True))

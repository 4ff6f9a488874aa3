"""One world, two engines: what a task may read, and how it asks for the next instant.

A task never asks which engine filled the record. Both engines are pure functions of one world, made
for `vmap`: `native` gathers all worlds of a vmap into one call of C MuJoCo, `mjx` is JAX throughout.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from skillhier.types import Array

# A state beyond these is broken, whatever the engine thinks of it (C MuJoCo would reset a world at
# 1e10 to its default pose without a word and let 1e8 through; MJX checks nothing).
POSITION_LIMIT = 1e3  # m, rad: runners leave 100 m, and poles turn through 100 rad, within an episode
VELOCITY_LIMIT = 1e3  # m/s, rad/s

# Model fields that may differ from world to world (domain randomisation). Constants that MuJoCo
# derives from them (invweight, subtree mass) stay nominal in both engines: MJX cannot recompute them.
PARAMETERS = (
    "body_mass", "body_inertia", "geom_friction", "pair_friction",
    "dof_damping", "dof_armature", "dof_frictionloss", "actuator_gainprm", "actuator_biasprm",
)  # fmt: skip


class State(NamedTuple):
    """The whole integration state of one world: what goes in is all that decides what comes out."""

    qpos: Array  # [nq] m, rad
    qvel: Array  # [nv] m/s, rad/s
    act: Array  # [na]
    warmstart: Array  # [nv] the solver's first guess of the acceleration
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
    broken: Array  # [] bool: the step left the sane range and the world was opened anew instead


class Physics(NamedTuple):
    """A model and its engine."""

    model: mujoco.MjModel
    engine: str  # native, mjx or warp
    substeps: int  # physics steps per control step
    reset: Callable[[State], Data]  # the record at a given state
    step: Callable[[State, Array, Array, State], Data]  # see `make`


def initial(model: mujoco.MjModel, qpos=None, qvel=None, act=None, params=None) -> State:
    """The state at `qpos` [nq], `qvel` [nv], `act` [na] (defaults: the model's), nothing moving, time 0."""
    zeros = lambda n: jnp.zeros((n,), jnp.float32)  # noqa: E731
    array = lambda given, default: jnp.asarray(default if given is None else given, jnp.float32)  # noqa: E731
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


def absurd(qpos: Array, qvel: Array, *others: Array, reach: float = POSITION_LIMIT) -> Array:
    """Whether a world has left the sane range: [...] bool over the last axis. Works on numpy and JAX arrays.

    Positions are sane below `reach`, m and rad. A NaN fails every comparison, so it counts as absurd without being
    asked for.
    """
    sane = (abs(qpos) < reach).all(-1) & (abs(qvel) < VELOCITY_LIMIT).all(-1)
    for value in others:
        sane = sane & (abs(value) < float("inf")).all(-1)
    return ~sane


def sane(qpos: np.ndarray, qvel: np.ndarray, *others: np.ndarray, reach: float = POSITION_LIMIT) -> bool:
    """Whether no world at all is absurd: what nearly always holds, asked in fewer steps than world by world."""
    limits = (reach, VELOCITY_LIMIT, *(float("inf") for _ in others))
    largest = lambda array: max(array.max(initial=0.0), -array.min(initial=0.0))  # noqa: E731
    return all(largest(array) < limit for array, limit in zip((qpos, qvel, *others), limits, strict=True))


def resolve(engine: str) -> str:
    """The engine that `auto` means on this machine: native on a CPU, mjx elsewhere."""
    if engine == "auto":
        return "native" if jax.default_backend() == "cpu" else "mjx"
    if engine not in ("native", "mjx", "warp"):
        raise ValueError(f"engine '{engine}' is not known; choose auto, native, mjx or warp")
    return engine


def make(
    model: mujoco.MjModel,
    *,
    substeps: int,
    engine: str = "auto",
    worlds: int = 1,
    contacts: int = 64,
    reach: float = POSITION_LIMIT,
) -> Physics:
    """Physics of `model` under `engine`, advancing `substeps` physics steps at a time.

    `reset(state) -> Data` computes the record at a state.
    `step(state, ctrl, renew, start) -> Data` advances one world under constant `ctrl` [nu]; where
    `renew` [] bool it opens the world at `start` instead, and where the step breaks the world (see
    `absurd`, with `reach`) it does the same and says `broken`. Opening inside the step keeps resets almost free:
    no fresh world is computed for those that run on. Neighbours under vmap do not feel it.
    `worlds` and `contacts` (a world, at most) size the buffers of engine warp; the others ignore them.
    """
    engine = resolve(engine)
    if engine == "native":
        from skillhier.envs import native

        reset, step = native.functions(model, substeps, reach)
    else:
        from skillhier.envs import mjx

        reset, step = mjx.functions(model, substeps, reach, {"mjx": "jax"}.get(engine, engine), worlds, contacts)
    return Physics(model, engine, substeps, reset, step)

"""Director's egocentric ant mazes: find a target from what the ant feels, or sees with its own camera.

The target lies on the floor, a ball of `model.RADIUS`; 1 is paid on every step from the first touch on, so touching it
on arriving at step n of an episode of L steps returns L - n + 1. Nothing but the clock ends an episode: an ant may fall
on its back. Entries are those of dm_control's ant and have its names:

joints_pos [8] rad, joints_vel [8] rad/s       hip and ankle of each leg: front left, front right, back right, back left
body_height [1] m                              of the torso
end_effectors_pos, appendages_pos [12] m       the four feet from the torso, along its axes; twice the same, as there
world_zaxis [3]                                in the torso's frame
bodies_quats [52] wxyz, bodies_pos [39] m      all 13 bodies in the torso's frame
gyro, velocimeter, accelerometer [3]           rad/s, m/s, m/s^2
touch [9]                                      1 where more than 1 mN is felt: torso, then leg and ankle of each leg

Privileged: `position` [2] m, the torso's x and y; `success` [1], whether the target was touched. A touch is looked for
at the end of a control step, where dm_control looks after each of its physics steps, so a graze may be missed; the
target goes out of sight one row after its touch. Source: fact sheet of MRS, section 5.3.
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.envs import batch, limits, physics
from skillhier.envs.antmaze import mazes
from skillhier.envs.antmaze import model as scenery
from skillhier.types import Array, Bounds, Key

INTERVAL, SUBSTEPS = 0.02, 4  # s of a control step; physics steps in it
LIMIT = limits.LIMITS["antmaze"]  # control steps
TOUCH = 1e-3  # N, felt from here on
SIZES = {
    "joints_pos": 8, "joints_vel": 8, "body_height": 1, "end_effectors_pos": 12, "appendages_pos": 12,
    "world_zaxis": 3, "bodies_quats": 52, "bodies_pos": 39, "gyro": 3, "velocimeter": 3, "accelerometer": 3, "touch": 9,
}  # fmt: skip
PRIVILEGED = {"position": 2, "success": 1}


class Memory(NamedTuple):
    """The task's memory of one world."""

    touched: Array  # [] bool, since the episode opened


@lru_cache(maxsize=8)
def world(maze: str, profile: str, engine: str, worlds: int) -> physics.Physics:
    """Physics of the ant in the maze; cached."""
    return physics.make(scenery.build(maze, profile), substeps=SUBSTEPS, engine=engine, worlds=worlds)


def make(maze: str, *, profile: str = "auto", engine: str = "auto", worlds: int = 1) -> batch.Task:
    """The task in the maze called `maze`: s, m, l or xl, with 12, 16, 22 or 26 cells of 1.2 m to go.

    profile: `parity`, dm_control's physics; `fast`, for accelerators (see `model`); `auto`, parity under engine native
    and fast under the others. engine: auto, native, mjx or warp; worlds sizes warp's buffers.
    """
    engine = physics.resolve(engine)
    if profile == "auto":
        profile = "parity" if engine == "native" else "fast"
    engines = world(maze, profile, engine, worlds if engine == "warp" else 1)
    ant, plan = scenery.layout(engines.model), mazes.LAYOUTS[maze]
    spawn, goal = (mazes.centre(plan, *mazes.find(plan, token)) for token in (mazes.START, mazes.GOAL))
    shown, gone = (jnp.array([[*goal, height]]) for height in (0.0, scenery.PARKED))

    def start(key: Key, index: Array) -> tuple[physics.State, Memory]:
        half = jax.random.uniform(key, (), minval=0.0, maxval=jnp.pi)  # of the yaw, uniform
        turn = jnp.stack([jnp.cos(half), jnp.zeros(()), jnp.zeros(()), jnp.sin(half)])
        qpos = jnp.asarray(engines.model.qpos0, jnp.float32)
        qpos = qpos.at[:2].set(jnp.array(spawn)).at[3:7].set(turn)
        return physics.initial(engines.model, qpos), Memory(jnp.zeros((), bool))

    def control(data: physics.Data, memory: Memory, action: Array) -> tuple[physics.State, Array]:
        return data.state._replace(mocap_pos=jnp.where(memory.touched, gone, shown)), action

    def observe(data: physics.Data, memory: Memory, action: Array) -> tuple[dict[str, Array], Memory]:
        memory = Memory(memory.touched | (distance(ant.shape, data, jnp.array([*goal, 0.0])) < scenery.RADIUS))
        feet = data.sensordata[ant.feet]
        entries = {
            "joints_pos": data.state.qpos[ant.joints],
            "joints_vel": data.state.qvel[ant.joints - 1],
            "body_height": data.xpos[ant.torso, 2:],
            "end_effectors_pos": feet,
            "appendages_pos": feet,
            "world_zaxis": data.xmat[ant.torso, 2],
            "bodies_quats": data.sensordata[ant.turns],
            "bodies_pos": data.sensordata[ant.places],
            "gyro": data.sensordata[ant.gyro],
            "velocimeter": data.sensordata[ant.velocimeter],
            "accelerometer": data.sensordata[ant.accelerometer],
            "touch": (data.sensordata[ant.touch] > TOUCH).astype(jnp.float32),
            "position": data.xpos[ant.torso, :2],
            "success": memory.touched[None].astype(jnp.float32),
        }
        return entries, memory

    return batch.Task(
        physics=engines,
        obs={name: jax.ShapeDtypeStruct((size,), jnp.float32) for name, size in (SIZES | PRIVILEGED).items()},
        action=Bounds((engines.model.nu,), -1.0, 1.0),
        interval=INTERVAL,
        limit=LIMIT,
        start=start,
        control=control,
        observe=observe,
        reward_and_discount=lambda data, memory: (memory.touched.astype(jnp.float32), jnp.ones(())),
        privileged=tuple(PRIVILEGED),
        success="success",
    )


def distance(shape: scenery.Capsules, data: physics.Data, point: Array) -> Array:
    """From `point` [3] to the nearest surface of the ant: [] m, negative inside it."""
    frames = data.xmat[shape.body]  # [13, 3, 3]
    ends = data.xpos[shape.body][:, None] + jnp.einsum("gij,gej->gei", frames, jnp.asarray(shape.ends, jnp.float32))
    first, axis = ends[:, 0], ends[:, 1] - ends[:, 0]  # [13, 3]
    along = jnp.sum((point - first) * axis, -1) / jnp.maximum(jnp.sum(axis * axis, -1), 1e-12)
    nearest = first + jnp.clip(along, 0.0, 1.0)[:, None] * axis
    return jnp.min(jnp.linalg.norm(point - nearest, axis=-1) - jnp.asarray(shape.radius, jnp.float32))

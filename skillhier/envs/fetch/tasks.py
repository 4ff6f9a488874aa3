"""Push a block over a table to a red ball, or lift it there: a goal is drawn for every episode, and shown.

An action in [-1, 1]^4 moves the hand by up to 5 cm along x, y and z, as far as a soft weld draws it after, and opens or
closes the fingers (pushing leaves them closed). 0 is paid while the block is within 5 cm of the goal, -1 elsewhere;
nothing but the clock ends an episode. Entries are those of gymnasium-robotics and have its names:

observation [25]    grip 3, block 3, block from grip 3 (m); fingers 2 (m); the block's Euler angles 3 (rad); then in one
                    control step: its way seen from the grip 3 (m), its turn 3 (rad), the grip's way 3, the fingers' 2
achieved_goal, desired_goal [3] m      the block's middle, and where it should be

Privileged: `success` [1], whether the block is there. Source: fact sheet of MRS, section 5.2.

The original reads positions of `pick_and_place` as they are at the last physics step's beginning, 2 ms before
velocities, and moves the hand from where it was then; so does this (`Reading`). Pictures are of the instant itself.
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.envs import batch, limits, physics
from skillhier.envs.fetch import hand
from skillhier.envs.fetch import model as scenery
from skillhier.types import Array, Bounds, Key

INTERVAL = scenery.SUBSTEPS * scenery.TIMESTEP  # s of a control step
LIMIT = limits.LIMITS["fetch"]  # control steps
NEAR = 0.05  # m: a block within this of the goal is there
SPEED = 0.05  # m that the hand is asked to move, at most, along an axis in a control step
AROUND = 0.15  # m from the grip's first place, along x and y, for block and goal
CLEAR = 0.1  # m from there that a block is away, at least
REACH = 10.0  # m, rad: no joint gets there
TRIES = 30  # places drawn for a block; all are too near once in 5e13 episodes, and then the last one is taken
SIZES = {"observation": 25, "achieved_goal": 3, "desired_goal": 3}
PRIVILEGED = {"success": 1}
REWARDS = {
    "sparse": lambda far: jnp.where(far > NEAR, -1.0, 0.0),
    "dense": lambda far: -far,
}


class Kind(NamedTuple):
    """What tells the tasks apart."""

    gripper: bool  # fingers open and close
    above: float  # m, of the hand's first place above the lowest
    lifted: float  # share of goals in the air
    high: float = 0.45  # m above the table, at most


KINDS = {"push": Kind(False, 0.0, 0.0), "pick_and_place": Kind(True, 0.2, 0.5)}


class Reading(NamedTuple):
    """What the original's code reads of a state; positions may be those of one physics step before."""

    hand: hand.Pose
    fingers: Array  # [2] m, right and left; never of before
    block: Array  # [3] m
    axes: Array  # [3, 3] of the block


@lru_cache(maxsize=8)
def world(gripper: bool, profile: str, engine: str, worlds: int) -> physics.Physics:
    """Physics of robot, table and block; cached."""
    model = scenery.build(gripper, profile)
    return physics.make(model, substeps=scenery.SUBSTEPS, engine=engine, worlds=worlds, reach=REACH)


def make(
    name: str, *, reward: str = "sparse", profile: str = "auto", engine: str = "auto", worlds: int = 1
) -> batch.Task:
    """The task `name`: push or pick_and_place.

    reward: sparse, -1 or 0; dense, minus the distance (m) of the block from its goal. profile: `parity`, the original's
    solver; `fast`, for accelerators (see `model`); `auto`, parity under engine native and fast under the others.
    engine: auto, native, mjx or warp; worlds sizes warp's buffers.
    """
    if reward not in REWARDS:
        raise ValueError(f"reward '{reward}' is not known; choose {' or '.join(REWARDS)} in env.reward")
    engine = physics.resolve(engine)
    if profile == "auto":
        profile = "parity" if engine == "native" else "fast"
    kind = KINDS[name]
    engines = world(kind.gripper, profile, engine, worlds if engine == "warp" else 1)
    where, settled = scenery.layout(engines.model), scenery.settled(kind.gripper, kind.above)

    def start(key: Key, index: Array) -> tuple[physics.State, tuple]:
        drawn = jax.random.uniform(key, (2 * (TRIES + 2),))  # one draw of 64 compiles in half the time of four
        (lifts, height), drawn = drawn[:2], AROUND * (2 * drawn[2:].reshape(TRIES + 1, 2) - 1)
        qpos = jnp.asarray(settled.qpos, jnp.float32).at[where.block[:2]].set(settled.grip[:2] + _apart(drawn[1:]))
        lift = kind.high * height * (lifts < kind.lifted)
        goal = jnp.concatenate([settled.grip[:2] + drawn[0], (settled.height + lift)[None]])
        state = physics.initial(engines.model, qpos, settled.qvel)
        return state._replace(mocap_pos=state.mocap_pos.at[scenery.TARGET].set(goal)), ()

    def read(state: physics.State) -> Reading:
        stepped = state.time > 0  # in this episode
        before = jnp.where(stepped & kind.gripper, scenery.TIMESTEP, 0.0)
        speeds = [state.qvel[rows] for rows in (where.base, where.arm)]
        joints = [state.qpos[rows] - before * v for rows, v in zip((where.base, where.arm), speeds, strict=True)]
        fingers = state.qpos[where.fingers]
        block, speed = state.qpos[where.block], state.qvel[where.block_dofs]
        return Reading(
            hand=hand.pose(*joints, *speeds),
            fingers=fingers if kind.gripper else jnp.where(stepped, 0.0, fingers),
            block=block[:3] - before * speed[:3],
            axes=hand.matrix(hand.multiply(block[3:], hand.turning(-before * speed[3:]))),
        )

    def control(data: physics.Data, memory: tuple, action: Array) -> tuple[physics.State, Array]:
        state, now = data.state, read(data.state)
        state = state._replace(
            qpos=state.qpos.at[where.fingers].set(now.fingers),
            mocap_pos=state.mocap_pos.at[scenery.LEAD].set(now.hand.place + SPEED * action[:3]),
            mocap_quat=state.mocap_quat.at[scenery.LEAD].set(now.hand.turn + jnp.array([1.0, 0.0, 1.0, 0.0])),
        )
        return state, state.qpos[where.gripper] + action[3]

    def far(data: physics.Data, now: Reading) -> Array:
        return jnp.linalg.norm(now.block - data.state.mocap_pos[scenery.TARGET])

    def observe(data: physics.Data, memory: tuple, action: Array) -> tuple[dict[str, Array], tuple]:
        now, qvel = read(data.state), data.state.qvel
        way = now.hand.velocity * INTERVAL
        turn = now.axes @ qvel[where.block_dofs[3:]] * INTERVAL
        parts = [
            now.hand.grip, now.block, now.block - now.hand.grip, now.fingers, hand.euler(now.axes),
            qvel[where.block_dofs[:3]] * INTERVAL - way, turn, way, qvel[where.fingers] * INTERVAL,
        ]  # fmt: skip
        entries = {
            "observation": jnp.concatenate(parts),
            "achieved_goal": now.block,
            "desired_goal": data.state.mocap_pos[scenery.TARGET],
            "success": (far(data, now) < NEAR)[None].astype(jnp.float32),
        }
        return entries, ()

    def reward_and_discount(data: physics.Data, memory: tuple) -> tuple[Array, Array]:
        return REWARDS[reward](far(data, read(data.state))), jnp.ones(())

    return batch.Task(
        physics=engines,
        obs={name: jax.ShapeDtypeStruct((size,), jnp.float32) for name, size in (SIZES | PRIVILEGED).items()},
        action=Bounds((4,), -1.0, 1.0),
        interval=INTERVAL,
        limit=LIMIT,
        start=start,
        control=control,
        observe=observe,
        reward_and_discount=reward_and_discount,
        privileged=tuple(PRIVILEGED),
        success="success",
    )


def _apart(tried: Array) -> Array:
    """The first of the places [n, 2] m, seen from the grip, that is not too near for a block."""
    apart = jnp.linalg.norm(tried, axis=-1) >= CLEAR
    return tried[jnp.argmax(apart.at[-1].set(True))]

"""A world of points with the observations of a stacking cell, to try skills in."""

import jax
import jax.numpy as jnp

from experiments.stacking import skill_rollouts
from skillhier.types import Bounds, Env, Spec, TimeStep

LIMIT, WORLDS, STEP = 10, 3, 0.01
MOVES = jnp.array([[1.0, 0, 0], [0, 0, -1.0]])  # m per unit of STEP, by skill


def point_world(breaks_at: int | None = None, traced: list | None = None) -> Env:
    """A pinch that goes where it is told; world 1 breaks at that row. The red object follows a closed gripper."""
    names = {
        "sawyer.pinch.pose": 7,
        "gripper.joints.angle": 1,
        "gripper.grasp": 1,
        **dict.fromkeys(skill_rollouts.OBJECTS.values(), 7),
    }

    def show(state, first):
        pinch, red, closed, t = state
        pose = lambda at: jnp.concatenate([at, jnp.zeros((WORLDS, 4))], -1)  # noqa: E731
        blue = jnp.broadcast_to(jnp.array([0.6, 0.1, 0.07]), (WORLDS, 3))
        frame = {
            "sawyer.pinch.pose": pose(pinch),
            "gripper.joints.angle": 255 * closed[:, None],
            "gripper.grasp": jnp.where(closed[:, None] > 0.1, 2.0 + (t % 2)[:, None], 1.0),
            "rgb30_red.abs_pose": pose(red),
            "rgb30_green.abs_pose": pose(blue - 0.05),
            "rgb30_blue.abs_pose": pose(blue),
        }
        stacked = {
            name: jnp.stack([value, 9.0 + 0 * value], 1) for name, value in frame.items()
        }  # the older frame misleads
        last = (t == LIMIT) & ~first
        return TimeStep(stacked, jnp.zeros(WORLDS), jnp.ones(WORLDS), first, last)

    def reset(key):
        pinch = jax.random.uniform(key, (WORLDS, 3), minval=0.2, maxval=0.5)
        state = pinch, pinch - 0.03, jnp.zeros(WORLDS), jnp.zeros(WORLDS, jnp.int32)
        return state, show(state, jnp.ones(WORLDS, bool))

    def step(state, action):
        if traced is not None:
            traced.append(1)
        pinch, red, closed, t = state
        again = t == LIMIT
        if breaks_at is not None:
            again = again | ((t == breaks_at - 1) & (jnp.arange(WORLDS) == 1))
        moved = pinch + STEP * action[:, :3]
        closed = jnp.where(again, 0.0, action[:, 3])
        red = jnp.where((closed > 0)[:, None], red + STEP * action[:, :3], red)
        state = jnp.where(again[:, None], 99.0, moved), red, closed, jnp.where(again, 0, t + 1)
        return state, show(state, again)

    shapes = {name: jax.ShapeDtypeStruct((2, size), jnp.float32) for name, size in names.items()}
    return Env(reset, step, Spec(shapes, Bounds((4,), -1.0, 1.0), WORLDS, 0.5, LIMIT))

"""Posing a world at what is seen: the state whose entries come nearest to given ones.

For pictures of what a model imagines where it sees no pictures: it imagines entries, and a state that would show them
can be drawn.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from skillhier.envs import batch, physics

STEP = 1e-3  # of the differences that derivatives are taken by, in m, rad, m/s, rad/s
STILL = 1e-4  # spread of a number that tells no states apart, but for rounding
KEEP = 1e-2  # weight of staying where one begins, which decides what no entry shows
EVALUATIONS = 60  # of a search at most

Posed = Callable[[physics.Data, Mapping[str, np.ndarray]], physics.Data]


def opening(task: batch.Task, frames: Mapping[str, np.ndarray]) -> batch.Task:
    """The task whose world i opens where row i of `frames`, entries [N, D], is shown; i modulo N.

    Raises ValueError: a task that has no pose.
    """
    if task.pose is None:
        raise ValueError("the task has no pose, so that its worlds cannot open at given rows")
    rows = {name: jnp.asarray(values, jnp.float32) for name, values in frames.items()}
    count = len(next(iter(rows.values())))

    def start(key: jax.Array, index: jax.Array) -> tuple[physics.State, batch.Memory]:
        return task.pose({name: values[index % count] for name, values in rows.items()}, index)

    return task._replace(start=start)


def poser(task: batch.Task, scale: Mapping[str, np.ndarray]) -> Posed:
    """(where the search begins, entries wanted) -> the record of a state of `task` at rest in time.

    Entries are single frames, numpy [D]; those of `scale`, [D] each, are matched, but for numbers that hardly vary.
    Positions and velocities are searched by least squares over all numbers divided by their scale. Entries that belong
    to forces and accelerations are zero in a state by itself, so they say nothing.
    """
    names = sorted(scale)
    spread = np.concatenate([np.ravel(scale[name]) for name in names])
    used = spread > STILL
    weights = np.where(used, 1 / np.where(used, spread, 1.0), 0.0)
    _, memory = jax.jit(task.start)(jax.random.key(0), jnp.int32(0))
    blank = jnp.zeros(task.action.shape, jnp.float32)

    def record(begin: physics.State, x: jax.Array) -> physics.Data:
        count = len(begin.qpos)
        return task.physics.reset(begin._replace(qpos=x[:count], qvel=x[count:]))

    def entries(begin: physics.State, x: jax.Array) -> jax.Array:
        shown, _ = task.observe(record(begin, x), memory, blank)
        return jnp.concatenate([shown[name].ravel() for name in names])

    one = jax.jit(entries)
    beside = jax.jit(jax.vmap(entries, (None, 0)))
    whole = jax.jit(record)

    def pose(begin: physics.Data, wanted: Mapping[str, np.ndarray]) -> physics.Data:
        state = begin.state
        goal = np.concatenate([np.ravel(wanted[name]) for name in names])
        start = np.concatenate([state.qpos, state.qvel]).astype(np.float64)

        def residual(x: np.ndarray) -> np.ndarray:
            shown = np.asarray(one(state, jnp.asarray(x, jnp.float32)), np.float64)
            return np.concatenate([(shown - goal) * weights, KEEP * (x - start)])

        def jacobian(x: np.ndarray) -> np.ndarray:
            steps = STEP * np.eye(len(x))
            around = np.concatenate([x + steps, x - steps]).astype(np.float32)
            shown = np.asarray(beside(state, around), np.float64)
            slopes = (shown[: len(x)] - shown[len(x) :]) / (2 * STEP)
            return np.concatenate([slopes.T * weights[:, None], KEEP * np.eye(len(x))])

        solution = optimize.least_squares(residual, start, jacobian, max_nfev=EVALUATIONS, xtol=1e-6, ftol=1e-6)
        return whole(state, jnp.asarray(solution.x, jnp.float32))

    return pose

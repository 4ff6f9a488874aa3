"""A point in the plane that follows a path by naming goals: which goals are near enough, and which too near?

The path is a polyline of straights of `STRAIGHT` units. An action is where the next goal lies, seen from the point, as
a share of the setting `reach`. The point is paid minus its distance to the path; nothing but the clock ends an episode.
Entries: `position` [2], `velocity` [2] units a step, `path` [6]: where the point is on the path and the next two
vertices, seen from the point, so that goals up to `STRAIGHT` units ahead are `point_at(path.reshape(3, 2), l)` exactly.
Privileged: `progress` [1], units of the path behind it; `success` [1], whether its end was reached. No physics engine
is involved: positions stand in `qpos`, velocities in `qvel`.

Source: experiment E1 of the fact sheet of MRS, section 6.1.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.envs import batch, limits, physics
from skillhier.types import Array, Bounds, Key

STRAIGHT = 20.0  # units between two vertices
SPEED = 1.0  # units a step, of dynamics `velocity`
STIFFNESS, DAMPING = 0.5, 0.7  # of dynamics `damped`: acceleration per unit of distance, per unit of velocity
FINISH = 1.0  # units from the end that count as there
LIMIT = limits.LIMITS["point"]  # control steps
TURNS = ("sharp", "mixed", "none")
DYNAMICS = ("velocity", "damped")
SIZES = {"position": 2, "velocity": 2, "path": 6, "progress": 1, "success": 1}
PRIVILEGED = ("progress", "success")


class Memory(NamedTuple):
    """The task's memory of one world."""

    path: Array  # [straights + 1, 2] vertices
    progress: Array  # [] units along the path of the place nearest to the point
    finished: Array  # [] bool, since the episode opened


def make(
    *,
    turns: str = "sharp",
    dynamics: str = "velocity",
    straights: int = 5,
    reach: float = 16.0,
    engine: str = "auto",
) -> batch.Task:
    """The path follower.

    turns: `sharp`, 90 degrees to a random side at every vertex; `mixed`, at every second one on average; `none`.
    dynamics: `velocity`, one unit a step towards the goal, or onto it; `damped`, a double integrator that the goal
    attracts. straights: how many the path has. reach: units from the point to a goal at action 1, along each axis.
    engine: any; every world takes it, and here nothing depends on it.
    """
    physics.resolve(engine)
    for name, value, known in (("turns", turns, TURNS), ("dynamics", dynamics, DYNAMICS)):
        if value not in known:
            raise ValueError(f"{name} '{value}' is not known; choose {', '.join(known)} in env.{name}")
    if straights < 1:
        raise ValueError(f"straights must be >= 1, got {straights}; set env.straights")
    if reach <= 0:
        raise ValueError(f"reach must be positive, got {reach}; set env.reach")

    def start(key: Key, index: Array) -> tuple[physics.State, Memory]:
        memory = Memory(draw_path(key, turns, straights), jnp.zeros(()), jnp.zeros((), bool))
        return _state(memory.path[0], jnp.zeros(2)), memory

    def observe(data: physics.Data, memory: Memory, action: Array) -> tuple[dict[str, Array], Memory]:
        position, path = data.state.qpos, memory.path
        # only places near the last one: a path may cross or cover itself
        progress = nearest(path, position, memory.progress - STRAIGHT, memory.progress + STRAIGHT)
        finished = memory.finished | (length(path) - progress <= FINISH)
        passed = jnp.searchsorted(_arcs(path), progress, side="right")  # the number of the next vertex
        coming = path[jnp.minimum(passed + jnp.arange(2), straights)]
        entries = {
            "position": position,
            "velocity": data.state.qvel,
            "path": (jnp.concatenate([point_at(path, progress)[None], coming]) - position).ravel(),
            "progress": progress[None],
            "success": finished[None].astype(jnp.float32),
        }
        return entries, Memory(path, progress, finished)

    return batch.Task(
        physics=_engine({"velocity": _velocity, "damped": _damped}[dynamics]),
        obs={name: jax.ShapeDtypeStruct((size,), jnp.float32) for name, size in SIZES.items()},
        action=Bounds((2,), -1.0, 1.0),
        interval=1.0,
        limit=LIMIT,
        start=start,
        control=lambda data, memory, action: (data.state, reach * action),
        observe=observe,
        reward_and_discount=lambda data, memory: (-distance(memory.path, data.state.qpos), jnp.ones(())),
        privileged=PRIVILEGED,
        success="success",
    )


def _velocity(position: Array, velocity: Array, goal: Array) -> Array:
    """The next velocity [2] of a point that moves straight to `goal` [2], seen from the point, and stops there."""
    return goal * jnp.minimum(1.0, SPEED / jnp.maximum(jnp.linalg.norm(goal), 1e-9))


def _damped(position: Array, velocity: Array, goal: Array) -> Array:
    return velocity + STIFFNESS * goal - DAMPING * velocity


def _state(position: Array, velocity: Array) -> physics.State:
    none = jnp.zeros((0,))
    return physics.State(
        position, velocity, none, none, jnp.zeros(()), jnp.zeros((0, 3)), jnp.zeros((0, 4)), none, {}
    )  # fmt: skip


def _engine(accelerate: Callable[[Array, Array, Array], Array]) -> physics.Physics:
    """A point that has the velocity `accelerate(position, velocity, goal)` for the step to come, in JAX."""
    bodies, frames = jnp.zeros((0, 3)), jnp.zeros((0, 3, 3))

    def record(state: physics.State, ctrl: Array) -> physics.Data:
        none = jnp.zeros((0,))
        return physics.Data(state, ctrl, bodies, frames, bodies, frames, none, jnp.zeros((), bool))

    def step(state: physics.State, ctrl: Array, renew: Array, start: physics.State) -> physics.Data:
        velocity = accelerate(state.qpos, state.qvel, ctrl)
        moved = state._replace(qpos=state.qpos + velocity, qvel=velocity, time=state.time + 1)
        state = jax.tree.map(lambda a, b: jnp.where(renew, a, b), start, moved)
        return record(state, jnp.where(renew, 0, ctrl))

    return physics.Physics(None, "jax", 1, lambda state: record(state, jnp.zeros(2)), step)


# --- paths: polylines [V, 2], places on them by arc length [] --------------------------------------


def draw_path(key: Key, turns: str, straights: int) -> Array:
    """Vertices [straights + 1, 2] of a path that begins at the origin along x; turns: see `make`."""
    k_side, k_whether = jax.random.split(key)
    side = jax.random.rademacher(k_side, (straights,), jnp.int32)
    whether = {
        "sharp": jnp.ones((straights,), bool),
        "mixed": jax.random.bernoulli(k_whether, 0.5, (straights,)),
        "none": jnp.zeros((straights,), bool),
    }[turns]
    quarters = jnp.cumsum(jnp.where(whether, side, 0).at[0].set(0)) % 4
    headings = jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])[quarters]
    return jnp.concatenate([jnp.zeros((1, 2)), jnp.cumsum(STRAIGHT * headings, 0)])


def length(path: Array) -> Array:
    """Of the whole path: [] units."""
    return _arcs(path)[-1]


def point_at(path: Array, arc: Array) -> Array:
    """The place [2] `arc` units from the path's beginning; its ends beyond them."""
    arcs, lengths = _arcs(path), _lengths(path)
    last = len(path) - 2
    i = jnp.clip(jnp.searchsorted(arcs, arc, side="right") - 1, 0, last)
    share = jnp.where(lengths[i] > 0, (arc - arcs[i]) / jnp.maximum(lengths[i], 1e-9), 0.0)
    return path[i] + jnp.clip(share, 0.0, 1.0) * (path[i + 1] - path[i])


def ahead(path: Array, position: Array, units: float | Array) -> Array:
    """The goal [2] that is `units` along the path from the place nearest to `position` [2]."""
    return point_at(path, nearest(path, position) + units)


def nearest(path: Array, position: Array, low: float | Array = 0.0, high: float | Array = jnp.inf) -> Array:
    """The arc length [] in [low, high] of the place nearest to `position` [2]; the first one of several."""
    along, gap = _project(path, position, low, high)
    return (_arcs(path)[:-1] + along)[jnp.argmin(gap)]


def distance(path: Array, position: Array) -> Array:
    """From `position` [2] to the path: [] units."""
    return jnp.min(_project(path, position, 0.0, jnp.inf)[1])


def to_next_turn(path: Array, arc: Array) -> Array:
    """Units [] along the path from `arc` to the next vertex where it turns, or to its end."""
    heads = (path[1:] - path[:-1]) / jnp.maximum(_lengths(path), 1e-9)[:, None]
    straight = jnp.sum(heads[1:] * heads[:-1], -1) > 1 - 1e-6
    arcs = _arcs(path)
    turns = jnp.where(straight | (arcs[1:-1] < arc), arcs[-1], arcs[1:-1])
    return jnp.maximum(jnp.min(turns, initial=arcs[-1]) - arc, 0.0)


def _lengths(path: Array) -> Array:
    return jnp.linalg.norm(path[1:] - path[:-1], axis=-1)


def _arcs(path: Array) -> Array:
    """[V] the arc length at each vertex."""
    return jnp.concatenate([jnp.zeros((1,)), jnp.cumsum(_lengths(path))])


def _project(path: Array, position: Array, low: float | Array, high: float | Array) -> tuple[Array, Array]:
    """For each straight [V - 1]: units from its beginning to the place nearest to `position`, and how far that is.

    Places outside of [low, high] do not count; a straight without others is infinitely far.
    """
    lengths, begins = _lengths(path), _arcs(path)[:-1]
    heads = (path[1:] - path[:-1]) / jnp.maximum(lengths, 1e-9)[:, None]
    least, most = jnp.maximum(low - begins, 0.0), jnp.minimum(high - begins, lengths)
    along = jnp.clip(jnp.sum((position - path[:-1]) * heads, -1), least, most)
    gap = jnp.linalg.norm(path[:-1] + along[:, None] * heads - position, axis=-1)
    return along, jnp.where(least <= most, gap, jnp.inf)

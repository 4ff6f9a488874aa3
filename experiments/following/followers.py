"""Policies of the worlds point.path that hold a goal for some steps: how far ahead it lies is what they differ in.

A follower sees the path as the world shows it: the nearest place on it and the next two vertices. Goals stay where they
are while they are held, whatever the point does.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.envs import point
from skillhier.types import Array, Policy

Choose = Callable[[Array], Array]  # coming [3, 2], what is seen of the path -> units ahead [] of the next goal

SIDE = 1.0  # units that the goals of `zigzag` lie beside the path


class Held(NamedTuple):
    """A goal in force."""

    goal: Array  # [B, 2] where it lies
    age: Array  # [B] int32, steps since the episode opened


def fixed(units: float) -> Choose:
    """Always `units` ahead."""
    return lambda coming: jnp.float32(units)


def up_to_the_turn(offered: Sequence[float]) -> Choose:
    """The farthest of the offered look-aheads that does not pass the next turn; the nearest one where all do."""
    units = jnp.sort(jnp.asarray(offered, jnp.float32))

    def choose(coming: Array) -> Array:
        return jnp.max(jnp.where(units <= point.to_next_turn(coming, 0.0), units, units[0]))

    return choose


def near_a_turn(offered: Sequence[float], within: float) -> Choose:
    """The nearest of the offered look-aheads less than `within` units before a turn, elsewhere the farthest."""
    return lambda coming: jnp.where(
        point.to_next_turn(coming, 0.0) < within, jnp.float32(min(offered)), jnp.float32(max(offered))
    )


def follower(choose: Choose, hold: int, reach: float, side: float = 0.0) -> Policy:
    """Names the goal that `choose` says, every `hold` steps; its `params` are the deviation [] of the noise on it.

    reach: the setting of the world. side: goals lie that far to the left and to the right of the path, in turn.
    """

    def act(noise, held, step, key):
        position = step.obs["position"][:, 0]
        coming = step.obs["path"][:, 0].reshape(-1, 3, 2)
        age = jnp.where(step.first, 0, held.age)
        renew = age % hold == 0
        named = position + jax.vmap(point.point_at)(coming, jax.vmap(choose)(coming))
        if side:
            along = coming[:, -1] - coming[:, 0]
            left = jnp.stack([-along[:, 1], along[:, 0]], -1) / jnp.linalg.norm(along, axis=-1, keepdims=True)
            named = named + side * jnp.where(age // hold % 2 == 0, 1.0, -1.0)[:, None] * left
        named = named + noise * jax.random.normal(key, position.shape)
        goal = jnp.where(renew[:, None], named, held.goal)
        return Held(goal, age + 1), (goal - position) / reach, {"goal": goal}

    def init(worlds: int) -> Held:
        return Held(jnp.zeros((worlds, 2)), jnp.zeros(worlds, jnp.int32))

    return Policy(init, act)


def compared(offered: Sequence[float], within: float) -> Mapping[str, Choose]:
    """Every look-ahead alone, and the two ways of choosing by what is ahead, by name."""
    alone = {f"{units:g}": fixed(units) for units in offered}
    return alone | {UP_TO: up_to_the_turn(offered), NEAR: near_a_turn(offered, within)}


UP_TO, NEAR = "up to the turn", "short near a turn"
CHOOSING = (UP_TO, NEAR)

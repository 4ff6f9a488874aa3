"""Goals in the space of a world model's memory: how near a state is to one, and which states are goals of which.

Letters: D numbers of a state, l rows between a state and its goal (a resolution).
"""

import jax.numpy as jnp

from skillhier.types import Array


def cosine_max(state: Array, goal: Array) -> Array:
    """The cosine of two vectors [..., D], times the shorter one's length over the longer one's: [...], within +-1.

    1 only where they are equal, so that both a state's direction and its length count (Director, Hafner et al., 2022).
    """
    longer = jnp.maximum(jnp.linalg.norm(state, axis=-1), jnp.linalg.norm(goal, axis=-1)) + 1e-12
    return (state * goal).sum(-1) / jnp.square(longer)


def nearness(states: Array, goals: Array, *, own: bool) -> Array:
    """How near the state of each row comes to the goal in force, `cosine_max` [T, B] of rows [T, B, D].

    own  False: the goal of the row itself, at a chunk's last row one that has just been chosen there (Director's
         code); True: that of the row before, towards which the row's action was taken
    """
    aimed = jnp.concatenate([goals[:1], goals[:-1]]) if own else goals
    return cosine_max(states, aimed)


def pairs(states: Array, first: Array, offset: int) -> tuple[Array, Array, Array]:
    """(states [T - offset, B, D], those `offset` rows later, whether both are of one episode [T - offset, B]).

    first  [T, B] rows that open an episode. Raises ValueError where T rows hold no pair.
    """
    count = len(states) - offset
    if count < 1:
        raise ValueError(
            f"{len(states)} rows hold no states {offset} apart; set train.sequence_length to more, or agent.resolutions"
        )
    episode = jnp.cumsum(first, 0)
    return states[:count], states[offset:], episode[:count] == episode[offset:]

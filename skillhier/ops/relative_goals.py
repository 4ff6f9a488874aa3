"""Goals that are wished changes of the state (HIRO, Nachum et al., 2018): how they move, what reaching them pays, and
which goal explains what a worker did.

A goal g at state s means the target s + g, which stays where it is while the state moves towards it: at the next state
s' what is left is s + g - s', section 3.2 of the paper. Letters: G size of a goal, N candidates, C rows of one goal.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from skillhier.types import Array, Key

EPSILON = 1e-10  # under the root, so that a goal that is reached has a gradient


def moved(goal: Array, state: Array, later: Array) -> Array:
    """What is left at state `later` of a goal given at `state`: state + goal - later, [..., G] each."""
    return state + goal - later


def distance_reward(left: Array) -> Array:
    """The worker's reward, minus the distance that is left, [...] from [..., G]."""
    return -jnp.sqrt(jnp.square(left).sum(-1) + EPSILON)


def candidates(key: Key, goal: Array, change: Array, half_range: Array, draws: int = 8) -> Array:
    """Goals that may stand for `goal` [B, G], all within +-half_range [G]: [draws + 2, B, G].

    `draws` from N(change, (half_range / 2)^2), `change` [B, G] itself, which is how the state did change, and `goal`.
    """
    noise = jax.random.normal(key, (draws, *goal.shape), goal.dtype)
    every = jnp.concatenate([change + 0.5 * half_range * noise, change[None], goal[None]])
    return jnp.clip(every, -half_range, half_range)


def match(action: Array, mean: Array, half_range: Array, taken: Array) -> Array:
    """How well means [N, C, B, A] explain the actions [C, B, A] of the rows `taken` [C, B], [N, B]: 0 at best.

    Minus the squared errors in units of the action's half-range, summed: a log-likelihood up to scale and constant.
    """
    error = jnp.square((action - mean) / half_range).sum(-1)
    return -jnp.where(taken, error, 0.0).sum(1)


def corrected(
    key: Key,
    mean_action: Callable[[Array], Array],
    goal: Array,
    state: Array,
    end: Array,
    action: Array,
    taken: Array,
    *,
    goal_range: Array,
    action_range: Array,
    draws: int = 8,
) -> Array:
    """The goal among `candidates` under which a worker is likeliest to have acted as it did, [B, G].

    mean_action   what is left of goals at the rows, [N, C, B, G] -> the worker's actions [N, C, B, A]
    goal          that was in force [B, G], given at `state`[0]
    state, action, taken   of C rows, [C, B, ...]; those that are not `taken` [C, B] do not count
    end           the state that the rows led to, [B, G]
    goal_range, action_range   half-ranges, [G] and [A]
    """
    options = candidates(key, goal, end - state[0], goal_range, draws)
    score = match(action, mean_action(moved(options[:, None], state[0], state)), action_range, taken)
    return jnp.take_along_axis(options, score.argmax(0)[None, :, None], 0)[0]

"""Running scales and adaptive weights: pairs (init, update) on small states, held constant in the gradient.

A scale maps values to (value - offset) / scale; an adaptive weight moves by a factor until a measured quantity meets
its target. Sources: DreamerV3, equation 12; Director, fact sheet mrs.md 1.10.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from skillhier.types import Array

State = Any


class Scale(NamedTuple):
    """A running normaliser of values."""

    init: State
    update: Callable[[State, Array], State]  # with new values of any shape
    offset_and_scale: Callable[[State], tuple[Array, Array]]  # [] each


def unscaled() -> Scale:
    """Leaves values as they are."""
    return Scale((), lambda state, values: state, lambda state: (jnp.zeros(()), jnp.ones(())))


def percentiles(low: float = 5.0, high: float = 95.0, decay: float = 0.99, least: float = 1.0) -> Scale:
    """Moving averages of two percentiles: offset is the lower one, scale their distance, at least `least`.

    Values below `least` apart are not blown up, so that noise stays noise where rewards are sparse.
    """
    init = {"low": jnp.zeros(()), "high": jnp.zeros(())}

    def update(state: State, values: Array) -> State:
        new = jnp.percentile(jax.lax.stop_gradient(values), jnp.array([low, high]))
        return {name: decay * state[name] + (1 - decay) * new[i] for i, name in enumerate(("low", "high"))}

    def offset_and_scale(state: State) -> tuple[Array, Array]:
        return state["low"], jnp.maximum(state["high"] - state["low"], least)

    return Scale(init, update, offset_and_scale)


def moments(decay: float, least: float = 0.0, centred: bool = True) -> Scale:
    """Moving mean and standard deviation, corrected for their start at 0; `least` bounds the deviation from below.

    centred: False leaves the mean in, as Director does with returns.
    """
    init = {"mean": jnp.zeros(()), "square": jnp.zeros(()), "updates": jnp.zeros((), jnp.int32)}

    def update(state: State, values: Array) -> State:
        values = jax.lax.stop_gradient(values)
        return {
            "mean": decay * state["mean"] + (1 - decay) * values.mean(),
            "square": decay * state["square"] + (1 - decay) * jnp.square(values).mean(),
            "updates": state["updates"] + 1,
        }

    def offset_and_scale(state: State) -> tuple[Array, Array]:
        seen = 1 - jnp.float32(decay) ** jnp.maximum(state["updates"], 1)
        mean, square = state["mean"] / seen, state["square"] / seen
        # Masked before the root, whose slope at 0 is infinite; this state never has a gradient, but it has a tangent.
        variance = jnp.maximum(square - jnp.square(mean), 1e-16)
        return mean if centred else jnp.zeros(()), jnp.maximum(jnp.sqrt(variance), least)

    return Scale(init, update, offset_and_scale)


class AdaptiveWeight(NamedTuple):
    """A weight that moves a quantity to its target."""

    init: Callable[[tuple[int, ...]], Array]  # shape of the quantity -> weights, 1 each
    update: Callable[[Array, Array], Array]  # (weights, the quantity measured now)


def adaptive_weight(
    target: float, *, low: float = 1e-5, high: float = 1.0, velocity: float = 0.1, inverse: bool = False
) -> AdaptiveWeight:
    """A weight for each element: times 1 + velocity where the quantity exceeds its target by that share, divided by it
    where it falls short, and within [low, high].

    For quantities that the weight makes smaller (a KL to be minimised); inverse: for those that it makes larger (an
    entropy that is maximised).
    """
    factor = 1.0 + velocity

    def update(weights: Array, quantity: Array) -> Array:
        quantity = jax.lax.stop_gradient(quantity)
        above, below = quantity > factor * target, quantity < target / factor
        grow, shrink = (below, above) if inverse else (above, below)
        return jnp.clip(jnp.where(grow, weights * factor, jnp.where(shrink, weights / factor, weights)), low, high)

    return AdaptiveWeight(jnp.ones, update)

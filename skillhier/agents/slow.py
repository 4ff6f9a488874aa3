"""Slow state: what moves without a gradient, in named parts that do not know each other.

Target networks follow the parameters after every update; running scales are moved by the loss that uses them. Each
part has its own place in the tree, `level/part`, and leaves the others as they are.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from skillhier.branch import any_unbatched
from skillhier.types import Array, Params, Slow


def unmoved(state: Any, params: Params, steps: Array) -> Any:
    """Of a part that only the loss moves."""
    return state


class SlowPart(NamedTuple):
    """One part of the slow state, or all of it."""

    init: Callable[[Params], Any]  # from the parameters that a learner begins with
    follow: Callable[[Any, Params, Array], Any] = unmoved  # after an update: state, new parameters, updates so far


NONE = SlowPart(lambda params: ())


def hard_copies(periods: Mapping[str, int], within: str = "") -> SlowPart:
    """Copies of the named children, each renewed every so many updates; children of `params[within]` if it is given."""

    def init(params: Params) -> Slow:
        own = _child(params, within)
        return {name: jax.tree.map(jnp.copy, own[name]) for name in periods}

    def follow(copies: Slow, params: Params, steps: Array) -> Slow:
        own = _child(params, within)

        def renew(name: str, period: int) -> Params:
            # seeds take their steps together, so this stays a branch under vmap
            return jax.lax.cond(any_unbatched(steps % period == 0), lambda: own[name], lambda: copies[name])

        return {name: renew(name, period) for name, period in periods.items()}

    return SlowPart(init, follow)


def counter() -> SlowPart:
    """The updates so far that were not left out, [] int32."""
    return SlowPart(lambda params: jnp.zeros((), jnp.int32), lambda count, params, steps: count + 1)


def moving_averages(rates: Mapping[str, float], within: str = "", period: int = 1) -> SlowPart:
    """Averages of the named children, each moved by its rate in (0, 1] of the way to the parameters after an update.

    With a `period` above 1 they move after every so many updates only, as the targets of TD3 do.
    """
    if period < 1:
        raise ValueError(f"the period of a moving average must be >= 1, got {period}")
    for name, rate in rates.items():
        if not 0 < rate <= 1:
            raise ValueError(f"the rate of a moving average must lie in (0, 1], got {rate} for '{name}'")

    def init(params: Params) -> Slow:
        own = _child(params, within)
        return {name: jax.tree.map(jnp.copy, own[name]) for name in rates}

    def follow(averages: Slow, params: Params, steps: Array) -> Slow:
        own = _child(params, within)

        def moved() -> Slow:
            return {name: optax.incremental_update(own[name], averages[name], rate) for name, rate in rates.items()}

        return moved() if period == 1 else jax.lax.cond(any_unbatched(steps % period == 0), moved, lambda: averages)

    return SlowPart(init, follow)


def combined(parts: Mapping[str, SlowPart]) -> SlowPart:
    """Several parts side by side, each at its path: {'control/target': ...} is slow["control"]["target"].

    Raises ValueError where one path lies within another.
    """
    paths = sorted(parts)
    for one, other in zip(paths, paths[1:], strict=False):
        if other.startswith(f"{one}/"):
            raise ValueError(f"slow state '{other}' lies within '{one}'; give each part a place of its own")

    def init(params: Params) -> Slow:
        state: Slow = {}
        for path, part in parts.items():
            state = _with(state, path, part.init(params))
        return state

    def follow(state: Slow, params: Params, steps: Array) -> Slow:
        for path, part in parts.items():
            state = _with(state, path, part.follow(_child(state, path), params, steps))
        return state

    return SlowPart(init, follow)


def _child(tree: Any, path: str) -> Any:
    for name in filter(None, path.split("/")):
        tree = tree[name]
    return tree


def _with(tree: Slow, path: str, child: Any) -> Slow:
    """`tree` with `child` at `path`; nothing else of it changes."""
    name, _, rest = path.partition("/")
    return {**tree, name: _with(tree.get(name, {}), rest, child) if rest else child}

"""Optimisers by named child of the parameters. A child is named by its path: 'critic', or 'control/actor/mid'."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from skillhier.agents import paths as by_path
from skillhier.types import Params

Rates = dict[str, "optax.ScalarOrSchedule | Rates | None"]


def by_child(children: Mapping[str, optax.GradientTransformation | None]) -> optax.GradientTransformation:
    """Any optax transformation for every named child of the parameters; None freezes that child.

    A path covers all that lies below it, and every parameter must be covered by one path. Each transformation sees
    its child alone: a clipping inside of it is by that child's norm (see `jointly`).
    """
    transformations = {path: optax.set_to_zero() if tx is None else tx for path, tx in children.items()}
    return optax.multi_transform(transformations, lambda params: _labels(params, tuple(children)))


def jointly(tx: optax.GradientTransformation, children: Iterable[str]) -> optax.GradientTransformation:
    """`tx` applied to several named children together, such as a clipping by their common norm; others pass as is."""
    paths = tuple(children)

    def mask(params: Params) -> Params:
        return by_path.mask(params, paths)

    return optax.masked(tx, mask)


def every(period: int, tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """`tx` at every period-th update; at the others neither the parameters change nor the state of `tx`."""
    if period < 1:
        raise ValueError(f"the period of an optimiser must be >= 1, got {period}")
    return tx if period == 1 else optax.conditionally_mask(tx, lambda updates: updates % period == period - 1)


def projected(tx: optax.GradientTransformation, project: Callable[[Params], Params]) -> optax.GradientTransformation:
    """`tx`, after every step of which the parameters are put through `project`."""

    def update(gradient: Params, state: Any, params: Params) -> tuple[Params, Any]:
        change, state = tx.update(gradient, state, params)
        return jax.tree.map(jnp.subtract, project(optax.apply_updates(params, change)), params), state

    return optax.GradientTransformation(tx.init, update)


def frozen(tx: optax.GradientTransformation, paths: tuple[str, ...]) -> optax.GradientTransformation:
    """`tx`, which leaves the parameters below `paths`, and its own state of them, as they are.

    Their gradient counts as zero, also in a norm. Raises ValueError when it is traced: a path that is none.
    """

    def update(gradient: Params, state: Any, params: Params) -> tuple[Params, Any]:
        by_path.check(params, paths)
        held = by_path.mask(params, paths)
        nothing = lambda tree: jax.tree.map(lambda held, x: jnp.zeros_like(x) if held else x, held, tree)  # noqa: E731
        change, moved = tx.update(nothing(gradient), state, params)
        kept = by_path.belonging(state, params, paths)
        return nothing(change), jax.tree.map(lambda keep, old, new: old if keep else new, kept, state, moved)

    return optax.GradientTransformation(tx.init, update)


def adam(rates: Rates, *, max_grad_norm: float = 40.0, decay_updates: int = 0) -> optax.GradientTransformation:
    """Adam (0.9, 0.999, 1e-8) with a rate for every named child; None freezes that child, and a dict has rates for
    the child's own children.

    The gradient's norm over all children that learn is clipped at `max_grad_norm`. A rate may be a function of the
    updates so far. Over `decay_updates` updates all rates, then numbers, fall to zero: see `decayed`.
    """
    rates = traverse_util.flatten_dict(rates, sep="/")
    return optax.chain(
        jointly(optax.clip_by_global_norm(max_grad_norm), [path for path, rate in rates.items() if rate is not None]),
        by_child(
            {path: None if rate is None else optax.adam(decayed(rate, decay_updates)) for path, rate in rates.items()}
        ),
    )


def decayed(rate: optax.ScalarOrSchedule, updates: int) -> optax.ScalarOrSchedule:
    """A rate, then a number, that falls to zero over `updates` updates along a cosine; with 0 it is `rate` as it is."""
    return optax.cosine_decay_schedule(rate, updates) if updates else rate


def _labels(params: Params, paths: tuple[str, ...]) -> Params:
    """The path that covers each parameter, in the form of `params`. Raises ValueError where that is not exactly one."""
    unnamed: list[str] = []
    used: set[str] = set()

    def label(tree: Params, path: str) -> Params:
        if path in paths:
            used.add(path)
            return jax.tree.map(lambda _: path, tree)
        if isinstance(tree, Mapping):
            return {name: label(child, f"{path}/{name}".strip("/")) for name, child in tree.items()}
        unnamed.append(path)
        return jax.tree.map(lambda _: path, tree)

    labels = label(params, "")
    absent = sorted(set(paths) - used)
    if unnamed or absent:
        raise ValueError(
            f"parameters {sorted(unnamed)} have no optimiser, optimisers {absent} no parameters; name each child once"
        )
    return labels

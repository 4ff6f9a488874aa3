"""Matrix products: how many operations a function's take, and how fast the machine does them."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core


def product(rows: int, width: int, operations: float) -> tuple[Callable[[], jax.Array], float]:
    """A job of products [rows, width] x [width, width] in float32, one after the other, and its operations."""
    count = max(1, round(operations / (2 * rows * width**2)))
    x, w = jnp.ones((rows, width)), jnp.full((width, width), 1 / width)
    chain = jax.jit(lambda x, w: jax.lax.fori_loop(0, count, lambda _, y: y @ w, x))
    return lambda: chain(x, w), 2.0 * count * rows * width**2


def product_operations(function: Callable, *arguments: Any, dearest: float = 1.0) -> float:
    """Additions and multiplications in the matrix products of `function`, counted in its jaxpr.

    Products alone: element-wise work, gathers and random draws count as nothing. Of a `while` one turn counts; of
    a `cond` its dearest branch, or where that is known to be taken `dearest` of the times and the cheapest else, so.
    """
    return _operations(jax.make_jaxpr(function)(*arguments).jaxpr, dearest)


def _operations(jaxpr: core.Jaxpr, dearest: float) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[i] for i in contracted)
            continue
        inner = [_operations(part, dearest) for part in _parts(equation)]
        turns = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        branches = equation.primitive.name == "cond" and inner
        total += dearest * max(inner) + (1 - dearest) * min(inner) if branches else turns * sum(inner)
    return total


def _parts(equation: core.JaxprEqn) -> list[core.Jaxpr]:
    """The programs that an equation calls."""
    kinds = (core.Jaxpr, core.ClosedJaxpr)
    leaves = jax.tree.leaves(list(equation.params.values()), is_leaf=lambda leaf: isinstance(leaf, kinds))
    return [getattr(leaf, "jaxpr", leaf) for leaf in leaves if isinstance(leaf, kinds)]

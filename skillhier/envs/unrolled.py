"""Sums over axes of a few elements, written out as additions.

On a CPU a reduction is a separate call, which costs more than a few additions for thousands of worlds; additions are
fused with the operations around them. They are exact in float32 on accelerators that round the factors of a product.
"""

from functools import reduce
from operator import add, and_, or_

import jax
import jax.numpy as jnp
import numpy as np

from skillhier.types import Array


def sum(array: Array) -> Array:
    """The sum over the last axis."""
    return reduce(add, _parts(array))


def all(flags: Array) -> Array:
    """Whether all flags along the last axis are set."""
    return reduce(and_, _parts(flags))


def any(flags: Array) -> Array:
    """Whether any flag along the last axis is set."""
    return reduce(or_, _parts(flags))


def min(array: Array) -> Array:
    """The smallest along the last axis."""
    return reduce(jnp.minimum, _parts(array))


def norm(array: Array) -> Array:
    """The Euclidean length along the last axis."""
    return jnp.sqrt(sum(array * array))


def matvec(matrix: Array, vector: Array) -> Array:
    """matrix [n, k] times vector [k]: [n]."""
    return sum(matrix * vector)


def matmul(matrix: Array, other: Array) -> Array:
    """matrix [n, k] times other [k, m]: [n, m]."""
    return reduce(add, (matrix[:, k, None] * other[k] for k in range(other.shape[0])))


def gram(matrix: Array) -> Array:
    """matrix [n, k] times its transpose: [n, n]."""
    return reduce(add, (matrix[:, None, k] * matrix[None, :, k] for k in range(matrix.shape[1])))


def solve(square: Array, damping: float, right: Array) -> Array:
    """x [n] with (square [n, n] + damping I) x = right [n]; symmetric positive definite, so no pivot is sought.

    Elimination column by column on the system with its right side. Barriers separate the steps: without them XLA
    recomputes all earlier steps for every element of x.
    """
    n = right.shape[0]
    rest = jnp.concatenate([square + damping * jnp.eye(n, dtype=right.dtype), right[:, None]], 1)
    rows = []
    for _ in range(n):
        rest = jax.lax.optimization_barrier(rest)
        row = rest[0] / jnp.maximum(rest[0, 0], 1e-9)
        rows.append(row)
        rest = rest[1:, 1:] - rest[1:, :1] * row[1:]
    x: list[Array] = []
    for row in reversed(rows):
        known = reduce(add, (a * b for a, b in zip(row[1:], x, strict=False)), jnp.zeros((), right.dtype))
        x.insert(0, row[-1] - known)
    return jax.lax.optimization_barrier(jnp.stack(x))


def take(array: Array, places) -> Array:
    """array[places] for places [...] known beforehand, as slices and not as a gather."""
    places = np.asarray(places)
    runs = np.split(places.ravel(), np.flatnonzero(np.diff(places.ravel()) != 1) + 1)
    slices = [jax.lax.slice_in_dim(array, int(run[0]), int(run[-1]) + 1) for run in runs]
    taken = slices[0] if len(slices) == 1 else jnp.concatenate(slices)
    return taken.reshape(*places.shape, *array.shape[1:])


def put(size: int, *parts: tuple[np.ndarray | int, Array]) -> Array:
    """An array [size] with each value [n] at its places [n], known beforehand, and zeros elsewhere."""
    places = np.concatenate([np.atleast_1d(place) for place, _ in parts])
    values = jnp.concatenate([*(jnp.atleast_1d(value) for _, value in parts), jnp.zeros(1, jnp.float32)])
    order = np.full(size, len(places))
    order[places] = np.arange(len(places))
    return take(values, order)


def _parts(array: Array) -> list[Array]:
    return [array[..., k] for k in range(array.shape[-1])]

"""Specs of worlds, or of data, by what is seen and done."""

import jax
import jax.numpy as jnp

from skillhier.types import Bounds, Spec


def spec_of(obs, action=2, **fields) -> Spec:
    """entry -> shape [S, d] or anything with one; actions [A] in [-1, 1], A or anything with a shape."""
    shapes = {
        name: jax.ShapeDtypeStruct(getattr(x, "shape", x), getattr(x, "dtype", jnp.float32)) for name, x in obs.items()
    }
    size = getattr(action, "shape", (action,))
    return Spec(shapes, Bounds(tuple(size), -1.0, 1.0), **{"worlds": 1, "interval": 0.05, "limit": 100} | fields)

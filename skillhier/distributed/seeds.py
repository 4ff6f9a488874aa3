"""Several runs in one program are one vmap over their seeds: which of them is it that a function is traced for?"""

from typing import Any

import jax
import jax.numpy as jnp

AXIS = "seeds"  # the name of that vmap's axis (train.loop)


def index() -> jax.Array | int:
    """The place of the seed: 0, 1, ... of those of the program; 0 where there is only one."""
    try:
        return jax.lax.axis_index(AXIS)
    except NameError:
        return 0


def pick(each: tuple[Any, ...]) -> Any:
    """Of trees of one form the one of this seed; the only one if it is for all seeds."""
    return each[0] if len(each) == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves)[index()], *each)

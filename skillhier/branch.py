"""A predicate for `lax.cond` that stays unbatched under `vmap`."""

from jax.custom_batching import custom_vmap

from skillhier.types import Array


@custom_vmap
def any_unbatched(flags: Array) -> Array:
    """Whether any flag is set, []. Under `vmap` (seeds, worlds) over all instances, and one unbatched flag for them.

    A `lax.cond` on it therefore stays a branch; a batched predicate would turn it into a `select` that runs both sides.
    """
    return flags.any()


@any_unbatched.def_vmap
def _(axis_size, batched, flags):
    return any_unbatched(flags), False

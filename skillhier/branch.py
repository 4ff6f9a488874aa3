"""Branches that stay branches when seeds are vmapped."""

from jax.custom_batching import custom_vmap

from skillhier.types import Array


@custom_vmap
def any_unbatched(flags: Array) -> Array:
    """Whether any flag is set, []. Under `vmap` (seeds, worlds) any of all, and still one flag for all.

    A `lax.cond` on it therefore stays a branch; on a batched predicate it would become a `select` that runs both.
    """
    return flags.any()


@any_unbatched.def_vmap
def _(axis_size, batched, flags):
    return any_unbatched(flags), False

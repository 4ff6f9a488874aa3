"""Which device holds what: several devices in a row (a mesh of one axis), worlds and sequences dealt out among them.

Whoever traces a program says for which mesh (`over`); what is traced there finds it by itself. Without a mesh nothing
here does anything, and the program is that of one device. How things are dealt out never changes what is computed,
but for the order in which sums are taken: random numbers do not depend on it (jax_threefry_partitionable).
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "devices"


def mesh(count: int = 0) -> Mesh | None:
    """`count` devices of every host in a row, all if 0; None for a single one. Raises ValueError."""
    there = jax.local_device_count()
    if not 0 <= count <= there:
        raise ValueError(f"--devices={count}: there are {there} here; choose 1 to {there}, or 0 for all")
    hosts = range(jax.process_count())
    chosen = [device for host in hosts for device in jax.local_devices(host)[: count or None]]
    return Mesh(np.array(chosen), (AXIS,), axis_types=(AxisType.Auto,)) if len(chosen) > 1 else None


def use_mesh(row: Mesh | None):
    """Within this context programs are traced for these devices."""
    return jax.sharding.use_abstract_mesh(row.abstract_mesh) if row else nullcontext()


def num_devices() -> int:
    """How many devices the program is for that is being traced."""
    found = jax.sharding.get_abstract_mesh()
    return found.shape.get(AXIS, 1)


def named_sharding(row: Mesh, axis: int = -1) -> NamedSharding:
    """How an array lies whose `axis` is dealt out; with -1 every device holds all of it."""
    return NamedSharding(row, _partition_spec(axis))


def shard(tree: Any, axis: int) -> Any:
    """`tree` with that axis of its leaves dealt out, if there is an equal share for everybody."""
    many = num_devices()
    if many == 1:
        return tree
    fair = lambda leaf: leaf.shape[axis] % many == 0  # noqa: E731
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, _partition_spec(axis)) if fair(x) else x, tree)


def flatten_rows(x: jax.Array, keep: int = 0) -> jax.Array:
    """`x` [..., D] with one axis of rows after the first `keep`; as it is where sequences are dealt out.

    They count below time, and what is dealt out cannot be merged below another axis: every device would get all rows.
    """
    return x if num_devices() > 1 else x.reshape(*x.shape[:keep], -1, x.shape[-1])


def per_device(call: Callable) -> Callable:
    """`call`, whose arguments and results count worlds on axis 0, as done by each device for its own worlds.

    Worlds in C must be stepped so: left to itself, every device would step all of them.
    """

    @wraps(call)
    def each(*arguments):
        many = num_devices()
        if many == 1:
            return call(*arguments)
        worlds = len(jax.tree.leaves(arguments)[0])
        if worlds % many:
            raise ValueError(
                f"{worlds} worlds cannot be shared out evenly among {many} devices; "
                f"set env.worlds to a multiple of {many}, or choose other --devices"
            )
        spec = _partition_spec(0)
        return jax.shard_map(call, in_specs=spec, out_specs=spec, check_vma=False)(*arguments)

    return each


def sharded_gather(rows: jax.Array, place: jax.Array, world: jax.Array) -> jax.Array:
    """rows[place, world] of rows [N, B, ...] whose worlds are dealt out; place [L, batch, ...], world [1, batch, ...].

    Each device looks up what it has, and what comes out is dealt out by batch. Left to itself, every device would
    fetch all rows of all worlds first. All places must exist.
    """
    many = num_devices()
    look = lambda rows, place, world: rows.at[place, world].get(mode="promise_in_bounds")  # noqa: E731
    if many == 1 or rows.shape[1] % many:
        return look(rows, place, world)
    fair = place.shape[1] % many == 0

    def mine(rows: jax.Array, place: jax.Array, world: jax.Array) -> jax.Array:
        share = rows.shape[1]
        own = world - share * jax.lax.axis_index(AXIS)
        found = look(rows, place, jnp.clip(own, 0, share - 1))
        here = jnp.broadcast_to((own >= 0) & (own < share), place.shape)
        found = jnp.where(here.reshape(*here.shape, *(1,) * (found.ndim - here.ndim)), found, jnp.zeros_like(found))
        total = found.astype(jnp.uint8) if found.dtype == bool else found
        total = (
            jax.lax.psum_scatter(total, AXIS, scatter_dimension=1, tiled=True) if fair else jax.lax.psum(total, AXIS)
        )
        return total.astype(found.dtype)

    places = (_partition_spec(1), _partition_spec(-1), _partition_spec(-1))
    return jax.shard_map(mine, in_specs=places, out_specs=_partition_spec(1 if fair else -1), check_vma=False)(
        rows, place, world
    )


def put(tree: Any, where: Any) -> Any:
    """`tree`, which is the same on every host, laid out as `where` says: a sharding, or a tree of them."""
    if isinstance(where, NamedSharding):
        where = jax.tree.map(lambda _: where, tree)
    return jax.tree.map(_put, tree, where)


def _put(leaf: Any, where: NamedSharding) -> jax.Array:
    if where.is_fully_addressable:
        return jax.device_put(leaf, where)
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_put(jax.random.key_data(leaf), where), impl=jax.random.key_impl(leaf))
    values = np.asarray(leaf)
    return jax.make_array_from_callback(values.shape, where, lambda index: values[index])


def replicate(tree: Any) -> Any:
    """`tree` with all of every leaf on every device that holds a part of it."""
    whole = lambda leaf: jax.jit(lambda x: x, out_shardings=named_sharding(leaf.sharding.mesh))(leaf)  # noqa: E731
    return jax.tree.map(lambda leaf: whole(leaf) if isinstance(leaf.sharding, NamedSharding) else leaf, tree)


def local_copy(tree: Any) -> Any:
    """What this host's first device holds of `tree`: all of it, where every device holds everything."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def _partition_spec(axis: int) -> PartitionSpec:
    return PartitionSpec(*[None] * axis, AXIS) if axis >= 0 else PartitionSpec()

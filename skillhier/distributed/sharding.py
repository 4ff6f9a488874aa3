"""Data parallelism over a mesh of one axis: worlds and sequences are sharded, parameters replicated.

A program is traced within `use_mesh`, and the functions here read the mesh from that context. Without a mesh they do
nothing, and the program is that of one device. Sharding does not change what is computed except for the order of sums:
random numbers do not depend on it (jax_threefry_partitionable).
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
    """A mesh of `count` devices of every host, all if 0; None for a single device. Raises ValueError."""
    available = jax.local_device_count()
    if not 0 <= count <= available:
        raise ValueError(f"--devices={count}: there are {available} here; choose 1 to {available}, or 0 for all")
    hosts = range(jax.process_count())
    devices = [device for host in hosts for device in jax.local_devices(host)[: count or None]]
    return Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,)) if len(devices) > 1 else None


def use_mesh(mesh: Mesh | None):
    """A context in which programs are traced for the devices of `mesh`; without effect for None."""
    return jax.sharding.use_abstract_mesh(mesh.abstract_mesh) if mesh else nullcontext()


def num_devices() -> int:
    """The number of devices that the program being traced is for."""
    return jax.sharding.get_abstract_mesh().shape.get(AXIS, 1)


def named_sharding(mesh: Mesh, axis: int = -1) -> NamedSharding:
    """The sharding of an array along `axis`; replicated with -1."""
    return NamedSharding(mesh, _partition_spec(axis))


def shard(tree: Any, axis: int) -> Any:
    """`tree` with those leaves sharded along `axis` whose size there is a multiple of the number of devices."""
    count = num_devices()
    if count == 1:
        return tree
    even = lambda leaf: leaf.shape[axis] % count == 0  # noqa: E731
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, _partition_spec(axis)) if even(x) else x, tree)


def flatten_rows(x: jax.Array, keep: int = 0) -> jax.Array:
    """`x` [..., D] with its axes after the first `keep` merged into one of rows; unchanged where sequences are sharded.

    Sequences are an axis after time, and merging a sharded axis into an earlier one would replicate all rows.
    """
    return x if num_devices() > 1 else x.reshape(*x.shape[:keep], -1, x.shape[-1])


def per_device(call: Callable) -> Callable:
    """`call`, with worlds on axis 0 of its arguments and results, run by each device on its own worlds.

    Callbacks that step worlds in C need this: otherwise every device would step all worlds.
    """

    @wraps(call)
    def each(*arguments):
        count = num_devices()
        if count == 1:
            return call(*arguments)
        worlds = len(jax.tree.leaves(arguments)[0])
        if worlds % count:
            raise ValueError(
                f"{worlds} worlds cannot be divided evenly among {count} devices; "
                f"set env.worlds to a multiple of {count}, or choose other --devices"
            )
        spec = _partition_spec(0)
        return jax.shard_map(call, in_specs=spec, out_specs=spec, check_vma=False)(*arguments)

    return each


def sharded_gather(rows: jax.Array, index: jax.Array, world: jax.Array) -> jax.Array:
    """rows[index, world] of rows [N, B, ...] sharded by world; index [L, batch, ...], world [1, batch, ...].

    Each device looks up its own worlds, and the result is sharded by batch. Plain indexing would make every device
    fetch the rows of all worlds first. Indices must be in bounds.
    """
    count = num_devices()
    gather = lambda rows, index, world: rows.at[index, world].get(mode="promise_in_bounds")  # noqa: E731
    if count == 1 or rows.shape[1] % count:
        return gather(rows, index, world)
    even = index.shape[1] % count == 0

    def local(rows: jax.Array, index: jax.Array, world: jax.Array) -> jax.Array:
        worlds = rows.shape[1]  # of this device
        own = world - worlds * jax.lax.axis_index(AXIS)
        values = gather(rows, index, jnp.clip(own, 0, worlds - 1))
        here = jnp.broadcast_to((own >= 0) & (own < worlds), index.shape)
        values = jnp.where(here.reshape(*here.shape, *(1,) * (values.ndim - here.ndim)), values, jnp.zeros_like(values))
        total = values.astype(jnp.uint8) if values.dtype == bool else values
        total = (
            jax.lax.psum_scatter(total, AXIS, scatter_dimension=1, tiled=True) if even else jax.lax.psum(total, AXIS)
        )
        return total.astype(values.dtype)

    specs = (_partition_spec(1), _partition_spec(-1), _partition_spec(-1))
    return jax.shard_map(local, in_specs=specs, out_specs=_partition_spec(1 if even else -1), check_vma=False)(
        rows, index, world
    )


def put(tree: Any, shardings: Any) -> Any:
    """`tree`, which is the same on every host, placed on devices. shardings: one for all leaves, or a tree of them."""
    if isinstance(shardings, NamedSharding):
        shardings = jax.tree.map(lambda _: shardings, tree)
    return jax.tree.map(_put, tree, shardings)


def _put(leaf: Any, place: NamedSharding) -> jax.Array:
    if place.is_fully_addressable:
        return jax.device_put(leaf, place)
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_put(jax.random.key_data(leaf), place), impl=jax.random.key_impl(leaf))
    values = np.asarray(leaf)
    return jax.make_array_from_callback(values.shape, place, lambda index: values[index])


def replicate(tree: Any) -> Any:
    """`tree` with every sharded leaf replicated over the devices of its mesh."""
    whole = lambda leaf: jax.jit(lambda x: x, out_shardings=named_sharding(leaf.sharding.mesh))(leaf)  # noqa: E731
    return jax.tree.map(lambda leaf: whole(leaf) if isinstance(leaf.sharding, NamedSharding) else leaf, tree)


def local_copy(tree: Any) -> Any:
    """The part of `tree` on this host's first device: all of it if the tree is replicated."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def _partition_spec(axis: int) -> PartitionSpec:
    return PartitionSpec(*[None] * axis, AXIS) if axis >= 0 else PartitionSpec()

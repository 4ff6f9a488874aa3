"""Encoders: observation entries to one feature vector. An encoder is a slot, a pair (init, apply).

`whitened` vectors are one kind; pictures and learned encoders fill the same slot, and `concatenated` puts several side
by side. Agents apply an encoder once per batch, to all rows together.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.types import Array, Key, Params

LIMIT = 10.0  # whitened values are clipped at this many standard deviations
FLOOR = 1e-3  # smallest standard deviation divided by, so that a constant entry stays small


class Encoder(NamedTuple):
    """Parameters, and a function of observation entries [..., S, *shape] (S frames, newest first) to [..., F]."""

    init: Callable[[Key], Params]
    apply: Callable[[Params, Mapping[str, Array]], Array]
    trainable: bool = False  # whether an optimiser may move its parameters


# entries and shapes, names, statistics -> an encoder of the named entries
MakeEncoder = Callable[[Mapping, Sequence[str], Mapping | None], Encoder]


def whitened(obs: Mapping, names: Sequence[str], statistics: Mapping | None = None) -> Encoder:
    """All frames of the named vectors, whitened and clipped, side by side: [..., S * D]. S may differ by entry.

    obs         entry -> anything with .shape [S, d]
    statistics  entry -> (mean [d], std [d]); without them values are only clipped

    The parameters are {entry: {"mean" [d], "std" [d]}} and never trained. `apply` reads its own entries only, so
    several encoders may share one dictionary of statistics. Raises ValueError for an unknown entry, or one that is no
    vector.
    """
    names = tuple(dict.fromkeys(names))
    for name in names:
        if name not in obs:
            raise ValueError(f"observation '{name}' is not known; choose of {', '.join(sorted(obs))}")
        if len(obs[name].shape) != 2:
            shape = list(obs[name].shape[1:])
            raise ValueError(f"observation '{name}' has shape {shape}, and only vectors are whitened; leave it out")

    def init(key: Key) -> Params:
        del key
        params = {}
        for name in names:
            size = obs[name].shape[-1]
            mean, std = (jnp.zeros(size), jnp.ones(size)) if statistics is None else statistics[name]
            mean, std = jnp.asarray(mean, jnp.float32), jnp.maximum(jnp.asarray(std, jnp.float32), FLOOR)
            params[name] = {"mean": mean, "std": std}
        return params

    def apply(params: Params, entries: Mapping[str, Array]) -> Array:
        if not names:
            raise ValueError("an encoder of no entries has no features; name at least one observation")
        params = jax.lax.stop_gradient(params)
        # entries with as many frames side by side: frame by frame, all entries of the newest first
        depths = dict.fromkeys(entries[name].shape[-2] for name in names)
        return jnp.concatenate(
            [frames(params, entries, [n for n in names if entries[n].shape[-2] == depth]) for depth in depths], -1
        )

    def frames(params: Params, entries: Mapping[str, Array], names: Sequence[str]) -> Array:
        mean = jnp.concatenate([params[name]["mean"] for name in names])
        std = jnp.concatenate([params[name]["std"] for name in names])
        rows = jnp.concatenate([entries[name] for name in names], -1)  # [..., S, D]
        rows = jnp.clip((rows - mean) / std, -LIMIT, LIMIT)
        return rows.reshape(*rows.shape[:-2], -1)

    return Encoder(init, apply)


class Seen(NamedTuple):
    """Features beside pictures, which networks make features of for themselves (nets/vision.py)."""

    vectors: Array  # [..., F]
    pictures: Array  # [..., H, W, C] uint8: of several, one colour after the other


def beside_pictures(make: MakeEncoder, obs: Mapping, names: Sequence[str], statistics: Mapping | None) -> Encoder:
    """`make`'s features of the vectors among the names, and the newest frames of the pictures among them, as `Seen`.

    Without pictures it is `make`'s encoder. Raises ValueError as `make`, and for pictures of different sizes.
    """
    pictures = [name for name in dict.fromkeys(names) if name in obs and len(obs[name].shape) == 4]
    vectors = [name for name in names if name not in pictures]
    own = make(obs, vectors, statistics)
    if not pictures:
        return own
    sizes = {obs[name].shape[1:3] for name in pictures}
    if len(sizes) > 1:
        raise ValueError(f"pictures {', '.join(pictures)} differ in size and cannot be seen together; leave some out")

    def apply(params: Params, entries: Mapping[str, Array]) -> Seen:
        newest = [entries[name][..., 0, :, :, :] for name in pictures]
        features = own.apply(params, entries) if vectors else jnp.zeros((*newest[0].shape[:-3], 0))
        return Seen(features, jnp.concatenate(newest, -1))

    return Encoder(own.init, apply, own.trainable)


def concatenated(encoders: Mapping[str, Encoder]) -> Encoder:
    """The features of several encoders side by side; parameters by the encoders' names."""

    def init(key: Key) -> Params:
        keys = jax.random.split(key, len(encoders))
        return {name: one.init(k) for k, (name, one) in zip(keys, encoders.items(), strict=True)}

    def apply(params: Params, entries: Mapping[str, Array]) -> Array:
        return jnp.concatenate([one.apply(params[name], entries) for name, one in encoders.items()], -1)

    return Encoder(init, apply, any(one.trainable for one in encoders.values()))


def newest(entries: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
    """The named entries with their newest frame alone, [T, B, 1, ...] from [T, B, S, ...]."""
    return {name: entries[name][:, :, :1] for name in names}


def lookahead(features: Array, count: int) -> Array:
    """The features of rows t .. t + count as one vector for every t: [T, B, (count + 1) * F] from [T + count, B, F].

    The last `count` rows are looked at but have no row of their own.
    """
    length = features.shape[0] - count
    if length < 1:
        raise ValueError(
            f"a window of {features.shape[0]} rows is too short for a look-ahead of {count}; set train.sequence_length"
        )
    return jnp.concatenate([features[i : i + length] for i in range(count + 1)], -1)


def blank(obs: Mapping, names: Sequence[str], lead: tuple[int, ...] = (1,)) -> dict[str, Array]:
    """Zeros [*lead, S, ...] of the named entries, to initialise networks with."""
    return {name: jnp.zeros((*lead, *obs[name].shape), obs[name].dtype) for name in dict.fromkeys(names)}

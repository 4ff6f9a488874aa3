"""Observation entries to features. Statistics of the data are parameters that nothing trains."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from skillhier.types import Array, Params

LIMIT = 10.0  # whitened values beyond this many standard deviations are cut
FLOOR = 1e-3  # smallest standard deviation divided by: an entry that never moved in the data stays quiet


def whitening(statistics: dict | None, obs: dict, names: Sequence[str]) -> Params:
    """{entry: {"mean", "std"}} of shape [D] for `names`; without `statistics` it changes nothing but the cut.

    `obs` gives shapes: entry -> anything with .shape [..., D]. `statistics` is {entry: (mean [D], std [D])}.
    """
    missing = [name for name in names if name not in obs]
    if missing:
        raise ValueError(f"observation '{missing[0]}' is not known; there are {', '.join(sorted(obs))}")
    made = {}
    for name in dict.fromkeys(names):
        size = obs[name].shape[-1]
        mean, std = (jnp.zeros(size), jnp.ones(size)) if statistics is None else statistics[name]
        made[name] = {"mean": jnp.asarray(mean, jnp.float32), "std": jnp.maximum(jnp.asarray(std, jnp.float32), FLOOR)}
    return made


def frames(whitening: Params, obs: dict[str, Array], names: Sequence[str]) -> Array:
    """The named entries side by side, whitened and cut at 10 standard deviations, [..., S, D] from [..., S, d] each."""
    whitening = jax.lax.stop_gradient(whitening)
    mean = jnp.concatenate([whitening[name]["mean"] for name in names])
    std = jnp.concatenate([whitening[name]["std"] for name in names])
    entries = jnp.concatenate([obs[name] for name in names], -1)
    return jnp.clip((entries - mean) / std, -LIMIT, LIMIT)


def stacked(whitening: Params, obs: dict[str, Array], names: Sequence[str]) -> Array:
    """All frames of the named entries, newest first, as one vector [..., S * D]."""
    seen = frames(whitening, obs, names)
    return seen.reshape(*seen.shape[:-2], -1)


def ahead(whitening: Params, obs: dict[str, Array], names: Sequence[str], count: int) -> Array:
    """The newest frames of rows t .. t + count as one vector for every t, [T, B, (count + 1) * D].

    `obs` holds T + count rows; the last `count` are looked at but have no row of their own.
    """
    newest = frames(whitening, {name: obs[name][..., 0, :] for name in names}, names)  # [T + count, B, D]
    length = newest.shape[0] - count
    if length < 1:
        raise ValueError(f"a window of {newest.shape[0]} rows leaves none before a look-ahead of {count}; lengthen it")
    return jnp.concatenate([newest[i : i + length] for i in range(count + 1)], -1)

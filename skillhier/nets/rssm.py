"""A recurrent state-space model (Hafner et al., 2019): what is remembered, deter, and what is sampled, stoch.

One row of imagining: x = layer(stoch, action), deter' = cell(x, deter), and the prior of stoch' from deter'. One row of
observing adds the posterior of stoch' from deter' and the embedding of what was seen. Latents are Gaussian or
categorical (ops/latents.py), cells `gru` (Keras' GRU, reset after: Dreamer) or `norm_gru` (one linear layer on
(deter, x), layer norm over all three gates, update gate biased by -1: DreamerV2, Director, DreamerV3).

Everything that does not recur is computed for all rows at once: products with embeddings and actions before the scan,
priors after it.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.nets.mlp import GLOROT, DType, Style
from skillhier.ops.latents import Kind, Stats
from skillhier.types import Array, Key, Params

CELLS = ("gru", "norm_gru")
INITIAL = ("zeros", "learned")
ORTHOGONAL = jax.nn.initializers.orthogonal()


class Latent(NamedTuple):
    """The state of a world model, [...] rows."""

    stoch: Array  # [..., S]
    deter: Array  # [..., D]


class Dynamics(NamedTuple):
    """The functions of an RSSM. Actions are [..., A], embeddings [..., E]; noise is that of `kind.noise`."""

    init: Callable[[Key], Params]
    blank: Callable[[Params, tuple[int, ...]], Latent]  # before an episode's first row
    observe: Callable[..., tuple[Latent, Stats]]  # (params, latent, action, embedding, first, noise) -> posterior
    observe_rows: Callable[..., tuple[Latent, Stats]]  # the same of [T, B] rows from a blank latent on
    imagine: Callable[[Params, Latent, Array, Array], Latent]  # (params, latent, action, noise)
    prior: Callable[[Params, Array], Stats]  # of stoch, from deter
    feature: Callable[[Latent], Array]  # [..., S + D]
    kind: Kind
    features: int  # S + D


def make(
    kind: Kind,
    *,
    action: int,
    embedding: int,
    deter: int = 200,
    hidden: int = 200,
    cell: str = "gru",
    initial: str = "zeros",
    style: Style = GLOROT,
    dtype: DType = jnp.float32,
    unroll: int = 1,
) -> Dynamics:
    """An RSSM with latents of `kind`.

    action, embedding  their sizes
    hidden             width of the layers around the cell
    initial            zeros; or learned: deter is tanh of a learned vector, stoch the mode of its prior
    unroll             rows of `observe_rows` in one step of its scan
    """
    if cell not in CELLS:
        raise ValueError(f"cell '{cell}' is not known; choose {' or '.join(CELLS)} in agent.cell")
    if initial not in INITIAL:
        raise ValueError(f"initial '{initial}' is not known; choose {' or '.join(INITIAL)} in agent.initial")
    gru = {"gru": _gru, "norm_gru": _norm_gru}[cell]

    def init(key: Key) -> Params:
        keys = iter(jax.random.split(key, 8))
        layer = partial(_init_layer, style=style)
        params = {
            "inputs": layer(next(keys), kind.size + action, hidden),
            "prior": layer(next(keys), deter, hidden),
            "prior_stats": _init_linear(next(keys), hidden, kind.outputs, style),
            "posterior": layer(next(keys), deter + embedding, hidden),
            "posterior_stats": _init_linear(next(keys), hidden, kind.outputs, style),
        }
        if cell == "gru":
            params["cell"] = {
                "input": _init_linear(next(keys), hidden, 3 * deter, style),
                "recurrent": {
                    "kernel": ORTHOGONAL(next(keys), (deter, 3 * deter), jnp.float32),
                    "bias": jnp.zeros(3 * deter),
                },
            }
        else:
            params["cell"] = _init_layer(next(keys), deter + hidden, 3 * deter, style._replace(norm=True))
        if initial == "learned":
            params["initial"] = jnp.zeros(deter)
        return params

    linear, layer = partial(_linear, dtype=dtype), partial(_layer, style=style)

    def prior(params: Params, h: Array) -> Stats:
        return kind.stats(linear(params["prior_stats"], layer(params["prior"], linear(params["prior"], h))))

    def blank(params: Params, rows: tuple[int, ...]) -> Latent:
        if initial == "zeros":
            return Latent(jnp.zeros((*rows, kind.size)), jnp.zeros((*rows, deter)))
        h = jnp.broadcast_to(jnp.tanh(params["initial"]), (*rows, deter))
        return Latent(kind.mode(prior(params, h)), h)

    def remember(params: Params, latent: Latent, from_action: Array) -> Array:
        """deter', [..., D]; `from_action` is the action's share of the first layer, before its activation."""
        x = linear(params["inputs"], latent.stoch, slice(0, kind.size)) + from_action
        return gru(params["cell"], latent.deter, layer(params["inputs"], x), dtype)

    def from_action(params: Params, action: Array) -> Array:
        return linear(params["inputs"], action, slice(kind.size, None), bias=True)

    def see(params: Params, h: Array, from_embedding: Array) -> Stats:
        x = linear(params["posterior"], h, slice(0, deter)) + from_embedding
        return kind.stats(linear(params["posterior_stats"], layer(params["posterior"], x)))

    def from_embedding(params: Params, embedding: Array) -> Array:
        return linear(params["posterior"], embedding, slice(deter, None), bias=True)

    def begin(fresh: Latent, latent: Latent, first: Array) -> Latent:
        return jax.tree.map(lambda new, old: jnp.where(first[..., None], new, old), fresh, latent)

    def observe(params, latent, action, embedding, first, noise):
        latent = begin(blank(params, first.shape), latent, first)
        action = jnp.where(first[..., None], 0.0, action)
        h = remember(params, latent, from_action(params, action))
        stats = see(params, h, from_embedding(params, embedding))
        return Latent(kind.sample(stats, noise), h), stats

    def observe_rows(params, action, embedding, first, noise):
        fresh = blank(params, first.shape[1:])
        action = jnp.where(first[..., None], 0.0, action)

        def row(latent: Latent, inputs):
            from_action, from_embedding, first, noise = inputs
            h = remember(params, begin(fresh, latent, first), from_action)
            stats = see(params, h, from_embedding)
            latent = Latent(kind.sample(stats, noise), h)
            return latent, (latent, stats)

        inputs = from_action(params, action), from_embedding(params, embedding), first, noise
        return jax.lax.scan(row, fresh, inputs, unroll=unroll)[1]

    def imagine(params, latent, action, noise):
        h = remember(params, latent, from_action(params, action))
        return Latent(kind.sample(prior(params, h), noise), h)

    return Dynamics(
        init,
        blank,
        observe,
        observe_rows,
        imagine,
        prior,
        lambda latent: jnp.concatenate(latent, -1),
        kind,
        kind.size + deter,
    )


def _init_linear(key: Key, inputs: int, size: int, style: Style, bias: bool = True) -> Params:
    kernel = style.kernel_init()(key, (inputs, size), jnp.float32)
    return {"kernel": kernel, "bias": jnp.zeros(size)} if bias else {"kernel": kernel}


def _init_layer(key: Key, inputs: int, size: int, style: Style) -> Params:
    params = _init_linear(key, inputs, size, style, bias=not style.norm)
    return params | ({"scale": jnp.ones(size), "offset": jnp.zeros(size)} if style.norm else {})


def _linear(params: Params, x: Array, rows: slice | None = None, *, bias: bool = False, dtype: DType) -> Array:
    """x times the kernel, or times some rows of it; then the bias is added only if asked for."""
    kernel = params["kernel"] if rows is None else params["kernel"][rows]
    y = (x.astype(dtype) @ kernel.astype(dtype)).astype(jnp.float32)
    return y + params["bias"] if "bias" in params and (rows is None or bias) else y


def _layer(params: Params, x: Array, style: Style) -> Array:
    """What follows the products of a layer: norm, if it has one, and activation."""
    return style.activate(_normed(params, x) if style.norm else x)


def _normed(params: Params, x: Array) -> Array:
    x = x - x.mean(-1, keepdims=True)
    x = x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-3)
    return x * params["scale"] + params["offset"]


def _gru(params: Params, h: Array, x: Array, dtype: DType) -> Array:
    """Keras' GRU with reset_after: gates update, reset, candidate; two biases."""
    update, reset, candidate = jnp.split(_linear(params["input"], x, dtype=dtype), 3, -1)
    update_h, reset_h, candidate_h = jnp.split(_linear(params["recurrent"], h, dtype=dtype), 3, -1)
    update, reset = jax.nn.sigmoid(update + update_h), jax.nn.sigmoid(reset + reset_h)
    return update * h + (1 - update) * jnp.tanh(candidate + reset * candidate_h)


def _norm_gru(params: Params, h: Array, x: Array, dtype: DType) -> Array:
    gates = _normed(params, _linear(params, jnp.concatenate([h, x], -1), dtype=dtype))
    reset, candidate, update = jnp.split(gates, 3, -1)
    update = jax.nn.sigmoid(update - 1)
    return update * jnp.tanh(jax.nn.sigmoid(reset) * candidate) + (1 - update) * h

"""What goal coders learn from: states of real rows, each paired with one some rows later, or with none (MRS, Director).

The loss of a coder is E[|goal - decoded|^2] + weight KL(code || uniform), with one sampled code, over its own pairs:
equations 1 and 2 of MRS. Rows get no gradient.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.ops import divergence, goals
from skillhier.ops.latents import Kind
from skillhier.ops.scale import AdaptiveWeight
from skillhier.types import Array, Key, Metrics, Params, Scalar, Slow, SlowLoss, Trajectory


class Coder(NamedTuple):
    """One goal coder; a context is [M, D]."""

    encode: Callable[[Params, Array, Array], Array]  # (params, context, goal [M, D]) -> outputs of the code's network
    decode: Callable[[Params, Array, Array], Array]  # (params, context, code [M, Z]) -> goal
    offset: int = 0  # rows from its context to its goal


def coder_loss(coders: Mapping[str, Coder], kind: Kind, weight: AdaptiveWeight | None = None) -> SlowLoss:
    """The loss of all coders, from names to coders of codes of `kind`, whose parameters are params["coder"]; states are
    the entry `deter` [T, B, D]. Raises ValueError, when traced, where T rows hold no pair of a coder.

    weight  of each coder's KL, moved to its target before it is used; None: 1
    Metrics of each coder: NAME_error, NAME_kl in nats, NAME_weight.
    """

    def one(coder: Coder, params: Params, batch: Trajectory, key: Key) -> tuple[Scalar, Scalar]:
        states = jax.lax.stop_gradient(batch.step.obs["deter"])
        context, goal, valid = goals.pairs(states, batch.step.first, coder.offset)
        stats = kind.stats(coder.encode(params, context, goal))
        code = kind.sample(stats, kind.noise(key, valid.shape))
        error = jnp.square(goal - coder.decode(params, context, code)).sum(-1)
        nats = divergence.uniform(stats["log_p"]).sum(-1)
        share = valid / jnp.maximum(valid.sum(), 1)
        return (share * error).sum(), (share * nats).sum()

    def loss(params: Params, slow: Slow, batch: Trajectory, key: Key) -> tuple[Scalar, tuple[Slow, Metrics]]:
        total, metrics, moved = 0.0, {}, {}
        for (name, coder), coder_key in zip(coders.items(), jax.random.split(key, len(coders)), strict=True):
            error, nats = one(coder, params["coder"], batch, coder_key)
            share = 1.0
            if weight is not None:
                share = moved[name] = weight.update(slow["weight"][name], nats)
                metrics[f"{name}_weight"] = share
            total = total + error + share * nats
            metrics |= {f"{name}_error": error, f"{name}_kl": nats}
        return total, ({**slow, "weight": moved} if weight is not None else slow, metrics)

    return loss


def init_slow(coders: Mapping[str, Coder], weight: AdaptiveWeight | None) -> Slow:
    """The slow state that the loss moves."""
    return {} if weight is None else {"weight": {name: weight.init(()) for name in coders}}


def decoding_error(coder: Coder, kind: Kind, params: Params, context: Array, goal: Array, key: Key) -> Array:
    """Mean squared error over a state's numbers of a goal that is encoded, sampled and decoded, [...] from [..., D]:
    large where a coder has not been, which is what exploration is paid for (MRS, equation 6; Director).
    """
    stats = kind.stats(coder.encode(params, context, goal))
    code = kind.sample(stats, kind.noise(key, goal.shape[:-1]))
    return jnp.square(coder.decode(params, context, code) - goal).mean(-1)

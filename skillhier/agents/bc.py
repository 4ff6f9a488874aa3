"""Behaviour cloning of demonstrations, with or without a latent in between.

Read in order: losses/imitation.py, policies/flat.py. The hierarchical clone is agents/helms.py with one skill and a
bound without its KL terms: a Gaussian latent of the full observation, one sample of it, then the low level.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from skillhier.agents import helms
from skillhier.agents.learner import MAX_CONSECUTIVE_SKIPS, learner, stateless
from skillhier.agents.optimisers import adam
from skillhier.losses.imitation import imitation
from skillhier.nets import encoder
from skillhier.nets.encoder import MakeEncoder
from skillhier.nets.mlp import MLP
from skillhier.ops.families import draw
from skillhier.policies.flat import flat
from skillhier.types import Agent, Spec

DEFAULTS = helms.SHARED
HIERARCHICAL = helms.SHARED | helms.LATENT | helms.PRIOR


def make(
    spec: Spec,
    *,
    mid: Sequence[str] = (),
    low: Sequence[str] = (),
    hidden: Sequence[int] = (256, 256),
    lookahead: int = 5,
    action_stddev: float = 0.1,
    statistics: Mapping | None = None,
    make_encoder: MakeEncoder = encoder.whitened,
    learning_rate: float = 1e-4,
    max_grad_norm: float = 40.0,
    decay_updates: int = 0,
    max_consecutive_skips: int = MAX_CONSECUTIVE_SKIPS,
    frozen: Sequence[str] = (),
    dtype: Any = jnp.float32,
) -> Agent:
    """As agents.helms.make; the clone sees `mid` (`low` is accepted for the sake of a common call, and not seen).

    The last `lookahead` rows of a window are not learned from, so that a clone learns from the same rows as its rivals.
    """
    net = MLP(hidden, spec.action.shape[-1], dtype=dtype)
    names = tuple(mid) or spec.visible
    own = make_encoder(spec.obs, names, statistics)

    def init(key):
        params = own.init(key)
        x = own.apply(params, encoder.blank(spec.obs, names))
        return {"encoder": params, "actor": net.init(key, x)["params"]}

    def mean_action(params, obs):
        return jnp.tanh(net.apply({"params": params["actor"]}, own.apply(params["encoder"], obs)))

    def decode(params, batch, key):
        return mean_action(params, helms.first_rows(batch, len(batch.action) - lookahead))

    def assess(params, batch, key):
        _, metrics = loss(params, batch, key)
        return metrics | {"heldout_action_mse": metrics["imitation/action_mse"]}

    def act(sample: bool):
        def choose(params, obs, key):
            return draw(mean_action(params, obs), action_stddev, key if sample else None), {}

        return flat(choose)

    loss = imitation(decode, scale=action_stddev)
    rates = {"encoder": learning_rate if own.trainable else None, "actor": learning_rate} | dict.fromkeys(frozen)
    tx = adam(rates, max_grad_norm=max_grad_norm, decay_updates=decay_updates)
    return Agent(
        learner(init, stateless(loss), tx, max_consecutive_skips=max_consecutive_skips),
        explore=act(True),
        exploit=act(False),
        assess=assess,
    )


def hierarchical(spec: Spec, **settings) -> Agent:
    """The hierarchical clone; `settings` as in agents.helms.make, of which skills, beta_y and beta_z are fixed."""
    return helms.make(spec, skills=1, beta_y=0.0, beta_z=0.0, **settings)

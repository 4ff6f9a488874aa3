"""NPMP offline: one continuous latent from a look-ahead (Merel et al., ICLR 2019), the HeLMS bound of one component.

Read in order: agents/helms.py (the same with skills), nets/skills.py (LatentEncoder), losses/elbo.py.

ar_coefficient=0.95 gives the AR(1) prior N(0.95 z_{t-1}, (1 - 0.95^2) I) and an encoder that sees z_{t-1}; 0 gives the
prior N(0, I) and an encoder that does not. The first row of a window has the prior N(0, I) and sees z = 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from skillhier.agents import helms
from skillhier.agents.helms import first_rows
from skillhier.agents.learner import MAX_CONSECUTIVE_SKIPS, learner, stateless
from skillhier.agents.optimisers import adam
from skillhier.losses import elbo
from skillhier.nets import encoder
from skillhier.nets.encoder import MakeEncoder
from skillhier.nets.skills import LatentActor, LatentEncoder
from skillhier.ops import divergence
from skillhier.ops.families import draw
from skillhier.policies.flat import flat
from skillhier.policies.hierarchy import hierarchy
from skillhier.policies.open_loop import drift
from skillhier.types import Agent, Policy, Spec

DEFAULTS = {
    **helms.SHARED,
    **helms.LATENT,
    "beta_z": 0.1,  # weight of the latent's KL to its prior; at 0 latents drawn from the prior would mean nothing
}


def make(
    spec: Spec,
    *,
    low: Sequence[str] = (),
    mid: Sequence[str] = (),
    ar_coefficient: float = 0.95,
    latent: int = 8,
    hidden: Sequence[int] = (256, 256),
    lookahead: int = 5,
    action_stddev: float = 0.1,
    beta_z: float = 0.1,
    statistics: Mapping | None = None,
    make_encoder: MakeEncoder = encoder.whitened,
    learning_rate: float = 1e-4,
    max_grad_norm: float = 40.0,
    decay_updates: int = 0,
    max_consecutive_skips: int = MAX_CONSECUTIVE_SKIPS,
    frozen: Sequence[str] = (),
    dtype: Any = jnp.float32,
) -> Agent:
    """As agents.helms.make; `mid` names what the encoder sees of rows t .. t + lookahead.

    While acting the look-ahead is not available: the latent follows the prior. Policies note `latent`.
    """
    encode_net = LatentEncoder(latent, hidden, dtype)
    low_net = LatentActor(spec.action.shape[-1], hidden, dtype)
    recurrent = ar_coefficient > 0
    low_names, mid_names = tuple(low) or spec.visible, tuple(mid) or spec.visible
    see_low, see_mid = (make_encoder(spec.obs, names, statistics) for names in (low_names, mid_names))

    def init(key):
        mid_encoder_key, low_encoder_key, high_key, low_key = jax.random.split(key, 4)
        encoders = {"mid": see_mid.init(mid_encoder_key), "low": see_low.init(low_encoder_key)}
        window = encoder.blank(spec.obs, (*mid_names, *low_names), (1 + lookahead, 1))
        z = jnp.zeros((1, 1, 1, latent))
        x = see_ahead(encoders, window)
        return {
            "encoder": encoders,
            "high": encode_net.init(high_key, x, z[..., : latent if recurrent else 0])["params"],
            "low": low_net.init(low_key, see_low.apply(encoders["low"], window)[:1], z)["params"],
        }

    def see_ahead(encoders, obs):
        return encoder.lookahead(see_mid.apply(encoders["mid"], encoder.newest(obs, mid_names)), lookahead)

    def encode(params, x, previous):
        return encode_net.apply({"params": params["high"]}, x, previous)  # [1, ..., Z] twice

    def infer(params, batch, key):
        x = see_ahead(params["encoder"], batch.step.obs)  # [T, B, D]
        length, batch_size, _ = x.shape
        shape = (length, 1, batch_size, latent)
        noise = jnp.zeros(shape) if key is None else jax.random.normal(key, shape)
        one_skill = jnp.zeros((length, batch_size, 1, 1))  # the log-probability of the only skill there is
        if not recurrent:
            mean, sigma = encode(params, x, jnp.zeros((1, length, batch_size, 0)))  # [1, T, B, Z]
            z = mean + sigma * noise.swapaxes(0, 1)
            return elbo.Posterior(one_skill, z, divergence.standard(mean, sigma))

        def row(before, inputs):
            x, noise, first = inputs
            mean, sigma = encode(params, x, before)  # [1, B, Z]
            z = mean + sigma * noise
            prior_sigma = jnp.where(first, 1.0, (1.0 - ar_coefficient**2) ** 0.5)
            return z, (z, divergence.gaussian(mean, sigma, ar_coefficient * before, prior_sigma))

        first = jnp.arange(length) == 0
        _, (z, kl) = jax.lax.scan(row, jnp.zeros((1, batch_size, latent)), (x, noise, first))
        return elbo.Posterior(one_skill, z.swapaxes(0, 1), kl.swapaxes(0, 1))

    def low_mean(params, obs, z):
        return low_net.apply({"params": params["low"]}, see_low.apply(params["encoder"]["low"], obs), z)

    def decode(params, batch, z):
        return low_mean(params, first_rows(batch, z.shape[1]), z)

    def prior(params):
        return jnp.zeros((1, 1))

    def act(sample: bool) -> Policy:
        def choose(params, obs, key):
            mean = low_mean(params, obs, obs["latent"][None])[0]
            return draw(mean, action_stddev, key if sample else None), {}

        return latent_hierarchy(drift(latent, ar_coefficient), flat(choose), latent)

    loss = elbo.elbo(infer, decode, prior, beta_y=0.0, beta_z=beta_z, scale=action_stddev)
    rates = {"encoder": learning_rate if see_mid.trainable else None, "high": learning_rate, "low": learning_rate}
    tx = adam(rates | dict.fromkeys(frozen), max_grad_norm=max_grad_norm, decay_updates=decay_updates)
    return Agent(
        learner(init, stateless(loss), tx, max_consecutive_skips=max_consecutive_skips),
        explore=act(True),
        exploit=act(False),
        assess=elbo.assess(infer, decode, prior, loss),
    )


def latent_hierarchy(manager: Policy, worker: Policy, size: int) -> Policy:
    """A manager whose choice at every row is a latent [B, size], shown to the worker as `latent`."""
    return hierarchy(
        manager,
        worker,
        condition=lambda params, step, z: {"latent": z},
        name="latent",
        initial_choice=lambda worlds: jnp.zeros((worlds, size)),
    )

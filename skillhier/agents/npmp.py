"""NPMP offline: one continuous latent from a look-ahead (Merel et al., ICLR 2019), the HeLMS bound of one component.

Read in order: agents/helms.py (the same with skills), nets/skills.py (LatentEncoder), losses/elbo.py.

ar_coefficient=0.95 gives the AR(1) prior N(0.95 z_{t-1}, (1 - 0.95^2) I) and an encoder that sees z_{t-1}; 0 gives the
prior N(0, I) and an encoder that does not. The first row of a window has the prior N(0, I) and sees z = 0.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from skillhier.agents.helms import rows
from skillhier.agents.learner import PATIENCE, Skills, adam, learner, stateless
from skillhier.losses import elbo
from skillhier.nets import encoder
from skillhier.nets.skills import LatentActor, LatentEncoder
from skillhier.ops import divergence
from skillhier.policies.flat import flat
from skillhier.policies.hierarchy import hierarchy
from skillhier.policies.open_loop import drift


def make(
    obs: dict,
    action,
    *,
    low: Sequence[str],
    mid: Sequence[str],
    ar_coefficient: float = 0.95,
    latent: int = 8,
    hidden: Sequence[int] = (256, 256),
    lookahead: int = 5,
    action_stddev: float = 0.1,
    beta_z: float = 0.1,
    statistics: dict | None = None,
    learning_rate: float = 1e-4,
    max_grad_norm: float = 40.0,
    decay_updates: int = 0,
    max_consecutive_skips: int = PATIENCE,
    frozen: Sequence[str] = (),
) -> Skills:
    """As agents.helms.make; `mid` names what the encoder sees of rows t .. t + lookahead."""
    encode_net = LatentEncoder(latent, hidden)
    low_net = LatentActor(action.shape[-1], hidden)
    recalls = ar_coefficient > 0

    def init(key):
        white = encoder.whitening(statistics, obs, (*mid, *low))
        blank = {name: jnp.zeros((1 + lookahead, 1, *obs[name].shape)) for name in (*mid, *low)}
        high_key, low_key = jax.random.split(key)
        z = jnp.zeros((1, 1, 1, latent))
        x = encoder.ahead(white, blank, mid, lookahead)
        return {
            "whitening": white,
            "high": encode_net.init(high_key, x, z[..., : latent if recalls else 0])["params"],
            "low": low_net.init(low_key, encoder.stacked(white, blank, low)[:1], z)["params"],
        }

    def encode(params, x, previous):
        return encode_net.apply({"params": params["high"]}, x, previous)  # [1, ..., Z] twice

    def infer(params, batch, key):
        x = encoder.ahead(params["whitening"], batch.step.obs, mid, lookahead)  # [T, B, D]
        length, batch_size, _ = x.shape
        shape = (length, 1, batch_size, latent)
        noise = jnp.zeros(shape) if key is None else jax.random.normal(key, shape)
        certain = jnp.zeros((length, batch_size, 1, 1))  # the log-probability of the only skill there is
        if not recalls:
            mean, sigma = encode(params, x, jnp.zeros((1, length, batch_size, 0)))  # [1, T, B, Z]
            z = mean + sigma * noise.swapaxes(0, 1)
            return elbo.Posterior(certain, z, divergence.standard(mean, sigma))

        def row(before, seen):
            x, noise, first = seen
            mean, sigma = encode(params, x, before)  # [1, B, Z]
            z = mean + sigma * noise
            prior_sigma = jnp.where(first, 1.0, (1.0 - ar_coefficient**2) ** 0.5)
            return z, (z, divergence.gaussian(mean, sigma, ar_coefficient * before, prior_sigma))

        begins = jnp.arange(length) == 0
        _, (z, kl) = jax.lax.scan(row, jnp.zeros((1, batch_size, latent)), (x, noise, begins))
        return elbo.Posterior(certain, z.swapaxes(0, 1), kl.swapaxes(0, 1))

    def low_mean(params, seen, z):
        return low_net.apply({"params": params["low"]}, encoder.stacked(params["whitening"], seen, low), z)

    def decode(params, batch, z):
        return low_mean(params, rows(batch, z.shape[1]), z)

    def prior(params):
        return jnp.zeros((1, 1))

    def act(skill: int | None = None, *, sample: bool = False):
        """A policy whose latent follows the prior, for a look-ahead cannot be had while acting; notes latent.

        sample: draw the action in place of its mean.
        """
        if skill is not None:
            raise ValueError(f"skill {skill} is not known; NPMP has no discrete skills, leave it out")

        def choose(params, seen, key):
            mean = low_mean(params, seen, seen["latent"][None])[0]
            noise = action_stddev * jax.random.normal(key, mean.shape) if sample else 0.0
            return jnp.clip(mean + noise, -1.0, 1.0), {}

        return hierarchy(
            drift(latent, ar_coefficient),
            flat(choose),
            condition=lambda params, step, z: {"latent": z},
            name="latent",
            initial_choice=lambda worlds: jnp.zeros((worlds, latent)),
        )

    loss = elbo.elbo(infer, decode, prior, beta_y=0.0, beta_z=beta_z, scale=action_stddev)
    rates = {"whitening": None, "high": learning_rate, "low": learning_rate} | dict.fromkeys(frozen)
    made = learner(
        init,
        stateless(loss),
        adam(rates, max_grad_norm=max_grad_norm, decay_updates=decay_updates),
        max_consecutive_skips=max_consecutive_skips,
    )
    return Skills(made, elbo.assess(infer, decode, prior, loss), act)

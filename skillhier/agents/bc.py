"""Behaviour cloning: doing what the demonstrations did, with or without a latent in between.

Read in order: losses/imitation.py, policies/flat.py. The hierarchical clone is agents/helms.py with one skill and a
bound without its KL terms: a Gaussian latent of the full observation, one sample of it, then the low level.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from skillhier.agents import helms
from skillhier.agents.learner import PATIENCE, Skills, adam, learner, stateless
from skillhier.losses.imitation import imitation
from skillhier.nets import encoder
from skillhier.nets.mlp import MLP
from skillhier.policies.flat import flat


def make(
    obs: dict,
    action,
    *,
    mid: Sequence[str],
    low: Sequence[str] = (),
    hidden: Sequence[int] = (256, 256),
    lookahead: int = 5,
    action_stddev: float = 0.1,
    statistics: dict | None = None,
    learning_rate: float = 1e-4,
    max_grad_norm: float = 40.0,
    decay_updates: int = 0,
    max_consecutive_skips: int = PATIENCE,
    frozen: Sequence[str] = (),
) -> Skills:
    """As agents.helms.make; the clone sees `mid` (`low` is taken for the sake of a common call, and not seen).

    The last `lookahead` rows of a window teach nothing, so that it learns from the same rows as its rivals.
    """
    net = MLP(hidden, action.shape[-1])

    def init(key):
        white = encoder.whitening(statistics, obs, mid)
        blank = {name: jnp.zeros((1, *obs[name].shape)) for name in mid}
        return {"whitening": white, "actor": net.init(key, encoder.stacked(white, blank, mid))["params"]}

    def mean_action(params, seen):
        return jnp.tanh(net.apply({"params": params["actor"]}, encoder.stacked(params["whitening"], seen, mid)))

    def decode(params, batch, key):
        return mean_action(params, helms.rows(batch, len(batch.action) - lookahead))

    def assess(params, batch, key):
        _, metrics = loss(params, batch, key)
        return metrics | {"heldout_action_mse": metrics["imitation/action_mse"]}

    def act(skill: int | None = None, *, sample: bool = False):
        """The clone as a policy. sample: draw the action in place of its mean."""
        if skill is not None:
            raise ValueError(f"skill {skill} is not known; a clone has no skills, leave it out")

        def choose(params, seen, key):
            mean = mean_action(params, seen)
            noise = action_stddev * jax.random.normal(key, mean.shape) if sample else 0.0
            return jnp.clip(mean + noise, -1.0, 1.0), {}

        return flat(choose)

    loss = imitation(decode, scale=action_stddev)
    rates = {"whitening": None, "actor": learning_rate} | dict.fromkeys(frozen)
    made = learner(
        init,
        stateless(loss),
        adam(rates, max_grad_norm=max_grad_norm, decay_updates=decay_updates),
        max_consecutive_skips=max_consecutive_skips,
    )
    return Skills(made, assess, act)


def hierarchical(obs: dict, action, *, low: Sequence[str], mid: Sequence[str], **settings) -> Skills:
    """The hierarchical clone; `settings` as in agents.helms.make, of which skills, beta_y and beta_z are given."""
    return helms.make(obs, action, low=low, mid=mid, skills=1, beta_y=0.0, beta_z=0.0, **settings)

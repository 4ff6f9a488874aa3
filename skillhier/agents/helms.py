"""HeLMS offline: K skills, each a distribution of latents, from demonstrations (Rao et al., ICLR 2022, section 3.1).

Read in order: nets/skills.py (the levels), ops/messages.py (skill weights without sampling), losses/elbo.py (the
bound), nets/encoder.py (what each level sees), policies/hierarchy.py (how skills act).

skills=1 leaves one Gaussian latent on the mid level's inputs; discrete=True leaves the skill alone (z at its mean).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from skillhier.agents.learner import PATIENCE, Skills, adam, learner, num_microbatches, stateless
from skillhier.losses import elbo
from skillhier.nets import encoder
from skillhier.nets.skills import Components, GatedHigh, LatentActor, TransitionPrior
from skillhier.ops import divergence
from skillhier.policies.flat import flat
from skillhier.policies.hierarchy import hierarchy
from skillhier.policies.open_loop import chain, constant


def make(
    obs: dict,
    action,
    *,
    low: Sequence[str],
    mid: Sequence[str],
    skills: int = 5,
    latent: int = 8,
    hidden: Sequence[int] = (256, 256),
    lookahead: int = 5,
    action_stddev: float = 0.1,
    beta_y: float = 1.0,
    beta_z: float = 0.1,
    usage_weight: float = 0.0,
    entropy_weight: float = 0.0,
    discrete: bool = False,
    init_stay_logit: float = 0.0,
    init_prior_stay_logit: float = 0.0,
    statistics: dict | None = None,
    learning_rate: float = 1e-4,
    prior_learning_rate: float = 1e-2,
    max_grad_norm: float = 40.0,
    decay_updates: int = 0,
    max_consecutive_skips: int = PATIENCE,
    frozen: Sequence[str] = (),
    pieces=num_microbatches,
) -> Skills:
    """The learner of the bound, its measure, and its policies.

    obs         entry -> anything with .shape [S, d], as in Spec.obs
    action      anything with .shape [A]; actions in [-1, 1]
    low, mid    entries that the low level and the two above it see; the high level sees the newest frame of `mid`
                at rows t .. t + lookahead, so windows bring `lookahead` rows more than they teach
    action_stddev       standard deviation of an action
    usage_weight  weight of a term beside the bound that keeps every skill in use (losses/elbo.py); the paper has none
    entropy_weight  weight of one that keeps skills to rows of their own; the paper has none
    init_stay_logit  added to the high level's logit of keeping a skill (init_prior_stay_logit: to the prior's)
    statistics  entry -> (mean [d], std [d]) of the data; kept in the parameters, never trained
    prior_learning_rate  learning rate of the transition prior alone
    decay_updates  updates over which all rates fall to zero; with 0 they stay
    max_consecutive_skips  updates in a row that may be left out for bad numbers before the learner stands still
    frozen      names of parts that do not learn: of low, mid, high, prior
    """
    high_net = GatedHigh(skills, hidden, init_stay_logit)
    mid_net = Components(skills, latent, hidden)
    low_net = LatentActor(action.shape[-1], hidden)
    prior_net = TransitionPrior(skills, init_prior_stay_logit)

    def init(key):
        white = encoder.whitening(statistics, obs, (*mid, *low))
        blank = {name: jnp.zeros((1 + lookahead, 1, *obs[name].shape)) for name in (*mid, *low)}
        high_key, mid_key, low_key, prior_key = jax.random.split(key, 4)
        x_low, z = encoder.stacked(white, blank, low), jnp.zeros((skills, 1, 1, latent))
        return {
            "whitening": white,
            "high": high_net.init(high_key, encoder.ahead(white, blank, mid, lookahead))["params"],
            "mid": mid_net.init(mid_key, encoder.stacked(white, blank, mid))["params"],
            "low": low_net.init(low_key, x_low[:1], z)["params"],
            "prior": prior_net.init(prior_key)["params"],
        }

    def latents(params, seen, key):
        """One z for every skill, [K, ..., Z], and its KL to N(0, I), [K, ...]; at the mean without a key."""
        x = encoder.stacked(params["whitening"], seen, mid)
        mean, sigma = mid_net.apply({"params": params["mid"]}, x)
        if discrete:  # the variance is zero; its KL is infinite by a constant, which is left out
            return mean, 0.5 * jnp.square(mean).sum(-1)
        z = mean if key is None else mean + sigma * jax.random.normal(key, mean.shape)
        return z, divergence.standard(mean, sigma)

    def low_mean(params, seen, z):
        return low_net.apply({"params": params["low"]}, encoder.stacked(params["whitening"], seen, low), z)

    def infer(params, batch, key):
        x = encoder.ahead(params["whitening"], batch.step.obs, mid, lookahead)
        transition = high_net.apply({"params": params["high"]}, x)
        return elbo.Posterior(transition, *latents(params, rows(batch, len(x)), key))

    def decode(params, batch, z):
        return low_mean(params, rows(batch, z.shape[1]), z)

    def prior(params):
        return prior_net.apply({"params": params["prior"]})

    def act(skill: int | None = None, *, sample: bool = False):
        """A policy that holds `skill`, or with None lets skills follow the learned prior; notes skill and latent.

        sample: draw the latent and the action in place of their means.
        """
        if isinstance(skill, int) and not 0 <= skill < skills:  # a traced skill cannot be asked
            raise ValueError(f"skill {skill} is not known; there are 0 to {skills - 1}")

        def choose(params, seen, key):
            latent_key, action_key = jax.random.split(key)
            every, _ = latents(params, seen, latent_key if sample else None)
            z = jnp.take_along_axis(every, seen["skill"][None, :, None], 0)  # [1, B, Z]
            mean = low_mean(params, seen, z)[0]
            noise = action_stddev * jax.random.normal(action_key, mean.shape) if sample else 0.0
            return jnp.clip(mean + noise, -1.0, 1.0), {"latent": z[0]}

        manager = chain(prior) if skill is None else constant(jnp.asarray(skill, jnp.int32))
        return hierarchy(manager, flat(choose))

    beside = {"balance": usage_weight, "certainty": entropy_weight}
    loss = elbo.elbo(infer, decode, prior, beta_y=beta_y, beta_z=beta_z, scale=action_stddev, **beside)
    rates = {
        "whitening": None,
        "high": learning_rate,
        "mid": learning_rate,
        "low": learning_rate,
        "prior": prior_learning_rate,
    }
    rates |= dict.fromkeys(frozen)
    made = learner(
        init,
        stateless(loss),
        adam(rates, max_grad_norm=max_grad_norm, decay_updates=decay_updates),
        pieces=pieces,
        max_consecutive_skips=max_consecutive_skips,
    )
    return Skills(made, elbo.assess(infer, decode, prior, loss), act)


def rows(batch, count: int) -> dict:
    """The observations of a window's first `count` rows."""
    return {name: entry[:count] for name, entry in batch.step.obs.items()}

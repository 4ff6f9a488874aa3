"""HeLMS offline: K skills, each a distribution of latents, from demonstrations (Rao et al., ICLR 2022, section 3.1).

Read in order: nets/skills.py (the levels), ops/messages.py (skill weights without sampling), losses/elbo.py (the
bound), nets/encoder.py (what each level sees), policies/hierarchy.py (how skills act).

skills=1 leaves one Gaussian latent on the mid level's inputs; discrete=True leaves the skill alone (z at its mean).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from skillhier.agents.learner import MAX_CONSECUTIVE_SKIPS, learner, num_microbatches, stateless
from skillhier.agents.optimisers import adam
from skillhier.losses import elbo
from skillhier.nets import encoder
from skillhier.nets.encoder import MakeEncoder
from skillhier.nets.skills import Components, GatedHigh, LatentActor, TransitionPrior
from skillhier.ops import divergence, messages
from skillhier.ops.families import draw
from skillhier.policies.flat import flat
from skillhier.policies.hierarchy import hierarchy
from skillhier.policies.open_loop import chain, constant
from skillhier.types import Agent, Spec

# Settings of HeLMS and of its offline rivals, Table 5 of the paper where it has them.
SHARED = {
    "low": (),  # entries that the low level sees; none: all that are not privileged
    "mid": (),  # entries that the mid level and, with its look-ahead, the high level see; none: likewise
    "hidden": (256, 256),  # widths of the layers of every net
    "lookahead": 5,  # rows ahead that the high level sees while learning
    "action_stddev": 0.1,  # standard deviation of an action
    "learning_rate": 1e-4,  # of Adam, for all but the transition prior
    "decay_updates": 0,  # updates over which all learning rates fall to zero along a cosine; 0: they stay
    "max_grad_norm": 40.0,  # gradients are clipped at this norm
    "max_consecutive_skips": 10,  # updates in a row left out for NaN or Inf before the run stops
}
LATENT = {
    "latent": 8,  # size of z
}
PRIOR = {
    "prior_learning_rate": 1e-2,  # of the transition prior, which at 1e-4 hardly moves in a short run
}
DEFAULTS = {
    **SHARED,
    **LATENT,
    "skills": 5,  # K
    "binary_stddev": 0.0,  # standard deviation in the likelihood of actions that are two-valued; 0: action_stddev
    "beta_y": 1.0,  # weight of the skills' KL to the transition prior
    "beta_z": 0.0,  # weight of the latent's KL to its prior
    "usage_weight": 0.0,  # weight of a term beside the bound that keeps every skill in use; the paper has none
    "entropy_weight": 0.0,  # weight of a term that assigns each row to few skills; the paper has none
    "init_stay_logit": 0.0,  # added at first to the high level's logit of keeping a skill
    "init_prior_stay_logit": 0.0,  # the same of the transition prior
    **PRIOR,
}


def make(
    spec: Spec,
    *,
    low: Sequence[str] = (),
    mid: Sequence[str] = (),
    skills: int = 5,
    latent: int = 8,
    hidden: Sequence[int] = (256, 256),
    lookahead: int = 5,
    action_stddev: float = 0.1,
    binary_stddev: float = 0.0,
    binary: Sequence[bool] = (False,),
    beta_y: float = 1.0,
    beta_z: float = 0.1,
    usage_weight: float = 0.0,
    entropy_weight: float = 0.0,
    discrete: bool = False,
    init_stay_logit: float = 0.0,
    init_prior_stay_logit: float = 0.0,
    statistics: Mapping | None = None,
    make_encoder: MakeEncoder = encoder.whitened,
    learning_rate: float = 1e-4,
    prior_learning_rate: float = 1e-2,
    max_grad_norm: float = 40.0,
    decay_updates: int = 0,
    max_consecutive_skips: int = MAX_CONSECUTIVE_SKIPS,
    frozen: Sequence[str] = (),
    microbatches=num_microbatches,
    dtype: Any = jnp.float32,
) -> Agent:
    """An agent that learns from windows: its learner, its figures of held-out windows, its policies.

    spec                   observations [S, d] and actions [A] in [-1, 1]
    low, mid               entries that the low level and the two above it see, all visible ones if empty; the high
                           level sees the newest frame of `mid` at rows t .. t + lookahead, so that windows have
                           `lookahead` rows more than are learned from
    action_stddev          standard deviation of an action
    binary_stddev, binary  that of the dimensions that are `binary` [A], in the likelihood alone (0: action_stddev): a
                           gripper that opens or closes is 20 of the narrow deviations from what it was a row ago, so
                           that otherwise its sign decides which skill explains a row
    usage_weight           weight of a term beside the bound that keeps every skill in use (losses/elbo.py)
    entropy_weight         weight of a term that assigns each row to few skills (losses/elbo.py)
    init_stay_logit        added at first to the high level's logit of keeping a skill (init_prior_stay_logit: to the
                           transition prior's)
    statistics             entry -> (mean [d], std [d]) of the data; kept in the parameters, never trained
    make_encoder           (obs, names, statistics) -> nets.encoder.Encoder
    prior_learning_rate    learning rate of the transition prior alone
    decay_updates          updates over which all rates fall to zero; with 0 they stay
    max_consecutive_skips  updates left out in a row for NaN or Inf before the learner stops
    frozen                 names of parts that do not learn: of low, mid, high, prior
    dtype                  of the products in networks

    It explores as the skills follow the learned prior, with latents and actions sampled, and exploits with their
    means; `hold(skill, sample=False)` keeps one skill throughout. Policies note `skill` and `latent`.
    """
    high_net = GatedHigh(skills, hidden, init_stay_logit, dtype)
    mid_net = Components(skills, latent, hidden, dtype)
    low_net = LatentActor(spec.action.shape[-1], hidden, dtype)
    prior_net = TransitionPrior(skills, init_prior_stay_logit)
    low_names, mid_names = tuple(low) or spec.visible, tuple(mid) or spec.visible
    see_low, see_mid = (make_encoder(spec.obs, names, statistics) for names in (low_names, mid_names))

    def init(key):
        encoder_key, high_key, mid_key, low_key, prior_key = jax.random.split(key, 5)
        mid_encoder_key, low_encoder_key = jax.random.split(encoder_key)
        encoders = {"mid": see_mid.init(mid_encoder_key), "low": see_low.init(low_encoder_key)}
        window = encoder.blank(spec.obs, (*mid_names, *low_names), (1 + lookahead, 1))
        z = jnp.zeros((skills, 1, 1, latent))
        return {
            "encoder": encoders,
            "high": high_net.init(high_key, see_ahead(encoders, window))["params"],
            "mid": mid_net.init(mid_key, see_mid.apply(encoders["mid"], window))["params"],
            "low": low_net.init(low_key, see_low.apply(encoders["low"], window)[:1], z)["params"],
            "prior": prior_net.init(prior_key)["params"],
        }

    def see_ahead(encoders, obs):
        return encoder.lookahead(see_mid.apply(encoders["mid"], encoder.newest(obs, mid_names)), lookahead)

    def latents(params, obs, key):
        """One z for every skill, [K, ..., Z], and its KL to N(0, I), [K, ...]; at the mean without a key."""
        mean, sigma = mid_net.apply({"params": params["mid"]}, see_mid.apply(params["encoder"]["mid"], obs))
        if discrete:  # the variance is zero; its KL is infinite by a constant, which is left out
            return mean, 0.5 * jnp.square(mean).sum(-1)
        return draw(mean, sigma, key), divergence.standard(mean, sigma)

    def low_mean(params, obs, z):
        return low_net.apply({"params": params["low"]}, see_low.apply(params["encoder"]["low"], obs), z)

    def log_transition(params, batch):
        return high_net.apply({"params": params["high"]}, see_ahead(params["encoder"], batch.step.obs))

    def infer(params, batch, key):
        transition = log_transition(params, batch)
        return elbo.Posterior(transition, *latents(params, first_rows(batch, len(transition)), key))

    def decode(params, batch, z):
        return low_mean(params, first_rows(batch, z.shape[1]), z)

    def prior(params):
        return prior_net.apply({"params": params["prior"]})

    def believed(params, batch):
        return messages.forward(jnp.exp(log_transition(params, batch)))[1:]

    def worker(sample: bool):
        def choose(params, obs, key):
            latent_key, action_key = jax.random.split(key) if sample else (None, None)
            every, _ = latents(params, obs, latent_key)
            z = jnp.take_along_axis(every, obs["skill"][None, :, None], 0)  # [1, B, Z]
            return draw(low_mean(params, obs, z)[0], action_stddev, action_key), {"latent": z[0]}

        return flat(choose)

    def hold(skill, *, sample: bool = False):
        if isinstance(skill, int) and not 0 <= skill < skills:  # a traced skill cannot be checked
            raise ValueError(f"skill {skill} is not known; choose 0 to {skills - 1}")
        return hierarchy(constant(jnp.asarray(skill, jnp.int32)), worker(sample))

    loose = jnp.asarray(binary, bool) & (binary_stddev > 0)
    loss = elbo.elbo(
        infer,
        decode,
        prior,
        beta_y=beta_y,
        beta_z=beta_z,
        scale=jnp.where(loose, binary_stddev, action_stddev),
        usage_weight=usage_weight,
        entropy_weight=entropy_weight,
    )
    rates = {"encoder": learning_rate if see_mid.trainable else None, "prior": prior_learning_rate}
    rates |= dict.fromkeys(("high", "mid", "low"), learning_rate) | dict.fromkeys(frozen)
    tx = adam(rates, max_grad_norm=max_grad_norm, decay_updates=decay_updates)
    return Agent(
        learner(init, stateless(loss), tx, microbatches=microbatches, max_consecutive_skips=max_consecutive_skips),
        explore=hierarchy(chain(prior), worker(True)),
        exploit=hierarchy(chain(prior), worker(False)),
        assess=elbo.assess(infer, decode, prior, loss),
        hold=hold,
        skills=skills,
        infer=believed,
    )


def first_rows(batch, count: int) -> dict:
    """The observations of a window's first `count` rows."""
    return {name: entry[:count] for name, entry in batch.step.obs.items()}

"""HeLMS put to work (Rao et al., ICLR 2022, section 3.2): a new high level chooses among skills that data taught.

Read in order: agents/helms.py (the skills), agents/mpo.py (how the level learns), ops/priors.py.

cat   the level's action is the skill y, one of K, all of them weighed; mid and low level are frozen
mix   it is the latent z of the mixture sum_k pi(k | x) q(z | k, x); the mid level learns too, beginning with the
      offline one and kept near to it, and only the low level is frozen
Both act by the same code: y by the high level, z by component y, a by the low level. So they begin alike.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp

from skillhier.agents.learner import Control, params_from
from skillhier.agents.mpo import PolicyHead, control
from skillhier.nets import encoder
from skillhier.nets.actor import Choice
from skillhier.nets.skills import Components, LatentActor, TransitionPrior
from skillhier.ops import families, priors
from skillhier.ops.families import Categorical, Mixture
from skillhier.policies.flat import flat
from skillhier.policies.hierarchy import hierarchy
from skillhier.types import Policy


def make(
    obs: dict,
    action,
    *,
    mixed: bool,
    low: Sequence[str],
    mid: Sequence[str],
    high: Sequence[str],
    skills: int = 5,
    latent: int = 8,
    skill_hidden: Sequence[int] = (256, 256),
    action_stddev: float = 0.1,
    discrete: bool = False,
    source: dict | None = None,
    hidden: Sequence[int] = (256, 256),
    prior: str = "uniform",
    eta_y: float = 0.01,
    eta_z: float = 0.01,
    repeat_probability: float = 0.0,
    mid_learning_rate: float | None = None,
    **settings,
) -> Control:
    """The learner and its policies; `settings` as in agents.mpo.control.

    mixed        HeLMS-mix; else HeLMS-cat
    low, mid     entries that the skills see, as they were learned; high: entries that the new level sees
    skills to discrete   as the skills were made (agents.helms.make; skill_hidden is its `hidden`)
    source       the parameters of agents.helms to begin with; without them skills are random
    hidden       of the new nets
    prior        what the high level is kept near, with the weight eta_y: uniform, or transition, the learned one
    eta_z        weight of the components' KL to the offline ones (mix)
    repeat_probability  chance that while exploring a row repeats the skill of the row before
    mid_learning_rate  of Adam for the mid level (mix), which was learned before; actor_learning_rate if not given
    """
    if prior not in ("uniform", "transition"):
        raise ValueError(f"prior '{prior}' is not known; choose uniform or transition in agent.prior")
    if mixed and discrete:
        raise ValueError("skills without a spread make no mixture of latents; choose agent=helms_cat for them")
    if repeat_probability and mixed and settings.get("backup") == "retrace":
        raise ValueError(
            "the density of a latent is not known where skills are held; set agent.repeat_probability=0 or agent.backup"
        )
    high_net, mid_net = Choice(skills, hidden), Components(skills, latent, skill_hidden)
    low_net, prior_net = LatentActor(action.shape[-1], skill_hidden), TransitionPrior(skills)
    category, mixture = families.categorical(), families.mixture()
    statistics = settings.get("statistics")

    def begin(key):
        high_key, mid_key, low_key, prior_key = jax.random.split(key, 4)
        white = encoder.whitening(None, obs, (*mid, *low))
        blank = {name: jnp.zeros((1, *obs[name].shape)) for name in (*mid, *low, *high)}
        z = jnp.zeros((skills, 1, latent))
        fresh = {
            "whitening": white,
            "mid": mid_net.init(mid_key, encoder.stacked(white, blank, mid))["params"],
            "low": low_net.init(low_key, encoder.stacked(white, blank, low), z)["params"],
        }
        if prior == "transition":
            fresh["prior"] = prior_net.init(prior_key)["params"]
        frozen = params_from(fresh, source, "skills")
        x = encoder.stacked(encoder.whitening(statistics, obs, high), blank, high)
        actor = {"high": high_net.init(high_key, x)["params"]}
        if mixed:
            actor["mid"] = jax.tree.map(jnp.copy, frozen["mid"])
        return frozen, actor

    def logits(params, seen):
        return high_net.apply({"params": params["actor"]["high"]}, encoder.stacked(params["scales"], seen, high))

    def components(params, seen, chosen):
        """(mean, sigma) [K, ..., Z] of the mid level `chosen`."""
        return mid_net.apply({"params": chosen}, encoder.stacked(params["skills"]["whitening"], seen, mid))

    def in_force(params):
        return params["actor"]["mid"] if mixed else params["skills"]["mid"]

    def policy(params, seen, key):
        if mixed:
            return Mixture(logits(params, seen), *components(params, seen, in_force(params)))
        return Categorical(logits(params, seen))

    def near(params, online, batch):
        if prior == "uniform":
            terms = {"category": priors.uniform(online)}
        else:
            table = prior_net.apply({"params": jax.lax.stop_gradient(params["skills"]["prior"])})
            terms = {"category": priors.transition(online, table, batch.extras["skill"], batch.step.first)}
        if mixed:
            offline = jax.lax.stop_gradient(params["skills"]["mid"])
            terms["components"] = priors.components(online, *components(params, batch.step.obs, offline))
        return terms

    def act(sample: bool):
        def choose(params, before, step, key):
            draw_key, hold_key = jax.random.split(key)
            found = Categorical(logits(params, step.obs))
            if not sample:
                skill = category.mode(found)
                return skill, skill, {} if mixed else {"log_prob": category.log_prob(found, skill)}
            drawn, chance = category.sample(found, draw_key), jnp.where(step.first, 0.0, repeat_probability)
            skill = jnp.where(jax.random.uniform(hold_key, before.shape) < chance, before, drawn)
            likelihood = (1 - chance) * jnp.exp(category.log_prob(found, skill)) + chance * (skill == before)
            return skill, skill, {} if mixed else {"log_prob": jnp.log(likelihood)}

        def work(params, seen, key):
            latent_key, action_key = jax.random.split(key)
            pick = lambda every: jnp.take_along_axis(every, seen["skill"][None, :, None], 0)  # noqa: E731  [1, B, Z]
            mean, sigma = components(params, seen, in_force(params))
            drawn = sample and not discrete
            z = pick(mean) + (pick(sigma) * jax.random.normal(latent_key, pick(mean).shape) if drawn else 0.0)
            notes = {"latent": z[0]}
            if mixed and settings.get("backup") == "retrace":
                notes["log_prob"] = mixture.log_prob(Mixture(logits(params, seen), mean, sigma), z[0])
            x = encoder.stacked(params["skills"]["whitening"], seen, low)
            done = low_net.apply({"params": params["skills"]["low"]}, x, z)[0]
            noise = action_stddev * jax.random.normal(action_key, done.shape) if sample else 0.0
            return jnp.clip(done + noise, -1.0, 1.0), notes

        return hierarchy(Policy(lambda worlds: jnp.zeros(worlds, jnp.int32), choose), flat(work))

    part_learning_rates = {"mid": mid_learning_rate} if mixed and mid_learning_rate is not None else {}
    eta = {"category": eta_y} | ({"components": eta_z} if mixed else {})
    noted = ("skill",) if prior == "transition" else ()
    level = partial(PolicyHead, begin=begin, policy=policy, act=act, priors=near, eta=eta, noted=noted)
    if mixed:
        own = level(mixture, "latent", jax.ShapeDtypeStruct((latent,), jnp.float32))
    else:
        own = level(category, "skill", jax.ShapeDtypeStruct((), jnp.int32), choices=skills, log_prob="skill/log_prob")
    return control(own, obs, sees=high, hidden=hidden, part_learning_rates=part_learning_rates, **settings)

"""HeLMS transferred (Rao et al., ICLR 2022, section 3.2): a new high level chooses among skills learned from data.

Read in order: agents/helms.py (the skills), agents/mpo.py (how the level learns), ops/priors.py.

cat   the level's action is the skill y, one of K, all of them evaluated; mid and low level are frozen
mix   it is the latent z of the mixture sum_k pi(k | x) q(z | k, x); the mid level learns too, from the offline one on
      and regularised towards it, and only the low level is frozen. From pictures it learns anew, with the high level
      on what both see, while the offline one, which it stays near, goes on seeing states
Both act by the same code: y by the high level, z by component y, a by the low level. So they begin alike, but for a new
mid level.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from skillhier.agents import mpo
from skillhier.agents.learner import params_from
from skillhier.agents.mpo import PolicyHead, control
from skillhier.nets import encoder
from skillhier.nets.actor import SMALL_VARIANCE, Choice
from skillhier.nets.encoder import MakeEncoder
from skillhier.nets.mlp import MLP
from skillhier.nets.skills import Components, LatentActor, TransitionPrior
from skillhier.nets.vision import Shape, Sight
from skillhier.ops import families, priors
from skillhier.ops.families import Categorical, Mixture, draw
from skillhier.policies.flat import flat
from skillhier.policies.hierarchy import hierarchy
from skillhier.types import Agent, Policy, Spec

DEFAULTS = {
    **mpo.DEFAULTS,
    "high": (),  # entries that the new high level sees; none: all that are not privileged
    "prior": "uniform",  # what the high level is regularised towards: uniform, or transition, the one learned offline
    "eta_y": 0.01,  # weight of that KL
    "repeat_probability": 0.0,  # chance that, while exploring, a row repeats the skill of the row before
    "epsilon_category": 1.0,  # nats that the choice of skills may move between two target copies
}
MIX = {
    **DEFAULTS,
    **mpo.GAUSSIAN,
    "eta_z": 0.01,  # weight of the components' KL to the offline ones
    "mid_learning_rate": 2e-4,  # of Adam, for the mid level, which was learned offline
    "new_mid": False,  # the mid level learns from nothing, and sees what the high level sees: pictures, perhaps
}


def make(
    spec: Spec,
    *,
    mixed: bool,
    low: Sequence[str] = (),
    mid: Sequence[str] = (),
    high: Sequence[str] = (),
    skills: int = 5,
    latent: int = 8,
    skill_hidden: Sequence[int] = (256, 256),
    action_stddev: float = 0.1,
    discrete: bool = False,
    source: Mapping | None = None,
    hidden: Sequence[int] = (256, 256),
    prior: str = "uniform",
    eta_y: float = 0.01,
    eta_z: float = 0.01,
    repeat_probability: float = 0.0,
    mid_learning_rate: float | None = None,
    new_mid: bool = False,
    statistics: Mapping | None = None,
    make_encoder: MakeEncoder = encoder.whitened,
    picture_channels: Sequence[int] = (32, 64, 128),
    picture_blocks: int = 2,
    dtype: Any = jnp.float32,
    **settings,
) -> Agent:
    """The agent; `settings` as in agents.mpo.control.

    mixed                HeLMS-mix; else HeLMS-cat
    low, mid             entries that the skills see, as they were learned; high: entries that the new level sees
    skills to discrete   as the skills were made (agents.helms.make; skill_hidden is its `hidden`)
    source               the parameters of agents.helms to begin with; without them skills are random
    hidden               of the new networks
    prior                what the high level is regularised towards, with weight eta_y: uniform, or transition, the
                         prior learned offline
    eta_z                weight of the components' KL to the offline ones (mix)
    repeat_probability   chance that, while exploring, a row repeats the skill of the row before
    mid_learning_rate    of Adam for the mid level (mix), which was learned offline; actor_learning_rate if None
    new_mid              the mid level (mix) learns from nothing, from what both levels make of the entries `high`; the
                         offline one, which it stays near, still sees the entries `mid`
    """
    if prior not in ("uniform", "transition"):
        raise ValueError(f"prior '{prior}' is not known; choose uniform or transition in agent.prior")
    if mixed and discrete:
        raise ValueError("skills without a deviation make no mixture of latents; choose agent=helms_cat for them")
    if new_mid and not mixed:
        raise ValueError("the mid level of helms_cat is frozen; choose agent=helms_mix for agent.new_mid=true")
    retraced = settings.get("backup") == "retrace"
    if repeat_probability and mixed and retraced:
        raise ValueError(
            "the density of a latent is unknown where skills repeat; set agent.repeat_probability=0 or agent.backup"
        )
    pictures = Shape(tuple(picture_channels), picture_blocks)
    if new_mid:  # one network sees for both levels
        sight_net = Sight(hidden[0], pictures, dtype)
        high_net, new_net = MLP(hidden, skills, SMALL_VARIANCE, dtype), Components(skills, latent, hidden, dtype)
    else:
        high_net = Choice(skills, hidden, pictures, dtype)
    mid_net = Components(skills, latent, skill_hidden, dtype)
    low_net, prior_net = LatentActor(spec.action.shape[-1], skill_hidden, dtype), TransitionPrior(skills)
    category, mixture = families.categorical(), families.mixture()
    names = {"mid": tuple(mid) or spec.visible, "low": tuple(low) or spec.visible}
    see_skills = {level: make_encoder(spec.obs, entries, None) for level, entries in names.items()}
    high_names = tuple(high) or spec.visible
    see_high = encoder.beside_pictures(make_encoder, spec.obs, high_names, statistics)

    def init(key):
        keys = jax.random.split(key, 9 if new_mid else 7)
        encoders = {level: one.init(k) for k, (level, one) in zip(keys, see_skills.items(), strict=False)}
        rows = encoder.blank(spec.obs, (*names["mid"], *names["low"], *high_names))
        x = {level: one.apply(encoders[level], rows) for level, one in see_skills.items()}
        fresh = {
            "encoder": encoders,
            "mid": mid_net.init(keys[2], x["mid"])["params"],
            "low": low_net.init(keys[3], x["low"], jnp.zeros((skills, 1, latent)))["params"],
        }
        if prior == "transition":
            fresh["prior"] = prior_net.init(keys[4])["params"]
        frozen = params_from(fresh, source, "skills")
        seen, sight = see_high.apply(see_high.init(keys[6]), rows), {}
        if new_mid:
            sight = {"sight": sight_net.init(keys[7], seen)["params"]}
            seen = sight_net.apply({"params": sight["sight"]}, seen)
        actor = sight | {"high": high_net.init(keys[5], seen)["params"]}
        if new_mid:
            actor["mid"] = new_net.init(keys[8], seen)["params"]
        elif mixed:
            actor["mid"] = jax.tree.map(jnp.copy, frozen["mid"])
        return frozen, actor

    def see(params, obs):
        """What both levels read of observations; what is not used costs nothing."""
        mid = see_skills["mid"].apply(params["skills"]["encoder"]["mid"], obs)
        return {"high": see_high.apply(params["encoders"]["actor"], obs), "mid": mid}

    def sight(params, x):
        return sight_net.apply({"params": params["actor"]["sight"]}, x) if new_mid else x

    def choice(params, x):
        """Logits of the skills, from encoded rows."""
        return high_net.apply({"params": params["actor"]["high"]}, sight(params, x["high"]))

    def offline(params, x):
        """(mean, sigma) [K, ..., Z] of the mid level that data taught."""
        return mid_net.apply({"params": params["skills"]["mid"]}, x["mid"])

    def components(params, x):
        """The same of the mid level that acts."""
        if new_mid:
            return new_net.apply({"params": params["actor"]["mid"]}, sight(params, x["high"]))
        return mid_net.apply({"params": params["actor"]["mid"]}, x["mid"]) if mixed else offline(params, x)

    def policy(params, x, key):
        logits = choice(params, x)
        return Mixture(logits, *components(params, x)) if mixed else Categorical(logits)

    def near(params, online, x, batch):
        if prior == "uniform":
            terms = {"category": priors.uniform(online)}
        else:
            table = prior_net.apply({"params": jax.lax.stop_gradient(params["skills"]["prior"])})
            terms = {"category": priors.transition(online, table, batch.extras["skill"], batch.step.first)}
        if mixed:
            terms["components"] = priors.components(online, *jax.lax.stop_gradient(offline(params, x)))
        return terms

    def act(sample: bool):
        def choose(params, before, step, key):
            sample_key, repeat_key = jax.random.split(key)
            distribution = Categorical(choice(params, see(params, step.obs)))
            if not sample:
                skill = category.mode(distribution)
                return skill, skill, {} if mixed else {"log_prob": category.log_prob(distribution, skill)}
            proposed = category.sample(distribution, sample_key)
            chance = jnp.where(step.first, 0.0, repeat_probability)
            skill = jnp.where(jax.random.uniform(repeat_key, before.shape) < chance, before, proposed)
            likelihood = (1 - chance) * jnp.exp(category.log_prob(distribution, skill)) + chance * (skill == before)
            return skill, skill, {} if mixed else {"log_prob": jnp.log(likelihood)}

        def work(params, obs, key):
            latent_key, action_key = jax.random.split(key) if sample else (None, None)
            pick = lambda every: jnp.take_along_axis(every, obs["skill"][None, :, None], 0)  # noqa: E731  [1, B, Z]
            x = see(params, obs)
            mean, sigma = components(params, x)
            z = draw(pick(mean), pick(sigma), None if discrete else latent_key)
            notes = {"latent": z[0]}
            if mixed and retraced:
                notes["log_prob"] = mixture.log_prob(Mixture(choice(params, x), mean, sigma), z[0])
            below = see_skills["low"].apply(params["skills"]["encoder"]["low"], obs)
            mean_action = low_net.apply({"params": params["skills"]["low"]}, below, z)[0]
            return draw(mean_action, action_stddev, action_key), notes

        return hierarchy(Policy(lambda worlds: jnp.zeros(worlds, jnp.int32), choose), flat(work))

    head = partial(
        PolicyHead,
        init=init,
        encode=see,
        policy=policy,
        act=act,
        priors=near,
        eta={"category": eta_y} | ({"components": eta_z} if mixed else {}),
        extras=("skill",) if prior == "transition" else (),
    )
    if mixed:
        own = head(mixture, "latent", jax.ShapeDtypeStruct((latent,), jnp.float32))
    else:
        own = head(category, "skill", jax.ShapeDtypeStruct((), jnp.int32), choices=skills, log_prob="skill/log_prob")
    rates = {"mid": mid_learning_rate} if mixed and mid_learning_rate is not None else None
    shared = {"hidden": hidden, "statistics": statistics, "make_encoder": make_encoder, "dtype": dtype}
    shared |= {"picture_channels": picture_channels, "picture_blocks": picture_blocks}
    return control(own, spec, sees=high_names, part_learning_rates=rates, **shared, **settings)

"""Clones fine-tuned by MPO on the world's own actions: nothing of them is frozen but the statistics of what they see.

Read in order: agents/bc.py (the clones), agents/mpo.py (how they learn). The clone's fixed deviation becomes one that
depends on the observation and learns, from `init_stddev` on. Of the hierarchical clone both levels learn: its actions
are a mixture over the latent, represented by one sample of it wherever a likelihood is needed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from skillhier.agents import mpo
from skillhier.agents.learner import params_from
from skillhier.agents.mpo import control, primitive
from skillhier.nets import encoder
from skillhier.nets.actor import GaussianActor, StateStddev
from skillhier.nets.encoder import MakeEncoder
from skillhier.nets.skills import Components, LatentActor
from skillhier.ops.families import Gaussian, draw
from skillhier.types import Agent, Spec

DEFAULTS = {
    **mpo.DEFAULTS,
    **mpo.GAUSSIAN,
    **mpo.PRIMITIVE,
    "init_stddev": 0.1,  # initial standard deviation of actions: that of the clone
}


def make(
    spec: Spec,
    *,
    mid: Sequence[str] = (),
    low: Sequence[str] = (),
    skill_hidden: Sequence[int] = (256, 256),
    source: Mapping | None = None,
    init_stddev: float = 0.1,
    make_encoder: MakeEncoder = encoder.whitened,
    dtype: Any = jnp.float32,
    **settings,
) -> Agent:
    """A flat clone; as agents.helms_transfer.make. `source`: the parameters of agents.bc."""
    net = GaussianActor(spec.action.shape[-1], skill_hidden, init_stddev, normalised=False, dtype=dtype)
    names = tuple(mid) or spec.visible
    own = make_encoder(spec.obs, names, None)

    def init(key):
        encoder_key, actor_key = jax.random.split(key)
        encoder_params = own.init(encoder_key)
        x = own.apply(encoder_params, encoder.blank(spec.obs, names))
        fresh = {"encoder": encoder_params, "actor": net.init(actor_key, x)["params"]}
        params = params_from(fresh, source, "a clone's parameters")
        return {"encoder": params["encoder"]}, params["actor"]

    def encode(params, obs):
        return own.apply(params["skills"]["encoder"], obs)

    def policy(params, x, key):
        return Gaussian(*net.apply({"params": params["actor"]}, x))

    head = primitive(policy, encode, spec, init)
    return control(head, spec, sees=(), make_encoder=make_encoder, dtype=dtype, **settings)


def hierarchical(
    spec: Spec,
    *,
    low: Sequence[str] = (),
    mid: Sequence[str] = (),
    latent: int = 8,
    skill_hidden: Sequence[int] = (256, 256),
    source: Mapping | None = None,
    init_stddev: float = 0.1,
    make_encoder: MakeEncoder = encoder.whitened,
    dtype: Any = jnp.float32,
    **settings,
) -> Agent:
    """The hierarchical clone. `source`: the parameters of agents.bc.hierarchical."""
    size = spec.action.shape[-1]
    mid_net, low_net = Components(1, latent, skill_hidden, dtype), LatentActor(size, skill_hidden, dtype)
    stddev_net = StateStddev(size, init_stddev)
    names = {"mid": tuple(mid) or spec.visible, "low": tuple(low) or spec.visible}
    see = {level: make_encoder(spec.obs, entries, None) for level, entries in names.items()}

    def init(key):
        keys = jax.random.split(key, 5)
        encoders = {level: one.init(k) for k, (level, one) in zip(keys, see.items(), strict=False)}
        x = encode({"skills": {"encoder": encoders}}, encoder.blank(spec.obs, (*names["mid"], *names["low"])))
        fresh = {
            "encoder": encoders,
            "mid": mid_net.init(keys[2], x["mid"])["params"],
            "low": low_net.init(keys[3], x["low"], jnp.zeros((1, 1, latent)))["params"],
        }
        params = params_from(fresh, source, "a clone's parameters")
        actor = {"mid": params["mid"], "low": params["low"], "stddev": stddev_net.init(keys[4], x["low"])["params"]}
        return {"encoder": params["encoder"]}, actor

    def encode(params, obs):
        return {level: one.apply(params["skills"]["encoder"][level], obs) for level, one in see.items()}

    def policy(params, x, key):
        """With the latent that the key samples; at its mean without one."""
        actor = params["actor"]
        z = draw(*mid_net.apply({"params": actor["mid"]}, x["mid"]), key)
        mean = low_net.apply({"params": actor["low"]}, x["low"], z)[0]
        return Gaussian(mean, stddev_net.apply({"params": actor["stddev"]}, x["low"]))

    head = primitive(policy, encode, spec, init)
    return control(head, spec, sees=(), make_encoder=make_encoder, dtype=dtype, **settings)

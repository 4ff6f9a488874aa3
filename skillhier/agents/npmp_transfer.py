"""NPMP transferred: a new Gaussian high level over the latent of a frozen low level (Merel et al., ICLR 2019).

Read in order: agents/npmp.py (the low level), agents/mpo.py (how the level learns). With eta_z the policy is
regularised towards the latent's prior: N(0, I) at ar_coefficient=0 (HeLMS's rival NPMP+KL), else N(a z, (1 - a^2) I)
with a = ar_coefficient.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from skillhier.agents import mpo
from skillhier.agents.learner import params_from
from skillhier.agents.mpo import PolicyHead, control
from skillhier.agents.npmp import latent_hierarchy
from skillhier.nets import encoder
from skillhier.nets.actor import GaussianActor
from skillhier.nets.encoder import MakeEncoder
from skillhier.nets.skills import LatentActor
from skillhier.nets.vision import Shape
from skillhier.ops import families, priors
from skillhier.ops.families import Gaussian, draw
from skillhier.policies.flat import flat
from skillhier.types import Agent, Spec

DEFAULTS = {
    **mpo.DEFAULTS,
    **mpo.GAUSSIAN,
    "high": (),  # entries that the new high level sees; none: all that are not privileged
    "init_stddev": 1.0,  # initial standard deviation of the latent: that of its prior
    "eta_z": 0.01,  # weight of the KL of latents to their prior
    "ar_coefficient": 0.0,  # of that prior: 0 for N(0, I); 0.95 for AR(1), with skills of npmp_ar1
}


def make(
    spec: Spec,
    *,
    low: Sequence[str] = (),
    high: Sequence[str] = (),
    latent: int = 8,
    skill_hidden: Sequence[int] = (256, 256),
    action_stddev: float = 0.1,
    source: Mapping | None = None,
    hidden: Sequence[int] = (256, 256),
    ar_coefficient: float = 0.0,
    eta_z: float = 0.01,
    init_stddev: float = 1.0,
    statistics: Mapping | None = None,
    make_encoder: MakeEncoder = encoder.whitened,
    picture_channels: Sequence[int] = (32, 64, 128),
    picture_blocks: int = 2,
    dtype: Any = jnp.float32,
    **settings,
) -> Agent:
    """As agents.helms_transfer.make; `source` holds the parameters of agents.npmp, of which the low level is used."""
    pictures = Shape(tuple(picture_channels), picture_blocks)
    high_net = GaussianActor(latent, hidden, init_stddev, bounded=False, pictures=pictures, dtype=dtype)
    low_net = LatentActor(spec.action.shape[-1], skill_hidden, dtype)
    family = families.gaussian()
    low_names, high_names = tuple(low) or spec.visible, tuple(high) or spec.visible
    see_low = make_encoder(spec.obs, low_names, None)
    see_high = encoder.beside_pictures(make_encoder, spec.obs, high_names, statistics)

    def init(key):
        low_encoder_key, high_encoder_key, high_key, low_key = jax.random.split(key, 4)
        rows = encoder.blank(spec.obs, (*low_names, *high_names))
        low_encoder = see_low.init(low_encoder_key)
        fresh = {
            "encoder": {"low": low_encoder},
            "low": low_net.init(low_key, see_low.apply(low_encoder, rows), jnp.zeros((1, 1, latent)))["params"],
        }
        own = source
        if source is not None and "encoder" in source:  # what the look-ahead's encoder saw is not needed
            own = {**source, "encoder": {name: x for name, x in source["encoder"].items() if name == "low"}}
        x = see_high.apply(see_high.init(high_encoder_key), rows)
        return params_from(fresh, own, "skills"), high_net.init(high_key, x)["params"]

    def encode(params, obs):
        return see_high.apply(params["encoders"]["actor"], obs)

    def policy(params, x, key):
        return Gaussian(*high_net.apply({"params": params["actor"]}, x))

    def near(params, online, x, batch):
        if ar_coefficient > 0:
            return {"latent": priors.drift(online, ar_coefficient, batch.action, batch.step.first)}
        return {"latent": priors.standard(online)}

    def act(sample: bool):
        def choose(params, obs, key):
            distribution = policy(params, encode(params, obs), key)
            z = family.sample(distribution, key) if sample else family.mode(distribution)
            return z, {"log_prob": family.log_prob(distribution, z)}

        def work(params, obs, key):
            x = see_low.apply(params["skills"]["encoder"]["low"], obs)
            mean = low_net.apply({"params": params["skills"]["low"]}, x, obs["latent"][None])[0]
            return draw(mean, action_stddev, key if sample else None), {}

        return latent_hierarchy(flat(choose), flat(work), latent)

    action = jax.ShapeDtypeStruct((latent,), jnp.float32)
    head = PolicyHead(
        family,
        "latent",
        action,
        init,
        encode,
        policy,
        act,
        priors=near,
        eta={"latent": eta_z},
        log_prob="latent/log_prob",
    )
    shared = {"hidden": hidden, "statistics": statistics, "make_encoder": make_encoder, "dtype": dtype}
    shared |= {"picture_channels": picture_channels, "picture_blocks": picture_blocks}
    return control(head, spec, sees=high_names, **shared, **settings)

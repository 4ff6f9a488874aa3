"""NPMP put to work: a new Gaussian high level over the latent of a frozen low level (Merel et al., ICLR 2019).

Read in order: agents/npmp.py (the low level), agents/mpo.py (how the level learns). With eta_z the policy is kept near
the latent's prior: N(0, I) at ar_coefficient=0 (HeLMS's rival NPMP+KL), else N(a z, (1 - a^2) I)
with a = ar_coefficient.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from skillhier.agents.learner import Control, params_from
from skillhier.agents.mpo import PolicyHead, control
from skillhier.nets import encoder
from skillhier.nets.actor import GaussianActor
from skillhier.nets.skills import LatentActor
from skillhier.ops import families, priors
from skillhier.ops.families import Gaussian
from skillhier.policies.flat import flat
from skillhier.policies.hierarchy import hierarchy


def make(
    obs: dict,
    action,
    *,
    low: Sequence[str],
    high: Sequence[str],
    latent: int = 8,
    skill_hidden: Sequence[int] = (256, 256),
    action_stddev: float = 0.1,
    source: dict | None = None,
    hidden: Sequence[int] = (256, 256),
    ar_coefficient: float = 0.0,
    eta_z: float = 0.01,
    init_stddev: float = 1.0,
    **settings,
) -> Control:
    """As agents.helms_transfer.make; init_stddev: of the latent at first, that of its prior."""
    high_net = GaussianActor(latent, hidden, init_stddev, bounded=False)
    low_net = LatentActor(action.shape[-1], skill_hidden)
    family, statistics = families.gaussian(), settings.get("statistics")

    def begin(key):
        high_key, low_key = jax.random.split(key)
        white = encoder.whitening(None, obs, low)
        blank = {name: jnp.zeros((1, *obs[name].shape)) for name in (*low, *high)}
        z = jnp.zeros((1, 1, latent))
        fresh = {
            "whitening": white,
            "low": low_net.init(low_key, encoder.stacked(white, blank, low), z)["params"],
        }
        if source is not None:  # its statistics are also those of what only its encoder saw
            known = {**source, "whitening": {k: v for k, v in source.get("whitening", {}).items() if k in white}}
        else:
            known = None
        x = encoder.stacked(encoder.whitening(statistics, obs, high), blank, high)
        return params_from(fresh, known, "skills"), high_net.init(high_key, x)["params"]

    def policy(params, seen, key):
        x = encoder.stacked(params["scales"], seen, high)
        return Gaussian(*high_net.apply({"params": params["actor"]}, x))

    def near(params, online, batch):
        if ar_coefficient > 0:
            return {"latent": priors.drift(online, ar_coefficient, batch.action, batch.step.first)}
        return {"latent": priors.standard(online)}

    def act(sample: bool):
        def choose(params, seen, key):
            found = policy(params, seen, key)
            z = family.sample(found, key) if sample else family.mode(found)
            return z, {"log_prob": family.log_prob(found, z)}

        def work(params, seen, key):
            x = encoder.stacked(params["skills"]["whitening"], seen, low)
            mean = low_net.apply({"params": params["skills"]["low"]}, x, seen["latent"][None])[0]
            noise = action_stddev * jax.random.normal(key, mean.shape) if sample else 0.0
            return jnp.clip(mean + noise, -1.0, 1.0), {}

        return hierarchy(
            flat(choose),
            flat(work),
            condition=lambda params, step, z: {"latent": z},
            name="latent",
            initial_choice=lambda worlds: jnp.zeros((worlds, latent)),
        )

    level = PolicyHead(
        family, "latent", jax.ShapeDtypeStruct((latent,), jnp.float32), begin, policy, act, priors=near,
        eta={"latent": eta_z}, log_prob="latent/log_prob",
    )  # fmt: skip
    return control(level, obs, sees=high, hidden=hidden, **settings)

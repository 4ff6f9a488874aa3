"""Clones fine-tuned by MPO on the world's own actions: nothing of them is frozen but the scales of what they see.

Read in order: agents/bc.py (the clones), agents/mpo.py (how they learn). The clone's fixed deviation becomes one that
depends on the observation and learns; it begins at `init_stddev`. Of the hierarchical clone both levels learn: its
actions are a mixture over the latent, of which one draw stands for all wherever a likelihood is needed.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from skillhier.agents.learner import Control, params_from
from skillhier.agents.mpo import control, primitive
from skillhier.nets import encoder
from skillhier.nets.actor import GaussianActor, StateStddev
from skillhier.nets.skills import Components, LatentActor
from skillhier.ops.families import Gaussian


def make(
    obs: dict,
    action,
    *,
    mid: Sequence[str],
    low: Sequence[str] = (),
    skill_hidden: Sequence[int] = (256, 256),
    source: dict | None = None,
    init_stddev: float = 0.1,
    **settings,
) -> Control:
    """A flat clone; as agents.helms_transfer.make. `source`: the parameters of agents.bc."""
    net = GaussianActor(action.shape[-1], skill_hidden, init_stddev, normalised=False)

    def begin(key):
        white = encoder.whitening(None, obs, mid)
        blank = {name: jnp.zeros((1, *obs[name].shape)) for name in mid}
        fresh = {"whitening": white, "actor": net.init(key, encoder.stacked(white, blank, mid))["params"]}
        begun = params_from(fresh, source, "a clone's parameters")
        return {"whitening": begun["whitening"]}, begun["actor"]

    def policy(params, seen, key):
        x = encoder.stacked(params["skills"]["whitening"], seen, mid)
        return Gaussian(*net.apply({"params": params["actor"]}, x))

    return control(primitive(policy, action, begin), obs, sees=(), **settings)


def hierarchical(
    obs: dict,
    action,
    *,
    low: Sequence[str],
    mid: Sequence[str],
    latent: int = 8,
    skill_hidden: Sequence[int] = (256, 256),
    source: dict | None = None,
    init_stddev: float = 0.1,
    **settings,
) -> Control:
    """The hierarchical clone. `source`: the parameters of agents.bc.hierarchical."""
    mid_net, low_net = Components(1, latent, skill_hidden), LatentActor(action.shape[-1], skill_hidden)
    spread_net = StateStddev(action.shape[-1], init_stddev)

    def begin(key):
        mid_key, low_key, spread_key = jax.random.split(key, 3)
        white = encoder.whitening(None, obs, (*mid, *low))
        blank = {name: jnp.zeros((1, *obs[name].shape)) for name in (*mid, *low)}
        x = encoder.stacked(white, blank, low)
        fresh = {
            "whitening": white,
            "mid": mid_net.init(mid_key, encoder.stacked(white, blank, mid))["params"],
            "low": low_net.init(low_key, x, jnp.zeros((1, 1, latent)))["params"],
        }
        begun = params_from(fresh, source, "a clone's parameters")
        actor = {"mid": begun["mid"], "low": begun["low"], "spread": spread_net.init(spread_key, x)["params"]}
        return {"whitening": begun["whitening"]}, actor

    def policy(params, seen, key):
        """With the latent that the key draws; at its mean without one."""
        white, actor = params["skills"]["whitening"], params["actor"]
        mean, sigma = mid_net.apply({"params": actor["mid"]}, encoder.stacked(white, seen, mid))
        z = mean if key is None else mean + sigma * jax.random.normal(key, mean.shape)
        x = encoder.stacked(white, seen, low)
        return Gaussian(
            low_net.apply({"params": actor["low"]}, x, z)[0], spread_net.apply({"params": actor["spread"]}, x)
        )

    return control(primitive(policy, action, begin), obs, sees=(), **settings)

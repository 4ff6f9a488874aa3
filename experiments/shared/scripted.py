"""Whoever acts without having learned, by name."""

import jax.numpy as jnp

from experiments.shared import cli
from skillhier.envs import registry
from skillhier.policies import open_loop
from skillhier.types import Env, Policy

NAMES = ("expert", "random", "zero")


def make(name: str, world: str, env: Env) -> Policy:
    """The policy of that name for `env`, worlds called `world`. Raises Refused."""
    cli.pick("policy", name, dict.fromkeys(NAMES))
    bounds = env.spec.action
    if name == "random":
        return open_loop.uniform(bounds)
    if name == "zero":
        return open_loop.constant(jnp.clip(jnp.zeros(bounds.shape), bounds.low, bounds.high))
    if ".stack_" not in world:
        raise cli.Refused(f"the expert knows stacking, not {world}; choose another policy or world")
    from skillhier.envs.sawyer import expert

    return expert.make(int(registry.canonical(world).partition("@")[0].rpartition("set")[2]))

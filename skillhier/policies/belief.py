"""Acting on what a world model believes: the filtered latent takes the observation's place."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from skillhier.types import Action, Array, Carry, Key, Params, Policy

Latents = dict[str, Array]


class Belief(NamedTuple):
    """What is carried from row to row."""

    latent: Latents
    action: Action  # [B, A] as it was executed, noise included
    policy: Carry


def believe(
    observe: Callable[[Params, Latents, Action, Any, Array, Key], Latents],
    blank: Callable[[int], Latents],
    policy: Policy,
    action: int,
    *,
    noise: float = 0.0,
    to_world: Callable[[Action], Action] = lambda action: action,
) -> Policy:
    """`policy`, shown the latent of a filter in place of the observation.

    observe   (params, latents, last action, obs, first, key) -> latents; it begins anew where `first`
    blank     latents [B, ...] of any value: an episode's first row replaces them
    action    A; actions of `policy` lie in [-1, 1]
    noise     standard deviation added to them; then they are clipped, and the filter hears of what was executed
    to_world  from [-1, 1] to what the world wants

    Notes: those of `policy`, and the latent as `belief/NAME`.
    """

    def init(worlds: int) -> Belief:
        return Belief(blank(worlds), jnp.zeros((worlds, action)), policy.init(worlds))

    def act(params, state, step, key):
        observe_key, act_key, noise_key = jax.random.split(key, 3)
        latent = observe(params, state.latent, state.action, step.obs, step.first, observe_key)
        carry, chosen, notes = policy.act(params, state.policy, step._replace(obs=latent), act_key)
        if noise:
            chosen = chosen + noise * jax.random.normal(noise_key, chosen.shape, chosen.dtype)
        executed = jnp.clip(chosen, -1.0, 1.0)
        beliefs = {f"belief/{name}": value for name, value in latent.items()}
        return Belief(latent, executed, carry), to_world(executed), notes | beliefs

    return Policy(init, act)

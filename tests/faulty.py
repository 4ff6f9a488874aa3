"""A learner that regresses its batch's rewards, and a source that spoils some batches."""

import jax
import jax.numpy as jnp

from skillhier.agents.learner import learner, stateless
from skillhier.agents.optimisers import adam
from skillhier.types import Learner, Source, TimeStep, Trajectory


def regression(patience: int = 3) -> Learner:
    def loss(params, batch, key):
        value = jnp.square(batch.step.reward - params["guess"]["mean"]).mean()
        return value, {"guess/error": value}

    def init(key):
        return {"guess": {"mean": jax.random.normal(key)}}

    return learner(init, stateless(loss), adam({"guess": 0.1}), max_consecutive_skips=patience)


def spoiling(*bad: int, value: float = jnp.nan) -> Source:
    """Noise around 1; batches of those numbers, counted from 0, hold one `value`."""

    def next_(count, params, key):
        noise = 1 + 0.1 * jax.random.normal(key, (4, 3))
        spoil = jnp.isin(count, jnp.array(bad, jnp.int32)) if bad else False
        reward = noise.at[1, 2].set(jnp.where(spoil, value, noise[1, 2]))
        never = jnp.zeros((4, 3), bool)
        step = TimeStep({}, reward, jnp.ones((4, 3)), never, never)
        return count + 1, Trajectory(step, jnp.zeros((4, 3, 1)), {}), {"source/count": count.astype(jnp.float32)}

    return Source(lambda key: jnp.zeros((), jnp.int32), next_)

"""TD3 of one policy (Fujimoto et al., 2018), with the Huber loss that HIRO has: twin critics and a deterministic actor.

Target copies of the actor and the critics are `slow["target"]`, children that stand in for those of the same name in
the parameters. That actor and targets move less often than the critics is not said here: it is a matter of their
optimiser (agents/optimisers.py, `every`) and their moving average (agents/slow.py).
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from skillhier.losses.imitation import average
from skillhier.losses.mpo import where_valid
from skillhier.ops import returns
from skillhier.types import Array, Key, Metrics, Params, Scalar, Slow, SlowLoss, Trajectory

# What the networks read of rows 0 .. T - 2, and of the rows that these lead to, 1 .. T - 1; leaves [T - 1, B, ...].
# Two, because a goal in force at a row may be another one than at the row before.
See = Callable[[Params, Trajectory], tuple[Any, Any]]
Actor = Callable[[Params, Any], Array]  # actions [T - 1, B, A] between low and high
Critic = Callable[[Params, Any, Array], Array]  # Q of actions, [2, T - 1, B]


def huber(error: Array, delta: float = 1.0) -> Array:
    """error^2 / 2 up to |error| = delta, linear with the same slope beyond."""
    size = jnp.abs(error)
    return jnp.where(size <= delta, 0.5 * jnp.square(error), delta * (size - 0.5 * delta))


def smoothed(action: Array, key: Key, low: Array, high: Array, stddev: float = 0.2, clip: float = 0.5) -> Array:
    """`action` with noise clipped at `clip`, both in units of half the range [low, high], which is not left."""
    noise = jnp.clip(stddev * jax.random.normal(key, action.shape, action.dtype), -clip, clip)
    return jnp.clip(action + 0.5 * (high - low) * noise, low, high)


def td3_loss(
    actor: Actor,
    critic: Critic,
    see: See,
    *,
    low: Array,
    high: Array,
    gamma: float = 0.99,
    smoothing_stddev: float = 0.2,
    smoothing_clip: float = 0.5,
    delta: float = 1.0,
    n_step: int = 1,
    renewed: str = "",
) -> SlowLoss:
    """The loss of a policy whose actions are batch.action, [T, B, A] between `low` and `high` [A].

    The critics regress on r + gamma min_i Q_i(s', a') by the target copies, where a' is their actor's action, smoothed.
    The actor ascends the first critic, which gets no gradient from that. Both learn from valid transitions alone.

    delta    errors of the critics up to this count squared, see `huber`
    n_step   rewards before the value; fewer where a cut or the window's end comes first
    renewed  the name of the note, bool [T, B], of rows where what the policy is conditioned on changed: rewards there
             are paid for something else, so a return bootstraps on arriving, from the value of what was in force
    """

    def loss(params: Params, slow: Slow, batch: Trajectory, key: Key) -> tuple[Scalar, tuple[Slow, Metrics]]:
        target_params = jax.lax.stop_gradient({**params, **slow["target"]})
        transitions = returns.transitions(batch.step, gamma)
        if renewed:
            transitions = transitions._replace(continues=transitions.continues & ~batch.extras[renewed][1:])
        valid = transitions.valid
        before, after = see(params, batch)

        following = smoothed(actor(target_params, after), key, low, high, smoothing_stddev, smoothing_clip)
        target = returns.n_step(transitions, critic(target_params, after, following).min(0), n_step)
        predicted = critic(params, before, where_valid(batch.action[:-1], valid))
        chex.assert_shape(predicted, (2, *valid.shape))
        # masked before it is squared: the target of a row that begins no transition may be NaN
        error = jnp.where(valid, jax.lax.stop_gradient(target) - predicted, 0.0)
        critic_loss = average(huber(error, delta).sum(0), valid)

        q = critic(jax.lax.stop_gradient(params), before, actor(params, before))[0]
        actor_loss = -average(q, valid)
        metrics = {
            "critic_loss": critic_loss,
            "actor_loss": actor_loss,
            "q": average(predicted[0], valid),
            "target": average(target, valid),
        }
        return critic_loss + actor_loss, (slow, metrics)

    return loss

"""Proximal policy optimisation of one level on any trajectory (Schulman et al., 2017): the clipped surrogate.

Advantages are those of generalised advantage estimation (Schulman et al., 2016), which is the lambda-return of
ops/returns.py less the value of the row: A_t = d_t + gamma lambda A_{t+1} with d_t = r + gamma V(s_{t+1}) - V(s_t). A
true end cuts it, a time limit bootstraps. They are made anew, with the present values, whenever the loss is called.
"""

from collections.abc import Callable, Mapping

import chex
import jax
import jax.numpy as jnp

from skillhier.losses.imitation import average
from skillhier.losses.mpo import where_valid
from skillhier.ops import returns
from skillhier.ops.families import Distribution, Family
from skillhier.types import Array, Key, Metrics, Params, Scalar, Slow, SlowLoss, Trajectory

SMALL = 1e-8  # added to the standard deviation of advantages


def standardised(advantage: Array, valid: Array) -> Array:
    """`advantage` [T, B] less its mean, over its standard deviation, both of the rows where `valid`; 0 elsewhere."""
    centred = jnp.where(valid, advantage - average(advantage, valid), 0.0)
    return centred / (jnp.sqrt(average(jnp.square(centred), valid)) + SMALL)


def surrogate(log_ratio: Array, advantage: Array, clip: float) -> Array:
    """min(r A, clip(r, 1 - eps, 1 + eps) A) with r = exp(log_ratio), elementwise (equation 7)."""
    ratio = jnp.exp(log_ratio)
    return jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage)


def ppo_loss(
    family: Family,
    policy: Callable[[Params, Mapping[str, Array]], Distribution],
    value: Callable[[Params, Trajectory], Array],
    *,
    gamma: float = 0.99,
    lambda_: float = 0.95,
    clip: float = 0.2,
    policy_weight: float = 1.0,
    value_weight: float = 0.5,
    entropy: float = 0.0,
    note: str = "log_prob",
    decided: str = "",
) -> SlowLoss:
    """The loss of a level whose actions are batch.action; it moves no slow state.

    policy         (params, entries) -> a distribution of `family`; entries are the observation and the notes of the
                   rows 0 .. T - 2
    value          (params, batch) -> values of all rows, [T, B]
    policy_weight  of surrogate and entropy; value_weight: of half the squared error of values, 0 where another level
                   fits them; entropy: of the entropy within the first, in nats
    note           the name under which the policy that acted noted the log-probability of its action, [T, B]
    decided        the name of the note, bool [T, B], that says at which rows this level chose: only there its policy
                   learns, from the advantage of that row. Values and the advantages' scale are those of all rows

    Metrics: `kl` is the estimate E[r - 1 - log r] of KL(acted || present), `clipped` the share of ratios beyond
    1 +- eps.
    """
    if not 0 < clip < 1:
        raise ValueError(f"clip must lie between 0 and 1, got {clip}; set agent.clip")

    def loss(params: Params, slow: Slow, batch: Trajectory, key: Key) -> tuple[Scalar, tuple[Slow, Metrics]]:
        moves, values = returns.transitions(batch.step, gamma), value(params, batch)
        valid = moves.valid
        chex.assert_shape(values, (len(valid) + 1, valid.shape[1]))
        target = jax.lax.stop_gradient(returns.lambda_returns(moves, values[1:], lambda_))
        advantage = standardised(target - jax.lax.stop_gradient(values[:-1]), valid)
        # masked before it is squared: the target of a row that begins no transition means nothing
        value_loss = 0.5 * average(jnp.square(jnp.where(valid, target - values[:-1], 0.0)), valid)

        rows = jax.tree.map(lambda x: x[:-1], batch)
        chosen = valid & rows.extras[decided] if decided else valid
        distribution = policy(params, {**rows.step.obs, **rows.extras})
        log_prob = family.log_prob(distribution, where_valid(rows.action, chosen))
        chex.assert_equal_shape([log_prob, rows.extras[note], valid])
        log_ratio = jnp.where(chosen, log_prob - rows.extras[note], 0.0)
        gain = average(surrogate(log_ratio, advantage, clip), chosen)
        nats = average(family.entropy(distribution), chosen)
        total = -policy_weight * (gain + entropy * nats) + value_weight * value_loss
        ratio = jnp.exp(log_ratio)
        metrics = {
            "surrogate": gain,
            "entropy": nats,
            "value_loss": value_loss,
            "value_error": average(jnp.abs(target - values[:-1]), valid),
            "return": average(target, valid),
            "kl": average(ratio - 1 - log_ratio, chosen),
            "clipped": average((jnp.abs(ratio - 1) > clip).astype(jnp.float32), chosen),
        }
        return total, (slow, metrics)

    return loss

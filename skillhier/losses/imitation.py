"""Doing what was done: the log-likelihood of actions, and the loss that has nothing else."""

from collections.abc import Callable

import jax.numpy as jnp

from skillhier.types import Array, Key, Loss, Metrics, Params, Scalar, Trajectory

Decode = Callable[[Params, Trajectory, Key], Array]  # mean actions [T, B, A] of the first T rows of a trajectory


def log_prob(mean: Array, action: Array, scale: float | Array) -> Array:
    """log N(action; mean, diag scale^2) in nats, [...] from [..., A]; scale [] or [A]."""
    error = jnp.square((action - mean) / scale).sum(-1)
    size = jnp.broadcast_to(jnp.log(scale) + 0.5 * jnp.log(2 * jnp.pi), action.shape[-1:])
    return -0.5 * error - size.sum()


def squared_error(mean: Array, action: Array, valid: Array) -> Scalar:
    """Mean squared error per action dimension over the valid rows. Shapes [T, B, A], [T, B, A], [T, B]."""
    return average(jnp.square(mean - action).mean(-1), valid)


def average(values: Array, valid: Array) -> Scalar:
    """Mean over the rows where `valid`, [T, B] both; 0 if there is none."""
    return jnp.where(valid, values, 0.0).sum() / jnp.maximum(valid.sum(), 1)


def imitation(decode: Decode, *, scale: float = 0.1) -> Loss:
    """Negative mean log-likelihood of the actions under N(decode(...), scale^2 I)."""

    def loss(params: Params, batch: Trajectory, key: Key) -> tuple[Scalar, Metrics]:
        mean = decode(params, batch, key)
        rows = mean.shape[0]
        action, valid = batch.action[:rows], ~batch.step.last[:rows]
        value = average(log_prob(mean, action, scale), valid)
        error = squared_error(mean, action, valid)
        return -value, {"imitation/log_likelihood": value, "imitation/action_mse": error}

    return loss

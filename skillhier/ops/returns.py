"""Returns of sampled trajectories. True ends, time limits and cuts are handled here, once for all losses.

    valid[t]      ~last[t] & ~first[t + 1]   row t begins a transition: it is no final row, and its world did not break
    discount[t]   gamma * discount[t + 1]    0 where the task itself ended on arriving at row t + 1
    continues[t]  valid[t + 1]               the return at row t + 1 extends beyond it; elsewhere it is cut there and
                                             bootstraps from the value, which a true end multiplies by discount[t] = 0

Every array is [T - 1, B] for a window of T rows: index t is the transition from row t to row t + 1, and values are
those of the row arrived at. Where ~valid a return has no meaning (it is finite if its inputs are).
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from skillhier.types import Array, TimeStep


class Transitions(NamedTuple):
    """The transitions from row t to row t + 1, [T - 1, B] each."""

    reward: Array
    discount: Array  # gamma, or 0 at a true end
    continues: Array  # bool: the return extends beyond the row arrived at; False at the window's last row
    valid: Array  # bool: row t begins a transition


def transitions(step: TimeStep, gamma: float) -> Transitions:
    """The transitions of a window, from leaves [T, B]."""
    chex.assert_rank([step.reward, step.discount, step.first, step.last], 2)
    if len(step.first) < 2:
        raise ValueError(f"a trajectory must have >= 2 rows, got {len(step.first)}; set train.sequence_length")
    valid = ~step.last[:-1] & ~step.first[1:]
    continues = jnp.concatenate([valid[1:], jnp.zeros_like(valid[:1])])
    return Transitions(step.reward[1:], gamma * step.discount[1:], continues, valid)


def td(transitions: Transitions, value: Array) -> Array:
    """TD(0): r + discount v, from values at rows 1 .. T - 1."""
    chex.assert_equal_shape([transitions.reward, value])
    return transitions.reward + transitions.discount * value


def n_step(transitions: Transitions, value: Array, n: int) -> Array:
    """`n` rewards, or as many as precede a cut or the window's end, then the value there. n = 1 is TD(0)."""
    if n < 1:
        raise ValueError(f"n must be >= 1, got {n}; set agent.n_step")
    chex.assert_equal_shape([transitions.reward, value])
    bootstrap = value
    for _ in range(min(n, len(value))):
        # bootstrap[t] is the value of row t + 1 with one reward fewer: the target of the transition one row later
        target = transitions.reward + transitions.discount * bootstrap
        bootstrap = jnp.where(transitions.continues, jnp.concatenate([target[1:], value[-1:]]), value)
    return target


def lambda_returns(transitions: Transitions, value: Array, lam: float) -> Array:
    """G_t = r + discount ((1 - lam) v + lam G_{t+1}), stopped at any cut: TD(0) at lam = 0, all rewards at lam = 1."""
    return _backward(transitions, value, value, jnp.full_like(value, lam))


def retrace(transitions: Transitions, value: Array, taken: Array, log_ratio: Array, lam: float) -> Array:
    """Retrace (Munos et al., 2016): G_t = r + discount (v + c (G_{t+1} - q)) with c = lam min(1, pi(a) / mu(a)).

    value      V at rows 1 .. T - 1 under the evaluated policy pi
    taken      q = Q at rows 1 .. T - 1 of the action taken there
    log_ratio  log pi(a) - log mu(a) of that action, mu being the policy that took it
    """
    return _backward(transitions, value, taken, lam * jnp.exp(jnp.minimum(log_ratio, 0.0)))


def _backward(transitions: Transitions, value: Array, taken: Array, trace: Array) -> Array:
    """G_t = r + discount (v + trace (G_{t+1} - taken)), with trace 0 where ~continues."""
    chex.assert_equal_shape([transitions.reward, value, taken, trace])

    def row(later, inputs):
        reward, discount, continues, value, taken, trace = inputs
        # Masked, not multiplied by 0: an action on a final row is arbitrary, and its Q may be NaN.
        target = reward + discount * (value + jnp.where(continues, trace * (later - taken), 0.0))
        return target, target

    rows = (transitions.reward, transitions.discount, transitions.continues, value, taken, trace)
    _, targets = jax.lax.scan(row, jnp.zeros_like(value[0]), rows, reverse=True)
    return targets

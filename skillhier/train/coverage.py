"""Figures of single episodes: the variance of groups of observation entries, and several returns.

HeLMS, Table 1. Read with it: report/coverage_page.py (the table of several agents), evaluate.py (means alone).
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

from skillhier.rollout import rollout, start
from skillhier.types import Array, Env, Key, Params, Policy, Trajectory


def episodes(
    env: Env,
    policy: Policy,
    *,
    groups: Mapping[str, Sequence[str]],
    totals: Mapping[str, tuple[str, int]],
    success: str | None,
    poses: Sequence[str] = (),
) -> Callable[[Params, Key], dict[str, Array]]:
    """A jitted function of (params, key): the figures [B] of one new episode in every world of `env`; see `figures`.

    Initial states depend on the key alone, not on the policy.
    """

    @jax.jit
    def measure(params: Params, key: Key) -> dict[str, Array]:
        start_key, act_key = jax.random.split(key)
        actor = start(env, policy, start_key)
        _, trajectory = rollout(env, policy, params, actor, act_key, env.spec.limit + 1)
        return figures(trajectory, groups, totals, success, poses)

    return measure


def figures(
    trajectory: Trajectory,
    groups: Mapping[str, Sequence[str]],
    totals: Mapping[str, tuple[str, int]],
    success: str | None,
    poses: Sequence[str] = (),
) -> dict[str, Array]:
    """Figures [B] of the episodes that row 0 of a trajectory opens, over all their rows after the first:

    variance/NAME   for each of `groups`, NAME -> entries: the variance over these rows of each component of the newest
                    frames, averaged over the components
    return          the sum of rewards
    return/NAME     for each of `totals`, NAME -> (entry, component): its sum, the return if it were the reward
    success         1 if the entry `success` is 1 on the last row; left out where no entry says it
    broken          1 if a broken world cut the episode short; its other figures cover the rows before that

    poses: entries that end with a quaternion. A quaternion and its negative are the same rotation, and worlds that show
    the one with w >= 0 jump between them near half a turn; such sign changes are removed first.
    """
    step = trajectory.step
    again = step.first.at[0].set(False)
    valid = jnp.cumsum(again, axis=0) == 0  # [T, B] rows of the first episode
    broken = again.any(0) & ~(step.last & valid).any(0)
    arrived = valid & ~step.first
    rows = arrived.sum(0)
    summed = lambda values: jnp.where(arrived, values, 0.0).sum(0)  # noqa: E731

    def variance(entry: str) -> Array:
        """[B, d]; of the difference to row 0, for which single precision is enough where values are far from zero."""
        values, counted = step.obs[entry][:, :, 0], arrived[..., None]
        values = values.reshape(*values.shape[:2], -1)
        values = continuous(values) if entry in poses else values
        values = values - values[:1]
        mean = jnp.where(counted, values, 0.0).sum(0) / rows[:, None]
        return jnp.where(counted, jnp.square(values - mean), 0.0).sum(0) / rows[:, None]

    succeeded = {}
    if success is not None:
        end = jnp.take_along_axis(step.obs[success][:, :, 0, 0], valid.sum(0)[None] - 1, axis=0)[0]
        succeeded = {"success": 1.0 * ((end > 0.5) & ~broken)}
    return {
        **{
            f"variance/{name}": jnp.concatenate([variance(entry) for entry in entries], -1).mean(-1)
            for name, entries in groups.items()
        },
        "return": summed(step.reward),
        **{f"return/{name}": summed(step.obs[entry][:, :, 0, i]) for name, (entry, i) in totals.items()},
        **succeeded,
        "broken": 1.0 * broken,
    }


def continuous(poses: Array) -> Array:
    """Poses [T, B, 7] (position, quaternion wxyz) without sign changes of the quaternion between rows."""
    quaternion = poses[..., 3:]
    jumps = (quaternion[1:] * quaternion[:-1]).sum(-1, keepdims=True) < 0
    side = jnp.cumprod(jnp.where(jumps, -1.0, 1.0), axis=0)
    quaternion = jnp.concatenate([quaternion[:1], quaternion[1:] * side])
    return jnp.concatenate([poses[..., :3], quaternion], -1)

"""How much of the world episodes move, by groups of what it shows, and what they would be paid: a figure an episode.

HeLMS, Table 1. Read with it: coverage_page.py (the table of several agents), evaluate.py (means alone).
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
    success: str,
    poses: Sequence[str] = (),
) -> Callable[[Params, Key], dict[str, Array]]:
    """A jitted function of (params, key): the figures [B] of one fresh episode in every world of `env`; see `figures`.

    The starts are of the key alone, whatever the policy.
    """

    @jax.jit
    def measure(params: Params, key: Key) -> dict[str, Array]:
        start_key, act_key = jax.random.split(key)
        begun = start(env, policy, start_key)
        _, seen = rollout(env, policy, params, begun, act_key, env.spec.limit + 1)
        return figures(seen, groups, totals, success, poses)

    return measure


def figures(
    seen: Trajectory,
    groups: Mapping[str, Sequence[str]],
    totals: Mapping[str, tuple[str, int]],
    success: str,
    poses: Sequence[str] = (),
) -> dict[str, Array]:
    """Of the episodes [B] that row 0 of a trajectory opens, over the rows that control steps led to:

    variance/NAME   for each of `groups`, NAME -> entries: the variance over these rows of every number of the newest
                    frames, as the world shows it, and the mean of that over the numbers
    return          the sum of rewards
    return/NAME     for each of `totals`, NAME -> (entry, number in it): its sum, what it would return as a reward
    success         1 where the last row shows 1 in the entry of that name
    broken          1 where a broken world cut the episode short; its other figures are of what there was of it

    poses: entries that end with a quaternion. It and its negative are one rotation, and a world that shows the one with
    w >= 0 jumps between them where an object lies turned by half a turn: such jumps are taken out first.
    """
    again = seen.step.first.at[0].set(False)
    valid = jnp.cumsum(again, axis=0) == 0  # [T, B] rows of the first episode
    broken = again.any(0) & ~(seen.step.last & valid).any(0)
    arrived = valid & ~seen.step.first
    rows = arrived.sum(0)
    summed = lambda values: jnp.where(arrived, values, 0.0).sum(0)  # noqa: E731

    def variance(entry: str) -> Array:
        """[B, d]; of what has changed since the start, so that single precision does for what lies far from zero."""
        shown, there = seen.step.obs[entry][:, :, 0], arrived[..., None]
        shown = steady(shown) if entry in poses else shown
        shown = shown - shown[:1]
        mean = jnp.where(there, shown, 0.0).sum(0) / rows[:, None]
        return jnp.where(there, jnp.square(shown - mean), 0.0).sum(0) / rows[:, None]

    end = jnp.take_along_axis(seen.step.obs[success][:, :, 0, 0], valid.sum(0)[None] - 1, axis=0)[0]
    return {
        **{
            f"variance/{name}": jnp.concatenate([variance(entry) for entry in entries], -1).mean(-1)
            for name, entries in groups.items()
        },
        "return": summed(seen.step.reward),
        **{f"return/{name}": summed(seen.step.obs[entry][:, :, 0, i]) for name, (entry, i) in totals.items()},
        "success": 1.0 * ((end > 0.5) & ~broken),
        "broken": 1.0 * broken,
    }


def steady(poses: Array) -> Array:
    """Poses [T, B, 7] whose quaternion, wxyz behind the position, stays on the side that it begins on."""
    quaternion = poses[..., 3:]
    jumps = (quaternion[1:] * quaternion[:-1]).sum(-1, keepdims=True) < 0
    side = jnp.cumprod(jnp.where(jumps, -1.0, 1.0), axis=0)
    turned = jnp.concatenate([quaternion[:1], quaternion[1:] * side])
    return jnp.concatenate([poses[..., :3], turned], -1)

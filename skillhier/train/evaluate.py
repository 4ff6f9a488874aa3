"""Episodes to figures, by the same rollout that trains."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from skillhier.rollout import rollout, start
from skillhier.types import Array, Env, Key, Params, Policy, Trajectory


def episodes(
    env: Env,
    policy: Policy,
    *,
    rows: int | None = None,
    success: float | str | None = None,
    totals: Mapping[str, str] | None = None,
) -> Callable[[Params, Key], dict[str, Array]]:
    """A jitted function of (params, key): the figures of one fresh episode in every world of `env`.

    return: mean sum of rewards; length: mean control steps; final_reward: mean reward of the last row;
    success: share of episodes whose last reward is at least `success`, or whose last row shows 1 in the observation
    entry of that name;
    broken: share of episodes cut short by a broken world, which count as failures.
    rows: control steps of an episode at most (the env's limit by default).
    totals: further figures, name -> an entry of the observation: its mean sum over the rows after the first, which is
    the return that it would be as a reward.
    """
    length = (env.spec.limit if rows is None else rows) + 1

    @jax.jit
    def evaluate(params: Params, key: Key) -> dict[str, Array]:
        k_start, k_act = jax.random.split(key)
        _, seen = rollout(env, policy, params, start(env, policy, k_start), k_act, length)
        return figures(seen, success, totals)

    return evaluate


def figures(
    seen: Trajectory, success: float | str | None = None, totals: Mapping[str, str] | None = None
) -> dict[str, Array]:
    """The figures of the episodes [B] that row 0 of a trajectory opens; see `episodes`."""
    again = seen.step.first.at[0].set(False)
    valid = jnp.cumsum(again, axis=0) == 0  # [T, B] rows of the first episode
    closed = (seen.step.last & valid).any(0)
    broken = again.any(0) & ~closed
    rows = valid.sum(0)  # [B]
    at_end = lambda values: jnp.take_along_axis(values, rows[None] - 1, axis=0)[0]  # noqa: E731
    final = at_end(seen.step.reward)
    found = {
        "return": jnp.where(valid, seen.step.reward, 0).sum(0).mean(),
        "length": (rows - 1).mean(),
        "final_reward": final.mean(),
        "broken": broken.mean(),
    }
    arrived = valid & ~seen.step.first
    for name, entry in (totals or {}).items():
        found[name] = jnp.where(arrived, seen.step.obs[entry][:, :, 0, 0], 0).sum(0).mean()
    if success is None:
        return found
    won = at_end(seen.step.obs[success][:, :, 0, 0]) > 0.5 if isinstance(success, str) else final >= success
    return {**found, "success": (won & ~broken).mean()}

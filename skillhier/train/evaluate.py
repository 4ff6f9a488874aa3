"""Evaluations: what is measured of a learner at intervals, and figures of episodes by the same rollout that trains."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.rollout import rollout, start
from skillhier.types import Array, Env, Key, LearnerState, Params, Policy, Trajectory


class Evaluation(NamedTuple):
    """One of several evaluations of a run; its metrics are named `name/...`."""

    name: str
    every: int  # updates between two, a multiple of those in an epoch
    # the learner of one seed, and a function that gives a batch such as it learns from -> metrics
    measure: Callable[[LearnerState, Callable[[], Trajectory]], dict[str, float]]


def of_episodes(
    name: str,
    every: int,
    env: Env,
    policy: Policy,
    seed: int,
    *,
    success: str | None = None,
    totals: Mapping[str, str] | None = None,
) -> Evaluation:
    """Episodes of `policy` in `env`, from the same starts every time; success, totals: see `episodes`."""
    run = episodes(env, policy, success=success, totals=totals)

    def measure(state: LearnerState, batch: Callable[[], Trajectory]) -> dict[str, float]:
        values = jax.device_get(run(state.params, jax.random.key(seed)))
        return {metric: float(value) for metric, value in values.items()}

    return Evaluation(name, every, measure)


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
    valid = _first_episode(seen)
    closed = (seen.step.last & valid).any(0)
    broken = again.any(0) & ~closed
    rows = valid.sum(0)  # [B]
    at_end = lambda values: jnp.take_along_axis(values, rows[None] - 1, axis=0)[0]  # noqa: E731
    final = at_end(seen.step.reward)
    metrics = {
        "return": returns(seen).mean(),
        "length": (rows - 1).mean(),
        "final_reward": final.mean(),
        "broken": broken.mean(),
    }
    arrived = valid & ~seen.step.first
    for name, entry in (totals or {}).items():
        metrics[name] = jnp.where(arrived, seen.step.obs[entry][:, :, 0, 0], 0).sum(0).mean()
    if success is None:
        return metrics
    won = at_end(seen.step.obs[success][:, :, 0, 0]) > 0.5 if isinstance(success, str) else final >= success
    return {**metrics, "success": (won & ~broken).mean()}


def returns(seen: Trajectory) -> Array:
    """The sums of rewards [B] of the episodes that row 0 of a trajectory opens."""
    return jnp.where(_first_episode(seen), seen.step.reward, 0).sum(0)


def _first_episode(seen: Trajectory) -> Array:
    """Which rows [T, B] belong to the episode that row 0 opens."""
    return jnp.cumsum(seen.step.first.at[0].set(False), axis=0) == 0

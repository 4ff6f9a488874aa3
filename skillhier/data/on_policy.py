"""On-policy training: every batch is what the policy has just done with the current params, as a Source."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.data import episode_stats
from skillhier.data.episode_stats import EpisodeStats
from skillhier.rollout import ActorState, rollout, start
from skillhier.types import Env, Key, Metrics, Params, Policy, Source, Trajectory


class OnPolicyState(NamedTuple):
    """The state of the source."""

    actor: ActorState
    stats: EpisodeStats


def on_policy(env: Env, policy: Policy, *, unroll_length: int, success: str | None = None) -> Source:
    """Batches [T + 1, B, ...] of the T = `unroll_length` rows that `policy` collects in each of the B worlds of `env`.

    The last row is the bootstrap row: the step that the last action led to, from which the next batch goes on as its
    row 0. Nothing has been done there yet, so its action and extras are zeros. Every transition is in exactly one
    batch: T transitions, from row t to row t + 1, for t < T. Episodes continue across batches.

    success: the entry of the observation that is 1 on the last row of an episode that succeeded; `env.spec.success`
    if None. Metrics: see data.episode_stats.metrics.
    """
    success = env.spec.success if success is None else success
    if unroll_length < 1:
        raise ValueError(f"unroll_length must be >= 1, got {unroll_length}; set train.unroll_length")

    def init(key: Key) -> OnPolicyState:
        return OnPolicyState(start(env, policy, key), episode_stats.init(env.spec.worlds))

    def next_(state: OnPolicyState, params: Params, key: Key) -> tuple[OnPolicyState, Trajectory, Metrics]:
        actor, rows = rollout(env, policy, params, state.actor, key, unroll_length)
        stats = episode_stats.update(state.stats, rows.step, success)
        blank = lambda x: jnp.concatenate([x, jnp.zeros_like(x[:1])])  # noqa: E731
        batch = Trajectory(
            jax.tree.map(lambda x, bootstrap: jnp.concatenate([x, bootstrap[None]]), rows.step, actor.step),
            jax.tree.map(blank, rows.action),
            jax.tree.map(blank, rows.extras),
        )
        return OnPolicyState(actor, stats), batch, episode_stats.metrics(stats, success)

    axes = partial(jax.tree.map, lambda leaf: 0 if leaf.shape[:1] == (env.spec.worlds,) else -1)
    return Source(init, next_, worlds=axes)

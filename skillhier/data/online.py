"""Off-policy training: batches from a replay that a policy fills while the learner learns from it, as a Source."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.branch import any_unbatched
from skillhier.data import episode_stats
from skillhier.data.episode_stats import EpisodeStats
from skillhier.data.replay import Replay, ReplayState
from skillhier.distributed import seeds
from skillhier.rollout import ActorState, rollout, start
from skillhier.types import Array, Env, Key, Metrics, Params, Policy, Source, Trajectory


class OnlineState(NamedTuple):
    """The state of the source."""

    actor: ActorState
    replay: ReplayState
    stats: EpisodeStats
    since_collect: Array  # [] int32 batches since rows were collected, 0 when it is time; -n: n of pretraining are left


def online(
    env: Env,
    policy: Policy,
    replay: Replay,
    *,
    unroll_length: int,
    batch_size: int,
    sequence_length: int,
    lookahead: int = 0,
    crossing: bool = True,
    updates_per_collect: int = 1,
    prefill: int = 0,
    prefill_policy: Policy | None = None,
    pretrain: int = 0,
    initial_rows: Sequence[Trajectory] = (),
    first_params: Callable[[Key], Params] = lambda key: (),
    success: str | None = None,
) -> Source:
    """`unroll_length` rows of `policy` in every world of `env`, then `updates_per_collect` batches, and so on.

    batch_size, sequence_length, lookahead, crossing: the windows, see data.replay.make
    prefill: rows of every world collected before the first batch, rounded up to whole chunks of `unroll_length`
    prefill_policy: collects them; if None, `policy` does and continues its episodes. After a prefill policy all
        worlds are reset
    pretrain: batches sampled from initial rows and prefill alone, before the first collection after it
    initial_rows: what the replay holds before the prefill, [n, B, ...] on the host (data.initial_rows): once for all
        seeds of a program, or for each seed. Nothing counts them
    first_params: key -> params of the prefill, when there is no learner yet: `()` for policies without params, or
        `lambda key: learner.init(key).params`, which has the distribution of the learner's first params (another draw)
    success: the entry of the observation that is 1 on the last row of an episode that succeeded; `env.spec.success`
        if None

    Metrics: see data.episode_stats.metrics. Raises ValueError where there could be a batch without a window.
    """
    success = env.spec.success if success is None else success
    window = {
        "batch_size": batch_size,
        "sequence_length": sequence_length,
        "lookahead": lookahead,
        "crossing": crossing,
    }
    span = replay.stack_context + sequence_length + lookahead
    chunks = -(-prefill // unroll_length) if unroll_length > 0 else 0
    begun = len(initial_rows[0].step.first) if initial_rows else 0
    positive = {"unroll_length": unroll_length, "batch_size": batch_size, "sequence_length": sequence_length}
    for setting, value in {**positive, "updates_per_collect": updates_per_collect}.items():
        if value < 1:
            raise ValueError(f"{setting} must be >= 1, got {value}; set train.{setting}")
    if pretrain < 0:
        raise ValueError(f"pretrain must be >= 0, got {pretrain}; set train.pretrain")
    if replay.rows < max(span, unroll_length):
        raise ValueError(
            f"a replay of {replay.rows} rows holds no window of {span} rows and no chunk of {unroll_length}; "
            "set replay.rows"
        )
    if begun and begun + chunks * unroll_length > replay.rows:
        raise ValueError(
            f"{begun} initial rows and a prefill of {chunks * unroll_length} do not fit into a replay of "
            f"{replay.rows} rows; set replay.rows"
        )
    if begun + (chunks + (pretrain == 0)) * unroll_length < span:
        after = f" after {begun} initial rows" if begun else ""
        use = f" to pretrain on (pretrain={pretrain})" if pretrain else ""
        raise ValueError(f"a prefill of {prefill} rows{after} holds no window of {span} rows{use}; set replay.prefill")

    @partial(jax.jit, static_argnums=0)  # init and next share one trace
    def collect(policy: Policy, params: Params, actor: ActorState, stats: EpisodeStats, key: Key):
        actor, chunk = rollout(env, policy, params, actor, key, unroll_length)
        return actor, episode_stats.update(stats, chunk.step, success), replay.frames(chunk)

    def init(key: Key, given: tuple[Trajectory, ...] = tuple(initial_rows)) -> OnlineState:
        k_worlds, k_params, k_rows, k_reset = jax.random.split(key, 4)
        first_policy = prefill_policy or policy
        params = first_params(k_params)

        def fill(state: tuple[ActorState, EpisodeStats, ReplayState], key: Key):
            actor, before, ring = state
            actor, stats, chunk = collect(first_policy, params, actor, before, key)
            return (actor, stats, replay.add(ring, chunk, before.rows)), None

        ring = replay.init()
        if given:  # they have the numbers before 0: row 0 is the first one that is collected
            ring = replay.add(ring, seeds.pick(given))._replace(next_row=ring.next_row)
        state = (start(env, first_policy, k_worlds), episode_stats.init(env.spec.worlds), ring)
        (actor, stats, ring), _ = jax.lax.scan(fill, state, jax.random.split(k_rows, chunks))
        if prefill_policy is not None:  # its unfinished episodes are abandoned; their figures are not the policy's
            actor = start(env, policy, k_reset)
            stats = episode_stats.init(env.spec.worlds)._replace(rows=stats.rows, finished=stats.finished)
        return OnlineState(actor, ring, stats, jnp.full((), -pretrain, jnp.int32))

    def next_(state: OnlineState, params: Params, key: Key) -> tuple[OnlineState, Trajectory, Metrics]:
        k_rows, k_batch = jax.random.split(key)

        def collected(actor: ActorState, stats: EpisodeStats):
            return collect(policy, params, actor, stats, k_rows)

        def waited(actor: ActorState, stats: EpisodeStats):
            blank = lambda ring: jnp.zeros((unroll_length, *ring.shape[1:]), ring.dtype)  # noqa: E731
            return actor, stats, jax.tree.map(blank, state.replay.rows)

        due: Array | bool = True
        if updates_per_collect == 1 and not pretrain:
            actor, stats, chunk = collected(state.actor, state.stats)
        else:  # the ring stays outside of the branches: it would be copied there
            # a run resumed from a checkpoint without its replay may hold less than a window: it collects early
            due = any_unbatched((state.since_collect == 0) | (state.replay.filled < span))
            actor, stats, chunk = jax.lax.cond(due, collected, waited, state.actor, state.stats)
        ring = replay.add(state.replay, chunk, state.stats.rows, due)
        count = state.since_collect + 1
        count = jnp.where(count > 0, count % updates_per_collect, count)
        batch = replay.sample(ring, k_batch, **window)
        return OnlineState(actor, ring, stats, count), batch, episode_stats.metrics(stats, success)

    def axes(state: OnlineState) -> OnlineState:
        per_world = partial(jax.tree.map, lambda leaf: 0 if leaf.shape[:1] == (env.spec.worlds,) else -1)
        ring = jax.tree.map(lambda _: -1, state.replay)._replace(rows=jax.tree.map(lambda _: 1, state.replay.rows))
        return OnlineState(per_world(state.actor), ring, per_world(state.stats), -1)

    def peek(state: OnlineState, key: Key, length: int | None = None) -> Trajectory:
        return replay.sample(state.replay, key, **{**window, "sequence_length": length or sequence_length})

    def reopen(state: OnlineState, key: Key) -> OnlineState:
        """New episodes; those under way count for nothing."""
        stats = state.stats._replace(ended=jnp.ones_like(state.stats.ended))
        return state._replace(actor=start(env, policy, key), stats=stats)

    return Source(
        init,
        next_,
        peek=peek,
        worlds=axes,
        rings=("replay",),
        given=tuple(initial_rows) or None,
        reopen=None if env.spec.restorable else reopen,
    )

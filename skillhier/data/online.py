"""Batches from a replay that a policy fills while the learner learns from it, as a Source."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.branch import any_unbatched
from skillhier.data.replay import Replay, ReplayState
from skillhier.rollout import ActorState, rollout, start
from skillhier.types import Array, Env, Key, Metrics, Params, Policy, Source, TimeStep, Trajectory


class LastEpisode(NamedTuple):
    """The latest finished episode of every world, [B] each."""

    known: Array  # bool: one has finished
    total: Array  # its return
    steps: Array  # int32, control steps
    success: Array  # bool; a broken one is none
    broken: Array  # bool: cut short because the world broke


class EpisodeStats(NamedTuple):
    """What the worlds' own `first` and `last` have said so far."""

    rows: Array  # [] int32 rows collected in every world
    finished: Array  # [] int32 episodes that closed or broke, in all worlds
    ended: Array  # [B] bool: the newest row closed an episode, or there is none yet
    total: Array  # [B] return of the episode under way
    steps: Array  # [B] int32 control steps of it
    latest: LastEpisode


class OnlineState(NamedTuple):
    """The state of the source."""

    actor: ActorState
    replay: ReplayState
    tally: EpisodeStats
    since_collect: Array  # [] int32 batches since the last rows were collected; 0 when it is time again


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
    opener: Policy | None = None,
    first_params: Callable[[Key], Params] = lambda key: (),
    success: str | None = None,
) -> Source:
    """`unroll_length` rows of `policy` in every world of `env`, then `updates_per_collect` batches, and so on.

    batch_size, sequence_length, lookahead, crossing: the windows, see data.replay.make
    prefill: rows of every world collected before the first batch, rounded up to whole chunks of `unroll_length`
    opener: who collects them; the policy itself if None, which then goes on where it is. After an opener the worlds
        open anew
    first_params: key -> what either acts on meanwhile, for there is no learner yet: `()` for those that need none, or
        `lambda key: learner.init(key).params`, which are like the learner's first ones but drawn for themselves
    success: the entry of the observation that is 1 on the last row of an episode that succeeded

    Metrics, of collected episodes: `episodes/return`, `episodes/length` (control steps), `episodes/success`,
    `episodes/broken`: means over worlds of the latest episode each has finished (NaN before there is one), where an
    episode that a broken world cut short counts as finished, without success; `episodes/finished` and
    `worlds/steps`: episodes and control steps of all worlds that this update added, so that their means over an epoch
    are episodes and steps per update.
    """
    window = {
        "batch_size": batch_size,
        "sequence_length": sequence_length,
        "lookahead": lookahead,
        "crossing": crossing,
    }
    span = replay.stack_context + sequence_length + lookahead
    checked = {"unroll_length": unroll_length, "batch_size": batch_size, "sequence_length": sequence_length}
    for setting, value in {**checked, "updates_per_collect": updates_per_collect}.items():
        if value < 1:
            raise ValueError(f"{setting} must be >= 1, got {value}; set train.{setting}")
    if replay.rows < max(span, unroll_length):
        raise ValueError(
            f"a replay of {replay.rows} rows holds no window of {span} rows and no chunk of {unroll_length}; "
            "set replay.rows"
        )
    chunks = -(-prefill // unroll_length)
    if (chunks + 1) * unroll_length < span:
        raise ValueError(f"a prefill of {prefill} rows holds no window of {span} rows; set replay.prefill")

    @partial(jax.jit, static_argnums=0)  # traced once, however often it is asked for
    def gather(who: Policy, params: Params, actor: ActorState, tally: EpisodeStats, key: Key):
        actor, chunk = rollout(env, who, params, actor, key, unroll_length)
        return actor, update_stats(tally, chunk.step, success), replay.frames(chunk)

    def init(key: Key) -> OnlineState:
        k_worlds, k_params, k_rows, k_again = jax.random.split(key, 4)
        first = opener or policy
        params = first_params(k_params)

        def fill(state: tuple[ActorState, EpisodeStats, ReplayState], key: Key):
            actor, tally, kept = state
            actor, counted, chunk = gather(first, params, actor, tally, key)
            return (actor, counted, replay.add(kept, chunk, tally.rows)), None

        state = (start(env, first, k_worlds), init_stats(env.spec.worlds), replay.init())
        (actor, tally, kept), _ = jax.lax.scan(fill, state, jax.random.split(k_rows, chunks))
        if opener is not None:  # its episodes under way are left, and its figures are not the policy's
            actor = start(env, policy, k_again)
            tally = init_stats(env.spec.worlds)._replace(rows=tally.rows, finished=tally.finished)
        return OnlineState(actor, kept, tally, jnp.zeros((), jnp.int32))

    def next_(state: OnlineState, params: Params, key: Key) -> tuple[OnlineState, Trajectory, Metrics]:
        k_rows, k_batch = jax.random.split(key)

        def collected(actor: ActorState, tally: EpisodeStats):
            return gather(policy, params, actor, tally, k_rows)

        def waited(actor: ActorState, tally: EpisodeStats):
            blank = lambda ring: jnp.zeros((unroll_length, *ring.shape[1:]), ring.dtype)  # noqa: E731
            return actor, tally, jax.tree.map(blank, state.replay.rows)

        due: Array | bool = True
        if updates_per_collect == 1:
            actor, tally, chunk = collected(state.actor, state.tally)
        else:  # the ring stays outside of the branches: it would be copied there
            # a run that goes on without its replay may find it too empty before it is time
            due = any_unbatched((state.since_collect == 0) | (state.replay.filled < span))
            actor, tally, chunk = jax.lax.cond(due, collected, waited, state.actor, state.tally)
        kept = replay.add(state.replay, chunk, state.tally.rows, due)
        told = episode_metrics(tally) | {
            "episodes/finished": (tally.finished - state.tally.finished).astype(jnp.float32),
            "worlds/steps": env.spec.worlds * (tally.rows - state.tally.rows).astype(jnp.float32),
        }
        if success is None:
            del told["episodes/success"]
        turn = (state.since_collect + 1) % updates_per_collect
        return OnlineState(actor, kept, tally, turn), replay.sample(kept, k_batch, **window), told

    def axes(state: OnlineState) -> OnlineState:
        first = partial(jax.tree.map, lambda leaf: 0 if leaf.shape[:1] == (env.spec.worlds,) else -1)
        kept = jax.tree.map(lambda _: -1, state.replay)._replace(rows=jax.tree.map(lambda _: 1, state.replay.rows))
        return OnlineState(first(state.actor), kept, first(state.tally), -1)

    return Source(init, next_, worlds=axes)


def init_stats(worlds: int) -> EpisodeStats:
    """The tally before the first row."""
    zero, nought, none = jnp.zeros(worlds, jnp.int32), jnp.zeros(worlds), jnp.zeros(worlds, bool)
    start = jnp.zeros((), jnp.int32)
    return EpisodeStats(start, start, ~none, nought, zero, LastEpisode(none, nought, zero, none, none))


def update_stats(tally: EpisodeStats, steps: TimeStep, success: str | None = None) -> EpisodeStats:
    """The tally after the rows `steps` [T, B, ...], which follow on the last ones it has seen."""

    def row(tally: EpisodeStats, step: TimeStep) -> tuple[EpisodeStats, None]:
        broke = step.first & ~tally.ended
        total = jnp.where(step.first, 0.0, tally.total + step.reward)
        taken = jnp.where(step.first, 0, tally.steps + 1)
        won = step.last & (step.obs[success][:, 0, 0] > 0.5) if success else jnp.zeros_like(step.last)
        now = LastEpisode(
            jnp.ones_like(broke), jnp.where(broke, tally.total, total), jnp.where(broke, tally.steps, taken), won, broke
        )
        finished = broke | step.last
        latest = jax.tree.map(lambda new, old: jnp.where(finished, new, old), now, tally.latest)
        many = tally.finished + finished.sum(dtype=jnp.int32)
        return EpisodeStats(tally.rows + 1, many, step.last, total, taken, latest), None

    return jax.lax.scan(row, tally, steps)[0]


def episode_metrics(tally: EpisodeStats) -> Metrics:
    """Means over the worlds that have finished an episode, of the latest each."""
    known = tally.latest.known
    named = {"return": "total", "length": "steps", "success": "success", "broken": "broken"}
    values = {name: getattr(tally.latest, field) for name, field in named.items()}
    return {
        f"episodes/{name}": jnp.where(known.any(), jnp.sum(known * value) / jnp.maximum(known.sum(), 1), jnp.nan)
        for name, value in values.items()
    }

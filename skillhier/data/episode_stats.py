"""Statistics of the episodes that a source collects, updated row by row, and the metrics made from them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.types import Array, Metrics, TimeStep


class LastEpisode(NamedTuple):
    """The latest finished episode of every world, [B] each."""

    known: Array  # bool: one has finished
    total: Array  # its return
    steps: Array  # int32, control steps
    success: Array  # bool; False for a broken episode
    broken: Array  # bool: cut short because the world broke


class EpisodeStats(NamedTuple):
    """Counts since the start of the run, and the episode under way in every world."""

    rows: Array  # [] int32 rows collected in every world
    finished: Array  # [] int32 episodes that closed or broke, in all worlds
    ended: Array  # [B] bool: the newest row closed an episode, or there is none yet
    total: Array  # [B] return of the episode under way
    steps: Array  # [B] int32 control steps of it
    latest: LastEpisode


def init(worlds: int) -> EpisodeStats:
    """The statistics before the first row."""
    count, zeros = jnp.zeros((), jnp.int32), jnp.zeros(worlds)
    counts, flags = jnp.zeros(worlds, jnp.int32), jnp.zeros(worlds, bool)
    return EpisodeStats(count, count, ~flags, zeros, counts, LastEpisode(flags, zeros, counts, flags, flags))


def update(stats: EpisodeStats, steps: TimeStep, success: str | None = None) -> EpisodeStats:
    """The statistics after the rows `steps` [T, B, ...], which follow on the rows before.

    success: the entry of the observation that is 1 on the last row of an episode that succeeded
    """

    def row(stats: EpisodeStats, step: TimeStep) -> tuple[EpisodeStats, None]:
        broken = step.first & ~stats.ended
        total = jnp.where(step.first, 0.0, stats.total + step.reward)
        length = jnp.where(step.first, 0, stats.steps + 1)
        succeeded = step.last & (step.obs[success][:, 0, 0] > 0.5) if success else jnp.zeros_like(step.last)
        episode = LastEpisode(  # a broken world shows the next episode's first row: its own figures are those before
            jnp.ones_like(broken),
            jnp.where(broken, stats.total, total),
            jnp.where(broken, stats.steps, length),
            succeeded,
            broken,
        )
        finished = broken | step.last
        latest = jax.tree.map(lambda new, old: jnp.where(finished, new, old), episode, stats.latest)
        count = stats.finished + finished.sum(dtype=jnp.int32)
        return EpisodeStats(stats.rows + 1, count, step.last, total, length, latest), None

    return jax.lax.scan(row, stats, steps)[0]


def metrics(stats: EpisodeStats, success: str | None = None) -> Metrics:
    """What a source reports of the episodes that it has collected.

    `episodes/return`, `episodes/length` (control steps), `episodes/broken` and, with a `success` entry,
    `episodes/success`: means over the worlds of the latest episode that each has finished, NaN before there is one. An
    episode that a broken world cut short counts as finished, without success.
    `total/env_steps`, `total/episodes`: int32 counters since the start of the run, prefill included: calls of
    `env.step` times worlds (so the rows that open an episode count too; below 2^31) and episodes finished.
    """
    latest, known = stats.latest, stats.latest.known
    values = {"return": latest.total, "length": latest.steps, "success": latest.success, "broken": latest.broken}
    if success is None:
        del values["success"]
    mean = lambda value: jnp.where(known.any(), jnp.sum(known * value) / jnp.maximum(known.sum(), 1), jnp.nan)  # noqa: E731
    return {f"episodes/{name}": mean(value) for name, value in values.items()} | {
        "total/env_steps": stats.rows * len(known),
        "total/episodes": stats.finished,
    }

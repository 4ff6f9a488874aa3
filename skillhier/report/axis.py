"""The x axis of curves: environment steps where every log counts them, updates otherwise; others by name."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from skillhier.train import metrics

Rows = Sequence[Mapping[str, Any]]  # of metrics.jsonl


class Axis(NamedTuple):
    """What curves are drawn over."""

    name: str  # on the command line
    entry: str  # of a row of metrics.jsonl
    label: str  # on figures


UPDATES = Axis("updates", "step", "updates")
ENV_STEPS = Axis("env_steps", metrics.ENV_STEPS, "environment steps")
FRAMES = Axis("frames", metrics.FRAMES, "frames")  # control steps: an environment step is config.env.repeat of them
EPISODES = Axis("episodes", metrics.EPISODES, "episodes")
AXES = {axis.name: axis for axis in (ENV_STEPS, UPDATES, FRAMES, EPISODES)}


def counts(rows: Rows, axis: Axis) -> bool:
    """Whether there are rows, and every one of them has a number for `axis`."""
    return bool(rows) and all(isinstance(row.get(axis.entry), int | float) for row in rows)


def end(rows: Rows, axis: Axis) -> int:
    """Where curves of these rows end; 0 without rows."""
    return int(rows[-1][axis.entry]) if rows else 0


def common(logs: Iterable[Rows]) -> Axis:
    """Environment steps if every row of every log counts them, else updates. Logs without rows do not matter."""
    logs = [rows for rows in logs if rows]
    return ENV_STEPS if logs and all(counts(rows, ENV_STEPS) for rows in logs) else UPDATES


def metric_names(rows: Rows) -> set[str]:
    """The metrics in any of the rows: all entries but the number of updates and the counters."""
    return {name for row in rows for name in row if name != "step" and not name.startswith(metrics.COUNTERS)}

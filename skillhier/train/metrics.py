"""Writers of metrics: a progress bar, JSON lines, TensorBoard events; see trackers.py for other libraries.

The JSON lines are the record. Checkpoints hold a copy of it, which a resumed run goes on from; TensorBoard's events are
rebuilt from them then, so that neither holds an epoch twice. Wall-clock metrics are named time/...; all others are
identical in a repeated run. Metrics named total/... are cumulative counters: what curves are drawn over, never a curve.
"""

import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TextIO

from skillhier import files
from skillhier.train.loop import Report

COUNTERS = "total/"  # begins the names of cumulative counters
ENV_STEPS = "total/env_steps"  # actions that all worlds of an online run have taken so far
FRAMES = "total/frames"  # control steps that those actions took
EPISODES = "total/episodes"  # that ended or broke in all of its worlds
RECORD = "metrics.jsonl"  # the JSON lines of a run, in its folder
FLUSH_EVERY = 10.0  # s between two moments at which TensorBoard sees what is new


class RecordError(ValueError):
    """A record that has lost or changed lines; one line that names the first of them."""


class Writer(NamedTuple):
    write: Callable[[int, dict[str, float]], None]  # (updates so far, metrics by name)
    close: Callable[[], None]


def logged(writers: Sequence[Sequence[Writer]]) -> Callable[[Report], None]:
    """A callback of the loop that passes the metrics of each seed and the wall clock to the writers of that seed."""

    def log(report: Report) -> None:
        clock = {
            "time/unix": time.time(),
            "time/epoch_seconds": report.seconds,
            "time/updates_per_second": report.updates / report.seconds,
        }
        for seed_writers, seed_metrics in zip(writers, report.metrics, strict=True):
            for writer in seed_writers:
                writer.write(report.done, {**seed_metrics, **clock})

    return log


def rows(path: Path) -> list[dict]:
    """The complete lines of a record, {"step": updates, ...}; a last line cut short by a kill is left out.

    Raises RecordError where a line is none, or is not of a later update than the one before it.
    """
    if not path.is_file():
        return []
    record: list[dict] = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            row = json.loads(line)
            if row["step"] <= (record[-1]["step"] if record else -1):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise RecordError(
                f"{path} is damaged in line {number}; the command of its run puts back what the last checkpoint holds"
            ) from None
        record.append(row)
    return record


def json_lines(path: Path, *, after: int = 0) -> Writer:
    """One line an epoch: {"step": updates, name: value, ...}; null stands for NaN and infinities.

    `after`: the update at which the run resumes; rows of later updates, written before it was killed, are removed.
    """
    past = [row for row in rows(path) if row["step"] <= after]
    files.write_text(path, "".join(f"{json.dumps(row)}\n" for row in past))
    file = path.open("a")

    def write(step: int, values: dict[str, float]) -> None:
        row = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with files.naming(path):
            file.write(f"{json.dumps({'step': step, **row})}\n")
            file.flush()

    return Writer(write, partial(_close, path, file.close))


def tensorboard(folder: Path, *, past: Iterable[dict] = ()) -> Writer:
    """Event files over updates, without counters and what is no number, as the return before an episode has ended.

    Existing ones are rebuilt from the `past` rows of the JSON lines.
    """
    # slow to import, and needed by runs only; its SummaryWriter would write from a thread, which dies of a full disk
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary

    files.remove(folder)
    folder.mkdir()
    events = EventsWriter(str(folder / "events"))
    flushed_at = [time.monotonic()]

    def add(step: int, values: dict[str, float]) -> None:
        scalars = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in values.items()
            if name not in ("step", "time/unix") and not name.startswith(COUNTERS) and _is_number(value)
        ]
        when = values.get("time/unix", time.time())
        with files.naming(folder):
            events.write_event(Event(step=step, wall_time=when, summary=Summary(value=scalars)))

    def write(step: int, values: dict[str, float]) -> None:
        add(step, values)
        if time.monotonic() - flushed_at[0] > FLUSH_EVERY:
            with files.naming(folder):
                events.flush()
            flushed_at[0] = time.monotonic()

    for row in past:
        add(row["step"], row)
    return Writer(write, partial(_close, folder, events.close))


def _close(path: Path, close: Callable[[], None]) -> None:
    with files.naming(path):
        close()
        files.sync_below(path)


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def progress(
    total: int,
    *,
    done: int = 0,
    terms: Sequence[str] = (),
    label: str = "",
    unit: str = "updates",
    out: TextIO | None = None,
    pause: float = 10.0,
) -> Writer:
    """A bar with the metrics `terms`, `unit`/s and the time left; off a terminal, a line every `pause` s instead."""
    out = out or sys.stderr
    live = out.isatty()
    begin, first, last_write = time.monotonic(), done, [-math.inf]

    def write(step: int, values: dict[str, float]) -> None:
        now = time.monotonic()
        if not live and now - last_write[0] < pause and step < total:
            return
        last_write[0] = now
        rate = (step - first) / max(now - begin, 1e-9)
        shown = [f"{name.split('/')[-1]} {values[name]:.4g}" for name in terms if _is_number(values.get(name))]
        parts = [*shown, f"{rate:.3g} {unit}/s"]
        parts += [f"{_duration((total - step) / rate)} left"] if rate else []  # else nobody knows yet
        where = f"{label} {100 * step // total:3d}% {step}/{total}".strip()
        if live:
            filled = 20 * step // total
            line = f"{where} [{'=' * filled}{' ' * (20 - filled)}] {'  '.join(parts)}"
            out.write(f"\r\033[K{line[: shutil.get_terminal_size().columns - 1]}")
        else:
            out.write(f"{where}  {'  '.join(parts)}\n")
        out.flush()

    def close() -> None:
        if live:
            out.write("\n")
            out.flush()

    return Writer(write, close)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"

"""Where metrics go: the terminal, JSON lines, TensorBoard.

The JSON lines are the record; TensorBoard's events are made from them, so that after a resume neither holds a line
twice. Clock figures are named time/...; every other figure is the same in a repeated run.
"""

import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from skillhier.train.loop import Report


class Writer(NamedTuple):
    write: Callable[[int, dict[str, float]], None]  # (updates so far, figures by name)
    close: Callable[[], None]


def logged(writers: Sequence[Sequence[Writer]]) -> Callable[[Report], None]:
    """A callback of the loop that hands the writers of each seed its metrics with the clock's figures."""

    def log(report: Report) -> None:
        clock = {
            "time/unix": time.time(),
            "time/epoch_seconds": report.seconds,
            "time/updates_per_second": report.updates / report.seconds,
        }
        for each, figures in zip(writers, report.metrics, strict=True):
            for writer in each:
                writer.write(report.done, {**figures, **clock})

    return log


def rows(path: Path) -> list[dict]:
    """The complete lines of a JSON-lines file, in order; a last line cut short by a kill is left out."""
    if not path.is_file():
        return []
    lines = path.read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines if line]


def json_lines(path: Path, *, after: int = 0) -> Writer:
    """One line an epoch: {"step": updates, name: figure, ...}; null stands for NaN and infinities.

    `after`: the update the run goes on from; lines of later ones, written before it was killed, are taken out.
    """
    kept = [row for row in rows(path) if row["step"] <= after]
    draft = path.with_name(f"{path.name}.part")
    draft.write_text("".join(f"{json.dumps(row)}\n" for row in kept))
    draft.rename(path)
    file = path.open("a")

    def write(step: int, figures: dict[str, float]) -> None:
        row = {name: value if math.isfinite(value) else None for name, value in figures.items()}
        file.write(f"{json.dumps({'step': step, **row})}\n")
        file.flush()

    return Writer(write, file.close)


def tensorboard(folder: Path, *, past: Iterable[dict] = ()) -> Writer:
    """Event files; those that were there are replaced by ones made from the `past` rows of the JSON lines."""
    from tensorboardX import SummaryWriter  # slow to import, and wanted by runs only

    shutil.rmtree(folder, ignore_errors=True)
    events = SummaryWriter(str(folder), flush_secs=10)

    def write(step: int, figures: dict[str, float]) -> None:
        when = figures.get("time/unix")
        for name, value in figures.items():
            if name not in ("step", "time/unix") and value is not None:
                events.add_scalar(name, value, step, walltime=when)

    for row in past:
        write(row["step"], row)
    return Writer(write, events.close)


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
    """A bar with the main terms, `unit`/s and the time left; off a terminal, a line every `pause` s instead."""
    out = out or sys.stderr
    live = out.isatty()
    begun, first, told = time.monotonic(), done, [-math.inf]

    def write(step: int, figures: dict[str, float]) -> None:
        now = time.monotonic()
        if not live and now - told[0] < pause and step < total:
            return
        told[0] = now
        rate = (step - first) / max(now - begun, 1e-9)
        shown = [f"{name.split('/')[-1]} {figures[name]:.4g}" for name in terms if figures.get(name) is not None]
        parts = [*shown, f"{rate:.3g} {unit}/s", f"{_duration((total - step) / max(rate, 1e-9))} left"]
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


def write_json(path: Path, content: object) -> None:
    """Writes a JSON file whole or not at all."""
    draft = path.with_name(f"{path.name}.part")
    with draft.open("w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"

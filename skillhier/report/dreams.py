"""What a world model believes and dreams, beside what happened: files of a run folder, and the section of its page.

A dream is open loop: rows of context are filtered, and from there on only actions are known. Files lie in RUN/dream:
strip-ENTRY.jpg for pictures, dream.json for vectors and the reward.
"""

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path

import numpy as np

from skillhier.report import figures, film
from skillhier.report.sections import Folder, read_json, side_by_side
from skillhier.train import metrics

FOLDER = "dream"
LINES = ("seen", "belief", "dream")  # as agents record them
LABELS = {"seen": "what happened", "belief": "belief, row by row", "dream": "dream"}
PAINTS = {"seen": "var(--dim)", "belief": "var(--good)", "dream": "var(--main)"}
NUMBERS = 8  # figures of single numbers of the vectors, those that vary most
FRAMES = 12  # pictures in a strip
WIDTH = 84  # pixels of a picture in a strip


def write(path: Path, recorded: Mapping[str, Mapping[str, np.ndarray]], context: int, interval: float) -> None:
    """Writes the files of one window into the run folder at `path`.

    recorded  seen, belief, dream: each entry -> pictures [T, H, W, C] between 0 and 1, or numbers [T, D]
    context   rows that were filtered; interval: s between rows
    """
    folder = path / FOLDER
    folder.mkdir(exist_ok=True)
    figures_of: dict[str, dict[str, list[float]]] = {}
    for name, seen in recorded["seen"].items():
        rows = {line: np.asarray(recorded[line][name], np.float64) for line in LINES}
        if seen.ndim == 4:
            (folder / f"strip-{name}.jpg").write_bytes(_strip(rows))
            continue
        varied = np.argsort(-rows["seen"].std(0), kind="stable")[:NUMBERS]
        for i in sorted(varied.tolist()):
            label = name if seen.shape[1] == 1 else f"{name} {i}"
            figures_of[label] = {line: rows[line][:, i].tolist() for line in LINES}
    about = {"context": context, "interval": interval, "rows": len(seen), "numbers": figures_of}
    metrics.write_json(folder / "dream.json", about)


def section(run: Folder) -> str:
    """Strips of pictures and curves of numbers; empty for agents that do not dream."""
    folder = run.path / FOLDER
    about = read_json(folder / "dream.json")
    if not about:
        return ""
    context, interval = about["context"], about["interval"]
    parts = [
        "<h2>Dream</h2>",
        f"<p>{context} rows are seen, {context * interval:.2g} s; from there on the model knows only what is done, for "
        f"{(about['rows'] - context) * interval:.2g} s.</p>",
    ]
    for file in sorted(folder.glob("strip-*.jpg")):
        name = escape(file.stem.removeprefix("strip-"))
        picture = base64.b64encode(file.read_bytes()).decode()
        caption = f"<p>{name}: what happened, the belief, the dream</p>"
        image = f'<img alt="{name} in a dream" style="max-width:100%" src="data:image/jpeg;base64,{picture}">'
        parts.append(f'<div class="fig-card wide">{caption}{image}</div>')
    drawn = []
    for name, lines in about["numbers"].items():
        time = [interval * row for row in range(about["rows"])]
        series = {LABELS[line]: (time, lines[line], PAINTS[line]) for line in LINES[:2]}
        series[LABELS["dream"]] = (time[context - 1 :], lines["dream"][context - 1 :], PAINTS["dream"])
        drawn.append(figures.curves(series, name, "s"))
    return "".join(parts) + (side_by_side(drawn) if drawn else "")


def _strip(rows: Mapping[str, np.ndarray]) -> bytes:
    """Pictures evenly spaced in time, one line of them for each of LINES."""
    at = np.linspace(0, len(rows["seen"]) - 1, min(FRAMES, len(rows["seen"]))).round().astype(int)
    shown = {line: (255 * np.clip(pictures[at], 0, 1)).astype(np.uint8) for line, pictures in rows.items()}
    return film.strip([[_colours(picture) for picture in shown[line]] for line in LINES], WIDTH)


def _colours(picture: np.ndarray) -> np.ndarray:
    """[H, W, 3] from [H, W, C]; one channel becomes grey."""
    return picture[..., :3] if picture.shape[-1] >= 3 else np.repeat(picture[..., :1], 3, -1)

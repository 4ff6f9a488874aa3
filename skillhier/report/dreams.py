"""What a world model believes and dreams, beside what happened: files of a run folder, and the section of its page.

A dream is open loop: rows of context are filtered, and from there on only actions are known. Files lie in RUN/dream:
strip-ENTRY.jpg for pictures, of a watched episode also dream-ENTRY.mp4; dream.json for vectors and the reward.
"""

from collections.abc import Mapping
from html import escape
from pathlib import Path

import numpy as np

from skillhier import files
from skillhier.report import figures, film
from skillhier.report.sections import WATCHED, Folder, picture, read_json, side_by_side
from skillhier.report.sections import film as film_of

FOLDER = "dream"
LINES = ("seen", "belief", "dream")  # as agents record them
LABELS = {"seen": "what happened", "belief": "belief, row by row", "dream": "dream"}
PAINTS = {"seen": "var(--dim)", "belief": "var(--good)", "dream": "var(--main)"}
NUMBERS = 3  # figures of single numbers of an entry, those that vary most
FRAMES = 12  # pictures in a strip
WIDTH = 84  # pixels of a picture in a strip
FILM_WIDTH = 256  # pixels of a picture in a film


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
            files.write_bytes(folder / f"strip-{name}.jpg", _strip(rows))
            continue
        varied = np.argsort(-rows["seen"].std(0), kind="stable")[:NUMBERS]
        for i in sorted(varied.tolist()):
            label = name if seen.shape[1] == 1 else f"{name} {i}"
            figures_of[label] = {line: rows[line][:, i].tolist() for line in LINES}
    about = {"context": context, "interval": interval, "rows": len(seen), "numbers": figures_of}
    files.write_json(folder / "dream.json", about)


def write_films(path: Path, recorded: Mapping[str, Mapping[str, np.ndarray]], context: int, interval: float) -> None:
    """Writes what `write` does, as a film in real time for each entry of pictures. Raises FilmError."""
    step, rate = film.pace(interval)
    for name, seen in recorded["seen"].items():
        if seen.ndim != 4:
            continue
        images = []
        for row in range(0, len(seen), step):
            shown = [_enlarged(_colours(_bytes(recorded[line][name][row]))) for line in LINES]
            words = (f"{interval * row:.1f} s", "belief", "dream" if row >= context else "seen so far")
            images.append(film.tiled([film.caption(*pair) for pair in zip(shown, words, strict=True)], len(LINES)))
        film.write(path / FOLDER / f"dream-{name}.mp4", images, rate)


def watched(run: Folder) -> str:
    """The section of the episode that experiments.watch recorded."""
    return section(run, run.path / WATCHED / FOLDER, "Dream of the first episode above")


def section(run: Folder, folder: Path | None = None, title: str = "Dream") -> str:
    """Films and strips of pictures and curves of numbers; empty for agents that do not dream."""
    folder = folder or run.path / FOLDER
    about = read_json(folder / "dream.json")
    if not about:
        return ""
    context, interval = about["context"], about["interval"]
    parts = [
        f"<h2>{escape(title)}</h2>",
        f"<p>{context} rows are seen, {context * interval:.2g} s; from there on the model knows only what is done, for "
        f"{(about['rows'] - context) * interval:.2g} s.</p>",
    ]
    for file in sorted(folder.glob("strip-*.jpg")):
        name = file.stem.removeprefix("strip-")
        parts.append(f"<p>{escape(name)}: what happened, the belief, the dream</p>")
        parts += [film_of(run, folder / f"dream-{name}.mp4"), picture(run, file, f"{name} in a dream")]
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
    shown = {line: _bytes(pictures[at]) for line, pictures in rows.items()}
    return film.strip([[_colours(picture) for picture in shown[line]] for line in LINES], WIDTH)


def _bytes(pictures: np.ndarray) -> np.ndarray:
    return (255 * np.clip(pictures, 0, 1)).astype(np.uint8)


def _enlarged(picture: np.ndarray) -> np.ndarray:
    """A picture of about `FILM_WIDTH` pixels a side, which are squares of one colour."""
    scale = 2 * max(1, round(FILM_WIDTH / 2 / picture.shape[1]))
    return np.repeat(np.repeat(picture, scale, 0), scale, 1)


def _colours(picture: np.ndarray) -> np.ndarray:
    """[H, W, 3] from [H, W, C]; one channel becomes grey."""
    return picture[..., :3] if picture.shape[-1] >= 3 else np.repeat(picture[..., :1], 3, -1)

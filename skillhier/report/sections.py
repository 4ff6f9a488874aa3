"""Sections of a run's page: functions from a run folder's content to HTML, empty where the content is missing."""

import base64
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from skillhier.report import axis, figures
from skillhier.report.axis import UPDATES, Axis
from skillhier.train import metrics

TITLES = {  # in drawing order; other metrics follow under their own names
    "elbo/bound": "bound per row (nats, higher is better)",
    "elbo/log_likelihood": "log-likelihood of actions (nats)",
    "elbo/skill_kl": "KL of skills to the transition prior (nats)",
    "elbo/latent_kl": "KL of latents to their prior (nats)",
    "elbo/usage_kl": "KL of skill usage to uniform usage (nats)",
    "elbo/skill_entropy": "entropy of skill weights (nats)",
    "imitation/log_likelihood": "log-likelihood of actions (nats)",
    "action_mse": "action error (squared, per dimension)",
    "transition_diagonal": "transition prior: mean diagonal",
    "learner/gradient_norm": "gradient norm before clipping",
    "learner/loss": "loss",
}
WATCHED = "watch"  # subfolder that experiments.watch writes
EMBEDDED = 8 * 2**20  # bytes of a film that a page embeds at most


class Folder(NamedTuple):
    """The content of a run folder; empty where a file is missing or truncated."""

    path: Path
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    summary: dict[str, Any]


Section = Callable[[Folder], str]


def read(path: Path) -> Folder:
    """The content of the run folder at `path`."""
    return Folder(path, read_json(path / "config.json"), read_rows(path), read_json(path / "summary.json"))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a run folder's metrics. Raises RecordError."""
    return metrics.rows(path / metrics.RECORD)


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if the file is missing or contains no object."""
    return parse(file.read_text()) if file.is_file() else {}


def parse(text: str) -> dict[str, Any]:
    """The object in a JSON text; empty if it contains none."""
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def side_by_side(drawn: Iterable[str]) -> str:
    return '<div class="row">' + "".join(f'<div class="fig-card">{figure}</div>' for figure in drawn) + "</div>"


def watched(run: Folder) -> str:
    """The episodes that experiments.watch recorded: their film, a strip of frames, a link to the 3-D page."""
    folder = run.path / WATCHED
    summary = read_json(folder / "episode.json")
    parts = [film(run, folder / "episode.mp4"), picture(run, folder / "strip.jpg", "frames of the episodes")]
    if (folder / "episode.html").is_file():
        parts.insert(0, f'<p><a href="{WATCHED}/episode.html">3-D view of the episodes</a></p>')
    about = ": ".join(escape(str(summary[name])) for name in ("title", "about") if name in summary)
    return f"<h2>Episodes</h2><p>{about}</p>{''.join(parts)}" if any(parts) else ""


def film(run: Folder, file: Path) -> str:
    """A film of the run's folder; empty where there is none."""
    return _embedded(run, file, "video/mp4", '<video controls loop muted playsinline style="{}" src="{}"></video>')


def picture(run: Folder, file: Path, name: str) -> str:
    """A JPEG of the run's folder, called `name` where it is not seen; empty where there is none."""
    return _embedded(run, file, "image/jpeg", f'<img alt="{escape(name)}" style="{{}}" src="{{}}">')


def _embedded(run: Folder, file: Path, kind: str, element: str) -> str:
    """`element` around a file; one of at most `EMBEDDED` bytes is embedded, a larger one linked."""
    if not file.is_file():
        return ""
    small = file.stat().st_size <= EMBEDDED
    source = f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}" if small else ""
    source = source or file.relative_to(run.path).as_posix()
    return f'<div class="fig-card wide">{element.format("max-width:100%", source)}</div>'


def learning(run: Folder, titles: Mapping[str, str] = TITLES) -> str:
    """Curves of every metric, training and held-out in one frame. titles: metric -> title, in drawing order."""
    known = {name for name in axis.metric_names(run.rows) if not name.startswith("time/")}
    terms = {name.removeprefix("heldout/") for name in known if not re.search(r"/\d+$", name)}
    over = axis.common([run.rows])
    drawn = []
    for name in sorted(terms, key=lambda name: ([*titles, name].index(name), name)):
        curves = {
            "training": series(run.rows, name, "var(--main)", over),
            "held-out": series(run.rows, f"heldout/{name}", "var(--bad)", over),
        }
        curves = {label: curve for label, curve in curves.items() if len(curve[0])}
        if curves:
            title = titles.get(name, name) + (", held-out" if list(curves) == ["held-out"] else "")
            drawn.append(figures.curves(curves, title, over.label, settle=0.1))
    return "<h2>Learning</h2>" + side_by_side(drawn) if drawn else ""


def series(rows: list[dict], name: str, paint: str, over: Axis = UPDATES) -> tuple[list[float], list[float], str]:
    """(x, values, colour) of one metric, as figures.curves draws it. over: the axis of x."""
    points = [(row[over.entry], row[name]) for row in rows if isinstance(row.get(name), int | float)]
    return [x for x, _ in points], [y for _, y in points], paint


def last(rows: list[dict], pattern: str) -> list[float]:
    """The values of the metrics that match, from the last row that has any, in the order of their numbers."""
    for row in reversed(rows):
        names = [name for name in row if re.fullmatch(pattern, name)]
        if names:
            names.sort(key=lambda name: [int(part) for part in name.split("/") if part.isdigit()])
            return [math.nan if row[name] is None else row[name] for name in names]
    return []

"""The sections of a run's page: each takes what the folder holds and gives HTML, nothing where its part is missing."""

import base64
import json
import math
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from skillhier.train import figures, skill_figures, skill_rollouts
from skillhier.train.drawing import colour
from skillhier.train.expectations import LEAST_SHARE

TITLES = {  # in the order in which they are drawn; other terms follow under their own names
    "elbo/bound": "bound per row (nats, higher is better)",
    "elbo/log_likelihood": "log-likelihood of actions (nats)",
    "elbo/skill_kl": "KL of skills to the transition prior (nats)",
    "elbo/latent_kl": "KL of latents to their prior (nats)",
    "imitation/log_likelihood": "log-likelihood of actions (nats)",
    "action_mse": "action error (squared, per dimension)",
    "transition_diagonal": "transition prior: mean diagonal",
    "learner/gradient_norm": "gradient norm before clipping",
    "learner/loss": "loss",
}
STRIP = "skills.jpg"  # pictures of every skill held fixed
WATCHED = "watch"  # folder of episodes looked at
EMBEDDED = 8 * 2**20  # bytes of a film that a page holds at most
RIVALS = {"k1": "one component", "npmp": "NPMP"}  # folder below rivals/, ending of the summary's entry -> what it is


class Folder(NamedTuple):
    """What a run folder holds; empty where a file is missing or cut short."""

    path: Path
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    summary: dict[str, Any]
    skills: dict[str, Any]
    study: skill_rollouts.Study | None


def read(path: Path) -> Folder:
    """A run folder's contents."""
    try:
        study = skill_rollouts.load(path)
    except (OSError, KeyError, ValueError):
        study = None
    names = ("config.json", "summary.json", "skills.json")
    config, summary, skills = (_json((path / name).read_text()) if (path / name).is_file() else {} for name in names)
    return Folder(path, config, _rows(path), summary, skills, study)


def _rows(path: Path) -> list[dict[str, Any]]:
    file = path / "metrics.jsonl"
    return [row for row in map(_json, file.read_text().split("\n")) if "step" in row] if file.is_file() else []


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def side_by_side(drawn: Iterable[str]) -> str:
    return '<div class="row">' + "".join(f'<div class="fig-card">{figure}</div>' for figure in drawn) + "</div>"


def skills(run: Folder) -> str:
    """What each skill does when it is held fixed: paths, figures, means over an episode."""
    rows = run.skills.get("skills") or []
    if not rows:
        return ""
    told = (
        f"{run.skills['episodes']} episodes of {run.skills['seconds_each']:g} s for each skill, in "
        f"{run.skills.get('env', 'the same world')}, from the same {run.skills['starts']} starts for every skill. "
        "Faint: single episodes; bold: their mean, from the ring to the dot. Squares: where the objects lay; dashed: "
        "the basket's floor. Prior: the skills follow the learned transition prior."
    )
    parts = ["<h2>What each skill does, held fixed</h2>", f"<p>{escape(told)}</p>"]
    drawn = run.study is not None and len(run.study.skill) == len(rows)
    if drawn:
        parts.append(f'<div class="fig-card wide">{skill_figures.sheet(run.study, run.skills)}</div>')
    if (run.path / STRIP).is_file():
        seen = base64.b64encode((run.path / STRIP).read_bytes()).decode()
        shown = f'<img alt="each skill over an episode" style="max-width:100%" src="data:image/jpeg;base64,{seen}">'
        parts.append(f'<p>The first episode of each, from the same start.</p><div class="fig-card wide">{shown}</div>')
    parts.append(f'<div class="fig-card wide">{_table(sorted(rows, key=lambda row: row["skill"] is None))}</div>')
    if drawn:
        parts += [
            "<p>The same over an episode, means of each skill (grey: skills follow the prior).</p>",
            side_by_side(skill_figures.over_time(run.study)),
        ]
    return "".join(parts)


def _table(rows: list[dict]) -> str:
    def cm(metres: float) -> str:
        return f"{100 * metres:.1f} cm"

    objects = list(rows[0]["covered"])
    told = ["holds", "closed", "lifts red", *(f"covers to {name}" for name in objects), "path", "moves red"]
    names = "".join(f'<th class="n">{escape(name)}</th>' for name in told)
    lines = [f"<tr><th>skill</th><th>what it does</th>{names}</tr>"]
    for row in rows:
        name = "prior" if row["skill"] is None else f"skill {row['skill']}"
        cells = [f"{row['grasping']:.0%}", f"{row['closed']:.0%}", cm(row["lift_red"])]
        cells += [
            *(cm(row["covered"][name]) for name in objects),
            f"{row['path_length']:.2f} m",
            cm(row["moved"]["red"]),
        ]
        numbers = "".join(f'<td class="n">{cell}</td>' for cell in cells)
        lines.append(
            f'<tr><td><span class="dot" style="background:{colour(row["skill"])}"></span>{escape(name)}</td>'
            f"<td>{escape(row['word'])}</td>{numbers}</tr>"
        )
    return f"<table>{''.join(lines)}</table>"


def watched(run: Folder) -> str:
    """The episodes that experiments.watch left: their film, some instants, and the page to look at them from anywhere.

    The film is put into the page where it is small, else beside a link to it.
    """
    folder = run.path / WATCHED
    told = _json((folder / "episode.json").read_text()) if (folder / "episode.json").is_file() else {}
    parts = []
    for name, kind, element in (
        ("episode.mp4", "video/mp4", '<video controls loop muted playsinline style="max-width:100%" src="{}"></video>'),
        ("strip.jpg", "image/jpeg", '<img alt="instants of the episodes" style="max-width:100%" src="{}">'),
    ):
        file = folder / name
        if not file.is_file():
            continue
        small = file.stat().st_size <= EMBEDDED
        source = f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}" if small else f"{WATCHED}/{name}"
        parts.append(f'<div class="fig-card wide">{element.format(source)}</div>')
    if (folder / "episode.html").is_file():
        parts.insert(0, f'<p><a href="{WATCHED}/episode.html">The same in three dimensions</a></p>')
    about = ": ".join(escape(str(told[name])) for name in ("title", "about") if name in told)
    return f"<h2>Episodes</h2><p>{about}</p>{''.join(parts)}" if parts else ""


def use(run: Folder) -> str:
    """Skill use as a histogram and over time, the transition prior as a matrix."""
    shares = run.summary.get("skill_usage") or last(run.rows, r"heldout/skill_usage/\d+")
    prior = _square(last(run.rows, r"heldout/transition/\d+/\d+"))
    drawn = []
    if shares:
        names, paints = [str(k) for k in range(len(shares))], [colour(k) for k in range(len(shares))]
        drawn.append(figures.columns(shares, "skill use on held-out episodes", paints, names, floor=LEAST_SHARE))
        by_step = {name: _series(run.rows, f"heldout/skill_usage/{name}", paints[int(name)]) for name in names}
        if len(by_step["0"][0]) > 1:
            drawn.append(figures.curves(by_step, "skill use while learning", "updates", height=230, low=0.0))
    if prior:
        drawn.append(figures.matrix(prior, "transition prior p(next | current)", "current skill", "next skill"))
    if not drawn:
        return ""
    told = (
        f"The share of held-out steps where a skill weighs most (dashed: {LEAST_SHARE:.0%}), and the learned prior: "
        "a skill that stays with 0.9 lasts ten steps, half a second."
    )
    return f"<h2>How skills are used and follow each other</h2><p>{escape(told)}</p>" + side_by_side(drawn)


def errors(run: Folder) -> str:
    """Held-out action error beside that of the rivals, which learned from the same data in the same time."""
    told = {"this run": run.summary.get("heldout_action_mse")}
    told |= {shown: run.summary.get(f"heldout_action_mse_{name}") for name, shown in RIVALS.items()}
    values = {shown: value for shown, value in told.items() if isinstance(value, int | float)}
    if len(values) < 2 or "this run" not in values:
        return ""
    paints = {"this run": "var(--main)", "one component": "var(--s1)", "NPMP": "var(--s2)"}
    drawn = [figures.bars(values, "squared error per action dimension", [paints[shown] for shown in values])]
    rows = {"this run": run.rows, **{shown: _rows(run.path / "rivals" / name) for name, shown in RIVALS.items()}}
    series = {shown: _series(rows[shown], "heldout/action_mse", paints[shown]) for shown in rows}
    series = {shown: found for shown, found in series.items() if len(found[0]) > 1}
    if len(series) > 1:
        drawn.append(figures.curves(series, "the same while learning", "updates", low=0.0))
    return (
        "<h2>Held-out action error</h2><p>Squared error of the mean action on episodes that were not learned from. One "
        "component: a single Gaussian latent on the mid level's inputs, no look-ahead. NPMP infers its latent from the "
        "look-ahead.</p>" + side_by_side(drawn)
    )


def learning(run: Folder) -> str:
    """Curves of every term, training and held-out in one frame."""
    known = {name for row in run.rows for name in row if name != "step" and not name.startswith("time/")}
    terms = {name.removeprefix("heldout/") for name in known if not re.search(r"/\d+$", name)}
    drawn = []
    for name in sorted(terms, key=lambda name: ([*TITLES, name].index(name), name)):
        found = {
            "training": _series(run.rows, name, "var(--main)"),
            "held-out": _series(run.rows, f"heldout/{name}", "var(--bad)"),
        }
        found = {label: series for label, series in found.items() if len(series[0])}
        if found:
            title = TITLES.get(name, name) + (", held-out" if list(found) == ["held-out"] else "")
            drawn.append(figures.curves(found, title, "updates", settle=0.1))
    return "<h2>Learning</h2>" + side_by_side(drawn) if drawn else ""


def _series(rows: list[dict], name: str, paint: str) -> tuple[list[float], list[float], str]:
    points = [(row["step"], row[name]) for row in rows if isinstance(row.get(name), int | float)]
    return [x for x, _ in points], [y for _, y in points], paint


def last(rows: list[dict], pattern: str) -> list[float]:
    """The figures of that name in the last line that has them, in the order of their numbers."""
    for row in reversed(rows):
        found = [name for name in row if re.fullmatch(pattern, name)]
        if found:
            found.sort(key=lambda name: [int(part) for part in name.split("/") if part.isdigit()])
            return [math.nan if row[name] is None else row[name] for name in found]
    return []


def _square(values: list[float]) -> list[list[float]]:
    side = math.isqrt(len(values))
    return [values[i * side : (i + 1) * side] for i in range(side)] if side * side == len(values) else []

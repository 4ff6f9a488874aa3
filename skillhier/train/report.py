"""A run folder as one HTML page that needs nothing else: no script, no network. What is missing is left out.

Read figures.py (drawing), skill_figures.py (fixed-skill rollouts) and expectations.py (what should hold) with it.
"""

import json
import math
import re
import time
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from skillhier.train import figures, skill_figures, skill_rollouts
from skillhier.train.expectations import Headline, headlines

PAGE = (
    "*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);"
    "font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}"
    "main{max-width:1320px;margin:0 auto;padding:28px 24px 60px}h1{font-size:24px;margin:0}"
    "h2{font-size:17px;margin:34px 0 4px}p{margin:2px 0 10px;color:var(--dim);max-width:86ch}"
    ".cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(160px,1fr));gap:12px;margin-top:18px}"
    ".card,.fig-card,details{background:var(--card);border:1px solid var(--line);border-radius:10px}"
    ".card{padding:12px 14px}.card b{display:block;font-size:25px;line-height:1.25;font-weight:650}"
    ".card span{display:block;color:var(--dim);font-size:12.5px;line-height:1.4}.card .label{color:var(--ink);font-weight:600}"
    ".met{color:var(--good)!important}.missed{color:var(--bad)!important}"
    ".row{display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start}.fig-card{padding:10px 8px;max-width:100%}"
    ".wide{overflow-x:auto;padding:14px}.wide svg.fig{min-width:min(880px,100vw)}"
    "table{border-collapse:collapse;font-size:13px}td,th{padding:4px 14px 4px 0;text-align:left;vertical-align:top;"
    "border-bottom:1px solid var(--line)}th{color:var(--dim);font-weight:500}td.n,th.n{text-align:right;"
    "font-variant-numeric:tabular-nums}td{overflow-wrap:anywhere}details{padding:10px 14px;margin-top:10px}"
    "summary{cursor:pointer;font-weight:600}.dot{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:6px}"
)
NAMES = {
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


class Folder(NamedTuple):
    """What a run folder holds; empty where a file is missing or cut short."""

    path: Path
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    summary: dict[str, Any]
    skills: dict[str, Any]
    study: skill_rollouts.Study | None


def write(folder: Path | str) -> Path:
    """Writes report.html into a run folder, whole or not at all; gives back its path."""
    path = Path(folder) / "report.html"
    draft = path.with_name("report.html.part")
    draft.write_text(page(read(Path(folder))), encoding="utf-8")
    draft.rename(path)
    return path


def read(path: Path) -> Folder:
    """A run folder's contents."""
    try:
        study = skill_rollouts.load(path)
    except (OSError, KeyError, ValueError):
        study = None
    lines = (path / "metrics.jsonl").read_text().split("\n") if (path / "metrics.jsonl").is_file() else []
    rows = [row for row in map(_json, lines) if "step" in row]
    names = ("config.json", "summary.json", "skills.json")
    config, summary, skills = (_json((path / name).read_text()) if (path / name).is_file() else {} for name in names)
    return Folder(path, config, rows, summary, skills, study)


def _json(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def page(run: Folder) -> str:
    """The HTML of a run."""
    title = f"{run.config.get('config', {}).get('agent.name', 'run')} · {run.path.resolve().name}"
    body = [
        f"<h1>{escape(title)}</h1><p>{escape(_subtitle(run))}</p>",
        _cards(headlines(run.summary, made=not _logs(run.config.get("config", {}).get("data.path")))),
        _skills(run),
        _use(run),
        _errors(run),
        _curves(run),
        _details(run),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{figures.STYLE}{PAGE}</style></head><body><main>{''.join(body)}</main></body></html>\n"
    )


def _logs(data: Any) -> bool:
    """Whether a data path is that of expert logs: bare .h5 files, where our own recordings are Minari folders."""
    return isinstance(data, str) and (data.endswith(".h5") or any(Path(data).glob("*.h5")))


def _subtitle(run: Folder) -> str:
    start = (run.config.get("starts") or [{}])[-1]
    steps = run.summary.get("train_steps") or (run.rows[-1]["step"] if run.rows else None)
    parts = [
        f"{steps:,} updates" if isinstance(steps, int) else "",
        f"{run.summary['episodes']:,} episodes" if isinstance(run.summary.get("episodes"), int) else "",
        str(start.get("device", {}).get("kind", "")),
        str(start.get("time", "")) or time.strftime("%Y-%m-%d"),
    ]
    return " · ".join(part for part in parts if part)


def _cards(found: Iterable[Headline]) -> str:
    parts = []
    for item in found:
        mark = "" if item.met is None else f'<span class="{"met" if item.met else "missed"}">{"✓ " if item.met else "✗ "}{escape(item.expected)}</span>'
        parts.append(f'<div class="card"><span class="label">{escape(item.label)}</span><b>{escape(item.shown)}</b>{mark}<span>{escape(item.meaning)}</span></div>')
    return f'<div class="cards">{"".join(parts)}</div>' if parts else ""


def _cards_of(drawn: Iterable[str]) -> str:
    return '<div class="row">' + "".join(f'<div class="fig-card">{figure}</div>' for figure in drawn) + "</div>"


def _skills(run: Folder) -> str:
    rows = run.skills.get("skills") or []
    if not rows:
        return ""
    told = (
        f"{run.skills.get('episodes', '?')} episodes of {run.skills.get('seconds_each', 0):g} s for each skill, from the same "
        f"{run.skills.get('starts', '?')} starts for every skill. Faint: single episodes; bold: their mean, from the ring to the dot. "
        "Squares: where the objects lay; dashed: the basket's floor. The last column lets the skills follow the learned transition prior."
    )
    parts = ["<h2>What each skill does, held fixed</h2>", f"<p>{escape(told)}</p>"]
    if run.study is not None and len(run.study.skill) == len(rows):
        parts.append(f'<div class="fig-card wide">{skill_figures.sheet(run.study, run.skills)}</div>')
    objects = list(rows[0]["covered"])
    head = ["skill", "what it does", "holds", "closed", "lifts red", *(f"covers to {name}" for name in objects), "path", "pushes red"]
    body = []
    for row in sorted(rows, key=lambda row: row["skill"] is None):
        name = "prior" if row["skill"] is None else f"skill {row['skill']}"
        dot = f'<span class="dot" style="background:{figures.colour(row["skill"])}"></span>'
        cells = [
            f"{row['grasping']:.0%}", f"{row['closed']:.0%}", f"{100 * row['lift_red']:.1f} cm",
            *(f"{100 * row['covered'][name]:.1f} cm" for name in objects), f"{row['path_length']:.2f} m", f"{100 * row['moved']['red']:.1f} cm",
        ]  # fmt: skip
        body.append(f"<tr><td>{dot}{escape(name)}</td><td>{escape(row['word'])}</td>" + "".join(f'<td class="n">{cell}</td>' for cell in cells) + "</tr>")
    header = "".join(f'<th{"" if i < 2 else " class=n"}>{escape(cell)}</th>' for i, cell in enumerate(head))
    parts.append(f'<div class="fig-card wide" style="margin-top:12px"><table><tr>{header}</tr>{"".join(body)}</table></div>')
    if run.study is not None:
        parts += ["<p style='margin-top:14px'>The same over an episode, means of each skill (grey: skills follow the prior).</p>", _cards_of(skill_figures.over_time(run.study))]
    return "".join(parts)


def _use(run: Folder) -> str:
    shares = run.summary.get("skill_usage") or _last(run.rows, r"heldout/skill_usage/(\d+)")
    prior = _square(_last(run.rows, r"heldout/transition/(\d+)/\d+"))
    drawn = []
    if shares:
        names = [str(k) for k in range(len(shares))]
        drawn.append(figures.columns(shares, "skill use on held-out episodes", [figures.colour(k) for k in range(len(shares))], names, floor=0.03))
        by_step = {name: _series(run.rows, f"heldout/skill_usage/{name}", figures.colour(int(name))) for name in names}
        if len(by_step["0"][0]) > 1:
            drawn.append(figures.curves(by_step, "skill use while learning", "updates", height=230, low=0.0))
    if prior:
        drawn.append(figures.matrix(prior, "transition prior p(next | current)", "current skill", "next skill"))
    if not drawn:
        return ""
    return (
        "<h2>How skills are used and follow each other</h2><p>The share of held-out steps where a skill weighs most (dashed: 3 %), "
        "and the learned prior: a skill that stays with 0.9 lasts ten steps, half a second.</p>" + _cards_of(drawn)
    )


def _errors(run: Folder) -> str:
    names = {"heldout_action_mse": "this run", "heldout_action_mse_k1": "one component", "heldout_action_mse_npmp": "NPMP"}
    values = {shown: run.summary[name] for name, shown in names.items() if isinstance(run.summary.get(name), int | float)}
    if len(values) < 2:
        return ""
    paints = ["var(--main)", "var(--dim)", "var(--dim)"][: len(values)]
    return (
        "<h2>Held-out action error</h2><p>Squared error of the mean action, per dimension, on episodes that were not learned from. "
        "One component: a single Gaussian latent on the mid level's inputs, without look-ahead. NPMP infers its latent from the look-ahead.</p>"
        + _cards_of([figures.bars(values, "squared error per action dimension", paints)])
    )


def _curves(run: Folder) -> str:
    """Every term, training and held-out figures in one frame."""
    known = {name for row in run.rows for name in row}
    own = {name for name in known if name != "step" and not name.startswith(("time/", "heldout/"))}
    held = {name.removeprefix("heldout/") for name in known if name.startswith("heldout/")}
    wanted = sorted({name for name in own | held if not re.search(r"/\d+$", name)}, key=lambda name: ([*NAMES, name].index(name), name))
    drawn = []
    for name in wanted:
        found = {
            "training": _series(run.rows, name, "var(--main)"),
            "held-out": _series(run.rows, f"heldout/{name}", "var(--bad)"),
        }
        found = {label: series for label, series in found.items() if len(series[0])}
        if len(found) == 1 and "held-out" in found:
            found = {"held-out": found["held-out"]}
        if found:
            title = NAMES.get(name, name)
            drawn.append(figures.curves(found, title if len(found) > 1 else f"{title}{', held-out' * ('held-out' in found)}", "updates", settle=0.1))
    return "<h2>Learning</h2>" + _cards_of(drawn) if drawn else ""


def _series(rows: list[dict], name: str, paint: str) -> tuple[list[float], list[float], str]:
    points = [(row["step"], row[name]) for row in rows if isinstance(row.get(name), int | float)]
    return [x for x, _ in points], [y for _, y in points], paint


def _last(rows: list[dict], pattern: str) -> list[float]:
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


def _details(run: Folder) -> str:
    """Settings, circumstances and the summary, folded."""
    start = (run.config.get("starts") or [{}])[-1]
    speed = _last(run.rows, "time/updates_per_second")
    circumstances = {
        **{name: value for name, value in start.items() if name != "versions"}, **start.get("versions", {}),
        **({"updates per second, last epoch": speed[-1]} if speed else {}),
    }  # fmt: skip
    tables = {"Settings": run.config.get("config", {}), "Versions, machine, time": circumstances, "summary.json": run.summary}
    return "".join(
        f"<details><summary>{escape(title)}</summary><table>"
        + "".join(f"<tr><th>{escape(str(name))}</th><td>{escape(_shown(value))}</td></tr>" for name, value in content.items())
        + "</table></details>"
        for title, content in tables.items()
        if content
    )


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return figures.number(value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_shown(inner) for inner in value)
    return str(value)

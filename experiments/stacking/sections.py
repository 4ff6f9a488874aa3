"""Sections of a run's page that know skills and stacking: what skills do, how they are used, and their rivals."""

import base64
import math
from html import escape

from experiments.stacking import skill_figures, skill_rollouts
from experiments.stacking.expectations import LEAST_SHARE
from skillhier.report import figures
from skillhier.report.drawing import colour
from skillhier.report.sections import Folder, last, read_json, read_rows, series, side_by_side

STRIP = "skills.jpg"  # pictures of every skill held fixed
RIVALS = {"k1": "one component", "npmp": "NPMP"}  # folder below rivals/, ending of the summary's entry -> what it is


def read_study(run: Folder) -> skill_rollouts.Study | None:
    """The rollouts of skills held fixed that a run folder holds, if it does."""
    try:
        return skill_rollouts.load(run.path)
    except (OSError, KeyError, ValueError):
        return None


def skills(run: Folder) -> str:
    """What each skill does when it is held fixed: paths, figures, means over an episode."""
    content = read_json(run.path / "skills.json")
    rows = content.get("skills") or []
    if not rows:
        return ""
    told = (
        f"{content['episodes']} episodes of {content['seconds_each']:g} s for each skill, in "
        f"{content.get('env', 'the same world')}, from the same {content['starts']} starts for every skill. "
        "Faint: single episodes; bold: their mean, from the ring to the dot. Squares: where the objects lay; dashed: "
        "the basket's floor. Prior: the skills follow the learned transition prior."
    )
    parts = ["<h2>What each skill does, held fixed</h2>", f"<p>{escape(told)}</p>"]
    study = read_study(run)
    drawn = study is not None and len(study.skill) == len(rows)
    if drawn:
        parts.append(f'<div class="fig-card wide">{skill_figures.sheet(study, content)}</div>')
    if (run.path / STRIP).is_file():
        seen = base64.b64encode((run.path / STRIP).read_bytes()).decode()
        shown = f'<img alt="each skill over an episode" style="max-width:100%" src="data:image/jpeg;base64,{seen}">'
        parts.append(f'<p>The first episode of each, from the same start.</p><div class="fig-card wide">{shown}</div>')
    parts.append(f'<div class="fig-card wide">{_table(sorted(rows, key=lambda row: row["skill"] is None))}</div>')
    if drawn:
        parts += [
            "<p>The same over an episode, means of each skill (grey: skills follow the prior).</p>",
            side_by_side(skill_figures.over_time(study)),
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


def use(run: Folder) -> str:
    """Skill use as a histogram and over time, the transition prior as a matrix."""
    shares = run.summary.get("skill_usage") or last(run.rows, r"heldout/skill_usage/\d+")
    prior = _square(last(run.rows, r"heldout/transition/\d+/\d+"))
    drawn = []
    if shares:
        names, paints = [str(k) for k in range(len(shares))], [colour(k) for k in range(len(shares))]
        drawn.append(figures.columns(shares, "skill use on held-out episodes", paints, names, floor=LEAST_SHARE))
        by_step = {name: series(run.rows, f"heldout/skill_usage/{name}", paints[int(name)]) for name in names}
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
    rows = {"this run": run.rows, **{shown: read_rows(run.path / "rivals" / name) for name, shown in RIVALS.items()}}
    lines = {shown: series(rows[shown], "heldout/action_mse", paints[shown]) for shown in rows}
    lines = {shown: line for shown, line in lines.items() if len(line[0]) > 1}
    if len(lines) > 1:
        drawn.append(figures.curves(lines, "the same while learning", "updates", low=0.0))
    return (
        "<h2>Held-out action error</h2><p>Squared error of the mean action on episodes that were not learned from. One "
        "component: a single Gaussian latent on the mid level's inputs, no look-ahead. NPMP infers its latent from the "
        "look-ahead.</p>" + side_by_side(drawn)
    )


def _square(values: list[float]) -> list[list[float]]:
    side = math.isqrt(len(values))
    return [values[i * side : (i + 1) * side] for i in range(side)] if side * side == len(values) else []

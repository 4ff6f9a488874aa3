"""Sections of a run's page on skills in the stacking world: rollouts, skill usage, held-out error beside baselines."""

import math
from html import escape

from experiments.shared.lanes import lane_name
from experiments.stacking import own_measures, skill_figures, skill_measures, skill_rollouts
from experiments.stacking.expectations import LEAST_SHARE
from skillhier.report import axis, figures
from skillhier.report.drawing import colour
from skillhier.report.sections import Folder, last, read_json, read_rows, series, side_by_side

RIVALS = {"k1": "one component", "npmp": "NPMP"}  # folder below rivals/ and suffix of the summary's entry -> label


def read_rollouts(run: Folder, name: str = skill_rollouts.FILE) -> skill_rollouts.SkillRollouts | None:
    """The skill rollouts in that file of a run folder, if there are any."""
    try:
        return skill_rollouts.load(run.path, name)
    except (OSError, KeyError, ValueError):
        return None


def skills(run: Folder) -> str:
    """Rollouts of each fixed skill: paths, measures, means over an episode."""
    content = read_json(run.path / "skills.json")
    rows = content.get("skills") or []
    if not rows:
        return ""
    caption = (
        f"{content['episodes']} episodes of {content['seconds_each']:g} s for each skill, in "
        f"{content.get('env', 'the same world')}, from the same {content['starts']} initial states each. "
        "Faint: single episodes; bold: their mean, from the ring to the dot. Squares: initial object positions; "
        "dashed: the basket's floor. Prior: the skills follow the learned transition prior."
    )
    parts = ["<h2>What each skill does, held fixed</h2>", f"<p>{escape(caption)}</p>"]
    rollouts = read_rollouts(run)
    drawn = rollouts is not None and len(rollouts.skill) == len(rows)
    if drawn:
        parts.append(f'<div class="fig-card wide">{skill_figures.sheet(rollouts, content)}</div>')
    parts.append(f'<div class="fig-card wide">{_table(sorted(rows, key=lambda row: row["skill"] is None))}</div>')
    if drawn:
        parts += [
            "<p>Means of each skill over an episode (grey: skills follow the prior).</p>",
            side_by_side(skill_figures.over_time(rollouts)),
        ]
    return "".join(parts)


def _table(rows: list[dict]) -> str:
    def cm(metres: float) -> str:
        return f"{100 * metres:.1f} cm"

    objects = list(rows[0]["covered"])
    columns = [
        "holds",
        "takes something",
        "closed",
        "lifts red",
        *(f"approaches {name}" for name in objects),
        "path",
        "moves red",
    ]
    names = "".join(f'<th class="n">{escape(name)}</th>' for name in columns)
    lines = [f"<tr><th>skill</th><th>what it does</th>{names}</tr>"]
    for row in rows:
        taken = f"{row['takes']:.0%}" if "takes" in row else ""
        cells = [
            f"{row['grasping']:.0%}",
            taken,
            f"{row['closed']:.0%}",
            cm(row["lift_red"]),
            *(cm(row["covered"][name]) for name in objects),
            f"{row['path_length']:.2f} m",
            cm(row["moved"]["red"]),
        ]
        numbers = "".join(f'<td class="n">{cell}</td>' for cell in cells)
        lines.append(_line(row, numbers))
    return f"<table>{''.join(lines)}</table>"


def own_starts(run: Folder) -> str:
    """What each skill does where demonstrations begin to use it, and at the same moments as the others."""
    content = read_json(run.path / own_measures.FILE)
    rows = content.get("skills") or []
    if not rows:
        return ""
    caption = (
        f"{content['episodes']} episodes of {content['seconds_each']:g} s of each skill, held throughout, from rows "
        "of the demonstrations where the posterior begins to choose it: states that it knows. Far, at it, in hand: "
        "where the object is then that the episode is about. The shares after these are of the episodes that "
        "they concern: grasping of those without the object in hand, carrying and releasing of those with it. The last "
        "three are of all skills at the same moments: the hand is at an object that the demonstration then takes, and "
        "the object has just been taken."
    )
    parts = ["<h2>What each skill does where demonstrations use it</h2>", f"<p>{escape(caption)}</p>"]
    rollouts = read_rollouts(run, own_measures.PATHS)
    if rollouts is not None and len(rollouts.skill) == len(rows):
        measured = skill_measures.measure(rollouts)
        panels = [panel | {"word": row["word"]} for panel, row in zip(measured["skills"], rows, strict=True)]
        sheet = skill_figures.sheet(rollouts, {**measured, "skills": panels})
        parts.append(f'<div class="fig-card wide">{sheet}</div>')
    return "".join([*parts, f'<div class="fig-card wide">{_own_table(rows)}</div>'])


OWN_COLUMNS = {
    "share": "rows", "far": "far", "at": "at it", "in_hand": "in hand", "reaches": "reaches", "grasps": "grasps",
    "lifts": "lifts 5 cm", "carries": "carries", "releases": "releases",
}  # fmt: skip
MOMENTS = (("from_at", "holds", "at it: holds it"), ("from_in_hand", "lifts", "in hand: lifts 5 cm"),
           ("from_in_hand", "keeps", "in hand: keeps it"))  # fmt: skip


def _own_table(rows: list[dict]) -> str:
    heads = [*OWN_COLUMNS.values(), *(head for _, _, head in MOMENTS)]
    names = "".join(f'<th class="n">{escape(name)}</th>' for name in heads)
    lines = [f"<tr><th>skill</th><th>what it does</th>{names}</tr>"]
    for row in rows:
        values = [row.get(name) for name in OWN_COLUMNS]
        values += [row.get(kind, {}).get(name) for kind, name, _ in MOMENTS]
        cells = "".join(f'<td class="n">{"" if value is None else format(value, ".0%")}</td>' for value in values)
        lines.append(_line(row, cells))
    return f"<table>{''.join(lines)}</table>"


def _line(row: dict, cells: str) -> str:
    return (
        f'<tr><td><span class="dot" style="background:{colour(row["skill"])}"></span>'
        f"{escape(lane_name(row['skill']))}</td><td>{escape(row['word'])}</td>{cells}</tr>"
    )


def use(run: Folder) -> str:
    """Skill usage as a histogram and while learning, and the transition prior as a matrix."""
    shares = run.summary.get("skill_usage") or last(run.rows, r"heldout/skill_usage/\d+")
    prior = _square(last(run.rows, r"heldout/transition/\d+/\d+"))
    drawn = []
    if shares:
        names, paints = [str(k) for k in range(len(shares))], [colour(k) for k in range(len(shares))]
        drawn.append(figures.columns(shares, "skill usage on held-out episodes", paints, names, floor=LEAST_SHARE))
        over = axis.common([run.rows])
        usage = {name: series(run.rows, f"heldout/skill_usage/{name}", paints[int(name)], over) for name in names}
        if len(usage["0"][0]) > 1:
            drawn.append(figures.curves(usage, "skill usage while learning", over.label, height=230, low=0.0))
    if prior:
        drawn.append(figures.matrix(prior, "transition prior p(next | current)", "current skill", "next skill"))
    if not drawn:
        return ""
    caption = (
        f"The share of held-out steps where a skill has most weight (dashed: {LEAST_SHARE:.0%}), and the learned "
        "prior: a skill with 0.9 on the diagonal lasts ten steps on average."
    )
    return f"<h2>How skills are used and follow each other</h2><p>{escape(caption)}</p>" + side_by_side(drawn)


def errors(run: Folder) -> str:
    """Held-out action error beside that of the baselines, which learned from the same data for as many updates."""
    summary = {"this run": run.summary.get("heldout_action_mse")}
    summary |= {label: run.summary.get(f"heldout_action_mse_{name}") for name, label in RIVALS.items()}
    values = {label: value for label, value in summary.items() if isinstance(value, int | float)}
    if len(values) < 2 or "this run" not in values:
        return ""
    paints = {"this run": "var(--main)", "one component": "var(--s1)", "NPMP": "var(--s2)"}
    drawn = [figures.bars(values, "squared error per action dimension", [paints[label] for label in values])]
    rows = {"this run": run.rows, **{label: read_rows(run.path / "rivals" / name) for name, label in RIVALS.items()}}
    over = axis.common(rows.values())
    curves = {label: series(rows[label], "heldout/action_mse", paints[label], over) for label in rows}
    curves = {label: curve for label, curve in curves.items() if len(curve[0]) > 1}
    if len(curves) > 1:
        drawn.append(figures.curves(curves, "the same while learning", over.label, low=0.0))
    return (
        "<h2>Held-out action error</h2><p>Squared error of the mean action on held-out episodes. One component: one "
        "Gaussian latent on the mid level's inputs, no look-ahead. NPMP infers its latent from the look-ahead.</p>"
        + side_by_side(drawn)
    )


def _square(values: list[float]) -> list[list[float]]:
    side = math.isqrt(len(values))
    return [values[i * side : (i + 1) * side] for i in range(side)] if side * side == len(values) else []

"""The part of a run's page on skills held fixed, in a world of any kind."""

from html import escape
from math import nan
from typing import Any

from experiments.fixed_skills import measures
from experiments.shared.lanes import lane_name
from skillhier.report import figures
from skillhier.report.drawing import colour, number
from skillhier.report.sections import Folder, picture, read_json, side_by_side

FILE, STRIP = "fixed_skills.json", "skills.jpg"  # STRIP: frames of every fixed skill
SHOWN = 6  # entries in the table at most, those first by which skills are told apart best


def curves(content: dict[str, Any]) -> list[str]:
    """Means of each skill over an episode: of the return so far, and of the numbers by which skills differ most."""
    rows, seconds = content["skills"], content["curves"]["seconds"]

    def draw(title: str, means: list[list[float | None]]) -> str:
        series = {}
        for row, mean in zip(rows, means, strict=True):
            points = [nan if y is None else y for y in mean]
            series[lane_name(row["skill"]).removeprefix("skill ")] = (seconds, points, colour(row["skill"]))
        return figures.curves(series, title, "s")

    return [draw(title, means) for title, means in content["curves"]["means"].items()]


def section(run: Folder) -> str:
    """Figures of each fixed skill: returns, how far each entry went, how far apart skills are."""
    content = read_json(run.path / FILE)
    if not content.get("skills"):
        return ""
    caption = (
        f"{content['episodes']} episodes of {content['seconds_each']:g} s for each skill, in "
        f"{content.get('env', 'the same world')}, from the same {content['starts']} initial states each. Of entries "
        "of the observation: how long their paths are in an episode, in the mean. Apart: the distance between the mean "
        "paths of two skills, and in brackets how many times that between two halves of one skill's episodes, which "
        "differ by chance alone."
    )
    parts = ["<h2>Each skill held fixed: what it earns, and what it moves</h2>", f"<p>{escape(caption)}</p>"]
    table = _table(content, run.summary.get("expert_return"))
    parts.append(picture(run, run.path / STRIP, "the first episode of each skill"))
    parts.append(f'<div class="fig-card wide">{table}</div>')
    parts.append("<p>Means of each skill over an episode, of the numbers by which skills differ most.</p>")
    parts.append(side_by_side(curves(content)))
    return "".join(parts)


def _table(content: dict[str, Any], expert: float | None) -> str:
    names, entries = measures.ranked(content, SHOWN), content["entries"]
    cells = [["", "return", *map(escape, names)]]
    for row in sorted(content["skills"], key=lambda row: row["skill"] is None):
        earned = f"{number(row['return'])} ± {number(row['return_stddev'])}"
        cells.append([lane_name(row["skill"]), earned, *(number(row["covered"][entry]) for entry in names)])
    if expert is not None:
        cells.append(["demonstrations", number(expert), *[""] * len(names)])
    apart = [_apart(entries[entry]) for entry in names]
    if any(apart):
        cells.append(["apart", "", *apart])
    head = "".join(f"<th>{cell}</th>" for cell in cells[0])
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in cells[1:])
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _apart(figures_of_entry: dict[str, float | None]) -> str:
    spread, ratio = figures_of_entry["spread"], figures_of_entry["ratio"]
    if spread is None:
        return ""
    return number(spread) + (f" ({ratio:.1f})" if ratio is not None else "")

"""The page on how far apart skills end, in groups of runs."""

from html import escape
from typing import Any

import numpy as np

from skillhier.report import drawing, figures, run_page
from skillhier.report.sections import side_by_side

SHOWN = {  # figure of a run -> its title
    "between": "between the ends of different skills",
    "within": "between the ends of one skill, other chance",
    "ratio": "ratio of the two",
}


def summary(contents: list[dict[str, Any]]) -> dict[str, list[float]]:
    """The figures of a group's runs, those that each of them has."""
    return {name: [of[name] for of in contents if of[name] is not None] for name in SHOWN}


def page(by: str, groups: dict[str, dict[str, list[float]]], about: dict[str, Any]) -> str:
    """The HTML of groups of runs, by label. about: what all runs share."""
    title = f"How far apart skills end, by {by.removeprefix('config.')}"
    unit = about["unit"] or "spreads"
    drawn = []
    for name, words in SHOWN.items():
        values = {
            label: (float(np.mean(of[name])), min(of[name]), max(of[name]), of[name], drawing.colour(i))
            for i, (label, of) in enumerate(groups.items())
            if of[name]
        }
        drawn.append(figures.intervals(values, words if name == "ratio" else f"{words}, {unit}", width=430))
    words = (
        f"Skills held for {about['rows']} decisions in {about['env']}; distances of the {about['place']}. Bars: means; "
        "shaded: from the lowest to the highest run; squares: single runs."
    )
    return run_page.document(title, f"<h1>{escape(title)}</h1><p>{escape(words)}</p>{side_by_side(drawn)}")

"""Sections of a run's page on goals in the memory of a world model."""

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from skillhier.report import axis, figures, plan
from skillhier.report.drawing import colour, number
from skillhier.report.sections import Folder, picture, read_json, series, side_by_side

FOLDER, CONTENT = "goals", "goals.json"  # subfolder that experiments.mrs_goals writes
CHOICE_FOLDER, CHOICE_JSON = "choices", "choices.json"  # subfolder that experiments.mrs_choices writes
GOALS, CHOICES = "goals.jpg", "choices.jpg"
CHOSEN = "manager/choice_"  # metrics: shares of the coders in imagination


def chosen(run: Folder) -> str:
    """Which coder's goals the manager chose over training, as a stacked area."""
    names = [name for name in axis.metric_names(run.rows) if name.startswith(CHOSEN)]
    if not names:
        return ""
    over = axis.common([run.rows])
    names.sort(key=lambda name: float(name.removeprefix(CHOSEN)))  # by length, infinity last
    shown = {name.removeprefix(CHOSEN): series(run.rows, name, colour(i), over) for i, name in enumerate(names)}
    title = "shares of the resolutions that the manager chooses, in imagination"
    return f"<h2>Choices over training</h2>{side_by_side([figures.stacked(shown, title, over.label)])}"


def goals(run: Folder) -> str:
    """Where goals of each resolution are chosen, and what they look like."""
    content = read_json(run.path / FOLDER / CONTENT)
    if not content:
        return ""
    folder = run.path / FOLDER
    parts = [f"<h2>Goals</h2><p>{escape(sentence(content))}</p>"]
    drawn = [_map(content)] if len(content["coders"]) > 1 else []
    shares = figures.columns(
        list(content["shares"].values()), "rows at which a goal of each was in force",
        [colour(i) for i in range(len(content["coders"]))], list(content["shares"]),
    )  # fmt: skip
    drawn += [
        shares,
        figures.bars(content["apart"], "distance between two random goals", ["var(--main)"] * len(content["apart"])),
    ]
    parts.append(side_by_side(drawn))
    parts.append(picture(run, folder / GOALS, "random goals of each resolution, by what is here"))
    parts.append(picture(run, folder / CHOICES, "rows at which a goal of each resolution was in force"))
    return "".join(parts)


def overruled(run: Folder) -> str:
    """What the agent earns with its own choice, with chance's, and with one resolution throughout."""
    content = read_json(run.path / CHOICE_FOLDER / CHOICE_JSON)
    if not content:
        return ""
    rows = {
        way: (of["return"], of["low"], of["high"], of["returns"], colour(0 if way == "learned" else None))
        for way, of in content["ways"].items()
    }
    words = f"{content['episodes']} episodes of each in {content['env']}, from the same starts."
    drawn = figures.intervals(rows, "return of an episode, by who chooses the resolution", width=520)
    return f"<h2>Whose choice it is</h2><p>{escape(words)}</p>{side_by_side([drawn])}"


def sentence(content: Mapping[str, Any]) -> str:
    """What was measured, in a few words."""
    rows = f"{content['rows']} rows of {content['episodes']} episodes in {content['env']}."
    if len(content["coders"]) < 2:
        return f"{rows} The manager has one kind of goal."
    mean, low, high = content["map"]["by_chance"]
    return (
        f"{rows} Memories in {content['map']['clusters']} clusters: their most frequent kind of goal has "
        f"{number(content['map']['purity'])} of each in the mean, {number(mean)} ({number(low)} to {number(high)}) if "
        "choices are shuffled."
    )


def _map(content: Mapping[str, Any]) -> str:
    places, choices = np.array(content["map"]["places"]), content["map"]["choices"]
    size = float(np.ptp(places, axis=0).max())
    discs = [plan.Disc((x, y), size / 160, colour(i), 0.7) for (x, y), i in zip(places, choices, strict=True)]
    legend = [(name, colour(i)) for i, name in enumerate(content["coders"])]
    return plan.draw(
        [], "visited memories (t-SNE), by the goal in force", ("", ""), discs=discs, size=430, legend=legend
    )

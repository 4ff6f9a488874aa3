"""The page on how far ahead a goal should lie."""

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from experiments.following.followers import CHOOSING, UP_TO
from skillhier.report import figures, plan, run_page
from skillhier.report.drawing import colour
from skillhier.report.sections import side_by_side

FIGURES = {  # figure -> its title
    "error": "mean distance to the path, units",
    "jitter": "mean square of heading changes, rad²",
    "steps": "steps to the end",
}
TITLE = "How far ahead should a goal lie?"


def page(content: Mapping[str, Any]) -> str:
    """The HTML of what experiments.mrs_path measured; content: what it writes to path.json."""
    parts = [f"<h1>{TITLE}</h1><p>{escape(_about(content))}</p>"]
    parts += ["<h2>Beside the look-ahead, by noise on the goals</h2>", side_by_side(_curves(content))]
    parts += ["<h2>Choosing by what lies ahead</h2>", side_by_side(_choosing(content))]
    parts += ["<h2>Paths</h2>", side_by_side(_tracks(content))]
    parts += [f"<h2>Goals to both sides in turn</h2><p>{escape(_sides(content))}</p>", side_by_side(_zigzags(content))]
    return run_page.document(TITLE, "".join(parts))


def sentence(noise: str, at: Mapping[str, Any]) -> str:
    """Which look-ahead follows best at one noise, and what choosing gains."""
    errors = {name: of["error"][0] for name, of in at["followers"].items()}
    chosen = ", ".join(
        f"{name} {errors[name]:.3f} (difference {low:+.3f} to {high:+.3f})"
        for name, (low, high) in at["beside_best"].items()
    )
    return f"noise {noise}: alone the best is {at['best']} ahead, {errors[at['best']]:.3f} from the path; {chosen}"


def _about(content: Mapping[str, Any]) -> str:
    world = content["world"]
    return (
        f"A point follows {content['paths']} paths ({world['turns']} turns, dynamics {world['dynamics']}) by goals "
        f"on the path that lie some units ahead, which it holds for {content['hold']} steps. Shaded: 95 % bootstrap "
        "intervals of the mean over paths. "
    ) + " ".join(f"{sentence(noise, at).capitalize()}." for noise, at in content["noises"].items())


def _curves(content: Mapping[str, Any]) -> list[str]:
    ahead = content["ahead"]
    drawn = []
    for figure, title in FIGURES.items():
        series, bands = {}, {}
        for i, (noise, at) in enumerate(content["noises"].items()):
            values = [at["followers"][f"{units:g}"][figure] for units in ahead]
            series[f"noise {noise}"] = (ahead, [value for value, _, _ in values], colour(i))
            bands[f"noise {noise}"] = ([low for _, low, _ in values], [high for _, _, high in values])
        drawn.append(figures.curves(series, title, "units ahead", width=400, low=0.0, bands=bands))
    series = {}
    for i, (noise, at) in enumerate(content["noises"].items()):
        of = [at["followers"][f"{units:g}"] for units in ahead]
        series[f"noise {noise}"] = ([x["jitter"][0] for x in of], [x["error"][0] for x in of], colour(i))
    title = f"distance beside heading changes, from {ahead[0]:g} to {ahead[-1]:g} ahead"
    drawn.append(figures.curves(series, title, FIGURES["jitter"], width=400, low=0.0))
    return drawn


def _choosing(content: Mapping[str, Any]) -> list[str]:
    drawn = []
    for noise, at in content["noises"].items():
        rows = {}
        for name, of in at["followers"].items():
            paint = colour(1 if name in CHOOSING else 0)
            rows[name if name in CHOOSING else f"{name} ahead"] = (*of["error"], (), paint)
        drawn.append(figures.intervals(rows, f"distance to the path, noise {noise}"))
    return drawn


def _tracks(content: Mapping[str, Any]) -> list[str]:
    drawn = []
    for noise, at in content["noises"].items():
        shown = [f"{content['ahead'][0]:g}", at["best"], f"{content['ahead'][-1]:g}", UP_TO]
        shown = list(dict.fromkeys(shown))
        lines = [plan.Line(np.array(content["path"]), "var(--dim)", "bold", tooltip="the path")]
        lines += [plan.Line(np.array(at["tracks"][name]), colour(i), tooltip=name) for i, name in enumerate(shown)]
        legend = [(name, colour(i)) for i, name in enumerate(shown)]
        drawn.append(plan.draw(lines, f"one path, noise {noise}", ("x, units", "y, units"), legend=legend))
    return drawn


def _sides(content: Mapping[str, Any]) -> str:
    return (
        f"The path is straight, and goals lie {content['side']:g} unit to its left and right in turn. Missed: how far "
        "the point is from its goal when the next one comes."
    )


def _zigzags(content: Mapping[str, Any]) -> list[str]:
    drawn = []
    for noise, by_units in content["sides"].items():
        series = {
            f"{units} ahead": (*np.array(of["track"]).T, colour(i)) for i, (units, of) in enumerate(by_units.items())
        }
        drawn.append(figures.curves(series, f"y beside x, units, noise {noise}", "x, units", width=480))
    for figure, title in (("missed", "distance to the goal when the next comes"), ("jitter", FIGURES["jitter"])):
        series = {
            f"noise {noise}": ([float(u) for u in by_units], [of[figure] for of in by_units.values()], colour(i))
            for i, (noise, by_units) in enumerate(content["sides"].items())
        }
        drawn.append(figures.curves(series, title, "units ahead", width=400, low=0.0))
    return drawn

"""Sections of a run's page on skills learned in imagination."""

from html import escape

import numpy as np

from skillhier.report import figures, plan
from skillhier.report.drawing import colour, number
from skillhier.report.sections import Folder, picture, read_json, side_by_side

HELD = "skills"  # subfolder that experiments.lsp_skills writes
HELD_JSON, STRIP = "skills.json", "strip.jpg"
PATHS, PATHS_JSON = "paths", "paths.json"  # subfolder that experiments.lsp_paths writes
LATE = 10  # episodes that a share is of
DRAWN = {
    "training": "training, from the replay: no skills are stored there",
    "recorded": "recorded afterwards, exploring; squares: a skill is chosen",
}
PILLAR = 0.5  # m, the radius of an obstacle


def held(run: Folder) -> str:
    """What each skill does when it is held fixed: frames, paths, how far apart they end."""
    folder = run.path / HELD
    content = read_json(folder / HELD_JSON)
    if not content.get("skills"):
        return ""
    words = (
        f"{content['seconds']:.3g} s of each skill in {content['env']}, from the same {content['starts']} starts, "
        f"{content['repeats']} times each. {distances(content)}"
    )
    parts = [f"<h2>What each skill does, held fixed</h2><p>{escape(words)}</p>"]
    parts.append(picture(run, folder / STRIP, "each skill over time, all from one start"))
    parts.append(side_by_side([paths(content)]))
    return "".join(parts)


def distances(content: dict) -> str:
    """How far apart skills end, in a sentence."""
    unit = f" {content['unit']}" if content["unit"] else ""
    if content["between"] is None:
        return "One skill alone has nothing to be told apart from."
    sentence = f"Ends of different skills lie {number(content['between'])}{unit} apart ({content['place']})"
    if content["within"] is None:
        return f"{sentence}."
    times = "" if content["ratio"] is None else f": {number(content['ratio'])} times as far"
    return f"{sentence}, those of one skill with other chance {number(content['within'])}{unit}{times}."


def paths(content: dict) -> str:
    """The paths of all skills from the first start, as SVG: of places that are one number over time."""
    legend = [(str(of["skill"]), colour(of["skill"])) for of in content["skills"]]
    if len(content["skills"][0]["paths"][0][0]) == 1:
        over = {
            name: (np.linspace(0, content["seconds"], len(of["paths"][0])), np.ravel(of["paths"][0]), paint)
            for of, (name, paint) in zip(content["skills"], legend, strict=True)
        }
        return figures.curves(over, "from one start", "s")
    lines = [
        plan.Line(np.array(points), colour(of["skill"]), marks=(len(points) - 1,), tooltip=f"skill {of['skill']}")
        for of in content["skills"]
        for points in of["paths"]
    ]
    first, second = ("x, m", f"{content['place'][1]}, m") if content["unit"] else ("first number", "second number")
    return plan.draw(lines, "paths from one start", (first, second), legend=legend)


def ground(run: Folder) -> str:
    """Where the robot went: paths over ground in training and afterwards, cells visited, targets reached."""
    content = read_json(run.path / PATHS / PATHS_JSON)
    if not content:
        return ""
    parts = ["<h2>Where the robot went</h2>"]
    for which, words in DRAWN.items():
        parts.append(f"<p>{escape(f'{words}. {roamed(content[which], content)}')}</p>")
    training = content["training"]
    count = list(range(1, len(training["cells"]) + 1))
    drawn = [_ground(content[which], which, content["radius"]) for which in DRAWN]
    if count:
        shares = [float(np.mean(training["reached"][max(0, i - LATE) : i])) for i in count]
        drawn.append(
            figures.curves(
                {"": (count, training["cells"], "var(--main)")}, "cells visited in training", "episodes", low=0
            )
        )
        share = {"": (count, shares, "var(--main)")}
        drawn.append(
            figures.curves(share, f"target reached in training, of the last {LATE}", "episodes", low=-0.02, high=1.02)
        )
    return "".join(parts) + side_by_side(drawn)


def roamed(figures_of: dict, content: dict) -> str:
    """What came out of one set of episodes, in a sentence."""
    count = len(figures_of["cells"])
    if not count:
        return "no episode."
    return (
        f"{count} episodes: {figures_of['cells'][-1]} cells of {content['cell']} m visited, the target reached (within "
        f"{content['radius']:g} m) in {sum(figures_of['reached'])}, nearest {number(min(figures_of['closest']))} m."
    )


def _ground(figures_of: dict, title: str, radius: float) -> str:
    episodes = figures_of["episodes"]
    targets = {tuple(episode["target"]) for episode in episodes}
    pillars = {tuple(map(tuple, episode["pillars"])) for episode in episodes}
    discs = [plan.Disc(target, radius, "var(--bad)", 0.35 if len(targets) == 1 else 0.12) for target in sorted(targets)]
    if len(pillars) == 1:  # else every episode has its own
        discs += [plan.Disc(pillar, PILLAR, "var(--dim)") for pillar in pillars.pop()]
    lines = [
        plan.Line(np.array(episode["path"]), colour(i), "fine", episode["marks"], f"episode {i + 1}")
        for i, episode in enumerate(episodes)
    ]
    return plan.draw(lines, title, ("x, m", "y, m"), discs=discs, size=420)

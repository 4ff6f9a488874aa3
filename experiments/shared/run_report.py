"""The page of a run of any entry point: general sections, and those on skills where the run folder has them."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from experiments.fixed_skills import sections as fixed_skills
from experiments.imagined_goals import sections as imagined_goals
from experiments.imagined_skills import sections as imagined_skills
from experiments.stacking import expectations
from experiments.stacking import sections as stacking
from skillhier.report import dreams, run_page, sections
from skillhier.report.run_page import Headline
from skillhier.report.sections import Folder

TITLES = {  # of metrics that online runs log, which come first
    "eval/success": "share of successful episodes",
    "eval/staged": "sparse staged return of an episode",
    "eval/return": "return of an episode",
    "episodes/success": "share of successful episodes during collection",
    "episodes/return": "return of an episode during collection",
    **sections.TITLES,
}
EARNED = (  # entry of the summary, its label, digits behind the point, what it means
    ("return_last_tenth", "return while learning", 0, "Mean of training episodes over the last tenth of the updates."),
    ("eval_return", "return", 0, "Mean of the last evaluation's episodes."),
    ("information_last_tenth", "information", 3, "Nats that a window says of its skill beyond the start."),
    ("frames", "frames", 0, "Control steps in all worlds."),
)
LEARNING = partial(sections.learning, titles=TITLES)
SECTIONS = (
    stacking.own_starts,
    stacking.skills,
    fixed_skills.section,
    imagined_skills.held,
    imagined_skills.ground,
    imagined_goals.goals,
    imagined_goals.chosen,
    imagined_goals.overruled,
    sections.watched,
    dreams.watched,
    dreams.section,
    stacking.use,
    stacking.errors,
    LEARNING,
)


def write(folder: Path | str, summary: dict[str, Any] | None = None) -> Path:
    """Writes report.html into a run folder; returns its path. summary: as in run_page.write."""
    return run_page.write(folder, SECTIONS, headlines, summary)


def headlines(run: Folder) -> Iterable[Headline]:
    """The headline numbers of the run's summary."""
    expert_logs = expectations.is_log(run.config.get("config", {}).get("data.path"))
    return [*of_learning(run.summary), *expectations.headlines(run.summary, scripted=not expert_logs)]


def of_learning(summary: Mapping[str, Any]) -> list[Headline]:
    """What an agent earned that learned online, where the summary says so."""
    return [
        Headline(label, f"{summary[name]:,.{digits}f}", "", None, meaning)
        for name, label, digits, meaning in EARNED
        if isinstance(summary.get(name), int | float)
    ]

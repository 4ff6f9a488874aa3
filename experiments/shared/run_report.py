"""The page of a run of any entry point: general sections, and those on skills where the run folder has them."""

from collections.abc import Iterable
from pathlib import Path

from experiments.stacking import expectations
from experiments.stacking import sections as stacking
from skillhier.report import run_page, sections
from skillhier.report.run_page import Headline
from skillhier.report.sections import Folder

SECTIONS = (stacking.skills, sections.watched, stacking.use, stacking.errors, sections.learning)


def write(folder: Path | str) -> Path:
    """Writes report.html into a run folder; returns its path."""
    return run_page.write(folder, SECTIONS, headlines)


def headlines(run: Folder) -> Iterable[Headline]:
    """The headline numbers of the run's summary."""
    expert_logs = expectations.is_log(run.config.get("config", {}).get("data.path"))
    return expectations.headlines(run.summary, scripted=not expert_logs)

"""How far apart the skills of several runs end, beside a setting in which the runs differ.

python -m experiments.lsp_noise --runs='runs/noise/*'
python -m experiments.lsp_noise --runs='runs/all/*' --by=config.agent.name --out=runs/apart

Reads what experiments.lsp_skills left in every run (RUN/skills/skills.json), and groups the runs by --by, which is the
noise on the input of LSP's predictor of skills unless it is named. Writes skills.html (self-contained) and skills.json,
by default to runs/skills-<time>. LSP, Figure 10.
"""

from typing import Any

import numpy as np
from absl import flags

from experiments.imagined_skills import noise_page, sections
from experiments.shared import (
    cli,
    out_flag,
    runs_flags,  # noqa: F401  defines the flags
)
from skillhier.report import comparison, comparison_runs
from skillhier.report.comparison_runs import LoggedRun
from skillhier.report.sections import read_json

flags.DEFINE_string("by", "config.agent.pred_noise", "the setting that makes the groups")


def check(run: cli.Run) -> None:
    """Refuses flags that are missing or do not go together. Raises Refused."""
    args = flags.FLAGS
    if not args.runs:
        raise cli.Refused(
            "--runs is missing; give folders of runs as a pattern in quotes, such as --runs='runs/noise/*'"
        )


def main(run: cli.Run) -> None:
    args = flags.FLAGS
    groups = comparison.group_runs(comparison_runs.find(args.runs), [args.by])
    measured = {label: [measured_of(member) for member in members] for label, members in groups.items()}
    figures = {label: noise_page.summary(contents) for label, contents in measured.items()}
    first = next(iter(measured.values()))[0]
    differing = [(label, of) for label, contents in measured.items() for of in contents if same(of) != same(first)]
    if differing:
        label, of = differing[0]
        raise cli.Refused(
            f"skills of {label} were held for {of['rows']} decisions in {of['env']}, others for {first['rows']} in "
            f"{first['env']}; hold all alike with experiments.lsp_skills --rows, or leave runs out of --runs"
        )
    shown = noise_page.page(args.by, figures, first)
    page = out_flag.write(out_flag.folder("skills"), "skills", {"by": args.by, **same(first), "groups": figures}, shown)
    for label, values in figures.items():
        print(
            f"{label}: " + ", ".join(f"{name} {np.mean(values[name]):.3g}" for name in noise_page.SHOWN if values[name])
        )
    print(f"page: {page}")


def measured_of(run: LoggedRun) -> dict[str, Any]:
    """What lsp_skills measured of a run. Raises Refused."""
    file = run.path / sections.HELD / sections.HELD_JSON
    content = read_json(file)
    if not content.get("skills"):
        raise cli.Refused(f"{file} is missing; run experiments.lsp_skills --run={run.path} first")
    return content


def same(content: dict[str, Any]) -> dict[str, Any]:
    """What all runs must share for distances to be comparable."""
    return {name: content[name] for name in ("env", "rows", "place", "unit")}


if __name__ == "__main__":
    cli.run(main, needs_config=False)

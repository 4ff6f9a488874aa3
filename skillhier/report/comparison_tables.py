"""A comparison in numbers: all of them as JSON, and tables to read."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from skillhier.report import axis
from skillhier.report.axis import ENV_STEPS
from skillhier.report.comparison import BUDGET, DATA
from skillhier.report.comparison_measures import (
    FINAL_DRAWS,
    Comparison,
    Estimate,
    GroupStatistics,
    MetricStatistics,
)
from skillhier.report.comparison_runs import SEED, LoggedRun
from skillhier.report.drawing import number
from skillhier.report.statistics import DRAWS, LEVEL


def content(comparison: Comparison) -> dict[str, Any]:
    """The content of compare.json; null stands for what is not finite."""
    runs = [run for members in comparison.groups.values() for run in members]
    return _finite(
        {
            "by": comparison.by,
            "x": comparison.axis.name,
            "budget": budget(runs),
            "notes": comparison.notes,
            "along": comparison.along,
            "bootstrap": {
                "level": LEVEL,
                "draws": DRAWS,
                "draws_of_final_values": FINAL_DRAWS,
                "seed": comparison.seed,
            },
            "metrics": {
                metric.title: {
                    "final": metric.definition,
                    "notes": metric.notes,
                    "thresholds": metric.thresholds,
                    "groups": {label: _content(group) for label, group in metric.groups.items()},
                    "references": [reference._asdict() for reference in metric.references],
                }
                for metric in comparison.metrics
            },
            "runs": [
                {
                    "path": str(run.path),
                    "group": label,
                    "seed": run.settings.get(SEED),
                    "updates": run.done,
                    "env_steps": axis.end(run.rows, ENV_STEPS) if axis.counts(run.rows, ENV_STEPS) else None,
                    "settings": run.settings,
                    "start": run.start,
                }
                for label, members in comparison.groups.items()
                for run in members
            ],
        }
    )


def _content(group: GroupStatistics) -> dict[str, Any]:
    return {
        "runs": [str(run.path) for run in group.runs],
        "final": group.final._asdict(),
        "final_of_runs": group.run_finals,
        "probability_above_first_group": group.improvement and group.improvement._asdict(),
        "x": group.x,
        "curve": group.curve._asdict(),
        "curves_of_runs": group.run_curves,
        "profile": group.profile._asdict(),
    }


def _finite(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(name): _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def budget(runs: Iterable[LoggedRun]) -> dict[str, list[Any]]:
    """The runs' budgets by setting; one value each where all runs have the same."""
    runs = list(runs)
    values = {name: [run.settings[name] for run in runs if name in run.settings] for name in (*BUDGET, DATA)}
    values["data digest"] = [run.data for run in runs if run.data]
    return {name: sorted(set(several), key=str) for name, several in values.items() if several}


def lines(metric: MetricStatistics) -> list[str]:
    """The table of a metric's final values, for a terminal."""
    rows = table(metric)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    body = ["  ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [f"{metric.title}: {metric.definition}", *(f"  {line}" for line in [*body, *metric.notes])]


def table(metric: MetricStatistics) -> list[list[str]]:
    """Rows of cells, the head first."""
    rows = [["group", "runs", "interquartile mean", f"{LEVEL:.0%} interval"]]
    widths = [float(group.final.high - group.final.low) for group in metric.groups.values()]
    width = min((width for width in widths if width > 0), default=0.0)
    several = len(metric.groups) > 1
    if several:
        rows[0].append(f"P(above {next(iter(metric.groups))})")
    for label, group in metric.groups.items():
        row = [label, str(len(group.runs)), _digits(group.final.value, width), _ends(group.final, width)]
        row[-1] = row[-1] or ("none: one run" if len(group.runs) == 1 else "–")
        if several:
            above = group.improvement
            cell = "" if above is None else f"{_digits(above.value, 0.1)} ({_ends(above, 0.1)})"
            row.append(cell.removesuffix(" ()"))
        rows.append(row)
    return rows


def _ends(estimate: Estimate, width: float) -> str:
    known = np.isfinite(estimate.low) and np.isfinite(estimate.high)
    return f"{_digits(estimate.low, width)} to {_digits(estimate.high, width)}" if known else ""


def _digits(value: float | np.ndarray, width: float) -> str:
    """A number to the second digit of its interval's width, where that is known."""
    if not math.isfinite(value) or not width > 0:
        return number(float(value))
    return f"{float(value):,.{min(max(0, 1 - math.floor(math.log10(width))), 9)}f}"

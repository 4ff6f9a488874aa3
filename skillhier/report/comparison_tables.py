"""A comparison in numbers: as JSON with every number shown, and as tables to read."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from skillhier.report.comparison import BUDGET, DATA
from skillhier.report.comparison_measures import FINAL_DRAWS, Comparison, Estimate, Group, Measured
from skillhier.report.comparison_runs import SEED, Run
from skillhier.report.drawing import number
from skillhier.report.statistics import DRAWS, LEVEL


def content(told: Comparison) -> dict[str, Any]:
    """What compare.json holds; null stands for what is not finite."""
    runs = [run for inside in told.groups.values() for run in inside]
    return _finite(
        {
            "by": told.by,
            "budget": budget(runs),
            "notes": told.notes,
            "along": told.along,
            "bootstrap": {"level": LEVEL, "draws": DRAWS, "draws_of_final_values": FINAL_DRAWS, "seed": told.seed},
            "metrics": {
                measured.title: {
                    "final": measured.how,
                    "notes": measured.notes,
                    "thresholds": measured.thresholds,
                    "groups": {label: _content(group) for label, group in measured.groups.items()},
                }
                for measured in told.measured
            },
            "runs": [
                {
                    "path": str(run.path),
                    "group": label,
                    "seed": run.settings.get(SEED),
                    "steps": run.done,
                    "settings": run.settings,
                    "start": run.start,
                }
                for label, inside in told.groups.items()
                for run in inside
            ],
        }
    )


def _content(group: Group) -> dict[str, Any]:
    return {
        "runs": [str(run.path) for run in group.runs],
        "final": group.final._asdict(),
        "final_of_runs": group.finals,
        "probability_above_first_group": group.improvement and group.improvement._asdict(),
        "steps": group.steps,
        "curve": group.curve._asdict(),
        "curves_of_runs": group.singles,
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


def budget(runs: Iterable[Run]) -> dict[str, list[Any]]:
    """What the runs had to learn from, by setting; one value each where their budgets are the same."""
    runs = list(runs)
    found = {name: [run.settings[name] for run in runs if name in run.settings] for name in (*BUDGET, DATA)}
    found["data digest"] = [run.data for run in runs if run.data]
    return {name: sorted(set(values), key=str) for name, values in found.items() if values}


def lines(measured: Measured) -> list[str]:
    """The table of a metric's final values, to read in a terminal."""
    rows = table(measured)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    told = ["  ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [f"{measured.title}: {measured.how}", *(f"  {line}" for line in told), *(f"  {x}" for x in measured.notes)]


def table(measured: Measured) -> list[list[str]]:
    """Rows of cells, names first."""
    rows = [["group", "runs", "interquartile mean", f"{LEVEL:.0%} interval"]]
    widths = [float(group.final.high - group.final.low) for group in measured.groups.values()]
    width = min((width for width in widths if width > 0), default=0.0)
    above = len(measured.groups) > 1
    if above:
        rows[0].append(f"P(above {next(iter(measured.groups))})")
    for label, group in measured.groups.items():
        row = [label, str(len(group.runs)), _digits(group.final.value, width), _ends(group.final, width)]
        row[-1] = row[-1] or ("none: one run" if len(group.runs) == 1 else "–")
        if above:
            rival = group.improvement
            told = "" if rival is None else f"{_digits(rival.value, 0.1)} ({_ends(rival, 0.1)})"
            row.append(told.removesuffix(" ()"))
        rows.append(row)
    return rows


def _ends(told: Estimate, width: float) -> str:
    known = np.isfinite(told.low) and np.isfinite(told.high)
    return f"{_digits(told.low, width)} to {_digits(told.high, width)}" if known else ""


def _digits(value: float | np.ndarray, width: float) -> str:
    """A figure to the second digit of its interval's width, where that is known."""
    if not math.isfinite(value) or not width > 0:
        return number(float(value))
    return f"{float(value):,.{min(max(0, 1 - math.floor(math.log10(width))), 9)}f}"

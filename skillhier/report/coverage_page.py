"""A table of agents with the mean of each figure over their episodes, as Markdown, JSON and one HTML page."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

from skillhier.report import drawing, figures, run_page, statistics
from skillhier.report.comparison_page import STYLE
from skillhier.report.sections import side_by_side

FEW = 10  # episodes below which bootstrap intervals are unreliable


class Column(NamedTuple):
    """A figure of every agent."""

    name: str  # of the figures of coverage.figures
    title: str
    meaning: str


class Row(NamedTuple):
    """An agent and the figures of its complete episodes."""

    label: str
    source: str  # the run whose parameters it starts from; empty if none
    acts: str  # what chooses its actions
    episodes: Mapping[str, np.ndarray]  # name -> [E]
    broken: int  # episodes cut short by a broken world; they count in no figure


def content(rows: Sequence[Row], columns: Sequence[Column], seed: int) -> list[dict[str, Any]]:
    """The agents' figures for a JSON file; null stands for what is not finite."""
    finite = lambda value: value if np.isfinite(value) else None  # noqa: E731
    return [
        {
            "agent": row.label,
            "source": row.source,
            "acts": row.acts,
            "episodes": len(row.episodes[columns[0].name]),
            "broken": row.broken,
            "figures": {
                column.name: dict(
                    zip(
                        ("mean", "low", "high"),
                        map(finite, statistics.mean_with_interval(row.episodes[column.name], seed)),
                        strict=True,
                    )
                )
                for column in columns
            },
        }
        for row in rows
    ]


def cells(rows: Sequence[Row], columns: Sequence[Column], seed: int) -> list[list[str]]:
    """The table as text, the head first; an interval follows its mean in brackets."""
    table = [["agent", "acts", *(column.title for column in columns), "episodes"]]
    for row in rows:
        values = [_text(*statistics.mean_with_interval(row.episodes[column.name], seed)) for column in columns]
        count = f"{len(row.episodes[columns[0].name]):,}" + (f" and {row.broken} broken" if row.broken else "")
        table.append([row.label, row.acts, *values, count])
    return table


def markdown(rows: Sequence[Row], columns: Sequence[Column], seed: int) -> str:
    """The table in Markdown."""
    head, *body = cells(rows, columns, seed)
    rule = ["---", "---", *["---:"] * (len(head) - 2)]
    text = lambda cell: re.sub(r"([|<>&`])", r"\\\1", " ".join(cell.split()))  # noqa: E731  no name ends its cell
    return "".join(f"| {' | '.join(map(text, line))} |\n" for line in (head, rule, *body))


def page(rows: Sequence[Row], columns: Sequence[Column], seed: int, *, title: str, subtitle: str) -> str:
    """The HTML."""
    head, *body = cells(rows, columns, seed)
    paints = [drawing.colour(i) for i in range(len(rows))]
    lines = [f"<tr>{''.join(_cell(cell, i > 1, 'th') for i, cell in enumerate(head))}</tr>"]
    for paint, line in zip(paints, body, strict=True):
        dot = f'<span class="dot" style="background:{paint}"></span>'
        cells_html = "".join(_cell(cell, i > 1) for i, cell in enumerate(line[1:], 1))
        lines.append(f"<tr><td>{dot}{escape(line[0])}</td>{cells_html}</tr>")
    drawn = [
        figures.intervals(
            {
                row.label: (*statistics.mean_with_interval(row.episodes[column.name], seed), (), paint)
                for row, paint in zip(rows, paints, strict=True)
            },
            column.title,
            width=294,
        )
        for column in columns
    ]
    meanings = "".join(f"<tr><th>{escape(c.title)}</th><td>{escape(c.meaning)}</td></tr>" for c in columns)
    sources = "".join(
        f"<tr><th>{escape(row.label)}</th><td>{escape(row.source or 'from scratch')}</td></tr>" for row in rows
    )
    few = min((len(row.episodes[columns[0].name]) for row in rows), default=0) < FEW
    warning = f'<p class="note">Fewer than {FEW} episodes: the intervals are unreliable.</p>' if few else ""
    body = (
        f"<h1>{escape(title)}</h1><p>{escape(subtitle)}</p>{warning}"
        f'<div class="fig-card wide" style="margin-top:12px"><table>{"".join(lines)}</table></div>'
        f"{side_by_side(drawn)}"
        "<h2>How to read this</h2><p>Figures are means over episodes; brackets and shaded: the 95 % interval "
        f"from the bootstrap over episodes ({statistics.DRAWS:,} draws, seed {seed}). It shows how episodes differ, "
        "not how training runs differ. The episodes of all agents have the same initial states.</p>"
        f'<div class="fig-card wide"><table>{meanings}</table></div>'
        f'<h2>Initial parameters</h2><div class="fig-card wide"><table>{sources}</table></div>'
    )
    return run_page.document(title, body, STYLE)


def _text(mean: float, low: float, high: float) -> str:
    known = np.isfinite(low) and np.isfinite(high)
    return drawing.number(mean) + (f" ({drawing.number(low)} to {drawing.number(high)})" if known else "")


def _cell(text: str, right: bool, tag: str = "td") -> str:
    """A cell; an interval is put below its mean."""
    if not right:
        return f"<{tag}>{escape(text)}</{tag}>"
    mean, _, ends = text.removesuffix(")").partition(" (")
    below = f"<br><small>{escape(ends)}</small>" if ends else ""
    return f'<{tag} class="n">{escape(mean)}{below}</{tag}>'

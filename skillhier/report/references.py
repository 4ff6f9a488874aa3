"""Curves from elsewhere, such as published ones, which a comparison draws beside its own."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from skillhier.report.drawing import number, tick_label


class Reference(NamedTuple):
    """A curve from elsewhere, on the comparison's axis."""

    label: str
    x: list[float]
    y: list[float]

    def upto(self, end: float) -> "Reference":
        """What of it lies before x = `end`, and its straight way from there to the next point."""
        x, y = ([value for value, at in zip(values, self.x, strict=True) if at <= end] for values in (self.x, self.y))
        if x and len(x) < len(self.x) and x[-1] < end:
            x, y = [*x, end], [*y, float(np.interp(end, self.x, self.y))]
        return Reference(self.label, x, y)


def table(references: Sequence[Reference], end: float, unit: str) -> str:
    """All values of curves that are drawn up to x = `end`, as HTML; unit: what x counts."""
    if not references:
        return ""
    points = sorted({x for reference in references for x in reference.x})
    head = "".join(f'<th class="n">{tick_label(x)}</th>' for x in points)
    rows = [f"<tr><th>published, at {escape(unit)}</th>{head}</tr>"]
    for label, xs, ys in references:
        values = dict(zip(xs, ys, strict=True))
        cells = "".join(f'<td class="n">{number(values[x]) if x in values else ""}</td>' for x in points)
        rows.append(f"<tr><td>{escape(label)}</td>{cells}</tr>")
    return (
        f"<p>Dashed: means that others published, cut where these runs end, at {tick_label(end)} {escape(unit)}; "
        f'straight between the values known.</p><div class="fig-card wide"><table>{"".join(rows)}</table></div>'
    )

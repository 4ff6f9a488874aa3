"""Paths in a plane, drawn to one scale along both axes, as SVG."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from skillhier.report.drawing import number, path, rect, stroke, svg, text, ticks


class Line(NamedTuple):
    """A path, with marks at some of its points."""

    points: np.ndarray  # [T, 2]
    paint: str
    kind: str = "curve"  # a class of drawing.STYLE: curve, thin, bold
    marks: Sequence[int] = ()  # rows at which a dot is drawn
    tooltip: str = ""


class Disc(NamedTuple):
    """Something round on the ground."""

    centre: tuple[float, float]
    radius: float
    paint: str
    opacity: float = 0.5


def draw(
    lines: Sequence[Line],
    title: str,
    axes: tuple[str, str],
    *,
    discs: Sequence[Disc] = (),
    size: float = 360,
    legend: Sequence[tuple[str, str]] = (),
) -> str:
    """A figure of the lines over the discs. axes: names of both axes; legend: (name, colour), `size`: pixels a side."""
    points = np.concatenate(
        [np.asarray(line.points, float).reshape(-1, 2) for line in lines]
        + [np.add(disc.centre, sign * disc.radius)[None] for disc in discs for sign in (-1, 1)]
        or [np.zeros((0, 2))]
    )
    points = points[np.isfinite(points).all(-1)]
    if not len(points):
        return svg(size, 60, [text(12, 18, title, kind="name"), text(12, 40, "no figures")], title)
    low, high = points.min(0), points.max(0)
    middle, reach = (low + high) / 2, 0.54 * max(float((high - low).max()), 1e-3)
    x0, y0, wide = 46.0, 40.0, size - 60
    scale = wide / (2 * reach)
    to_x = lambda v: x0 + (np.asarray(v, float) - middle[0] + reach) * scale  # noqa: E731
    to_y = lambda v: y0 + wide - (np.asarray(v, float) - middle[1] + reach) * scale  # noqa: E731
    parts, at = [text(12, 18, title, kind="name")], 12.0
    for name, paint in legend:
        parts += [rect(at, 26, 12, 3, paint), text(at + 16, 31, name)]
        at += 24 + 6.2 * len(name)
    for value in ticks(middle[1] - reach, middle[1] + reach):
        y = float(to_y(value))
        parts += [stroke(f"M{x0} {y:.1f}H{x0 + wide}", "grid"), text(x0 - 6, y + 4, number(value), "end")]
    for value in ticks(middle[0] - reach, middle[0] + reach):
        x = float(to_x(value))
        parts += [stroke(f"M{x:.1f} {y0}V{y0 + wide}", "grid"), text(x, y0 + wide + 14, number(value), "middle")]
    parts += [text(x0 + wide, y0 + wide + 28, axes[0], "end"), text(x0 + 4, y0 + 12, axes[1])]
    for disc in discs:
        x, y, r = float(to_x(disc.centre[0])), float(to_y(disc.centre[1])), disc.radius * scale
        parts.append(rect(x - r, y - r, 2 * r, 2 * r, disc.paint, corner=r, opacity=disc.opacity))
    for points, paint, kind, marks, tooltip in lines:
        x, y = to_x(np.asarray(points)[:, 0]), to_y(np.asarray(points)[:, 1])
        parts.append(stroke(path(x, y), kind, paint=paint, tooltip=tooltip))
        parts += [rect(x[i] - 2, y[i] - 2, 4, 4, paint) for i in marks if np.isfinite(x[i] + y[i])]
    return svg(size, y0 + wide + 36, parts, title)

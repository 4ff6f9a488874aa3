"""Figures as SVG text, without a plotting library. Every function returns one <svg> element."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from skillhier.report.drawing import band, number, path, rect, spread, stroke, svg, text, tick_label, ticks

LONGEST = 30  # letters of a label beside its row


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float], str]],
    title: str,
    below: str,
    *,
    width: float = 380,
    height: float = 210,
    low: float | None = None,
    high: float | None = None,
    settle: float = 0.0,
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    faint: Sequence[tuple[Sequence[float], Sequence[float], str]] = (),
    references: Sequence[tuple[str, Sequence[float], Sequence[float]]] = (),
    legend: bool = True,
) -> str:
    """Curves over one axis: name -> (x, y, colour).

    The first `settle` share of a curve may leave the frame, so that the start does not flatten the rest.
    bands: name -> (low, high), shaded around the curve of that name
    faint: thin curves beneath, as (x, y, colour)
    references: dashed curves, as (name, x, y); their names stand on the right, for which the figure is wider
    """
    clean = {}
    for name, (x, y, paint) in series.items():
        x, y = np.asarray(x, float), np.asarray([np.nan if value is None else value for value in y], float)
        clean[name] = (x, y, paint)
    faint = [(np.asarray(x, float), np.asarray(y, float), paint) for x, y, paint in faint]
    bands = {name: np.asarray(ends, float) for name, ends in (bands or {}).items()}
    drawn = [y for _, y, _ in (*clean.values(), *faint)] + [end for ends in bands.values() for end in ends]
    drawn += [np.asarray(y, float) for _, _, y in references]
    late = [y[int(settle * len(y)) if len(y) >= 20 else 0 :] for y in drawn]
    late = np.concatenate([y[np.isfinite(y)] for y in late] or [np.zeros(0)])
    if not len(late):
        return svg(width, height, [text(12, 20, title, kind="name"), text(12, 40, "no figures")], title)
    bottom, top = (late.min() if low is None else low), (late.max() if high is None else high)
    room = 0.06 * (top - bottom) or 0.1 * (abs(top) or 1.0)
    bottom, top = bottom - room * (low is None), top + room * (high is None)
    left, right = (f([f(x) for x, y, _ in clean.values() if len(x)]) for f in (min, max))
    right = right if right > left else left + 1
    x0, x1, y0, y1 = 52, width - 20, height - 30, 42
    references = [reference for reference in references if len(reference[1])]
    width += 6.0 * max([len(name) for name, _, _ in references] or [0])
    to_x = lambda v: x0 + (np.asarray(v) - left) / (right - left) * (x1 - x0)  # noqa: E731
    to_y = lambda v: y0 - (np.asarray(v) - bottom) / (top - bottom) * (y0 - y1)  # noqa: E731
    parts = [text(12, 18, title, kind="name")]
    at = 12.0
    for name, (_, _, paint) in clean.items() if legend and len(clean) > 1 else []:
        parts += [rect(at, 26, 12, 3, paint), text(at + 16, 31, name)]
        at += 24 + 6.2 * len(name)
    for value in ticks(bottom, top):
        y = float(to_y(value))
        parts += [stroke(f"M{x0} {y:.1f}H{x1}", "grid"), text(x0 - 6, y + 4, number(value), "end")]
    for value in ticks(left, right, 5):
        parts.append(text(float(to_x(value)), height - 14, tick_label(value), "middle"))
    parts.append(text(x1, height - 2, below, "end"))
    # an inner svg cuts off what leaves the frame
    parts.append(
        f'<svg x="{x0}" y="{y1}" width="{x1 - x0}" height="{y0 - y1}" viewBox="{x0} {y1} {x1 - x0} {y0 - y1}">'
    )
    for name, ends in bands.items():
        x, _, paint = clean[name]
        parts.append(f'<path d="{band(to_x(x), *to_y(ends))}" style="fill:{paint};opacity:.16"/>')
    parts += [stroke(path(to_x(x), to_y(y)), "thin", paint=paint) for x, y, paint in faint]
    for name, (x, y, paint) in clean.items():
        parts += [rect(to_x(x[0]) - 2.5, to_y(y[0]) - 2.5, 5, 5, paint)] if len(x) == 1 and np.isfinite(y[0]) else []
        last = y[np.isfinite(y)]
        tooltip = f"{name}: {number(float(last[-1]))} at the end" if len(last) else name
        parts.append(stroke(path(to_x(x), to_y(y)), "curve", paint=paint, tooltip=tooltip))
    lines, names = _dashed([(name, to_x(x), to_y(y), x, y) for name, x, y in references], x1 + 6, (y1, y0))
    return svg(width, height, [*parts, *lines, "</svg>", *names], title)


def stacked(
    series: Mapping[str, tuple[Sequence[float], Sequence[float], str]],
    title: str,
    below: str,
    *,
    width: float = 620,
    height: float = 230,
) -> str:
    """Shares over one axis, each on top of the ones before: name -> (x, y, colour), all of the same x.

    At every x they are divided by their sum.
    """
    names = list(series)
    x = np.asarray(series[names[0]][0], float)
    shares = np.array([[0.0 if value is None else value for value in series[name][1]] for name in names], float)
    shares = np.nan_to_num(shares)
    tops = np.cumsum(shares / np.maximum(shares.sum(0), 1e-12), 0)
    if len(x) < 2:
        return svg(width, 60, [text(12, 20, title, kind="name"), text(12, 40, "no figures")], title)
    x0, x1, y0, y1 = 52, width - 20, height - 30, 42
    to_x = lambda v: x0 + (np.asarray(v) - x[0]) / ((x[-1] - x[0]) or 1) * (x1 - x0)  # noqa: E731
    to_y = lambda v: y0 - np.asarray(v) * (y0 - y1)  # noqa: E731
    parts, at, under = [text(12, 18, title, kind="name")], 12.0, np.zeros_like(x)
    for name, top in zip(names, tops, strict=True):
        paint, mean = series[name][2], float(np.mean(top - under))
        parts += [rect(at, 26, 12, 3, paint), text(at + 16, 31, name)]
        at += 24 + 6.2 * len(name)
        shape = band(to_x(x), to_y(under), to_y(top))
        tooltip = f"<title>{name}: {number(mean)} in the mean, {number(float(top[-1] - under[-1]))} at the end</title>"
        parts.append(f'<path d="{shape}" style="fill:{paint};opacity:.75">{tooltip}</path>')
        under = top
    for value in (0.0, 0.5, 1.0):
        parts += [text(x0 - 6, float(to_y(value)) + 4, number(value), "end")]
    for value in ticks(x[0], x[-1], 5):
        parts.append(text(float(to_x(value)), height - 14, tick_label(value), "middle"))
    parts.append(text(x1, height - 2, below, "end"))
    return svg(width, height, parts, title)


def _dashed(curves: Sequence[tuple], right: float, ends: tuple[float, float]) -> tuple[list[str], list[str]]:
    """(dashed curves, their names) of (name, x and y on the sheet, true x, true y).

    Names stand at x = right, beside the ends of their curves and between `ends`, apart from each other.
    """
    lines, names, curves = [], [], sorted(curves, key=lambda curve: curve[2][-1])
    places = spread([curve[2][-1] + 4 for curve in curves], ends[0] + 4, ends[1] + 4, 12)
    for (name, x, y, true_x, true_y), place in zip(curves, places, strict=True):
        values = ", ".join(f"{tick_label(a)}: {number(b)}" for a, b in zip(true_x, true_y, strict=True))
        data = path(x, y) if len(x) > 1 else f"M{x[0] - 6:.1f} {y[0]:.1f}H{x[0]:.1f}"
        style = "stroke-width:1;stroke-dasharray:5 4;opacity:.8"
        lines.append(stroke(data, "curve", paint="var(--dim)", style=style, tooltip=f"{name}: {values}"))
        names.append(text(right, place, name))
    return lines, names


def matrix(values: Sequence[Sequence[float]], title: str, rows: str, columns: str, *, cell: float = 46) -> str:
    """A square matrix of shares 0 .. 1 as shaded cells with their values. rows, columns: the names of its axes."""
    values = np.asarray(values, float)
    count = len(values)
    cell = min(cell, 400 / count)
    left, top = 46, 56
    size = left + count * cell + 12
    width = max(size, 300)
    parts = [
        text(12, 18, title, kind="name"),
        text(left, 36, columns),
        f'<g transform="rotate(-90 14 {top + count * cell / 2:.0f})">',
    ]
    parts += [text(14, top + count * cell / 2, rows, "middle"), "</g>"]
    for i, row in enumerate(values):
        parts += [
            text(left + (i + 0.5) * cell, top - 6, i, "middle"),
            text(left - 7, top + (i + 0.5) * cell + 4, i, "end"),
        ]
        for j, value in enumerate(row):
            share = min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0
            x, y = left + j * cell, top + i * cell
            shown = f"{value:.2f}".removeprefix("0") if value < 0.995 else "1"
            shade, tooltip = 0.05 + 0.95 * share, f"{i} to {j}: {value:.4f}"
            parts += [
                rect(x + 1, y + 1, cell - 2, cell - 2, "#2764c5", corner=3, opacity=shade, tooltip=tooltip),
                text(x + cell / 2, y + cell / 2 + 4, shown, "middle", "pale" if share > 0.55 else "ink"),
            ]
    return svg(width, top + count * cell + 12, parts, title)


def columns(
    values: Sequence[float],
    title: str,
    paints: Sequence[str],
    names: Sequence[str],
    *,
    floor: float | None = None,
    width: float = 340,
    height: float = 230,
) -> str:
    """Shares as a column chart with values; `floor` draws a dashed line at the share that each should reach."""
    count = max(len(values), 1)
    top, bottom = 40, height - 26
    most = max([*(v for v in values if math.isfinite(v)), floor or 0, 1e-9])
    pitch = (width - 24) / count
    parts = [text(12, 18, title, kind="name")]
    for i, (value, paint, name) in enumerate(zip(values, paints, names, strict=True)):
        tall = max(value, 0) / most * (bottom - top) if math.isfinite(value) else 0
        x, wide = 12 + (i + 0.14) * pitch, 0.72 * pitch
        parts.append(rect(x, bottom - tall, wide, max(tall, 0.8), paint))
        shown = f"{100 * value:.0f}%" if value >= 0.0995 or value == 0 else f"{100 * value:.1f}%"
        parts += [
            text(x + wide / 2, bottom - tall - 5, shown, "middle", "ink"),
            text(x + wide / 2, bottom + 15, name, "middle"),
        ]
    parts.append(stroke(f"M12 {bottom}H{width - 12}", "grid"))
    if floor is not None:
        y = bottom - floor / most * (bottom - top)
        parts.append(stroke(f"M12 {y:.1f}H{width - 12}", paint="var(--bad)", style="stroke-dasharray:4 3;opacity:.8"))
    return svg(width, height, parts, title)


def bars(values: Mapping[str, float], title: str, paints: Sequence[str], *, width: float = 380) -> str:
    """Named values as horizontal bars from zero."""
    known = [v for v in values.values() if math.isfinite(v)]
    most = max([*known, 1e-12])
    start = 14 + 6.3 * max([len(name) for name in values] or [0])
    parts = [text(12, 18, title, kind="name")]
    for i, ((name, value), paint) in enumerate(zip(values.items(), paints, strict=True)):
        y = 38 + 30 * i
        wide = max(value, 0) / most * (width - start - 70) if math.isfinite(value) else 0
        parts += [
            text(start - 8, y + 13, name, "end", "ink"),
            text(start + wide + 7, y + 13, number(value), "start", "ink"),
        ]
        parts.append(rect(start, y, max(wide, 0.8), 18, paint, corner=3))
    return svg(width, 44 + 30 * len(values), parts, title)


def intervals(
    values: Mapping[str, tuple[float, float, float, Sequence[float], str]], title: str, *, width: float = 380
) -> str:
    """Named values with intervals, horizontal: name -> (value, low, high, single values, colour)."""
    known = [v for value, low, high, singles, _ in values.values() for v in (value, low, high, *singles)]
    known = [v for v in known if math.isfinite(v)]
    if not known:
        return svg(width, 60, [text(12, 20, title, kind="name"), text(12, 40, "no figures")], title)
    shown = {name: name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in values}
    left, right = min(known), max(known)
    room = 0.06 * (right - left) or 0.1 * (abs(right) or 1.0)
    left, right = left - room, right + room
    x0, x1, bottom = 18 + 6.3 * max(map(len, shown.values())), width - 16, 40 + 26 * len(values)
    to_x = lambda v: x0 + (v - left) / (right - left) * (x1 - x0)  # noqa: E731
    parts = [text(12, 18, title, kind="name")]
    for value in ticks(left, right, 3):
        parts.append(stroke(f"M{to_x(value):.1f} 32V{bottom}", "grid"))
        parts.append(text(to_x(value), bottom + 15, number(value), "middle"))
    for i, (name, (value, low, high, singles, paint)) in enumerate(values.items()):
        y = 50 + 26 * i
        parts.append(text(x0 - 8, y + 4, shown[name], "end", "ink"))
        if math.isfinite(low) and math.isfinite(high):
            wide = max(to_x(high) - to_x(low), 1.0)
            tooltip = f"{name}: {number(low)} to {number(high)}"
            parts.append(rect(to_x(low), y - 5, wide, 10, paint, opacity=0.3, tooltip=tooltip))
        parts += [rect(to_x(v) - 2, y - 2, 4, 4, paint) for v in singles if math.isfinite(v)]
        if math.isfinite(value):
            parts.append(rect(to_x(value) - 1.5, y - 9, 3, 18, paint, tooltip=f"{name}: {number(value)}"))
    return svg(width, bottom + 24, parts, title)

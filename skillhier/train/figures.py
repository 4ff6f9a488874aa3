"""Figures as SVG text: small, crisp, no library and no network. Every function gives back one <svg> element.

Colours are CSS variables of `STYLE`, which a page includes once; `alone` makes an SVG file of a figure.
All text that comes from outside is escaped here.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

SKILLS = 10  # colours before they repeat
_LIGHT = {
    "ink": "#1d2530", "dim": "#667081", "line": "#dde2e9", "card": "#ffffff", "page": "#f4f6f9", "main": "#2764c5",
    "good": "#1f8a4c", "bad": "#c23b30", "red": "#d8352a", "green": "#2f9e44", "blue": "#2f6fe0",
}  # fmt: skip
_DARK = {
    "ink": "#e6eaf0", "dim": "#98a3b3", "line": "#333c49", "card": "#1b212a", "page": "#12161c", "main": "#7aa9f7",
    "good": "#55c685", "bad": "#f0776c", "red": "#f0655a", "green": "#5cc473", "blue": "#6f9ff5",
}  # fmt: skip
_SKILLS = "#3b6fd4 #e07b00 #0f9d8a #b5489e #8a6d00 #6a55c9 #c94f5d #4a8a1c #1a8fc0 #8c6a5a".split()


def _variables(colours: Mapping[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())


STYLE = (
    f":root{{color-scheme:light dark;{_variables(_LIGHT)}{_variables({f's{i}': c for i, c in enumerate(_SKILLS)})}}}"
    f"@media(prefers-color-scheme:dark){{:root{{{_variables(_DARK)}}}}}"
    "svg.fig{font:11px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;display:block;max-width:100%;height:auto}"
    ".fig text{fill:var(--dim)}.fig .ink{fill:var(--ink)}.fig .name{fill:var(--ink);font-weight:600;font-size:12px}"
    ".fig .grid{stroke:var(--line);stroke-width:1;fill:none}.fig .curve{fill:none;stroke-width:1.6;stroke-linejoin:round}"
    ".fig .thin{fill:none;stroke-width:.8;opacity:.25}.fig .bold{fill:none;stroke-width:2.6;stroke-linejoin:round}"
)


def colour(skill: int | None) -> str:
    """A skill's colour; that of the prior-driven lane for None."""
    return "var(--dim)" if skill is None else f"var(--s{skill % SKILLS})"


def svg(width: float, height: float, parts: Sequence[str], label: str = "") -> str:
    """An SVG element of that size from the text of its parts."""
    return (
        f'<svg class="fig" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
        f' role="img" aria-label="{escape(label, quote=True)}">{"".join(parts)}</svg>'
    )


def alone(figure: str) -> str:
    """A figure as the text of a file of its own, on its own ground."""
    head, tail = figure.split(">", 1)
    return f'{head}><style>{STYLE}</style><rect width="100%" height="100%" fill="var(--card)"/>{tail}\n'


def text(x: float, y: float, content: object, anchor: str = "start", kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(str(content))}</text>'


def number(value: float) -> str:
    """A figure with about three digits."""
    if not math.isfinite(value):
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        digits = max(0, 2 - int(math.floor(math.log10(abs(value))))) if value else 0
        shown = f"{value:,.{min(digits, 5)}f}"
        return shown.rstrip("0").rstrip(".") if "." in shown else shown
    return f"{value:.2g}"


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers that cover low .. high inside."""
    if not high > low:
        return [low]
    step = 10 ** math.floor(math.log10((high - low) / about))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (m * step) <= about + 0.5)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, int(math.floor(high / step + 1e-9)) + 1)]


def path(x: Sequence[float], y: Sequence[float]) -> str:
    """The data of an SVG path through the points; a gap where one is not finite."""
    found, pen = [], "M"
    for a, b in zip(x, y, strict=True):
        if math.isfinite(a) and math.isfinite(b):
            found.append(f"{pen}{a:.1f} {b:.1f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(found)


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float], str]],
    title: str, below: str, *, width: float = 380, height: float = 210, low: float | None = None, high: float | None = None, settle: float = 0.0,
) -> str:  # fmt: skip
    """Curves over one axis: name -> (x, y, colour). The first `settle` share may leave the frame, so that a start does not flatten the rest."""
    clean = {}
    for name, (x, y, paint) in series.items():
        x, y = np.asarray(x, float), np.asarray([np.nan if value is None else value for value in y], float)
        clean[name] = (x, y, paint)
    late = [y[int(settle * len(y)) if len(y) >= 20 else 0 :] for _, y, _ in clean.values()]
    late = np.concatenate([y[np.isfinite(y)] for y in late] or [np.zeros(0)])
    if not len(late):
        return svg(width, height, [text(12, 20, title, kind="name"), text(12, 40, "no figures")], title)
    bottom, top = (late.min() if low is None else low), (late.max() if high is None else high)
    room = 0.06 * (top - bottom) or max(abs(top), 1e-9) * 0.1
    bottom, top = bottom - room * (low is None), top + room * (high is None)
    left, right = (f([f(x) for x, y, _ in clean.values() if len(x)]) for f in (min, max))
    right = right if right > left else left + 1
    x0, x1, y0, y1 = 52, width - 20, height - 30, 42
    to_x = lambda v: x0 + (np.asarray(v) - left) / (right - left) * (x1 - x0)  # noqa: E731
    to_y = lambda v: y0 - (np.asarray(v) - bottom) / (top - bottom) * (y0 - y1)  # noqa: E731
    parts = [text(12, 18, title, kind="name")]
    at = 12.0
    for name, (_, y, paint) in clean.items() if len(clean) > 1 else []:
        parts += [f'<rect x="{at:.0f}" y="26" width="12" height="3" rx="1.5" style="fill:{paint}"/>', text(at + 16, 31, name)]
        at += 24 + 6.2 * len(name)
    for value in ticks(bottom, top):
        y = float(to_y(value))
        parts += [f'<path class="grid" d="M{x0} {y:.1f}H{x1}"/>', text(x0 - 6, y + 4, number(value), "end")]
    for value in ticks(left, right, 5):
        parts.append(text(float(to_x(value)), height - 14, number(value), "middle"))
    parts.append(text(x1, height - 2, below, "end"))
    # an inner svg cuts off what leaves the frame
    parts.append(f'<svg x="{x0}" y="{y1}" width="{x1 - x0}" height="{y0 - y1}" viewBox="{x0} {y1} {x1 - x0} {y0 - y1}">')
    for name, (x, y, paint) in clean.items():
        last = y[np.isfinite(y)]
        told = f"{name}: {number(float(last[-1]))} at the end" if len(last) else name
        d = path(to_x(x), to_y(y))
        parts.append(f'<path class="curve" style="stroke:{paint}" d="{d}"><title>{escape(told)}</title></path>')
    parts.append("</svg>")
    return svg(width, height, parts, title)


def matrix(values: Sequence[Sequence[float]], title: str, rows: str, columns: str, *, cell: float = 46) -> str:
    """Shares 0 .. 1 as a table of shaded cells with their values; rows are what was, columns what comes."""
    values = np.asarray(values, float)
    count = len(values)
    cell = min(cell, 400 / count)
    left, top = 46, 56
    size = left + count * cell + 12
    width = max(size, 300)
    parts = [text(12, 18, title, kind="name"), text(left, 36, columns), f'<g transform="rotate(-90 14 {top + count * cell / 2:.0f})">']
    parts += [text(14, top + count * cell / 2, rows, "middle"), "</g>"]
    for i, row in enumerate(values):
        parts += [text(left + (i + 0.5) * cell, top - 6, i, "middle"), text(left - 7, top + (i + 0.5) * cell + 4, i, "end")]
        for j, value in enumerate(row):
            share = min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0
            x, y = left + j * cell, top + i * cell
            shown = f"{value:.2f}".removeprefix("0") if value < 0.995 else "1"
            ink = "style=\"fill:#fff\"" if share > 0.55 else "class=\"ink\""
            parts.append(
                f'<rect x="{x + 1:.1f}" y="{y + 1:.1f}" width="{cell - 2:.1f}" height="{cell - 2:.1f}" rx="3"'
                f' style="fill:#2764c5;fill-opacity:{0.05 + 0.95 * share:.3f}"><title>{i} to {j}: {value:.4f}</title></rect>'
                f'<text x="{x + cell / 2:.1f}" y="{y + cell / 2 + 4:.1f}" text-anchor="middle" {ink}'
                f' font-size="{min(12, cell / 2.9):.1f}">{shown}</text>'
            )
    return svg(width, top + count * cell + 12, parts, title)


def columns(
    values: Sequence[float], title: str, paints: Sequence[str], names: Sequence[str], *,
    floor: float | None = None, width: float = 340, height: float = 230,
) -> str:  # fmt: skip
    """Shares as upright bars with their values; `floor` draws the share that each should reach."""
    count = max(len(values), 1)
    top, bottom = 40, height - 26
    most = max([*(v for v in values if math.isfinite(v)), floor or 0, 1e-9])
    pitch = (width - 24) / count
    parts = [text(12, 18, title, kind="name")]
    for i, (value, paint, name) in enumerate(zip(values, paints, names, strict=True)):
        tall = max(value, 0) / most * (bottom - top) if math.isfinite(value) else 0
        x, wide = 12 + (i + 0.14) * pitch, 0.72 * pitch
        parts.append(
            f'<rect x="{x:.1f}" y="{bottom - tall:.1f}" width="{wide:.1f}" height="{max(tall, 0.8):.1f}" rx="2" style="fill:{paint}"/>'
        )
        shown = f"{100 * value:.0f}%" if value >= 0.0995 or value == 0 else f"{100 * value:.1f}%"
        parts += [text(x + wide / 2, bottom - tall - 5, shown, "middle", "ink"), text(x + wide / 2, bottom + 15, name, "middle")]
    parts.append(f'<path class="grid" d="M12 {bottom}H{width - 12}"/>')
    if floor is not None:
        y = bottom - floor / most * (bottom - top)
        parts.append(f'<path d="M12 {y:.1f}H{width - 12}" style="stroke:var(--bad);stroke-dasharray:4 3;opacity:.8"/>')
    return svg(width, height, parts, title)


def bars(values: Mapping[str, float], title: str, paints: Sequence[str], *, width: float = 380) -> str:
    """Named figures as lying bars, from zero."""
    known = [v for v in values.values() if math.isfinite(v)]
    most = max([*known, 1e-12])
    start = 14 + 6.3 * max([len(name) for name in values] or [0])
    parts = [text(12, 18, title, kind="name")]
    for i, ((name, value), paint) in enumerate(zip(values.items(), paints, strict=True)):
        y = 38 + 30 * i
        wide = max(value, 0) / most * (width - start - 70) if math.isfinite(value) else 0
        parts += [text(start - 8, y + 13, name, "end", "ink"), text(start + wide + 7, y + 13, number(value), "start", "ink")]
        parts.append(f'<rect x="{start:.1f}" y="{y}" width="{max(wide, 0.8):.1f}" height="18" rx="3" style="fill:{paint}"/>')
    return svg(width, 44 + 30 * len(values), parts, title)

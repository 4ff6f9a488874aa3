"""Elements of SVG figures as text: shapes, colours, labels, round numbers. figures.py draws with them.

Colours are CSS variables of `STYLE`, light and dark, which a page includes once; `standalone` makes a figure an SVG
file. All text from outside is escaped here.
"""

import math
from collections.abc import Iterable, Sequence
from html import escape

COLOURS = 10  # of the palette, before they repeat
_NAMES = "ink dim line card page main good bad red green blue"
_LIGHT = "#1d2530 #667081 #dde2e9 #ffffff #f4f6f9 #2764c5 #1f8a4c #c23b30 #d8352a #2f9e44 #2f6fe0"
_DARK = "#e6eaf0 #98a3b3 #333c49 #1b212a #12161c #7aa9f7 #55c685 #f0776c #f0655a #5cc473 #6f9ff5"
_PALETTE = "#3b6fd4 #e07b00 #0f9d8a #b5489e #8a6d00 #6a55c9 #c94f5d #4a8a1c #1a8fc0 #8c6a5a"


def _variables(names: Iterable[str], colours: str) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in zip(names, colours.split(), strict=True))


STYLE = (
    f":root{{color-scheme:light dark;{_variables(_NAMES.split(), _LIGHT)}"
    f"{_variables((f's{i}' for i in range(COLOURS)), _PALETTE)}}}"
    f"@media(prefers-color-scheme:dark){{:root{{{_variables(_NAMES.split(), _DARK)}}}}}"
    "svg.fig{font:11px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;display:block;max-width:100%;height:auto}"
    ".fig text{fill:var(--dim)}.fig .ink{fill:var(--ink)}.fig .pale{fill:#fff}"
    ".fig .name{fill:var(--ink);font-weight:600;font-size:12px}"
    ".fig .grid{stroke:var(--line);stroke-width:1;fill:none}"
    ".fig .curve{fill:none;stroke-width:1.6;stroke-linejoin:round}"
    ".fig .fine{fill:none;stroke-width:.9;opacity:.8}.fig .thin{fill:none;stroke-width:.8;opacity:.25}"
    ".fig .bold{fill:none;stroke-width:2.6;stroke-linejoin:round}"
)


def colour(index: int | None) -> str:
    """The palette's colour of that index, grey for None, as a CSS variable."""
    return "var(--dim)" if index is None else f"var(--s{index % COLOURS})"


def hex_colour(index: int | None) -> str:
    """The same as #rrggbb, for pixels."""
    return "#8a93a0" if index is None else _PALETTE.split()[index % COLOURS]


def svg(width: float, height: float, parts: Sequence[str], label: str = "") -> str:
    """An SVG element of that size from the text of its parts."""
    return (
        f'<svg class="fig" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}"'
        f' width="{width:g}" height="{height:g}"'
        f' role="img" aria-label="{escape(label, quote=True)}">{"".join(parts)}</svg>'
    )


def standalone(figure: str) -> str:
    """A figure as the text of an SVG file, with styles and a background."""
    head, tail = figure.split(">", 1)
    return f'{head}><style>{STYLE}</style><rect width="100%" height="100%" fill="var(--card)"/>{tail}\n'


def text(x: float, y: float, content: object, anchor: str = "start", kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(str(content))}</text>'


def rect(
    x: float, y: float, wide: float, tall: float, fill: str, *, corner: float = 2, opacity: float = 1, tooltip: str = ""
) -> str:
    """A filled rectangle."""
    shade = f";opacity:{opacity:.3g}" if opacity < 1 else ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}" rx="{corner:g}"'
        f' style="fill:{fill}{shade}">{_title(tooltip)}</rect>'
    )


def stroke(data: str, kind: str = "", *, paint: str = "", style: str = "", tooltip: str = "") -> str:
    """A path along `data`."""
    style = (f"stroke:{paint};" if paint else "") + style
    return f'<path class="{kind}" style="{style}" d="{data}">{_title(tooltip)}</path>'


def _title(tooltip: str) -> str:
    return f"<title>{escape(tooltip)}</title>" if tooltip else ""


def number(value: float) -> str:
    """A number with about three digits."""
    if not math.isfinite(value):
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        digits = max(0, 2 - int(math.floor(math.log10(abs(value))))) if value else 0
        shown = f"{value:,.{min(digits, 5)}f}"
        return shown.rstrip("0").rstrip(".") if "." in shown else shown
    return f"{value:.2g}"


def tick_label(value: float) -> str:
    """A round number as short as it can be written: 250, 25k, 2.5M."""
    for scale, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(scale, 1e4):
            return f"{value / scale:.6g}{unit}"
    return number(value)


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """About `about` round numbers between low and high."""
    if not high > low:
        return [low]
    step = 10 ** math.floor(math.log10((high - low) / about))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (m * step) <= about + 0.5)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, int(math.floor(high / step + 1e-9)) + 1)]


def spread(places: Sequence[float], low: float, high: float, gap: float) -> list[float]:
    """`places`, which rise, moved as little as need be to lie `gap` apart and between low and high, if all fit."""
    spaced: list[float] = []
    for place in places:
        spaced.append(max([place, low, *(last + gap for last in spaced[-1:])]))
    limit = high
    for i in reversed(range(len(spaced))):
        spaced[i] = min(spaced[i], limit)
        limit = spaced[i] - gap
    return spaced


def path(x: Sequence[float], y: Sequence[float]) -> str:
    """The data of an SVG path through the points; a gap where one is not finite."""
    commands, pen = [], "M"
    for a, b in zip(x, y, strict=True):
        if math.isfinite(a) and math.isfinite(b):
            commands.append(f"{pen}{a:.1f} {b:.1f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(commands)


def band(x: Sequence[float], low: Sequence[float], high: Sequence[float]) -> str:
    """The data of the closed paths between two curves; a gap where one is not finite."""
    areas, run = [], []
    for a, b, c in [*zip(x, low, high, strict=True), (math.nan, math.nan, math.nan)]:
        if math.isfinite(a) and math.isfinite(b) and math.isfinite(c):
            run.append((a, b, c))
            continue
        if len(run) > 1:
            edge = [(a, c) for a, _, c in run] + [(a, b) for a, b, _ in reversed(run)]
            areas.append("M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in edge) + "Z")
        run = []
    return "".join(areas)

"""The pencil: SVG text with colours, words, round numbers. figures.py draws with it.

Colours are CSS variables of `STYLE`, light and dark, which a page includes once; `alone` makes an SVG file of a
figure. All text that comes from outside is escaped here.
"""

import math
from collections.abc import Iterable, Sequence
from html import escape

SKILLS = 10  # colours before they repeat
_NAMES = "ink dim line card page main good bad red green blue"
_LIGHT = "#1d2530 #667081 #dde2e9 #ffffff #f4f6f9 #2764c5 #1f8a4c #c23b30 #d8352a #2f9e44 #2f6fe0"
_DARK = "#e6eaf0 #98a3b3 #333c49 #1b212a #12161c #7aa9f7 #55c685 #f0776c #f0655a #5cc473 #6f9ff5"
_SKILLS = "#3b6fd4 #e07b00 #0f9d8a #b5489e #8a6d00 #6a55c9 #c94f5d #4a8a1c #1a8fc0 #8c6a5a"


def _variables(names: Iterable[str], colours: str) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in zip(names, colours.split(), strict=True))


STYLE = (
    f":root{{color-scheme:light dark;{_variables(_NAMES.split(), _LIGHT)}"
    f"{_variables((f's{i}' for i in range(SKILLS)), _SKILLS)}}}"
    f"@media(prefers-color-scheme:dark){{:root{{{_variables(_NAMES.split(), _DARK)}}}}}"
    "svg.fig{font:11px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;display:block;max-width:100%;height:auto}"
    ".fig text{fill:var(--dim)}.fig .ink{fill:var(--ink)}.fig .pale{fill:#fff}"
    ".fig .name{fill:var(--ink);font-weight:600;font-size:12px}"
    ".fig .grid{stroke:var(--line);stroke-width:1;fill:none}"
    ".fig .curve{fill:none;stroke-width:1.6;stroke-linejoin:round}"
    ".fig .thin{fill:none;stroke-width:.8;opacity:.25}.fig .bold{fill:none;stroke-width:2.6;stroke-linejoin:round}"
)


def colour(skill: int | None) -> str:
    """A skill's colour; that of the prior-driven lane for None."""
    return "var(--dim)" if skill is None else f"var(--s{skill % SKILLS})"


def pigment(skill: int | None) -> str:
    """A skill's colour as #rrggbb, for pictures that no page colours."""
    return "#8a93a0" if skill is None else _SKILLS.split()[skill % SKILLS]


def svg(width: float, height: float, parts: Sequence[str], label: str = "") -> str:
    """An SVG element of that size from the text of its parts."""
    return (
        f'<svg class="fig" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}"'
        f' width="{width:g}" height="{height:g}"'
        f' role="img" aria-label="{escape(label, quote=True)}">{"".join(parts)}</svg>'
    )


def alone(figure: str) -> str:
    """A figure as the text of a file of its own, on its own ground."""
    head, tail = figure.split(">", 1)
    return f'{head}><style>{STYLE}</style><rect width="100%" height="100%" fill="var(--card)"/>{tail}\n'


def text(x: float, y: float, content: object, anchor: str = "start", kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(str(content))}</text>'


def rect(
    x: float, y: float, wide: float, tall: float, fill: str, *, corner: float = 2, opacity: float = 1, told: str = ""
) -> str:
    """A filled rectangle; `told` is what it says under the pointer."""
    shade = f";opacity:{opacity:.3g}" if opacity < 1 else ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}" rx="{corner:g}"'
        f' style="fill:{fill}{shade}">{_title(told)}</rect>'
    )


def stroke(data: str, kind: str = "", *, paint: str = "", style: str = "", told: str = "") -> str:
    """A path along `data`."""
    style = (f"stroke:{paint};" if paint else "") + style
    return f'<path class="{kind}" style="{style}" d="{data}">{_title(told)}</path>'


def _title(told: str) -> str:
    return f"<title>{escape(told)}</title>" if told else ""


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


def band(x: Sequence[float], low: Sequence[float], high: Sequence[float]) -> str:
    """The data of the closed paths between two curves; a gap where one is not finite."""
    found, run = [], []
    for a, b, c in [*zip(x, low, high, strict=True), (math.nan, math.nan, math.nan)]:
        if math.isfinite(a) and math.isfinite(b) and math.isfinite(c):
            run.append((a, b, c))
            continue
        if len(run) > 1:
            edge = [(a, c) for a, _, c in run] + [(a, b) for a, b, _ in reversed(run)]
            found.append("M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in edge) + "Z")
        run = []
    return "".join(found)

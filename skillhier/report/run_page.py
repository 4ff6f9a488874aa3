"""A run folder as one self-contained HTML page: no script, no network. Sections without content are left out.

Read with it: sections.py (the sections) and figures.py (drawing).
"""

import time
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from skillhier import files
from skillhier.report import axis, drawing, sections
from skillhier.report.axis import ENV_STEPS
from skillhier.report.sections import Folder, Section, read

PAGE = (
    "*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);"
    "font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}"
    "main{max-width:1320px;margin:0 auto;padding:28px 24px 60px}h1{font-size:24px;margin:0}"
    "h2{font-size:17px;margin:34px 0 4px}p{margin:2px 0 10px;color:var(--dim);max-width:92ch}"
    ".cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(160px,1fr));gap:12px;margin-top:18px}"
    ".card,.fig-card,details{background:var(--card);border:1px solid var(--line);border-radius:10px}"
    ".card{padding:12px 14px}.card b{display:block;font-size:25px;line-height:1.25;font-weight:650}"
    ".card span{display:block;color:var(--dim);font-size:12.5px;line-height:1.4}"
    ".card .label{color:var(--ink);font-weight:600}.card .met{color:var(--good)}.card .missed{color:var(--bad)}"
    ".row{display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start}.fig-card{padding:10px 8px;max-width:100%}"
    ".wide{overflow-x:auto;padding:12px;margin-bottom:12px}.wide svg.fig{min-width:880px}"
    ".wide td,.wide th{white-space:nowrap}"
    "table{border-collapse:collapse;font-size:13px}td,th{padding:4px 16px 4px 0;text-align:left;vertical-align:top;"
    "border-bottom:1px solid var(--line)}th{color:var(--dim);font-weight:500}.n{text-align:right;"
    "font-variant-numeric:tabular-nums}td{overflow-wrap:anywhere}details{padding:10px 14px;margin-top:10px}"
    "summary{cursor:pointer;font-weight:600}"
    ".dot{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:6px}"
)


class Headline(NamedTuple):
    """A number at the head of a page, and the target that it should reach."""

    label: str
    shown: str
    expected: str
    met: bool | None  # None: no target
    meaning: str


def write(
    folder: Path | str,
    parts: Sequence[Section] = (sections.watched, sections.learning),
    headlines: Callable[[Folder], Iterable[Headline]] = lambda run: (),
    summary: dict[str, Any] | None = None,
) -> Path:
    """Writes report.html into a run folder; returns its path. `parts`, `headlines`: see `page`.

    summary: in place of that in summary.json, which a run writes after its page
    """
    path = Path(folder) / "report.html"
    run = read(Path(folder))
    files.write_text(path, page(run if summary is None else run._replace(summary=summary), parts, headlines))
    return path


def page(
    run: Folder,
    parts: Sequence[Section] = (sections.watched, sections.learning),
    headlines: Callable[[Folder], Iterable[Headline]] = lambda run: (),
) -> str:
    """The HTML of a run: headlines, sections in their order, settings."""
    title = f"{run.config.get('config', {}).get('agent.name', 'run')} · {run.path.resolve().name}"
    content = [
        f"<h1>{escape(title)}</h1><p>{escape(_subtitle(run))}</p>",
        _cards(headlines(run)),
        *(part(run) for part in parts),
        _details(run),
    ]
    return document(title, "".join(content))


def document(title: str, body: str, style: str = "") -> str:
    """The HTML of a page with that title (text) and body (HTML), in the style of all pages and `style`."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{drawing.STYLE}{PAGE}{style}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _subtitle(run: Folder) -> str:
    start = (run.config.get("starts") or [{}])[-1]
    steps = run.summary.get("train_steps") or (run.rows[-1]["step"] if run.rows else None)
    parts = [
        f"{steps:,} updates" if isinstance(steps, int) else "",
        f"{axis.end(run.rows, ENV_STEPS):,} {ENV_STEPS.label}" if axis.counts(run.rows, ENV_STEPS) else "",
        f"{run.summary['episodes']:,} episodes" if isinstance(run.summary.get("episodes"), int) else "",
        str(start.get("device", {}).get("kind", "")),
        str(start.get("time", "")) or time.strftime("%Y-%m-%d"),
    ]
    return " · ".join(part for part in parts if part)


def _cards(headlines: Iterable[Headline]) -> str:
    return f'<div class="cards">{"".join(map(_card, headlines))}</div>'


def _card(item: Headline) -> str:
    kind, sign = ("met", "✓") if item.met else ("missed", "✗")
    mark = "" if item.met is None else f'<span class="{kind}">{sign} {escape(item.expected)}</span>'
    return (
        f'<div class="card"><span class="label">{escape(item.label)}</span><b>{escape(item.shown)}</b>'
        f"{mark}<span>{escape(item.meaning)}</span></div>"
    )


def _details(run: Folder) -> str:
    """Settings, provenance and the summary, folded."""
    start = (run.config.get("starts") or [{}])[-1]
    provenance = {**start, **start.get("versions", {})}
    provenance.pop("versions", None)
    speed = sections.last(run.rows, "time/updates_per_second")
    if speed:
        provenance["updates per second, last epoch"] = speed[-1]
    tables = {
        "Settings": run.config.get("config", {}),
        "Versions, machine, time": provenance,
        "summary.json": run.summary,
    }
    return "".join(
        f"<details><summary>{escape(title)}</summary><table>{''.join(map(_line, content.items()))}</table></details>"
        for title, content in tables.items()
        if content
    )


def _line(item: tuple[str, Any]) -> str:
    name, value = item
    return f"<tr><th>{escape(str(name))}</th><td>{escape(_shown(value))}</td></tr>"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return drawing.number(value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_shown(inner) for inner in value)
    return str(value)

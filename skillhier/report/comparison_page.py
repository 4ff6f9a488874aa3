"""A comparison as one self-contained HTML page: no script, no network."""

from collections.abc import Mapping
from html import escape

from skillhier.report import axis, drawing, figures, references, run_page
from skillhier.report.axis import ENV_STEPS
from skillhier.report.comparison_measures import FINAL_DRAWS, POINTS, Comparison, MetricStatistics
from skillhier.report.comparison_runs import SEED, commit, machine
from skillhier.report.comparison_tables import budget, table
from skillhier.report.sections import TITLES, side_by_side
from skillhier.report.statistics import DRAWS

STYLE = (
    "p.keys{max-width:none}.key{display:inline-block;margin-right:18px;color:var(--ink)}.note{color:var(--bad)}"
    "td.n,th.n{padding:4px 8px 4px 16px}"
)
# Share of the intervals that hold the true interquartile mean, by runs: 2,000 normal samples each (tests hold one).
COVERAGE = {2: 0.51, 3: 0.74, 4: 0.87, 5: 0.90, 8: 0.93}
FEW = 8


def page(comparison: Comparison, titles: Mapping[str, str] = TITLES) -> str:
    """The HTML of a comparison. titles: metric -> title of its figure."""
    by = ", ".join(name.removeprefix("config.") for name in comparison.by)
    title = f"Runs by {by}" if by else "Runs"
    paints = {label: _paint(i, len(comparison.groups)) for i, label in enumerate(comparison.groups)}
    keys = "".join(f'<span class="key">{_dot(paints[label])}{escape(label)}</span>' for label in comparison.groups)
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in comparison.notes)
    below = comparison.axis.label
    parts = [
        f'<h1>{escape(title)}</h1><p>{escape(_subtitle(comparison))}</p>{notes}<p class="keys">{keys}</p>',
        *(_section(metric, paints, below, titles) for metric in comparison.metrics),
        _how(comparison),
        _along(comparison, paints),
        _runs(comparison, paints),
    ]
    return run_page.document(title, "".join(parts), STYLE)


def _section(metric: MetricStatistics, paints: dict[str, str], below: str, titles: Mapping[str, str]) -> str:
    """A metric's curves, intervals, profiles and table. below: the label of the curves' x axis."""
    groups = metric.groups
    base = metric.metric.removeprefix("heldout/")
    title = titles.get(base, base) + (", held-out" if base != metric.metric else "")
    end = max(group.x[-1] for group in groups.values())
    drawn = [
        figures.curves(
            {label: (group.x, group.curve.value, paints[label]) for label, group in groups.items()},
            title,
            below,
            bands={label: (group.curve.low, group.curve.high) for label, group in groups.items()},
            faint=[(of.x, curve, paints[label]) for label, of in groups.items() for curve in of.run_curves],
            references=[of.upto(end) for of in metric.references],
            settle=0.1,
            legend=False,
            width=450,
            height=290,
        ),
        figures.intervals(
            {label: (*map(float, group.final), group.run_finals, paints[label]) for label, group in groups.items()},
            "final value",
            width=370,
        ),
        figures.curves(
            {label: (metric.thresholds, group.profile.value, paints[label]) for label, group in groups.items()},
            "share of runs whose final value lies above x",
            "x: final value",
            bands={label: (group.profile.low, group.profile.high) for label, group in groups.items()},
            low=-0.02,
            high=1.02,
            legend=False,
            width=360,
            height=230,
        ),
    ]
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in metric.notes)
    head, *rows = table(metric)
    cells = [f'<th class="{"n" if i else ""}">{escape(cell)}</th>' for i, cell in enumerate(head)]
    body = [f"<tr>{''.join(cells)}</tr>"]
    for label, *numbers in rows:
        cells = "".join(f'<td class="n">{escape(cell)}</td>' for cell in numbers)
        body.append(f"<tr><td>{_dot(paints[label])}{escape(label)}</td>{cells}</tr>")
    return (
        f"<h2>{escape(metric.title)}</h2><p>Final value: {escape(metric.definition)}.</p>{notes}"
        f'{side_by_side(drawn)}<div class="fig-card wide" style="margin-top:12px"><table>{"".join(body)}</table></div>'
        f"{references.table(metric.references, end, below)}"
    )


def _how(comparison: Comparison) -> str:
    least = min(len(group.runs) for metric in comparison.metrics for group in metric.groups.values())
    shares = ", ".join(f"{share:.0%} of {count}" for count, share in COVERAGE.items())
    few = (
        "<p>With few runs these intervals are too narrow. For normally distributed scores they contain the true value "
        f"in this share of cases instead of 95 %: {shares} runs.</p>"
    )
    return (
        "<h2>How to read this</h2><p>Bold: the interquartile mean over the runs of a group (the lowest and the highest "
        "quarter of the runs left out, rounded down to whole runs). Shaded: its 95 % interval, from the stratified "
        f"bootstrap over runs ({DRAWS:,} draws, {FINAL_DRAWS:,} for final values, seed {comparison.seed}), both as in "
        "rliable. Thin lines and small squares: single runs. Intervals are pointwise, not of a whole curve. Curves of "
        f"more than {POINTS} points are drawn as means of neighbours. Profile: for a metric that should rise, the "
        "higher curve is better; for an error, the lower. P(above): the probability that a run of the group lies "
        "above a run of the first group, ties counted half.</p>"
        + (few if least < FEW else "")
        + ("<p>A group of one run has no interval: one run does not show how runs differ.</p>" if least == 1 else "")
    )


def _subtitle(comparison: Comparison) -> str:
    runs = [run for members in comparison.groups.values() for run in members]
    texts = {name: ", ".join(str(x)[:12] if name == "data digest" else str(x) for x in values)
             for name, values in budget(runs).items()}  # fmt: skip
    listed = ", ".join(f"{name.removeprefix('config.')} {text}" for name, text in texts.items())
    return f"{_count(len(runs), 'run')} in {_count(len(comparison.groups), 'group')} · budget: {listed}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _along(comparison: Comparison, paints: dict[str, str]) -> str:
    """The settings that vary with the groups, a row for each group."""
    if not comparison.along:
        return ""
    names = "".join(f"<th>{escape(name.removeprefix('config.'))}</th>" for name in comparison.along)
    rows = [f"<tr><th>group</th>{names}</tr>"]
    for label in comparison.groups:
        cells = "".join(f"<td>{escape(str(values.get(label, '–')))}</td>" for values in comparison.along.values())
        rows.append(f"<tr><td>{_dot(paints[label])}{escape(label)}</td>{cells}</tr>")
    return (
        "<h2>Settings that vary with the groups</h2><p>Beside those that the groups are named after.</p>"
        f'<div class="fig-card wide"><table>{"".join(rows)}</table></div>'
    )


def _runs(comparison: Comparison, paints: dict[str, str]) -> str:
    head = ("run", "group", "seed", "updates", "environment steps", "commit", "device", "system", "started")
    rows = [f"<tr>{''.join(f'<th>{name}</th>' for name in head)}</tr>"]
    for label, members in comparison.groups.items():
        for run in members:
            seed, system = run.settings.get(SEED, ""), run.start.get("machine", {}).get("system", "?")
            steps = f"{axis.end(run.rows, ENV_STEPS):,}" if axis.counts(run.rows, ENV_STEPS) else "–"
            ran = commit(run), machine(run), system, run.start.get("time")
            cells = [f"<td>{escape(str(cell))}</td>" for cell in (run.path, label, seed, f"{run.done:,}", steps, *ran)]
            cells[1] = f"<td>{_dot(paints[label])}{escape(label)}</td>"
            rows.append(f"<tr>{''.join(cells)}</tr>")
    return f'<h2>Runs</h2><div class="fig-card wide"><table>{"".join(rows)}</table></div>'


def _dot(paint: str) -> str:
    return f'<span class="dot" style="background:{paint}"></span>'


def _paint(index: int, count: int) -> str:
    """A group's colour: one of the palette if it has enough, else hues at equal distances."""
    return drawing.colour(index) if count <= drawing.COLOURS else f"hsl({360 * index / count:.0f} 60% 45%)"

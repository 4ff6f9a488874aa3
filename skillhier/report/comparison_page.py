"""A comparison as one HTML page that needs nothing else: no script, no network."""

from html import escape

from skillhier.report import drawing, figures, run_page
from skillhier.report.comparison_measures import FINAL_DRAWS, POINTS, Comparison, Measured
from skillhier.report.comparison_runs import SEED, commit, machine
from skillhier.report.comparison_tables import budget, table
from skillhier.report.sections import TITLES, side_by_side
from skillhier.report.statistics import DRAWS

STYLE = (
    "p.keys{max-width:none}.key{display:inline-block;margin-right:18px;color:var(--ink)}.note{color:var(--bad)}"
    "td.n,th.n{padding:4px 8px 4px 16px}"
)
NAMES = TITLES | {
    "eval/staged": "sparse staged return of an episode",
    "episodes/return": "return of an episode as it was collected",
    "eval/success": "share of episodes that end stacked",
    "eval/return": "return of an episode, as it is paid",
}
# Share of the intervals that hold the true interquartile mean, by runs: 2,000 normal samples each (tests hold one).
COVERAGE = {2: 0.51, 3: 0.74, 4: 0.87, 5: 0.90, 8: 0.93}
FEW = 8


def page(told: Comparison) -> str:
    """The HTML of a comparison."""
    title = f"Runs by {', '.join(name.removeprefix('config.') for name in told.by)}" if told.by else "Runs"
    paints = {label: _paint(i, len(told.groups)) for i, label in enumerate(told.groups)}
    keys = "".join(f'<span class="key">{_dot(paints[label])}{escape(label)}</span>' for label in told.groups)
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in told.notes)
    parts = [
        f'<h1>{escape(title)}</h1><p>{escape(_subtitle(told))}</p>{notes}<p class="keys">{keys}</p>',
        *(_section(measured, paints, _axis(told)) for measured in told.measured),
        _how(told),
        _along(told, paints),
        _runs(told, paints),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{drawing.STYLE}{run_page.PAGE}{STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _axis(told: Comparison) -> str:
    """What curves are drawn against; where all runs act as they learn, and as much, how much that is."""
    acted = {
        tuple(
            run.settings.get(f"config.{name}")
            for name in ("env.worlds", "train.unroll_length", "train.updates_per_collect")
        )
        for inside in told.groups.values()
        for run in inside
    }
    if len(acted) > 1 or None in (only := next(iter(acted))):
        return "updates"
    worlds, collect, draws = only
    return f"updates, of {worlds * collect / draws:g} control steps each"


def _section(measured: Measured, paints: dict[str, str], axis: str) -> str:
    """A metric's curves, intervals, profiles and table. axis: what curves are drawn against."""
    groups = measured.groups
    base = measured.metric.removeprefix("heldout/")
    title = NAMES.get(base, base) + (", held-out" if base != measured.metric else "")
    drawn = [
        figures.curves(
            {label: (group.steps, group.curve.value, paints[label]) for label, group in groups.items()},
            title,
            axis,
            bands={label: (group.curve.low, group.curve.high) for label, group in groups.items()},
            faint=[(of.steps, single, paints[label]) for label, of in groups.items() for single in of.singles],
            settle=0.1,
            legend=False,
            width=450,
            height=290,
        ),
        figures.intervals(
            {label: (*map(float, group.final), group.finals, paints[label]) for label, group in groups.items()},
            "final value",
            width=370,
        ),
        figures.curves(
            {label: (measured.thresholds, group.profile.value, paints[label]) for label, group in groups.items()},
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
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in measured.notes)
    head, *rows = table(measured)
    cells = [f'<th class="{"n" if i else ""}">{escape(cell)}</th>' for i, cell in enumerate(head)]
    body = [f"<tr>{''.join(cells)}</tr>"]
    for row in rows:
        told = [f'<td class="n">{escape(cell)}</td>' for cell in row[1:]]
        body.append(f"<tr><td>{_dot(paints[row[0]])}{escape(row[0])}</td>{''.join(told)}</tr>")
    return (
        f"<h2>{escape(measured.title)}</h2><p>Final value: {escape(measured.how)}.</p>{notes}"
        f'{side_by_side(drawn)}<div class="fig-card wide" style="margin-top:12px"><table>{"".join(body)}</table></div>'
    )


def _how(told: Comparison) -> str:
    least = min(len(group.runs) for measured in told.measured for group in measured.groups.values())
    shares = ", ".join(f"{share:.0%} of {count}" for count, share in COVERAGE.items())
    few = (
        "<p>With few runs these intervals are too narrow. Of normally distributed scores they hold the true value, in "
        f"place of 95 %, in so many cases: {shares} runs.</p>"
    )
    return (
        "<h2>How to read this</h2><p>Bold: the interquartile mean over the runs of a group (the lowest and the highest "
        "quarter of the runs left out, rounded down to whole runs). Shaded: its 95 % interval, from the stratified "
        f"bootstrap over runs ({DRAWS:,} draws, {FINAL_DRAWS:,} of final values, seed {told.seed}), as rliable defines "
        "both. Thin lines and small squares: single runs. Each interval is of one point, not of a whole curve. Curves "
        f"of more than {POINTS} lines are drawn as means of neighbours. Profile: for a figure that should rise, the "
        "higher curve is better; for an error, the lower. P(above): the probability that a run of the group lies "
        "above a run of the first group, ties counted half.</p>"
        + (few if least < FEW else "")
        + ("<p>A group of one run has no interval: one run cannot say how runs differ.</p>" if least == 1 else "")
    )


def _subtitle(told: Comparison) -> str:
    runs = [run for inside in told.groups.values() for run in inside]
    words = {name: ", ".join(str(x)[:12] if name == "data digest" else str(x) for x in values)
             for name, values in budget(runs).items()}  # fmt: skip
    shown = [f"{name.removeprefix('config.')} {value}" for name, value in words.items()]
    return f"{_count(len(runs), 'run')} in {_count(len(told.groups), 'group')} · budget: {', '.join(shown)}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _along(told: Comparison, paints: dict[str, str]) -> str:
    """What goes with the groups, a row for each group."""
    if not told.along:
        return ""
    names = "".join(f"<th>{escape(name.removeprefix('config.'))}</th>" for name in told.along)
    rows = [f"<tr><th>group</th>{names}</tr>"]
    for label in told.groups:
        cells = "".join(f"<td>{escape(str(values.get(label, '–')))}</td>" for values in told.along.values())
        rows.append(f"<tr><td>{_dot(paints[label])}{escape(label)}</td>{cells}</tr>")
    return (
        "<h2>What goes with the groups</h2><p>Settings that differ between them, beside those that they are named "
        f'after.</p><div class="fig-card wide"><table>{"".join(rows)}</table></div>'
    )


def _runs(told: Comparison, paints: dict[str, str]) -> str:
    head = ("run", "group", "seed", "steps", "commit", "device", "system", "started")
    rows = [f"<tr>{''.join(f'<th>{name}</th>' for name in head)}</tr>"]
    for label, inside in told.groups.items():
        for run in inside:
            seed, system = run.settings.get(SEED, ""), run.start.get("machine", {}).get("system", "?")
            cells = [run.path, label, seed, f"{run.done:,}", commit(run), machine(run), system, run.start.get("time")]
            shown = [f"<td>{escape(str(cell))}</td>" for cell in cells]
            shown[1] = f"<td>{_dot(paints[label])}{escape(label)}</td>"
            rows.append(f"<tr>{''.join(shown)}</tr>")
    return f'<h2>Runs</h2><div class="fig-card wide"><table>{"".join(rows)}</table></div>'


def _dot(paint: str) -> str:
    return f'<span class="dot" style="background:{paint}"></span>'


def _paint(index: int, count: int) -> str:
    """A group's colour: the project's where they suffice, else hues at equal distances."""
    return drawing.colour(index) if count <= drawing.SKILLS else f"hsl({360 * index / count:.0f} 60% 45%)"

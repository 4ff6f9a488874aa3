"""Runs side by side: curves, final values with intervals, performance profiles, on one page.

python -m experiments.compare --runs='runs/sweep/*' --group=config.agent.beta_z
python -m experiments.compare --runs='runs/a/*' --runs='runs/b/*' --group=config.agent.name,config.agent.beta_z
python -m experiments.compare --runs='runs/sweep/*' --group=config.agent.beta_z --metric=heldout/action_mse --out=page
python -m experiments.compare --runs='runs/stack/*' --group=config.agent.name --along=config.agent,config.init_from \\
    --panels=config.env.name

Every folder with a metrics.jsonl is a run, seeds of one run in seed_<n>/ each one of their own. Runs are put into
groups by the settings in --group; seeds may differ, all else that differs is refused, for two things that vary under
one curve tell nothing. So are runs of different budgets (updates, batch, window length, data), and a run counted
twice. Runs that are not finished are left out and named. What goes with the groups, as an agent's own settings do, is
named in --along: it may differ between groups, never within one, and the page lists it. --panels draws tasks apart.

Writes compare.html (self-contained) and compare.json (every number shown), by default to runs/compare-<time>.
Interquartile means with 95 % stratified bootstrap intervals, as in rliable (Agarwal et al., NeurIPS 2021).
"""

import sys
import time
from pathlib import Path

from absl import flags

from experiments.shared import cli
from skillhier.report import comparison, comparison_measures, comparison_page, comparison_runs, comparison_tables
from skillhier.report.comparison_runs import Run
from skillhier.train import metrics

flags.DEFINE_multi_string("runs", [], "folders of runs, as a shell pattern in quotes; may be given several times")
flags.DEFINE_multi_string("group", [], "settings that make the groups, as config.NAME; commas, or given several times")
flags.DEFINE_multi_string("metric", [], "names in metrics.jsonl; by default the usual ones that the runs have")
flags.DEFINE_multi_string("strata", [], "settings that mark tasks, as config.task: runs are drawn anew within each")
flags.DEFINE_multi_string("along", [], "settings that go with the groups, or what they begin with, as config.agent")
flags.DEFINE_multi_string("panels", [], "settings that set runs apart, as config.env.name: figures for each value")
flags.DEFINE_bool("different_budgets", False, "compare runs whose budgets differ")
flags.DEFINE_bool("unfinished", False, "take unfinished runs too, and cut all at the shortest")
flags.DEFINE_integer("bootstrap_seed", 0, "of the draws behind the intervals", lower_bound=0)
flags.DEFINE_string("out", None, "the folder to write to; by default runs/compare-<time>")


def main(run: cli.Run) -> None:
    asked = flags.FLAGS
    if not asked.runs:
        raise cli.Refused(
            "--runs is missing; give folders of runs as a pattern in quotes, such as --runs='runs/sweep/*'"
        )
    if run.workdir is not None:
        raise cli.Refused("--workdir means nothing here; the page goes to --out")
    by, strata, along, panels = map(split, (asked.group, asked.strata, asked.along, asked.panels))
    found = comparison_runs.find(asked.runs)
    comparison.grouped(found, [*by, *strata, *panels])  # refuses unknown settings
    runs, upto, notes = complete(found, asked.unfinished)
    if not asked.different_budgets:
        comparison.hold_to_one_budget(runs, [*strata, *panels])
    groups = comparison.grouped(runs, by)
    comparison.hold_to_one_question(groups, [*by, *strata, *panels], along)
    names = split(asked.metric) or comparison_measures.usual(runs)
    measured = [
        comparison_measures.measure(
            shown,
            name,
            strata=strata,
            upto=upto,
            same_end=not asked.different_budgets,
            seed=asked.bootstrap_seed,
        )._replace(panel=panel)
        for name in names
        for panel, shown in comparison.panelled(groups, panels).items()
    ]
    beside = comparison.going_along(groups, along, [*by, *strata, *panels])
    if asked.different_budgets:
        notes.append("budgets were allowed to differ: see the list of runs")
    notes += comparison_runs.differences(runs)
    told = comparison_measures.Comparison(by, groups, measured, notes, asked.bootstrap_seed, beside)
    out = Path(asked.out) if asked.out else Path("runs") / f"compare-{time.strftime('%Y%m%d-%H%M%S')}"
    page = write(told, out)
    print("\n\n".join("\n".join(comparison_tables.lines(of)) for of in measured))
    print()
    if beside:
        print(f"note: these go with the groups, see the page: {', '.join(beside)}", file=sys.stderr)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"page: {page}")


def split(given: list[str]) -> list[str]:
    """Names given in several flags or with commas between, each once."""
    return list(dict.fromkeys(name.strip() for part in given for name in part.split(",") if name.strip()))


def complete(runs: list[Run], unfinished: bool) -> tuple[list[Run], int | None, list[str]]:
    """The runs that count, the step at which all are cut (None: nowhere), and what to say of the others."""
    begun = [run for run in runs if run.rows]
    notes = [f"left out, it has no line yet: {run.path}" for run in runs if not run.rows]
    if not begun:
        raise cli.Refused(f"{runs[0].path} and all other runs have no line yet; wait for them")
    open_ones = [run for run in begun if not run.finished]
    if unfinished:
        upto = min(run.done for run in begun)
        if open_ones:
            notes.append(f"{len(open_ones)} of {len(begun)} runs are not finished: all are cut at step {upto:,}")
        return begun, upto, notes
    notes += [f"left out, not finished: {run.path}, at {run.done:,} of {run.total:,}" for run in open_ones]
    finished = [run for run in begun if run.finished]
    if not finished:
        first = open_ones[0]
        raise cli.Refused(
            f"no run is finished, {first.path} stands at {first.done:,} of {first.total:,}; wait, or give --unfinished"
        )
    return finished, None, notes


def write(told: comparison_measures.Comparison, out: Path) -> Path:
    """Writes page and numbers, each whole or not at all; gives back the page's path."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        metrics.write_json(out / "compare.json", comparison_tables.content(told))
        draft = out / "compare.html.part"
        draft.write_text(comparison_page.page(told), encoding="utf-8")
        draft.rename(out / "compare.html")
    except OSError as error:
        raise cli.Refused(f"{out} cannot be written: {error.strerror}; choose another --out") from None
    return out / "compare.html"


if __name__ == "__main__":
    cli.run(main, needs_config=False)

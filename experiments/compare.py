"""Runs side by side: curves, final values with intervals, performance profiles, on one page.

python -m experiments.compare --runs='runs/sweep/*' --group=config.agent.beta_z
python -m experiments.compare --runs='runs/a/*' --runs='runs/b/*' --group=config.agent.name,config.agent.beta_z
python -m experiments.compare --runs='runs/sweep/*' --group=config.agent.beta_z --metric=heldout/action_mse --out=page
python -m experiments.compare --runs='runs/stack/*' --group=config.agent.name --along=config.agent,config.init_from \\
    --panels=config.env.name

Every folder with a metrics.jsonl is a run; the seeds of one run, in seed_<n>/, are runs of their own. Runs are grouped
by the settings in --group. Seeds may differ; any other difference is refused, because two things that vary under one
curve cannot be told apart. Runs of different budgets (updates, batch, window length, data) and a run given twice are
refused too. Unfinished runs are left out and listed. Settings that vary with the groups, such as an agent's own, are
named in --along: they may differ between groups but not within one, and the page lists them. --panels draws tasks
separately. Curves are over environment steps if all runs count them, else over updates; --x chooses: frames are the
control steps of the suite, of which an environment step has config.env.repeat.

--x=frames --reference=walker_walk,walker_run@pixels draws what others published beside the returns of runs in those
worlds; without @pixels what was learned from entries. experiments/shared/published.py has the tables.

Writes compare.html (self-contained) and compare.json (every number shown), by default to runs/compare-<time>.
Interquartile means with 95 % stratified bootstrap intervals, as in rliable (Agarwal et al., NeurIPS 2021).
"""

import sys

from absl import flags

from experiments.shared import (
    cli,
    out_flag,
    published,
    run_report,
    runs_flags,  # noqa: F401  defines the flags
)
from skillhier.report import axis, comparison, comparison_measures, comparison_page, comparison_runs, comparison_tables
from skillhier.report.axis import AXES, FRAMES, Axis
from skillhier.report.comparison_runs import LoggedRun
from skillhier.report.references import Reference

flags.DEFINE_multi_string("group", [], "settings that make the groups, as config.NAME; commas, or given several times")
flags.DEFINE_multi_string("metric", [], "names in metrics.jsonl; by default the usual ones that the runs have")
flags.DEFINE_enum("x", None, list(AXES), "the x axis of curves; by default env_steps if all runs count them")
flags.DEFINE_multi_string("strata", [], "settings that identify tasks, as config.task: runs are resampled within each")
flags.DEFINE_multi_string("along", [], "settings that vary with the groups, or their prefix, as config.agent")
flags.DEFINE_multi_string("panels", [], "settings that separate runs, as config.env.name: figures for each value")
flags.DEFINE_multi_string("reference", [], "tasks whose published returns are drawn, as walker_walk; needs --x=frames")
flags.DEFINE_bool("different_budgets", False, "compare runs whose budgets differ")
flags.DEFINE_bool("unfinished", False, "include unfinished runs, and cut all at the shortest")
flags.DEFINE_integer("bootstrap_seed", 0, "of the intervals' resampling", 0, 2**31 - 1)

USUAL = (  # patterns of the metrics shown unless --metric names others, in their order
    r"eval(uation)?/(.+/)?success",
    r"eval(uation)?/(.+/)?staged",
    r"eval(uation)?/(.+/)?return",
    r"heldout/action_mse",
    r"heldout/elbo/bound",
    r"heldout/imitation/log_likelihood",
    r"heldout/transition_diagonal",
    r"elbo/bound",
    r"imitation/log_likelihood",
)


def check(run: cli.Run) -> None:
    """Refuses flags that are missing or do not go together. Raises Refused."""
    args = flags.FLAGS
    if not args.runs:
        raise cli.Refused(
            "--runs is missing; give folders of runs as a pattern in quotes, such as --runs='runs/sweep/*'"
        )
    if run.workdir is not None:
        raise cli.Refused("--workdir means nothing here; the page goes to --out")


def main(run: cli.Run) -> None:
    args = flags.FLAGS
    by, strata, along, panels = map(split, (args.group, args.strata, args.along, args.panels))
    matching = comparison_runs.find(args.runs)
    comparison.group_runs(matching, [*by, *strata, *panels])  # refuses unknown settings
    runs, notes = select(matching, args.unfinished)
    x = choose_axis(runs, args.x)
    references = choose_references(runs, split(args.reference), x)
    upto = min(axis.end(run.rows, x) for run in runs) if args.unfinished else None
    if any(not run.finished for run in runs):
        notes.append(
            f"{sum(not run.finished for run in runs)} of {len(runs)} runs are not finished: all are cut at {upto:,} "
            f"{x.label}"
        )
    if not args.different_budgets:
        comparison.check_budgets(runs, [*strata, *panels])
    groups = comparison.group_runs(runs, by)
    comparison.check_settings(groups, [*by, *strata, *panels], along)
    names = split(args.metric) or comparison_measures.default_metrics(runs, USUAL)
    measured = [
        comparison_measures.measure(
            members,
            name,
            axis=x,
            strata=strata,
            upto=upto,
            same_end=not args.different_budgets,
            seed=args.bootstrap_seed,
        )._replace(panel=panel, references=references_of(references, name, members))
        for name in names
        for panel, members in comparison.split_panels(groups, panels).items()
    ]
    varying = comparison.varying_along(groups, along, [*by, *strata, *panels])
    if args.different_budgets:
        notes.append("--different_budgets: budgets may differ, see the list of runs")
    notes += comparison_runs.differences(runs)
    result = comparison_measures.Comparison(by, groups, measured, notes, args.bootstrap_seed, varying, x)
    shown = comparison_page.page(result, run_report.TITLES)
    page = out_flag.write(out_flag.folder("compare"), "compare", comparison_tables.content(result), shown)
    print("\n\n".join("\n".join(comparison_tables.lines(metric)) for metric in measured))
    print()
    if varying:
        print(f"note: these settings vary with the groups, see the page: {', '.join(varying)}", file=sys.stderr)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"page: {page}")


def split(values: list[str]) -> list[str]:
    """Names from several flags or separated by commas, each once."""
    return list(dict.fromkeys(name.strip() for part in values for name in part.split(",") if name.strip()))


def choose_axis(runs: list[LoggedRun], name: str | None) -> Axis:
    """The axis of that name, which all runs must log; by default the one that they have in common. Raises Refused."""
    if name is None:
        return axis.common(run.rows for run in runs)
    for run in runs:
        if not axis.counts(run.rows, AXES[name]):
            raise cli.Refused(
                f"--x={name}: {run.path} does not log {AXES[name].entry} in every row; choose --x={axis.UPDATES.name}"
            )
    return AXES[name]


def choose_references(runs: list[LoggedRun], tasks: list[str], x: Axis) -> dict[str, list[Reference]]:
    """Published curves by task, in which some run must be. Raises Refused."""
    if tasks and x != FRAMES:
        raise cli.Refused(f"--reference={tasks[0]}: it is known over frames, not over {x.label}; give --x=frames")
    there = {published.task_of(str(run.settings.get("config.env.name"))) for run in runs}
    references = {}
    for task in tasks:
        references[task] = published.curves(task)
        if published.task_of(task) not in there:
            raise cli.Refused(f"--reference={task}: no run is in that task, they are in {', '.join(sorted(there))}")
    return references


def references_of(
    references: dict[str, list[Reference]], metric: str, groups: dict[str, list[LoggedRun]]
) -> tuple[Reference, ...]:
    """Those of the tasks that the groups are in, if the metric is a return."""
    worlds = {str(run.settings.get("config.env.name")) for runs in groups.values() for run in runs}
    there = {published.task_of(world) for world in worlds} if metric.endswith("/return") else set()
    return tuple(curve for task, curves in references.items() if published.task_of(task) in there for curve in curves)


def select(runs: list[LoggedRun], unfinished: bool) -> tuple[list[LoggedRun], list[str]]:
    """The runs to compare, all with rows, and notes on those that are left out. Raises Refused."""
    started = [run for run in runs if run.rows]
    notes = [f"left out, it has logged nothing yet: {run.path}" for run in runs if not run.rows]
    if not started:
        raise cli.Refused(f"{runs[0].path} and all other runs have logged nothing yet; wait for them")
    if unfinished:
        return started, notes
    running = [run for run in started if not run.finished]
    notes += [f"left out, not finished: {run.path}, at update {run.done:,} of {run.budget:,}" for run in running]
    finished = [run for run in started if run.finished]
    if not finished:
        first = running[0]
        raise cli.Refused(
            f"no run is finished, {first.path} is at update {first.done:,} of {first.budget:,}; wait, or give "
            "--unfinished"
        )
    return finished, notes


if __name__ == "__main__":
    cli.run(main, needs_config=False)

"""A run in its folder: resume if there is something to resume, epochs, metrics, evaluations, checkpoints."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from skillhier import files
from skillhier.distributed import hosts, sharding
from skillhier.train import checkpoint, faults, loop, metrics, run_folder, trackers
from skillhier.train.evaluate import Evaluation
from skillhier.types import Learner, Source, Trajectory


def execute(
    path: Path,
    learner: Learner,
    source: Source,
    *,
    seed: int,
    budget: int,
    updates: int,
    save_every: int,
    seeds: int = 1,
    evaluations: Sequence[Evaluation] = (),
    terms: Sequence[str] = (),
    label: str = "",
    left_out: tuple[str, ...] = (),
    about: dict[str, str] | None = None,
    mesh: Mesh | None = None,
    tracker: trackers.Tracker | None = None,
) -> loop.Outcome:
    """Trains until `budget` updates are done in all, from the last checkpoint of the run folder on if it has one.

    seeds: so many runs in one program, with seeds seed, seed + 1, ...; see run_folder.seed_folders for their metrics
    updates: in an epoch; all that happens between epochs happens at a multiple of it
    evaluations: each at its interval, of every seed; their metrics join those of the epoch
    terms: metrics shown on the terminal, of the first seed
    left_out: names in the run state that the source rebuilds, and checkpoints do without ('source/replay')
    about: what a resumed run must share with the one that began it
    mesh: the devices that share the work; it may be another when the run goes on
    tracker: where metrics go beside the run folder

    Raises loop.NonFiniteError where a learner stops because of NaN or Inf, after writing what led there.
    """
    if seeds > 1:
        key, about = jax.vmap(jax.random.key)(seed + jnp.arange(seeds)), {**(about or {}), "seeds": f"{seed} {seeds}"}
    else:
        key = jax.random.key(seed)
    if source.constant:
        left_out = (*left_out, "source")
    state = loop.start(learner, source, key, mesh)
    rings = tuple(f"source/{name}" for name in source.rings)
    places = run_folder.seed_folders(path, seed, seeds) if hosts.is_main_host() else []
    records = {f"{place.name}.jsonl" if seeds > 1 else metrics.RECORD: place / metrics.RECORD for place in places}
    saved = checkpoint.Checkpoints(path / "checkpoints", about=about, rings=rings, beside=records)
    if saved.latest() is not None:
        state = saved.restore(state)
        if source.reopen is not None:
            reopened = jax.jit(source.reopen)(state.source, jax.random.fold_in(state.key, 1))
            state = state._replace(source=reopened)
    done = loop.updates_of(state)
    writers = []
    for place, record in zip(places, records.values(), strict=True):
        lines = metrics.json_lines(record, after=done)
        writers.append([lines, metrics.tensorboard(place / "tensorboard", past=metrics.rows(record))])
    if tracker and places:
        for of_seed_writers, writer in zip(writers, trackers.writers(tracker, path, places), strict=True):
            of_seed_writers.append(writer)
    if writers:
        writers[0].append(metrics.progress(budget, done=done, terms=terms, label=label))
    keep = loop.every(save_every, lambda report: saved.save(report.done, report.state, left_out), stopped=True)
    callbacks = [*([metrics.logged(writers)] if writers else []), keep]
    names = [evaluation.name for evaluation in evaluations]
    if len(set(names)) < len(names):
        raise ValueError(f"evaluations {', '.join(names)} are named twice; give each a name of its own")
    peek = None if source.peek is None else jax.jit(source.peek)

    def evaluated(evaluation: Evaluation) -> loop.Callback:
        def of_seed(state: loop.RunState, i: int | None) -> dict[str, float]:
            def batch() -> Trajectory:
                if peek is None:
                    raise ValueError(f"evaluation '{evaluation.name}' wants a batch, and this source shows none")
                rows = state.source if source.constant or i is None else loop.of_seed(state.source, i)
                key = jax.random.fold_in(jax.random.key(seed + (i or 0)), loop.updates_of(state))
                return peek(rows, key)

            learner = state.learner if i is None else loop.of_seed(state.learner, i)
            return {f"{evaluation.name}/{name}": x for name, x in evaluation.measure(learner, batch).items()}

        def call(report: loop.Report) -> loop.Measured:
            state = report.state
            if jax.process_count() > 1:  # each host evaluates for itself, on one device
                state = state._replace(learner=sharding.local_copy(state.learner))
            with sharding.use_mesh(mesh if jax.process_count() == 1 else None):
                return [of_seed(state, i if seeds > 1 else None) for i in range(seeds)]

        return loop.every(evaluation.every, call)

    callbacks = [*map(evaluated, evaluations), *callbacks]
    run_epoch = loop.epoch(learner, source, updates, seeds > 1, mesh)
    try:
        return loop.run(state, run_epoch, budget=budget, updates=updates, callbacks=callbacks)
    except loop.NonFiniteError as stuck:
        file = faults.write(path, stuck) if hosts.is_main_host() else path / f"fault-{stuck.done}.npz"
        stuck.args = (f"{stuck}; what led there: python -m experiments.replay_fault --file={shlex.quote(str(file))}",)
        raise
    finally:
        for writer in sum(writers, []):
            writer.close()
        saved.close()


def finish(
    path: Path,
    seed: int,
    seeds: int,
    summarise: Callable[[list[dict]], dict],
    write_report: Callable[[Path, dict], Path],
) -> dict:
    """Writes report.html and then summary.json of a run that is done, of every seed and of them all, and prints them.

    summarise: what came out, in numbers, from the rows of metrics.jsonl. Of several seeds the run folder's summary
    holds every figure as a list, one value a seed. write_report: (folder, summary) -> its report.html. Returns the
    summary. That of the run folder is written last of all, for with it a run counts as done.
    """
    if not hosts.is_main_host():
        return {}
    places = run_folder.seed_folders(path, seed, seeds)
    summaries = [summarise(metrics.rows(place / metrics.RECORD)) for place in places]
    for place, summary in zip(places, summaries, strict=True):
        write_report(place, summary)
    for place, summary in zip(places, summaries, strict=True):
        files.write_json(place / "summary.json", summary)
    summary = summaries[0]
    if seeds > 1:
        summary = {"seeds": list(range(seed, seed + seeds))} | {
            name: [one[name] for one in summaries] for name in summary
        }
        files.write_json(path / "summary.json", summary)
    for name, value in summary.items():
        print(f"{name:22} {value}")
    print(f"report: {', '.join(str(place / 'report.html') for place in places)}")
    return summary

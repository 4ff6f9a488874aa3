"""A run in its folder: resume if there is something to resume, epochs, metrics, assessments, checkpoints."""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax

from skillhier.train import checkpoint, loop, metrics
from skillhier.types import Learner, LearnerState, Source

Assess = Callable[[LearnerState], dict[str, float]]


def execute(
    folder: Path,
    learner: Learner,
    source: Source,
    *,
    seed: int,
    budget: int,
    updates: int,
    save_every: int,
    assess: Assess | None = None,
    assess_every: int = 1,
    terms: Sequence[str] = (),
    label: str = "",
    left_out: tuple[str, ...] = (),
    about: dict[str, str] | None = None,
) -> loop.Outcome:
    """Trains until `budget` updates are done in all, from the folder's last checkpoint on if it has one.

    updates: in an epoch; all that happens between epochs happens at a multiple of it
    assess: figures of the learner at intervals, which join the metrics
    terms: metrics shown on the terminal
    left_out: names in the run state that the source rebuilds, and checkpoints do without ('source/data')
    about: what a resumed run must share with the one that began it
    """
    state = loop.start(learner, source, jax.random.key(seed))
    saved = checkpoint.Checkpoints(folder / "checkpoints", about=about)
    if saved.latest() is not None:
        state = saved.restore(state)
    done = int(state.learner.steps)
    record = folder / "metrics.jsonl"
    writers = [
        metrics.json_lines(record, after=done),
        metrics.tensorboard(folder / "tensorboard", past=metrics.rows(record)),
        metrics.progress(budget, done=done, terms=terms, label=label),
    ]
    keep = loop.every(save_every, lambda report: saved.save(report.done, report.state, left_out), stopped=True)
    callbacks = [metrics.logged(writers), keep]
    if assess is not None:
        callbacks.insert(0, loop.every(assess_every, lambda report: assess(report.state.learner)))
    run_epoch = loop.epoch(learner, source, updates)
    try:
        return loop.run(state, run_epoch, budget=budget, updates=updates, callbacks=callbacks)
    finally:
        for writer in writers:
            writer.close()
        saved.close()

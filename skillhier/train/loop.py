"""One loop for everything that learns: an epoch is one compiled program, a run is epochs with callbacks between."""

import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.types import Key, Learner, LearnerState, Metrics, Source, SourceState


class RunState(NamedTuple):
    """All that a run carries; saving it is saving the run."""

    learner: LearnerState
    source: SourceState
    key: Key


class Report(NamedTuple):
    """What callbacks are told after an epoch."""

    done: int  # updates so far
    state: RunState  # lent until the callback returns: the next epoch takes its memory
    metrics: dict[str, float]  # averages over the epoch, then what earlier callbacks measured
    seconds: float  # s of wall clock that the epoch took
    updates: int  # updates in the epoch
    spent: bool  # the budget: nothing follows
    stopped: bool  # a signal came: nothing follows now, and what was to come will when the run goes on


class Outcome(NamedTuple):
    state: RunState
    done: int  # updates so far
    stopped: signal.Signals | None  # the signal that ended the run before its budget did


Callback = Callable[[Report], dict[str, float] | None]  # what it gives back joins the metrics


def start(learner: Learner, source: Source, key: Key) -> RunState:
    """The state of a run before its first update.

    Built inside jit: built eagerly, two leaves may share one buffer, which donation refuses. Weak types are
    dropped, for a state that changes its type between the first epoch and the second compiles twice.
    """
    k_learner, k_source, k_run = jax.random.split(key, 3)

    def built(init: Callable) -> Callable:
        return jax.jit(lambda key: jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=leaf.dtype), init(key)))

    # two programs: a source that reads data calls back to the host, and such a program is compiled anew every time
    return RunState(built(learner.init)(k_learner), built(source.init)(k_source), k_run)


def epoch(learner: Learner, source: Source, updates: int) -> Callable[[RunState], tuple[RunState, Metrics]]:
    """`updates` updates as one jitted scan that takes the state's memory; metrics are averaged on the device."""

    def update(state: RunState, _: None) -> tuple[RunState, Metrics]:
        key, k_batch, k_update = jax.random.split(state.key, 3)
        source_state, batch, told = source.next(state.source, state.learner.params, k_batch)
        learner_state, metrics = learner.update(state.learner, batch, k_update)
        return RunState(learner_state, source_state, key), {**told, **metrics}

    @partial(jax.jit, donate_argnums=0)
    def run_epoch(state: RunState) -> tuple[RunState, Metrics]:
        state, metrics = jax.lax.scan(update, state, None, length=updates)
        return state, jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics)

    return run_epoch


def every(updates: int, callback: Callback, *, stopped: bool = False) -> Callback:
    """`callback` each time that many updates have passed, and at the end of the run.

    stopped: also when a signal stops the run. For saving; whoever writes figures down then would write what the
    same run without a break does not.
    """

    def sometimes(report: Report) -> dict[str, float] | None:
        due = report.done // updates > (report.done - report.updates) // updates
        return callback(report) if due or report.spent or (stopped and report.stopped) else None

    return sometimes


def run(
    state: RunState,
    run_epoch: Callable[[RunState], tuple[RunState, Metrics]],
    *,
    budget: int,
    updates: int,
    callbacks: Sequence[Callback] = (),
) -> Outcome:
    """Epochs of `updates` updates until `budget` updates are done in all, or a signal to stop comes.

    SIGTERM and Ctrl-C let the epoch finish; the callbacks are then told, so that what must be kept is kept.
    A second Ctrl-C interrupts at once. `state` is consumed.
    """
    done = int(state.learner.steps)
    if budget % updates:
        raise ValueError(f"{budget} updates are no multiple of the epoch of {updates}; set train.epoch")
    if done % updates:
        raise ValueError(f"the run stands at update {done}, no multiple of the epoch of {updates}; set train.epoch")
    with _listening() as asked:
        spent, stopped = done >= budget, False
        while not spent and not stopped:
            began = time.perf_counter()
            state, measured = run_epoch(state)
            metrics = {name: float(value) for name, value in jax.device_get(measured).items()}
            seconds = time.perf_counter() - began
            done += updates
            _refuse_bad_numbers(metrics, done - updates, done)
            # asked once, before the callbacks: all of them hear the same, and a signal that comes
            # while they run lets one more epoch pass
            spent, stopped = done >= budget, bool(asked)
            for callback in callbacks:
                told = callback(Report(done, state, metrics, seconds, updates, spent, stopped))
                metrics = {**metrics, **(told or {})}
        return Outcome(state, done, asked[0] if stopped and not spent else None)


def _refuse_bad_numbers(metrics: dict[str, float], before: int, after: int) -> None:
    bad = sorted(name for name, value in metrics.items() if name.split("/")[-1] == "loss" and not math.isfinite(value))
    if bad:
        raise FloatingPointError(
            f"{', '.join(bad)} became {metrics[bad[0]]} between updates {before} and {after}; "
            "the last checkpoint is from before; lower the learning rate or look for bad numbers in the data"
        )


class _listening:
    """The signals that arrived while inside, in a list; restores the former handlers on leaving."""

    def __enter__(self) -> list[signal.Signals]:
        self.asked: list[signal.Signals] = []
        self.former = {}
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self.former[number] = signal.signal(number, self._note)
            except ValueError:  # only the main thread may listen; elsewhere a run just cannot be stopped this way
                break
        return self.asked

    def _note(self, number: int, _frame: object) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked.append(signal.Signals(number))
        # print may be interrupted by its own signal handler; a plain write may not
        os.write(2, f"\n{signal.Signals(number).name}: stopping after this epoch\n".encode())

    def __exit__(self, *_: object) -> None:
        for number, handler in self.former.items():
            signal.signal(number, handler)

"""One loop for everything that learns: an epoch is one compiled program, a run is epochs with callbacks between."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from skillhier.distributed import hosts, sharding
from skillhier.types import Key, Learner, LearnerState, Metrics, Source, SourceState, Trajectory

SEQUENCES = 1  # the axis of a batch that counts them


class RunState(NamedTuple):
    """All that a run carries; saving it is saving the run. With several seeds its leaves have one axis more."""

    learner: LearnerState
    source: SourceState
    key: Key


class RejectedUpdate(NamedTuple):
    """What the last update that was left out for bad numbers would have learned from."""

    batch: Trajectory
    key: Key


class Report(NamedTuple):
    """What callbacks are told after an epoch."""

    done: int  # updates so far
    state: RunState  # lent until the callback returns: the next epoch takes its memory
    metrics: list[dict[str, float]]  # of each seed: averages over the epoch, then what earlier callbacks measured
    seconds: float  # s of wall clock that the epoch took
    updates: int  # updates in the epoch
    spent: bool  # the budget: nothing follows
    stopped: bool  # a signal came: nothing follows now, and what was to come will when the run goes on


class Outcome(NamedTuple):
    state: RunState
    done: int  # updates so far
    stopped: signal.Signals | None  # the signal that ended the run before its budget did


class NonFiniteError(FloatingPointError):
    """Too many updates in a row had to be left out for bad numbers; holds what led there."""

    def __init__(self, done: int, seed: int, learner: LearnerState, suspect: RejectedUpdate) -> None:
        self.done, self.seed, self.learner, self.suspect = done, seed, learner, suspect
        streak, skipped = int(learner.health.streak), int(learner.health.skipped)
        super().__init__(
            f"the last {streak} updates before update {done} had losses or gradients that are not finite "
            f"and were left out, {skipped} in all"
        )


Measured = list[dict[str, float]] | None  # of each seed
Callback = Callable[[Report], Measured]  # what it gives back joins the metrics


def start(learner: Learner, source: Source, key: Key, mesh: Mesh | None = None) -> RunState:
    """The state of a run before its first update; from keys [S] that of S runs, one for each seed.

    mesh: the devices that share the work: each holds the learner, and its own part of the worlds.

    Built inside jit: built eagerly, two leaves may share one buffer, which donation refuses. Weak types are
    dropped, for a state that changes its type between the first epoch and the second compiles twice.
    """
    seeds = key.ndim > 0

    def built(init: Callable, key: Key, where: Any = None, many: bool = seeds) -> Any:
        def strict(key: Key) -> Any:
            with sharding.use_mesh(mesh if where else None):
                return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=leaf.dtype), init(key))

        return jax.jit(jax.vmap(strict) if many else strict, **({"out_shardings": where} if where else {}))(key)

    split = partial(jax.random.split, num=3)
    k_learner, k_source, k_run = jnp.moveaxis(jax.vmap(split)(key), 1, 0) if seeds else split(key)
    where = layout(source, mesh, seeds) if mesh else RunState(None, None, None)
    # two programs: a source that reads data calls back to the host, and such a program is compiled anew every time
    if source.constant:
        data = built(source.init, k_source[0] if seeds else k_source, many=False)
        data = sharding.put(data, where.source) if mesh else data
    if mesh:
        k_learner, k_source, k_run = sharding.put((k_learner, k_source, k_run), where.key)
    made = built(learner.init, k_learner, where.learner)
    return RunState(made, data if source.constant else built(source.init, k_source, where.source), k_run)


def layout(source: Source, mesh: Mesh, seeds: bool = False) -> RunState:
    """Where the leaves of a state lie: one place for the whole learner, one for each leaf of the source."""
    everywhere = sharding.named_sharding(mesh)
    if source.worlds is None:
        return RunState(everywhere, everywhere, everywhere)
    axes = source.worlds(jax.eval_shape(source.init, jax.random.key(0)))
    places = jax.tree.map(lambda axis: sharding.named_sharding(mesh, axis + seeds) if axis >= 0 else everywhere, axes)
    return RunState(everywhere, places, everywhere)


def epoch(
    learner: Learner, source: Source, updates: int, seeds: bool = False, mesh: Mesh | None = None
) -> Callable[[RunState], tuple[RunState, Metrics, RejectedUpdate]]:
    """`updates` updates as one jitted scan that takes the state's memory.

    Gives back the state, the averages of the metrics over the epoch (made on the device; what is NaN counts as not
    measured), and what the last update to be left out would have learned from (zeros if there was none).
    seeds: states have a leading axis, and so has all that comes back.
    mesh: the devices that share the work, sequence by sequence; states lie as `start` lays them and go on lying so.
    """

    def update(carry: tuple[RunState, RejectedUpdate], _: None) -> tuple[tuple[RunState, RejectedUpdate], Metrics]:
        state, suspect = carry
        key, k_batch, k_update = jax.random.split(state.key, 3)
        source_state, batch, told = source.next(state.source, state.learner.params, k_batch)
        batch = sharding.shard(batch, SEQUENCES)
        moved, metrics = learner.update(state.learner, batch, k_update)
        left_out = moved.health.skipped > state.learner.health.skipped
        metrics = jax.tree.map(lambda value: jnp.where(left_out, jnp.nan, value), metrics)
        caught = left_out & ~state.learner.health.stuck
        suspect = jax.tree.map(lambda new, old: jnp.where(caught, new, old), RejectedUpdate(batch, k_update), suspect)
        return (RunState(moved, source_state, key), suspect), {**told, **metrics}

    def run_epoch(state: RunState) -> tuple[RunState, Metrics, RejectedUpdate]:
        _, batch, _ = jax.eval_shape(source.next, state.source, state.learner.params, state.key)
        nobody = RejectedUpdate(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), batch), state.key)
        with sharding.use_mesh(mesh):
            (state, suspect), metrics = jax.lax.scan(update, (state, nobody), None, length=updates)
        return state, {name: jnp.nanmean(values) for name, values in metrics.items()}, suspect

    if seeds:
        axes = RunState(0, None if source.constant else 0, 0)
        run_epoch = jax.vmap(run_epoch, in_axes=(axes,), out_axes=(axes, 0, 0))
    if mesh is None:
        return jax.jit(run_epoch, donate_argnums=0)
    where, everywhere = layout(source, mesh, seeds), sharding.named_sharding(mesh)
    caught = RejectedUpdate(sharding.named_sharding(mesh, SEQUENCES + seeds), everywhere)
    return jax.jit(run_epoch, donate_argnums=0, out_shardings=(where, everywhere, caught))


def every(updates: int, callback: Callback, *, stopped: bool = False) -> Callback:
    """`callback` each time that many updates have passed, and at the end of the run.

    stopped: also when a signal stops the run. For saving; whoever writes figures down then would write what the
    same run without a break does not.
    """

    def sometimes(report: Report) -> Measured:
        due = report.done // updates > (report.done - report.updates) // updates
        return callback(report) if due or report.spent or (stopped and report.stopped) else None

    return sometimes


def run(
    state: RunState,
    run_epoch: Callable[[RunState], tuple[RunState, Metrics, RejectedUpdate]],
    *,
    budget: int,
    updates: int,
    callbacks: Sequence[Callback] = (),
) -> Outcome:
    """Epochs of `updates` updates until `budget` updates are done in all, or a signal to stop comes.

    SIGTERM and Ctrl-C let the epoch finish; the callbacks are then told, so that what must be kept is kept.
    A second Ctrl-C interrupts at once. `state` is consumed. Raises Stuck where a learner stands still; callbacks
    are not told of that epoch, for what it did is not worth keeping.
    """
    done = updates_of(state)
    if budget % updates:
        raise ValueError(f"{budget} updates are no multiple of the epoch of {updates}; set train.updates_per_epoch")
    if done % updates:
        raise ValueError(
            f"the run stands at update {done}, no multiple of the epoch of {updates}; set train.updates_per_epoch"
        )
    with _StopSignals() as asked:
        spent, stopped = done >= budget, False
        while not spent and not stopped:
            began = time.perf_counter()
            state, measured, suspect = run_epoch(state)
            health = jax.device_get(state.learner.health)
            metrics = per_seed(measured | {"learner/skipped": health.skipped})
            seconds = time.perf_counter() - began
            done += updates
            if health.stuck.any():
                suspect = sharding.replicate(suspect)
            for seed in np.flatnonzero(health.stuck):
                learner, suspect = (
                    of_seed(tree, seed) if health.stuck.ndim else tree for tree in (state.learner, suspect)
                )
                raise NonFiniteError(done, int(seed), learner, suspect)
            # asked once, before the callbacks: all of them hear the same, and a signal that comes
            # while they run lets one more epoch pass
            spent, stopped = done >= budget, hosts.any_host(bool(asked))
            for callback in callbacks:
                told = callback(Report(done, state, metrics, seconds, updates, spent, stopped))
                metrics = [{**one, **more} for one, more in zip(metrics, told or [{}] * len(metrics), strict=True)]
        number = asked[0] if asked else signal.SIGTERM  # another host's
        return Outcome(state, done, number if stopped and not spent else None)


def updates_of(state: RunState) -> int:
    """Updates that a run has done."""
    return int(np.ravel(state.learner.steps)[0])


def of_seed(tree, seed: int):
    """The part of one seed in a tree of several."""
    return jax.tree.map(lambda leaf: leaf[seed], tree)


def per_seed(measured: Metrics) -> list[dict[str, float]]:
    """Metrics [] or [S], from the device, as one dictionary of numbers for each seed."""
    arrays = {name: np.atleast_1d(value) for name, value in jax.device_get(measured).items()}
    seeds = max(len(values) for values in arrays.values())
    return [{name: float(values[seed]) for name, values in arrays.items()} for seed in range(seeds)]


class _StopSignals:
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

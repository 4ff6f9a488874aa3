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
from skillhier.distributed.seeds import AXIS as SEEDS
from skillhier.types import Key, Learner, LearnerState, Metrics, Source, SourceState, Trajectory

SEQUENCES = 1  # the axis of a batch that counts them
COUNTER = "total/"  # metrics below this name are counters: an epoch reports their last value, an integer, not a mean


class RunState(NamedTuple):
    """All that a run carries; saving it is saving the run. With several seeds its leaves have one axis more."""

    learner: LearnerState
    source: SourceState
    key: Key


class RejectedUpdate(NamedTuple):
    """The arguments of the last update that was skipped because its loss or gradients were not finite."""

    batch: Trajectory
    key: Key


class Report(NamedTuple):
    """The argument of the callbacks after an epoch."""

    done: int  # updates so far
    state: RunState  # valid until the callback returns: the next epoch reuses its memory
    metrics: list[dict[str, float]]  # of each seed: those of the epoch, then what earlier callbacks measured
    seconds: float  # s of wall clock that the epoch took
    updates: int  # updates in the epoch
    budget_exhausted: bool  # the run is complete
    stopped: bool  # a signal ends this process; the rest of the run follows when it is resumed


class Outcome(NamedTuple):
    state: RunState
    done: int  # updates so far
    stopped: signal.Signals | None  # the signal that ended the run before its budget did


class NonFiniteError(FloatingPointError):
    """Too many updates in a row were skipped because their numbers were not finite; holds the last of them."""

    def __init__(self, done: int, seed: int, learner: LearnerState, suspect: RejectedUpdate) -> None:
        self.done, self.seed, self.learner, self.suspect = done, seed, learner, suspect
        streak, skipped = int(learner.health.streak), int(learner.health.skipped)
        super().__init__(
            f"the last {streak} updates before update {done} had losses or gradients that are not finite "
            f"and were left out, {skipped} in all"
        )


Measured = list[dict[str, float]] | None  # of each seed
Callback = Callable[[Report], Measured]  # its result is added to the metrics


def start(learner: Learner, source: Source, key: Key, mesh: Mesh | None = None) -> RunState:
    """The state of a run before its first update; with keys [S], that of S runs, one for each seed.

    mesh: the devices that share the work: each holds the whole learner and its own part of the worlds.

    Built inside jit: eagerly, two leaves may share one buffer, and donation fails.
    """
    seeds = key.ndim > 0

    def build(init: Callable, key: Key, where: Any = None, seeds: bool = seeds, given: Any = None) -> Any:
        given = () if given is None else (given,)

        def strong(key: Key, *given: Any) -> Any:
            with sharding.use_mesh(mesh if where else None):
                return _without_weak_types(init(key, *given))

        each = jax.vmap(strong, in_axes=(0, *(None for _ in given)), axis_name=SEEDS) if seeds else strong
        return jax.jit(each, **({"out_shardings": where} if where else {}))(key, *given)

    split = partial(jax.random.split, num=3)
    k_learner, k_source, k_run = jnp.moveaxis(jax.vmap(split)(key), 1, 0) if seeds else split(key)
    where = layout(source, mesh, seeds) if mesh else RunState(None, None, None)
    # two programs: a source that reads data calls back to the host, and such a program is never cached
    if source.constant:
        data = build(source.init, k_source[0] if seeds else k_source, seeds=False)
        data = sharding.put(data, where.source) if mesh else data
    if mesh:
        k_learner, k_source, k_run = sharding.put((k_learner, k_source, k_run), where.key)
    learner_state = build(learner.init, k_learner, where.learner)
    if source.constant:
        return RunState(learner_state, data, k_run)
    return RunState(learner_state, build(source.init, k_source, where.source, given=source.given), k_run)


def layout(source: Source, mesh: Mesh, seeds: bool = False) -> RunState:
    """The shardings of a run's state: one for the whole learner, one for each leaf of the source."""
    everywhere = sharding.named_sharding(mesh)
    if source.worlds is None:
        return RunState(everywhere, everywhere, everywhere)
    axes = source.worlds(jax.eval_shape(source.init, jax.random.key(0)))
    by_world = jax.tree.map(lambda axis: sharding.named_sharding(mesh, axis + seeds) if axis >= 0 else everywhere, axes)
    return RunState(everywhere, by_world, everywhere)


def epoch(
    learner: Learner, source: Source, updates: int, seeds: bool = False, mesh: Mesh | None = None
) -> Callable[[RunState], tuple[RunState, Metrics, RejectedUpdate]]:
    """`updates` updates as one jitted scan that takes the state's memory.

    Returns the state, the metrics of the epoch, and the arguments of the last update that was skipped (zeros if there
    was none). Metrics are means over the updates, where NaN means not measured; those below `total/` are counters
    and keep their last value. The metrics of a skipped update do not count.
    seeds: the state has a leading axis, and so have the results.
    mesh: the devices that share the work, sequence by sequence; states keep the shardings of `start`.
    """

    def update(carry: tuple[RunState, RejectedUpdate], _: None) -> tuple[tuple[RunState, RejectedUpdate], Metrics]:
        state, suspect = carry
        key, k_batch, k_update = jax.random.split(state.key, 3)
        source_state, batch, source_metrics = source.next(state.source, state.learner.params, k_batch)
        batch = sharding.shard(batch, SEQUENCES)
        learner_state, metrics = learner.update(state.learner, batch, k_update)
        skipped = learner_state.health.skipped > state.learner.health.skipped
        metrics = {
            name: value if is_counter(name) else jnp.where(skipped, jnp.nan, value) for name, value in metrics.items()
        }
        rejected = skipped & ~state.learner.health.stuck
        suspect = jax.tree.map(lambda new, old: jnp.where(rejected, new, old), RejectedUpdate(batch, k_update), suspect)
        return (RunState(learner_state, source_state, key), suspect), {**source_metrics, **metrics}

    def run_epoch(state: RunState) -> tuple[RunState, Metrics, RejectedUpdate]:
        _, batch, _ = jax.eval_shape(source.next, state.source, state.learner.params, state.key)
        none = RejectedUpdate(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), batch), state.key)
        with sharding.use_mesh(mesh):
            (state, suspect), metrics = jax.lax.scan(update, (state, none), None, length=updates)
        reduced = {name: v[-1] if is_counter(name) else jnp.nanmean(v) for name, v in metrics.items()}
        return _without_weak_types(state), reduced, suspect

    if seeds:
        axes = RunState(0, None if source.constant else 0, 0)
        run_epoch = jax.vmap(run_epoch, in_axes=(axes,), out_axes=(axes, 0, 0))
    if mesh is None:
        return jax.jit(run_epoch, donate_argnums=0)
    where, everywhere = layout(source, mesh, seeds), sharding.named_sharding(mesh)
    rejected = RejectedUpdate(sharding.named_sharding(mesh, SEQUENCES + seeds), everywhere)
    return jax.jit(run_epoch, donate_argnums=0, out_shardings=(where, everywhere, rejected))


def _without_weak_types(tree: Any) -> Any:
    """Every state has these types, or an epoch would be compiled again for the state that another one returns."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=leaf.dtype), tree)


def is_counter(name: str) -> bool:
    """Whether the metric of this name counts since the start of the run."""
    return name.startswith(COUNTER)


def every(updates: int, callback: Callback, *, stopped: bool = False) -> Callback:
    """`callback` each time that many updates have passed, and at the end of the run.

    stopped: also when a signal stops the run, for checkpoints. A callback that measures must not be called then: the
    same run without a break has no such measurement.
    """

    def sometimes(report: Report) -> Measured:
        due = report.done // updates > (report.done - report.updates) // updates
        return callback(report) if due or report.budget_exhausted or (stopped and report.stopped) else None

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

    SIGTERM and Ctrl-C let the epoch finish, and the callbacks are called with `stopped`, so that the state is saved.
    A second Ctrl-C interrupts at once. `state` is consumed. Raises NonFiniteError where a learner stands still, before
    the callbacks of that epoch, because its state must not be saved.
    """
    done = updates_of(state)
    if budget % updates:
        raise ValueError(f"{budget} updates are no multiple of the epoch of {updates}; set train.updates_per_epoch")
    if done % updates:
        raise ValueError(
            f"the run stands at update {done}, no multiple of the epoch of {updates}; set train.updates_per_epoch"
        )
    with _StopSignals() as signals:
        exhausted, stopped = done >= budget, False
        while not exhausted and not stopped:
            start_time = time.perf_counter()
            state, epoch_metrics, suspect = run_epoch(state)
            health = jax.device_get(state.learner.health)
            metrics = per_seed(epoch_metrics | {"learner/skipped": health.skipped})
            seconds = time.perf_counter() - start_time
            done += updates
            if health.stuck.any():
                suspect = sharding.replicate(suspect)
            for seed in np.flatnonzero(health.stuck):
                learner, suspect = (
                    of_seed(tree, seed) if health.stuck.ndim else tree for tree in (state.learner, suspect)
                )
                raise NonFiniteError(done, int(seed), learner, suspect)
            # evaluated once, before the callbacks, so that all of them see the same; a signal that arrives while
            # they run takes effect one epoch later
            exhausted, stopped = done >= budget, hosts.any_host(bool(signals))
            for callback in callbacks:
                measured = callback(Report(done, state, metrics, seconds, updates, exhausted, stopped))
                metrics = [{**one, **more} for one, more in zip(metrics, measured or [{}] * len(metrics), strict=True)]
        number = signals[0] if signals else signal.SIGTERM  # the signal of another host
        return Outcome(state, done, number if stopped and not exhausted else None)


def updates_of(state: RunState) -> int:
    """Updates that a run has done."""
    return int(np.ravel(state.learner.steps)[0])


def of_seed(tree, seed: int):
    """The part of one seed in a tree of several."""
    return jax.tree.map(lambda leaf: leaf[seed], tree)


def per_seed(metrics: Metrics) -> list[dict[str, float]]:
    """Metrics [] or [S], from the device, as one dictionary of numbers for each seed; counters are integers."""
    arrays = {name: np.atleast_1d(value) for name, value in jax.device_get(metrics).items()}
    seeds = max(len(values) for values in arrays.values())
    number = lambda name, value: int(value) if is_counter(name) else float(value)  # noqa: E731
    return [{name: number(name, values[seed]) for name, values in arrays.items()} for seed in range(seeds)]


class _StopSignals:
    """A context that lists the signals received in it, and restores the former handlers at its end."""

    def __enter__(self) -> list[signal.Signals]:
        self.received: list[signal.Signals] = []
        self.former = {}
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self.former[number] = signal.signal(number, self._note)
            except ValueError:  # only the main thread can set handlers; elsewhere a run cannot be stopped this way
                break
        return self.received

    def _note(self, number: int, _frame: object) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received.append(signal.Signals(number))
        # print may be interrupted by its own signal handler; a plain write may not
        os.write(2, f"\n{signal.Signals(number).name}: stopping after this epoch\n".encode())

    def __exit__(self, *_: object) -> None:
        for number, handler in self.former.items():
            signal.signal(number, handler)

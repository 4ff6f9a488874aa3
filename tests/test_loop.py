"""The loop: what an epoch computes, what it compiles, when a run stops."""

import math
import os
import signal

import jax
import jax.numpy as jnp
import pytest
from faulty import regression, spoiling

from skillhier.agents.learner import healthy
from skillhier.train import loop
from skillhier.types import Learner, LearnerState, Source, TimeStep, Trajectory


def counting_source() -> Source:
    """Batches whose rewards are noise plus the number of batches given before."""

    def following(state, params, key):
        noise = jax.random.normal(key, (3, 2))
        never = jnp.zeros((3, 2), bool)
        step = TimeStep({}, state["count"] + noise, jnp.ones((3, 2)), never, never)
        batch = Trajectory(step, jnp.zeros((3, 2, 1)), {})
        return {"count": state["count"] + jnp.float32(1)}, batch, {"source/count": state["count"], "noise": noise[0, 0]}

    return Source(lambda key: {"count": jnp.asarray(0.0)}, following)  # weakly typed before its first step, not after


def leaning_learner(traces: list[int]) -> Learner:
    """Moves one number towards the rewards, with noise of its own; says each time it is traced."""

    def init(key):
        where = jax.random.normal(key)
        return LearnerState(
            {"where": where}, where, (), jnp.int32(0), healthy()
        )  # one value, two leaves: the donation trap

    def update(state, batch, key):
        traces.append(1)
        where = state.params["where"] + 0.1 * (batch.step.reward.mean() - state.params["where"])
        where = where + 0.01 * jax.random.normal(key)
        metrics = {"loss": where}
        return LearnerState({"where": where}, state.slow, (), state.steps + 1, state.health), metrics

    return Learner(init, update)


def test_an_epoch_is_its_updates_one_after_another_and_its_metrics_their_mean():
    learner, source = leaning_learner([]), counting_source()
    state = loop.start(learner, source, jax.random.key(0))
    by_hand, losses = jax.tree.map(jnp.copy, state), []
    for _ in range(4):
        by_hand, metrics, _ = loop.epoch(learner, source, 1)(by_hand)
        losses.append(float(metrics["loss"]))
    state, metrics, _ = loop.epoch(learner, source, 4)(state)
    assert float(state.learner.params["where"]) == pytest.approx(float(by_hand.learner.params["where"]), rel=1e-6)
    assert float(metrics["loss"]) == pytest.approx(sum(losses) / 4, rel=1e-5)
    assert float(metrics["source/count"]) == 1.5  # (0 + 1 + 2 + 3) / 4
    assert jax.random.key_data(state.key).tolist() == jax.random.key_data(by_hand.key).tolist()


@pytest.mark.parametrize("seeds", [0, 2])
def test_a_counter_keeps_its_last_value_as_an_integer(seeds):
    """Beyond 2^24 too, where float32 has no odd numbers; the other metrics are means."""
    source = counting_source()

    def following(state, params, key):
        state, batch, metrics = source.next(state, params, key)
        count = state["count"].astype(jnp.int32)
        return state, batch, metrics | {"total/rows": 2**24 + 2 * count + 1}

    key = jax.random.split(jax.random.key(0), seeds) if seeds else jax.random.key(0)
    counted = source._replace(next=following)
    learner, rows = leaning_learner([]), []
    state = loop.start(learner, counted, key)
    run_epoch = loop.epoch(learner, counted, 4, seeds=bool(seeds))
    loop.run(state, run_epoch, budget=8, updates=4, callbacks=[lambda report: rows.append(report.metrics)])
    for report, last in zip(rows, (4, 8), strict=True):
        assert [one["total/rows"] for one in report] == [2**24 + 2 * last + 1] * max(seeds, 1)
        assert all(isinstance(one["total/rows"], int) and isinstance(one["loss"], float) for one in report)
        assert [one["source/count"] for one in report] == [last - 2.5] * max(seeds, 1)


def test_every_update_has_a_key_of_its_own():
    run_epoch = loop.epoch(leaning_learner([]), counting_source(), 1)
    state, noises = loop.start(leaning_learner([]), counting_source(), jax.random.key(0)), []
    for _ in range(3):
        state, metrics, _ = run_epoch(state)
        noises.append(float(metrics["noise"]))
    assert len(set(noises)) == 3


def test_a_second_epoch_compiles_nothing():
    traces = []
    learner, source = leaning_learner(traces), counting_source()
    run_epoch = loop.epoch(learner, source, 5)
    state, _, _ = run_epoch(loop.start(learner, source, jax.random.key(0)))
    assert len(traces) == 1
    state, _, _ = run_epoch(state)
    assert len(traces) == 1 and run_epoch._cache_size() == 1


def test_an_epoch_takes_the_memory_of_the_state_it_is_given():
    learner, source = leaning_learner([]), counting_source()
    state = loop.start(learner, source, jax.random.key(0))
    loop.epoch(learner, source, 2)(state)
    assert state.learner.params["where"].is_deleted()


def trained(budget=20, updates=5, callbacks=()):
    learner, source = leaning_learner([]), counting_source()
    state = loop.start(learner, source, jax.random.key(0))
    return loop.run(state, loop.epoch(learner, source, updates), budget=budget, updates=updates, callbacks=callbacks)


def test_a_run_spends_its_budget_and_tells_callbacks_the_figures_of_those_before_them():
    seen = []
    outcome = trained(callbacks=[lambda report: [{"added": 7.0}], lambda report: seen.append(report)])
    assert [report.done for report in seen] == [5, 10, 15, 20]
    assert [report.budget_exhausted for report in seen] == [False, False, False, True]
    assert not any(report.stopped for report in seen)
    assert all(report.metrics[0]["added"] == 7.0 for report in seen)
    assert outcome.done == 20 and outcome.stopped is None and int(outcome.state.learner.steps) == 20


def test_every_comes_due_at_its_multiples_and_at_the_end():
    seen = []
    trained(budget=35, callbacks=[loop.every(10, lambda report: seen.append(report.done))])
    assert seen == [10, 20, 30, 35]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_epoch_finish_and_the_callbacks_know(number):
    seen = []

    def interrupt(report):
        if report.done == 10:
            os.kill(os.getpid(), number)

    former = signal.getsignal(number)
    saved, assessed = [], []
    outcome = trained(
        budget=100,
        callbacks=[
            interrupt,
            lambda report: seen.append((report.done, report.stopped)),
            loop.every(10, lambda report: assessed.append(report.done)),
            loop.every(10, lambda report: saved.append(report.done), stopped=True),
        ],
    )
    assert outcome.stopped == number and outcome.done == 15
    assert seen == [(5, False), (10, False), (15, True)]
    assert saved == [10, 15] and assessed == [10]
    assert signal.getsignal(number) == former


def faulty_run(*bad, budget=20, **settings):
    learner, source = regression(), spoiling(*bad, **settings)
    state = loop.start(learner, source, jax.random.key(0))
    seen = []
    callbacks = [lambda report: seen.append(report.metrics[0])]
    outcome = loop.run(state, loop.epoch(learner, source, 5), budget=budget, updates=5, callbacks=callbacks)
    return outcome, seen


def test_bad_numbers_are_survived_counted_and_kept_out_of_the_averages():
    outcome, seen = faulty_run(6, 7, 13)
    assert [row["learner/skipped"] for row in seen] == [0, 2, 3, 3]
    assert [row["source/count"] for row in seen] == [2, 7, 12, 17]
    assert all(math.isfinite(value) for row in seen for value in row.values())
    assert abs(float(outcome.state.learner.params["guess"]["mean"]) - 1) < 1


def test_an_average_is_of_the_updates_that_were_taken():
    learner, source = regression(), spoiling(1)
    first, metrics, _ = loop.epoch(learner, source, 1)(loop.start(learner, source, jax.random.key(0)))
    both, together, _ = loop.epoch(learner, source, 2)(loop.start(learner, source, jax.random.key(0)))
    assert together["guess/error"] == metrics["guess/error"]


def test_too_many_in_a_row_end_the_run_with_what_led_there():
    with pytest.raises(
        loop.NonFiniteError, match="the last 6 updates before update 15 .* not finite and were left out, 7 in all"
    ) as found:
        faulty_run(2, 9, 10, 11, 12, 13)
    batch = found.value.suspect.batch
    assert bool(jnp.isnan(batch.step.reward[1, 2])) and int(jnp.isnan(batch.step.reward).sum()) == 1
    again, _ = regression().update(found.value.learner._replace(health=healthy()), batch, found.value.suspect.key)
    assert int(again.health.skipped) == 1


def test_a_streak_within_one_epoch_ends_the_run_too():
    with pytest.raises(loop.NonFiniteError, match="the last 5 updates before update 5"):
        faulty_run(0, 1, 2)


def test_a_budget_that_epochs_cannot_fill_is_refused():
    with pytest.raises(ValueError, match="22 updates are no multiple of the epoch of 5; set train.updates_per_epoch"):
        trained(budget=22)

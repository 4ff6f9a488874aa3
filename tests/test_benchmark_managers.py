"""What the suite `managers` sets beside what: turns of two agents, steps of a run's epoch, its lines and targets."""

from types import SimpleNamespace

import jax
import pytest
from ml_collections import ConfigDict

from experiments import benchmark
from experiments.benchmarks import imagination, managers, timing
from skillhier.train import loop


@pytest.fixture
def turns(monkeypatch):
    """Jobs are the seconds that they take."""
    monkeypatch.setattr(timing, "in_turns", lambda repeats, *jobs: [[seconds] * repeats for seconds in jobs])


def test_an_update_of_five_resolutions_beside_one(monkeypatch, turns):
    """Of two agents of which one takes three times as long: the share is of the rival's time."""
    monkeypatch.setattr(imagination, "prepare", lambda name, preset, **_: name)
    monkeypatch.setattr(imagination, "update", lambda name: SimpleNamespace(job={"mrs": 0.03, "director": 0.01}[name]))
    of = managers.beside("mrs", "director", "paper", 3, managers.DEAREST)
    assert of["target"] == pytest.approx(1 / 1.15)
    assert of["share"] == pytest.approx(1 / 3)
    assert of["updates_per_second"] == pytest.approx(1 / 0.03)
    assert of["rival_updates_per_second"] == pytest.approx(100)


def test_environment_steps_are_those_that_an_epoch_collects(monkeypatch, turns):
    """8 updates, one collection of 3 decisions in 4 worlds for 2 of them: 48 steps."""
    config = ConfigDict({"env": {"worlds": 4}, "train": {"updates_per_collect": 2, "unroll_length": 3}})
    monkeypatch.setattr(imagination, "prepare", lambda name, preset, **_: SimpleNamespace(config=config, name=name))
    monkeypatch.setattr(managers, "epochs", lambda of, updates: 0.02)
    of = managers.stepping("director", "dreamerv3", "debug", 3, 8)
    assert of["steps_per_second"] == pytest.approx(48 / 0.02)
    assert of["target"] == 0.95 and of["share"] == pytest.approx(1.0)


@pytest.mark.slow
def test_an_epoch_goes_on_where_the_last_one_stopped(monkeypatch):
    """The timed job of a real agent: its updates and the steps collected for them."""
    states = []
    epoch = loop.epoch

    def seen(*arguments):
        run = epoch(*arguments)

        def call(state):
            out = run(state)
            states.append(loop.updates_of(out[0]))
            return out

        return call

    monkeypatch.setattr(loop, "epoch", seen)
    of = imagination.prepare("director", "debug", **managers.HERE)
    job = managers.epochs(of, 4)
    first, second = jax.block_until_ready(job()), jax.block_until_ready(job())
    assert states == [4, 8]
    steps = [float(metrics["total/env_steps"]) for metrics in (first, second)]
    train = of.config.train
    assert steps[1] - steps[0] == 4 / train.updates_per_collect * train.unroll_length * of.config.env.worlds


def test_lines_and_targets():
    def of(name, rival, ours, theirs, **rates):
        return {"agent": name, "rival": rival, "preset": "paper", **rates, **timing.shares([ours] * 3, [theirs] * 3)}

    slow = {"updates_per_second": 2.0, "rival_updates_per_second": 3.0, "target": 1 / 1.15}
    quick = {"steps_per_second": 97.0, "rival_steps_per_second": 100.0, "target": 0.95}
    results = {
        "updates": [],
        "answers": [],
        "by": [],
        "beside": [of("mrs", "director", 0.5, 1 / 3, **slow)],
        "stepping": [of("director", "dreamerv3", 1.0, 0.97, **quick)],
    }
    machine = {**timing.machine(), "load_after": 0.0}
    lines = benchmark.table({"machine": machine, "quick": False, "managers": results})
    (beside,) = [line for line in lines if "mrs beside director" in line]
    (stepping,) = [line for line in lines if "steps with learning" in line]
    assert beside.split()[-5:] == ["3.00/s", "0.667", "0.667", "0.667", "0.87"], beside
    assert stepping.split()[-5:] == ["100.0/s", "0.970", "0.970", "0.970", "0.95"], stepping

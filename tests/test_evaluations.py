"""A run's evaluations: each by its own name, in its own worlds, at its own interval, with a batch if it wants one."""

import jax
import jax.numpy as jnp
import pytest
from counters import counters
from leftovers import record

from experiments.shared import cli, online_run
from skillhier.data import sources, toy
from skillhier.envs import registry
from skillhier.policies.open_loop import constant
from skillhier.train import run_folder, session
from skillhier.train.evaluate import Evaluation, of_episodes
from skillhier.types import Agent, Health, Learner, LearnerState, Source

ENTRY = {"arm": 3}


def counting() -> Learner:
    """A learner that counts its updates."""

    def init(key):
        zero = jnp.zeros((), jnp.int32)
        return LearnerState({"count": jnp.zeros(())}, (), (), zero, Health(zero, zero, zero > 0))

    def update(state, batch, key):
        params = {"count": state.params["count"] + 1}
        return state._replace(params=params, steps=state.steps + 1), {"loss": params["count"]}

    return Learner(init, update)


def run(path, evaluations, source=None, seeds=1):
    path, about = run_folder.open_run(path, "test", {"seed": 3, "seeds": seeds})
    source = source or sources.offline(toy.demonstrations(ENTRY, steps=20), batch_size=4, sequence_length=6)
    session.execute(path, counting(), source, seed=3, seeds=seeds, budget=6, updates=2, save_every=6,
                    evaluations=evaluations, about=about)  # fmt: skip
    return [record(place) for place in run_folder.seed_folders(path, 3, seeds)]


def test_each_has_its_name_and_its_interval(tmp_path):
    def measure(state, batch):
        return {"count": float(state.params["count"])}

    (rows,) = run(tmp_path, [Evaluation("often", 2, measure), Evaluation("once", 6, measure)])
    assert [row.get("often/count") for row in rows] == [2.0, 4.0, 6.0]
    assert [row.get("once/count") for row in rows] == [None, None, 6.0]


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_may_see_a_batch_and_changes_nothing_by_it(tmp_path, seeds):
    shapes = []

    def measure(state, batch):
        rows = batch()
        shapes.append(rows.action.shape)
        return {"mean": float(rows.step.obs["arm"].mean())}

    with_batch = run(tmp_path / "a", [Evaluation("look", 2, measure)], seeds=seeds)
    without = run(tmp_path / "b", [], seeds=seeds)
    assert set(shapes) == {(6, 4, 5)} and len(shapes) == 3 * seeds
    for rows, plain in zip(with_batch, without, strict=True):
        assert len({row.pop("look/mean") for row in rows}) == 3  # other rows each time
        assert rows == plain


def test_a_source_that_shows_no_batch_says_so(tmp_path):
    offline = sources.offline(toy.demonstrations(ENTRY, steps=20), batch_size=4, sequence_length=6)
    silent = Source(offline.init, offline.next, constant=True)
    with pytest.raises(ValueError, match="evaluation 'look' wants a batch, and this source shows none"):
        run(tmp_path, [Evaluation("look", 2, lambda state, batch: {"x": float(batch().action.sum())})], silent)


def test_two_of_one_name_are_refused(tmp_path):
    same = [Evaluation("eval", 2, lambda state, batch: {})] * 2
    with pytest.raises(ValueError, match="evaluations eval, eval are named twice"):
        run(tmp_path, same)


def test_episodes_are_of_their_own_worlds_and_policy(tmp_path):
    """Of worlds with episodes of 2 and of 4 steps; they pay 1 + step, whoever acts."""
    evaluations = [
        of_episodes("short", 6, counters((2,)), constant(jnp.zeros(1)), 0, success="told"),
        of_episodes("long", 6, counters((4,)), constant(jnp.zeros(1)), 0, totals={"odd": "told"}),
    ]
    (rows,) = run(tmp_path, evaluations)
    last = rows[-1]
    assert (last["short/return"], last["short/length"], last["long/return"], last["long/length"]) == (3, 2, 10, 4)
    assert last["short/success"] == 0 and last["long/odd"] == 0 and "long/success" not in last


def test_a_config_names_them_each_with_a_group_of_its_settings(monkeypatch):
    """Worlds that differ from those of the run, an interval of its own, sampled actions."""
    asked = []

    def make(name, *, worlds, **settings):
        asked.append({"name": name, "worlds": worlds, **settings})
        return counters((5,) * worlds)

    monkeypatch.setattr(registry, "make", make)
    config, _ = cli.load_config(f"{cli.CONFIGS}/helms_transfer.py:debug,agent=mpo")
    with config.unlocked():
        config.evals = ("eval", "calm")
        config.eval.totals = ("told",)
        config.calm = config.eval.copy_and_resolve_references()
        config.calm.update(episodes=3, every=40, stochastic=True)
        config.calm.env.update(randomise=False, delay=(0, 0))
    worlds = online_run.open_worlds(cli.Run("helms_transfer", config, None))
    assert [world["worlds"] for world in asked] == [4, 4, 3]
    assert [(world["randomise"], tuple(world["delay"])) for world in asked] == [(True, (0, 2))] * 2 + [(False, (0, 0))]
    policies = {name: constant(jnp.zeros(1)) for name in ("explore", "exploit")}
    evaluations = online_run.evaluations(config, worlds, Agent(counting(), **policies))
    assert [(one.name, one.every) for one in evaluations] == [("eval", 20), ("calm", 40)]
    state = counting().init(jax.random.key(0))
    assert evaluations[1].measure(state, None)["told"] == 0
    with config.unlocked():
        config.evals = ("eval", "calmer")
    with pytest.raises(cli.Refused, match="config.evals names calmer, and there is no group config.calmer"):
        online_run.open_worlds(cli.Run("helms_transfer", config, None))

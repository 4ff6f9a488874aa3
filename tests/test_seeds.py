"""Several seeds in one program: each is the run of that seed alone, in its figures, its parameters and its folder."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from faulty import regression, spoiling
from leftovers import record
from specs import spec_of

from skillhier.agents import registry
from skillhier.data import sources, toy
from skillhier.report import run_page
from skillhier.train import checkpoint, loop, run_folder, session
from skillhier.train.evaluate import Evaluation

OBS = {"arm": 3, "cube": 4}
WINDOW = {"batch_size": 4, "sequence_length": 6, "lookahead": 2, "stack": 2}


def system(name="helms", **settings):
    spec = spec_of({entry: (2, size) for entry, size in OBS.items()}, 5)
    settings = {"hidden": (16,), "lookahead": 2, "learning_rate": 1e-2, **settings}
    return registry.make(name, spec, low=("arm",), mid=tuple(OBS), **settings)


def execute(path, seed, seeds, budget=6, name="helms", **settings):
    """A run in its folder; gives back what it leaves of every seed: (lines of metrics, parameters)."""
    made = system(name)
    path, about = run_folder.open_run(path, "test", {"seed": seed, "seeds": seeds})
    source = sources.offline(toy.demonstrations(OBS, steps=20), **WINDOW)

    def measure(state, batch):
        return {"size": sum(float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(state.params))}

    session.execute(
        path, made.learner, source, seed=seed, seeds=seeds, budget=budget, updates=3, save_every=3,
        evaluations=[Evaluation("heldout", 3, measure)], about=about, **settings,
    )  # fmt: skip
    places = run_folder.seed_folders(path, seed, seeds)
    return [(record(place), checkpoint.read(place, "learner/params")) for place in places]


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    path = tmp_path_factory.mktemp("together")
    return path, execute(path, 5, 3)


@pytest.mark.parametrize("index", [0, 2, pytest.param(1, marks=pytest.mark.slow)])
def test_each_seed_is_the_run_of_that_seed_alone(together, tmp_path, index):
    """Within 1e-5 after 6 updates: XLA orders the sums of a batched product differently."""
    ((lines, params),) = execute(tmp_path, 5 + index, 1)
    their_lines, their_params = together[1][index]
    for ours, theirs in zip(lines, their_lines, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert theirs[name] == pytest.approx(ours[name], rel=1e-4, abs=1e-5), name
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), params, their_params)


def test_seeds_differ(together):
    one, other = (params for _, params in together[1][:2])
    assert not np.allclose(one["low"]["Joined_0"]["kernel"], other["low"]["Joined_0"]["kernel"], atol=1e-2)


def test_each_seed_has_a_folder_like_a_run_of_its_own(together):
    path = together[0]
    assert sorted(entry.name for entry in path.glob("seed_*")) == ["seed_5", "seed_6", "seed_7"]
    assert not (path / "metrics.jsonl").exists()
    assert run_folder.settings(path / "seed_6") == {"seed": 6, "seeds": 1}
    summarise = lambda rows: {"last": rows[-1]["step"], "size": rows[-1]["heldout/size"], "shares": [0.1, 0.2]}  # noqa: E731
    summary = session.finish(path, 5, 3, summarise, lambda folder, one: run_page.write(folder, summary=one))
    assert summary["seeds"] == [5, 6, 7] and summary["last"] == [6, 6, 6] and len(set(summary["size"])) == 3
    assert summary["shares"] == [[0.1, 0.2]] * 3  # a figure a seed, whatever the figure is made of
    told = json.loads((path / "seed_7" / "summary.json").read_text())
    assert (
        told == {"last": 6, "size": summary["size"][2], "shares": [0.1, 0.2]}
        and (path / "seed_7" / "report.html").is_file()
    )


def test_a_checkpoint_of_several_seeds_is_read_one_by_one(together):
    with pytest.raises(checkpoint.CheckpointError, match="holds seeds 5 to 7; read one of them, .*seed_5"):
        checkpoint.read(together[0], "learner/params")


def test_stopped_and_continued_equals_uninterrupted(together, tmp_path):
    execute(tmp_path, 5, 3, budget=3)
    again = execute(tmp_path, 5, 3)
    for (lines, params), (their_lines, their_params) in zip(again, together[1], strict=True):
        assert lines == their_lines
        jax.tree.map(np.testing.assert_array_equal, params, their_params)


def test_seeds_share_the_data():
    source = sources.offline(toy.demonstrations(OBS, steps=20), **WINDOW)
    alone = loop.start(system().learner, source, jax.random.key(0))
    many = loop.start(system().learner, source, jax.vmap(jax.random.key)(jnp.arange(4)))
    assert jax.tree.map(jnp.shape, many.source) == jax.tree.map(jnp.shape, alone.source)
    assert many.learner.steps.shape == many.key.shape == (4,)


def test_a_second_epoch_compiles_nothing():
    learner, source = regression(), spoiling()
    run_epoch = loop.epoch(learner, source, 2, seeds=True)
    state, _, _ = run_epoch(loop.start(learner, source, jax.vmap(jax.random.key)(jnp.arange(3))))
    run_epoch(state)
    assert run_epoch._cache_size() == 1


def test_one_seed_that_fails_is_named_and_the_run_ends():
    learner = regression(patience=2)
    fine = spoiling()

    def next_(count, params, key):
        count, batch, told = fine.next(count, params, key)
        reward = jnp.where(params["guess"]["mean"] < 0, jnp.nan, batch.step.reward)  # seeds that begin below zero
        return count, batch._replace(step=batch.step._replace(reward=reward)), told

    keys = jax.vmap(jax.random.key)(jnp.arange(4))
    state = loop.start(learner, fine._replace(next=next_), keys)
    bad = np.flatnonzero(np.asarray(state.learner.params["guess"]["mean"]) < 0)
    assert 0 < len(bad) < 4
    with pytest.raises(loop.NonFiniteError) as found:
        loop.run(state, loop.epoch(learner, fine._replace(next=next_), 4, seeds=True), budget=8, updates=4)
    assert found.value.seed == bad[0] and found.value.learner.steps.shape == ()
    assert np.isnan(found.value.suspect.batch.step.reward).all()

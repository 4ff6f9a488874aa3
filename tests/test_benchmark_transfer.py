"""The benchmark of what learns online: the reference does the same update, parts do the work of the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import benchmark
from experiments.benchmarks import agents, mpo_reference, timing, transfer, transfer_parts
from experiments.shared import cli, online_run
from skillhier.data import replay
from skillhier.envs.sawyer.observations import OBJECTS, PROPRIO
from skillhier.types import Bounds, Env, Spec, TimeStep

SHARES = {"share", "share_low", "share_high"}
LIMIT = 9


def cell(settings, count):
    """Worlds with a stacking cell's observations and no physics: every entry shows the row's number."""

    def show(row):
        shape = lambda size: (count, settings.stack, size)  # noqa: E731
        obs = {
            name: jnp.broadcast_to(row[:, None, None] / 10.0, shape(size))
            for name, size in {**PROPRIO, **OBJECTS}.items()
        }
        first = row % (LIMIT + 1) == 0
        return TimeStep(obs, jnp.where(first, 0.0, 1.0), jnp.ones(count), first, row % (LIMIT + 1) == LIMIT)

    def reset(key):
        row = jnp.zeros(count, jnp.int32)
        return row, show(row)

    shapes = {
        name: jax.ShapeDtypeStruct((settings.stack, size), jnp.float32) for name, size in {**PROPRIO, **OBJECTS}.items()
    }
    spec = Spec(shapes, Bounds((5,), -1.0, 1.0), count, 0.05, LIMIT)
    return Env(reset, lambda row, action: (row + 1, show(row + 1)), spec)


def test_the_reference_is_the_same_update():
    """With the same key, for three updates; with another it is not, so the comparison can fail."""
    learner = mpo_reference.ours((8, 8), 3)
    state = jax.jit(learner.init)(jax.random.key(0))
    given = {"hidden": (8, 8), "samples": 3, "epsilons": mpo_reference.EPSILONS}
    begin, update = mpo_reference.update(mpo_reference.see(state.params), mpo_reference.SIZE, **given)
    other, batch = begin(state), mpo_reference.made_up(jax.random.key(3), 6, 4)
    ours, theirs = jax.jit(learner.update), jax.jit(update)
    here, elsewhere = (theirs(other, batch, jax.random.key(i))[1]["critic_loss"] for i in (0, 9))
    assert not np.isclose(here, elsewhere, rtol=1e-4)
    for i in range(3):
        state, told = ours(state, batch, jax.random.key(i))
        other, found = theirs(other, batch, jax.random.key(i))
        np.testing.assert_allclose(told["learner/loss"], found["critic_loss"] + found["actor_loss"], rtol=1e-5)
        np.testing.assert_allclose(told["control/critic_loss"], found["critic_loss"], rtol=1e-4)
    mine = {name: state.params["control"][name] for name in ("actor", "critic", "duals")}
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)  # noqa: E731
    jax.tree.map(close, mine, {**other.params, "duals": other.duals})


def test_figures_of_the_update_beside_rlax():
    of = mpo_reference.beside((8, 8), 2, 3, 2, 2, 1)
    assert of["target"] == 1.0 and set(of["processor"]) == SHARES
    ours, theirs = of["seconds"]["ours"]["wall"][0], of["seconds"]["reference"]["wall"][0]
    assert of["updates_per_second"] == pytest.approx(2 / ours)
    assert of["share"] == pytest.approx(theirs / ours)


def test_without_rlax_it_is_said(monkeypatch):
    monkeypatch.setattr(mpo_reference, "find_spec", lambda name: None)
    of = mpo_reference.beside((8, 8), 2, 3, 2, 2, 1)
    assert "rlax" in of["skipped"]


def test_a_full_replay_repeats_its_rows_and_opens_an_episode_at_each_seam():
    config = transfer_parts.settings("mpo", "debug")
    place = transfer_parts.arena(cell(config.env, 2), 5, 1)
    assert place.rows.step.first.tolist() == [[True] * 2] + [[False] * 2] * 4
    memory = replay.make(12, place.env.spec)
    kept = transfer_parts.full(memory, memory.frames(place.rows._replace(extras={})))
    name = next(iter(PROPRIO))
    np.testing.assert_allclose(10 * kept.rows.step.obs[name][:, 0, 0], np.arange(12) % 5)
    assert kept.rows.step.first[:, 0].tolist() == [i % 5 == 0 for i in range(12)]
    assert int(kept.filled) == int(kept.next_row) == 12


def test_figures_of_agents_by_themselves_and_by_worlds_and_seeds(monkeypatch):
    """Worlds without physics, two seeds."""
    monkeypatch.setattr(online_run, "make_worlds", cell)
    small = {"env__worlds": 2, "train__batch_size": 2, "agent__hidden": "8,8", "agent__samples": 2}
    found = transfer.agents(("helms_cat",), "debug", 1, 1, seeds=2, **small)
    for of, name in zip(found, ("helms_cat",), strict=True):
        seconds = {part: taken["wall"][0] for part, taken in of["seconds"].items()}
        # a window has 4 rows and 2 older frames, a turn collects 4 rows in 2 worlds of 2 seeds and learns twice
        assert of["agent"] == name and of["updates_per_second"] == pytest.approx(2 * 4 / seconds["together"])
        assert of["control_steps_per_second"] == pytest.approx(2 * 2 * 8 / seconds["together"])
        assert of["world_steps_per_second"] == pytest.approx(2 * 2 * 8 / seconds["simulation"])
        assert of["shares"] == {part: pytest.approx(seconds[part] / seconds["together"]) for part in transfer.PARTS}
    worlds = transfer.by_worlds("helms_cat", "debug", (3,), 1, 1, **small)
    assert [of["worlds"] for of in worlds] == [3] and worlds[0]["share"] > 0
    seeds = transfer.by_seeds("helms_cat", "debug", (2,), 1, 1, **small)
    both, one = (seeds[0]["seconds"][which]["wall"][0] for which in ("ours", "one"))
    assert seeds[0]["share"] == pytest.approx(2 * one / both)
    row = {"sizes": "cpu", "updates_per_second": 2.0, "reference_updates_per_second": 1.0}
    row |= dict.fromkeys(SHARES, 2.0) | {"processor": dict.fromkeys(SHARES, 1.5)}
    mpo = [row, {"sizes": "paper", "skipped": "no rlax"}]
    told = {
        "preset": "debug",
        "agents": found,
        "mpo": mpo,
        "worlds": worlds,
        "seeds": seeds,
        "skipped": "no accelerator",
    }
    machine = {**timing.machine(), "load_after": 0.0}
    lines = "\n".join(benchmark.table({"machine": machine, "quick": True, "transfer": told}))
    for said in (
        "helms_cat, 2 x 2 worlds",
        "simulation",
        "MPO at cpu",
        "no rlax",
        "3 worlds, steps",
        "2 seeds",
        "no accel",
    ):
        assert said in lines, lines


@pytest.mark.parametrize("name", agents.ONLINE_NAMES)
@pytest.mark.parametrize("preset", ["debug", "cpu", "paper"])
def test_every_agent_has_skills_of_its_presets_sizes(name, preset):
    config = transfer_parts.settings(name, preset)
    agent = transfer_parts.system(config, preset, cell(config.env, 2))
    shapes = jax.eval_shape(agent.learner.init, jax.random.key(0)).params
    offline, _ = cli.load_config(f"{agents.OFFLINE}:{preset}")
    widths = {leaf.shape[-1] for leaf in jax.tree.leaves(shapes.get("skills", {}).get("low", {}))}
    assert (offline.agent.hidden[-1] in widths) == (name in ("helms_cat", "helms_mix", "npmp_kl"))


def test_what_the_parts_learn_from_is_what_the_replay_holds(monkeypatch):
    """The replay's part gives windows of rows that follow on each other, as the whole's learner sees them."""
    config = transfer_parts.settings("mpo", "debug", env__worlds=2, train__batch_size=3, agent__hidden="8,8")
    place = transfer_parts.arena(cell(config.env, 2), 8, 1)
    of = transfer_parts.prepare(config, transfer_parts.system(config, "debug", place.env), place)
    drawn = transfer_parts.apart(of, place, config, 4)["replay"]()
    rows = 10 * drawn.step.obs[next(iter(PROPRIO))][..., 0, 0]
    assert rows.shape == (4, config.train.sequence_length, 3)
    ahead = np.asarray(jnp.where(drawn.step.first[:, 1:], jnp.round(rows[:, 1:]), jnp.round(rows[:, :-1]) + 1))
    np.testing.assert_allclose(rows[:, 1:], ahead, atol=1e-4)
    assert set(np.unique(np.round(rows))) <= set(range(8))

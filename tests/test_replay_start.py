"""Runs that begin with data or with another run, through an entry point: what they hold, learn, keep and refuse.

The worlds are those of roaming.py, which cost nothing; their rows are relabelled as those of real quadrupeds are.
"""

import json
import sys
from pathlib import Path

import begun_entry
import jax
import numpy as np
import pytest
from kills import ROOT, run
from leftovers import leaves, record, same
from roaming import roam

from experiments.shared import cli, learning, online_run, replay_start
from skillhier.agents import paths
from skillhier.data import initial_rows, minari, recorder
from skillhier.data.faults import DataFault
from skillhier.envs import registry
from skillhier.policies import open_loop
from skillhier.train import checkpoint, loop, metrics

FILE = ROOT / "tests" / "begun_config.py"
WALK, REACH = "dmc.quadruped_walk_upright", "dmc.quadruped_reach_upright"
PARTS = ("learner", "source", "key")


@pytest.fixture(scope="module", autouse=True)
def gliding():
    """No world is a real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "make", roam)
        yield


def asked(folder, *changes: str, preset="debug", init_from=None) -> cli.Run:
    """The command line as `main` gets it."""
    config, module = cli.load_config(f"{FILE}:{preset}", [tuple(change.split("=", 1)) for change in changes])
    module.check_beginning(config, init_from)
    return cli.Run("begun_entry", config, folder, module.FREE, init_from)


def begun(folder, *changes: str, **given) -> Path:
    begun_entry.main(asked(folder, *changes, **given))
    return folder


def refused(*changes: str, error=cli.Refused, **given) -> str:
    with pytest.raises(error, match="^[^\n]*$") as caught:
        request = asked(None, *changes, **given)
        beginning = replay_start.open_beginning(request)
        agent = online_run.make_agent(request.config, beginning.spec)
        learning.with_init_from(request, agent.learner)
        replay_start.make_source(request, beginning, agent.explore, agent)
    return str(caught.value)


def record_episodes(folder: Path, limit: int = 9, repeat: int = 1, **about) -> Path:
    env = registry.make(WALK, worlds=2, engine="native", limit=limit, repeat=repeat)
    with minari.Recorder(folder, env.spec, {"world": WALK, **about}) as writer:
        recorder.record(env, open_loop.uniform(env.spec.action), (), writer, task=WALK, episodes=5, rows=10)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Five episodes of nine steps of walking: 50 rows."""
    return record_episodes(tmp_path_factory.mktemp("data") / "walks")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A run of MPO that walks, of one seed, with a replay of 60 rows that has been round."""
    folder = tmp_path_factory.mktemp("source") / "run"
    sizes = ("train.updates=32", "train.save_every=32", "train.eval_every=32")
    return begun(folder, *sizes, preset="debug,agent=mpo")


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Path:
    """The same, of two seeds."""
    return begun(tmp_path_factory.mktemp("source") / "pair", "seeds=2", "seed=3", preset="debug,agent=mpo")


def ring(folder: Path, step: int | None = None):
    return initial_rows.of_ring(checkpoint.read(folder, "source/replay", step))


def first_state(*changes: str, **given) -> loop.RunState:
    """The state of a run before its first update."""
    request = asked(None, *changes, **given)
    beginning = replay_start.open_beginning(request)
    agent = online_run.make_agent(request.config, beginning.spec)
    learner = learning.with_init_from(request, agent.learner)
    source, _ = replay_start.make_source(request, beginning, agent.explore, agent)
    config = request.config
    many = config.seeds > 1
    key = jax.vmap(jax.random.key)(config.seed + np.arange(config.seeds)) if many else jax.random.key(config.seed)
    return loop.start(learner, source, key)


def stored(state: loop.RunState):
    return initial_rows.of_ring(checkpoint.nested(checkpoint.named(state.source.replay)))


# --- data in a replay ---


def test_a_replay_begins_with_data_and_learns_from_them_before_the_first_step(tmp_path, data, capsys):
    folder = begun(tmp_path / "run", f"data.path={data}", "replay.prefill=0", "train.pretrain=4")
    assert f"the replay begins with 50 of the 50 rows of {data}, the newest" in capsys.readouterr().err
    rows = metrics.rows(folder / "metrics.jsonl")
    assert [row["total/env_steps"] for row in rows] == [0, 2 * 4 * 2]
    step = ring(folder).step
    assert step.first.shape == (25 + 8, 2) and step.first[25].all()
    assert step.last[:25].sum() == 5  # of the five episodes
    assert (np.abs(step.reward[:25]) > 0).any()


def test_a_run_that_began_with_data_goes_on_as_if_it_had_not_been_stopped(tmp_path, data):
    settings = (f"data.path={data}", "train.pretrain=2", "replay.rows=40")
    whole = begun(tmp_path / "whole", *settings)
    begun(tmp_path / "run", *settings, "train.updates=4")
    begun(tmp_path / "run", *settings)
    assert record(tmp_path / "run") == record(whole)
    assert leaves(tmp_path / "run", 8, PARTS) == leaves(whole, 8, PARTS)


def test_of_data_that_do_not_fit_the_newest_are_kept(data):
    whole = stored(first_state(f"data.path={data}", "replay.prefill=0"))
    few = stored(first_state(f"data.path={data}", "replay.rows=18", "replay.prefill=6"))
    assert len(few.step.first) == 18  # 10 rows of data, and 8: a prefill of whole chunks
    newest = np.swapaxes(np.asarray(whole.step.obs["task.torso"]), 0, 1).reshape(50, 3)[-20:]
    np.testing.assert_array_equal(np.swapaxes(few.step.obs["task.torso"][:10], 0, 1).reshape(20, 3), newest)


def test_data_of_another_world_are_refused_or_relabelled(data):
    said = refused(f"data.path={data}", preset=f"debug,task={REACH.removeprefix('dmc.quadruped_')}")
    assert said.startswith(f"{data} has the rewards of {WALK}, not of {REACH}; set config.data.reward=relabel, or any")
    walked = stored(first_state(f"data.path={data}", "replay.prefill=0"))
    settings = (f"data.path={data}", "replay.prefill=0", f"env.name={REACH}")
    reached = stored(first_state(*settings, "data.reward=relabel"))
    expected = registry.relabelling(REACH, engine="native")(walked.step)
    np.testing.assert_allclose(reached.step.reward, expected.reward, atol=1e-6)
    np.testing.assert_allclose(reached.step.obs["target_position"], expected.obs["target_position"], atol=1e-5)
    kept = stored(first_state(*settings, "data.reward=any"))
    assert same(kept.step.reward, walked.step.reward) and not np.allclose(reached.step.reward, walked.step.reward)


def test_what_data_lack_is_named(tmp_path, data):
    assert "lacks the notes of the policy that this agent learns from: choice" in refused(
        f"data.path={data}", preset="debug,agent=mpo", error=DataFault
    )
    slow = record_episodes(tmp_path / "slow", repeat=2)
    assert refused(f"data.path={slow}").endswith(
        "has a row every 0.04 s, these worlds every 0.02 s; set config.env.repeat"
    )
    env = registry.make(WALK, worlds=2, engine="native", limit=9)
    few = {name: shape for name, shape in env.spec.obs.items() if name not in ("imu", "task.torso")}
    episode = minari.Episode({n: np.zeros((10, s.shape[1]), np.float32) for n, s in few.items()},
                             np.zeros((9, 12), np.float32), np.zeros(9, np.float32), False)  # fmt: skip
    with minari.Recorder(tmp_path / "few", env.spec._replace(obs=few)) as writer:
        writer.append([episode])
    said = refused(f"data.path={tmp_path / 'few'}", error=DataFault)
    assert f"{tmp_path / 'few'} lacks the entries imu, task.torso; it has " in said
    said = refused(f"data.path={tmp_path / 'few'}", "data.reward=relabel")
    assert said.endswith("lacks the entry 'task.torso', which the reward of config.env.name is computed from")
    assert "2 worlds have room for 0 rows each, beside the prefill; set config.replay.rows" in refused(
        f"data.path={data}", "replay.rows=8"
    )


# --- data alone ---


def test_data_alone_need_no_world(tmp_path, data, monkeypatch):
    monkeypatch.setattr(registry, "make", lambda *_, **__: pytest.fail("a world was made"))
    settings = (f"data.path={data}", "data.alone=true")
    folder = begun(tmp_path / "run", *settings, "train.updates=4")
    begun(folder, *settings)
    whole = begun(tmp_path / "whole", *settings)
    assert record(folder) == record(whole) and leaves(folder, 8) == leaves(whole, 8)
    rows = record(whole)
    assert not any(name.startswith(("total/", "episodes/")) for name in rows[0])
    assert json.loads((whole / "summary.json").read_text())["env_steps"] == 0
    assert rows[0]["world/paid"] > 0


def test_the_spec_of_data_alone_says_what_is_privileged(data):
    beginning = replay_start.open_beginning(asked(None, f"data.path={data}", "data.alone=true", "env.stack=2"))
    env = registry.make(WALK, worlds=1, engine="native")
    assert set(beginning.spec.obs) == set(env.spec.obs) and beginning.worlds.env is None
    assert set(beginning.spec.privileged) == set(env.spec.privileged)
    assert beginning.spec.obs["imu"].shape == (2, 6) and beginning.spec.action == env.spec.action
    assert beginning.spec.interval == pytest.approx(env.spec.interval)


def test_data_that_are_not_what_a_run_began_with_are_refused(tmp_path, data):
    copy = tmp_path / "copy"
    settings = (f"data.path={copy}", "data.alone=true")
    record_episodes(copy)
    begun(tmp_path / "run", *settings, "train.updates=4")
    for file in (copy / "data").iterdir():
        file.unlink()
    record_episodes(copy, limit=8)
    with pytest.raises(checkpoint.CheckpointError, match="was written with another data than this run has"):
        begun(tmp_path / "run", *settings)


def test_data_alone_can_be_relabelled_and_shorter_episodes_than_a_window_are_refused(data):
    settings = (f"data.path={data}", "data.alone=true", f"env.name={REACH}")
    reached = replay_start.open_beginning(asked(None, *settings, "data.reward=relabel")).data
    walked = replay_start.open_beginning(asked(None, *settings)).data
    assert not np.allclose(reached.reward, walked.reward) and (reached.reward[reached.start] == 0).all()
    assert "found 9 steps, needs at least 10" in refused(*settings, "train.sequence_length=10", error=DataFault)


# --- the replay of another run ---


def test_rows_are_kept_as_they_are(source):
    state = first_state("transfer.replay=keep", "replay.rows=80", preset="debug,agent=mpo", init_from=f"{source}:all")
    rows, theirs = stored(state), ring(source)
    assert len(theirs.step.first) == 60 and len(rows.step.first) == 68
    assert same(jax.tree.map(lambda x: x[:60], rows), theirs)
    assert rows.step.first[60].all() and int(state.source.stats.rows) == 8
    assert same(state.learner.params, checkpoint.read(source, "learner/params"))


def test_rows_are_relabelled_with_the_reward_of_the_new_world(source):
    state = first_state(
        "transfer.replay=relabel", "replay.rows=40", f"env.name={REACH}", preset="debug,agent=mpo",
        init_from=f"{source}:all",
    )  # fmt: skip
    rows = jax.tree.map(lambda x: x[:32], stored(state))
    theirs = jax.tree.map(lambda x: x[-32:], ring(source))  # the newest
    expected = registry.relabelling(REACH, engine="native")(theirs.step)
    np.testing.assert_allclose(rows.step.reward, np.where(rows.step.first, 0, expected.reward), atol=1e-6)
    np.testing.assert_allclose(rows.step.obs["target_position"], expected.obs["target_position"], atol=1e-5)
    assert not np.allclose(rows.step.reward, theirs.step.reward)
    assert same((rows.action, rows.extras, rows.step.last), (theirs.action, theirs.extras, theirs.step.last))


def test_worlds_may_be_other_in_number(source):
    state = first_state(
        "transfer.replay=keep", "replay.prefill=0", "env.worlds=3", preset="debug,agent=mpo", init_from=f"{source}:all"
    )  # fmt: skip
    rows = stored(state)
    assert rows.step.first.shape == (40, 3)  # 120 rows of two worlds
    theirs = ring(source).step.obs["task.torso"].reshape(120, 3)
    assert len(set(map(bytes, rows.step.obs["task.torso"].reshape(120, 3))) ^ set(map(bytes, theirs))) == 0


@pytest.mark.slow
def test_each_seed_begins_with_the_rows_and_parameters_of_a_seed(pair):
    changes = ("transfer.replay=keep", "transfer.optimiser=true", "seeds=2")
    state = first_state(*changes, preset="debug,agent=mpo", init_from=f"{pair}:all")
    for seed, name in enumerate(("seed_3", "seed_4")):
        mine = jax.tree.map(lambda x: x[seed], state)  # noqa: B023
        theirs = ring(pair / name)
        assert same(jax.tree.map(lambda x: x[: len(theirs.step.first)], stored(mine)), theirs)  # noqa: B023
        assert same(mine.learner.params, checkpoint.read(pair / name, "learner/params"))
        opt = checkpoint.named(checkpoint.read(pair / name, "learner/opt"))
        assert all(same(leaf, opt[at]) for at, leaf in checkpoint.named(mine.learner.opt).items())
    shared = first_state(*changes, preset="debug,agent=mpo", init_from=f"{pair / 'seed_4'}:all")
    rows = [jax.tree.map(lambda x: x[seed], stored_rows(shared)) for seed in (0, 1)]  # noqa: B023
    assert same(*rows)
    assert "holds seeds 3 to 4; read one of them" in refused(
        "transfer.replay=keep", preset="debug,agent=mpo", init_from=f"{pair}:all", error=checkpoint.CheckpointError
    )


def stored_rows(state):
    return state.source.replay.rows.step.obs["task.torso"][:, :12]


@pytest.mark.slow  # a run that began with data is the fast case
def test_a_run_on_relabelled_rows_goes_on_as_if_it_had_not_been_stopped(tmp_path, source):
    settings = ("transfer.replay=relabel", f"env.name={REACH}", "train.pretrain=2", "transfer.optimiser=true",
                "transfer.freeze=control/actor", "transfer.anew=control/critic")  # fmt: skip
    given = {"preset": "debug,agent=mpo", "init_from": f"{source}:all"}
    whole = begun(tmp_path / "whole", *settings, **given)
    begun(tmp_path / "run", *settings, "train.updates=4", **given)
    begun(tmp_path / "run", *settings, **given)
    assert record(tmp_path / "run") == record(whole)
    assert leaves(tmp_path / "run", 8, PARTS) == leaves(whole, 8, PARTS)
    theirs, mine = (checkpoint.read(folder, "learner/params") for folder in (source, whole))
    assert same(mine["control"]["actor"], theirs["control"]["actor"])  # frozen
    assert not same(mine["control"]["critic"], theirs["control"]["critic"])


def test_what_begins_anew_is_as_in_a_run_without_a_beginning(source):
    changes = ("transfer.anew=control/critic,control/duals", "transfer.optimiser=true")
    state = first_state(*changes, preset="debug,agent=mpo", init_from=f"{source}:all").learner
    fresh = first_state(preset="debug,agent=mpo").learner
    theirs = checkpoint.read(source, "learner/params")
    assert same(state.params["control"]["critic"], fresh.params["control"]["critic"])
    assert same(state.params["control"]["duals"], fresh.params["control"]["duals"])
    assert same(state.params["control"]["actor"], theirs["control"]["actor"])
    new = paths.belonging(fresh.opt, fresh.params, ("control/critic", "control/duals"))
    stored_opt = checkpoint.named(checkpoint.read(source, "learner/opt"))
    flags, kept = checkpoint.named(new), checkpoint.named(state.opt)
    assert any(flags.values()) and not all(flags.values())
    for name, leaf in checkpoint.named(fresh.opt).items():
        assert same(kept[name], leaf if flags[name] else stored_opt[name]), name


# --- what is refused ---


@pytest.mark.parametrize(
    ("changes", "address", "said"),
    [
        (["transfer.replay=kep"], "RUN:all", "config.transfer.replay 'kep' is not known; did you mean keep?"),
        (["data.reward=owm"], None, "config.data.reward 'owm' is not known; did you mean own?"),
        (["transfer.freze=a"], None, "config.transfer.freze is not known; did you mean config.transfer.freeze?"),
        (["transfer.replay=keep"], None, "transfer.replay=keep is about the run of --init_from, which is missing"),
        (["transfer.freeze=world"], None, "config.transfer.freeze=('world',) is about the run of --init_from"),
        (["transfer.optimiser=true"], "RUN:world", "=RUN:world names a part, and an optimiser's state is that"),
        (["transfer.replay=keep"], "RUN", "--init_from=RUN is not RUN:PART"),
        (["data.alone=true"], None, "config.data.alone=true needs data; set config.data.path"),
        (["data.path=nowhere"], None, "nowhere: found nothing at this path, needs an .h5, .hdf5 or .npz file"),
        (["data.path=tests", "transfer.replay=keep"], "RUN:all", "not with both; leave one out"),
        (["transfer.replay=relabel", "env.name=dmc.walker_walk"], "RUN:all", "what 'dmc.walker_walk' pays cannot be"),
        (["transfer.replay=relabel", "env.name=dmc.quadruped_wlak"], "RUN:all", "did you mean 'dmc.quadruped_walk'"),
    ],
)  # fmt: skip
def test_mistakes_are_found_before_anything_begins(changes, address, said, monkeypatch):
    monkeypatch.setattr(registry, "make", lambda *_, **__: pytest.fail("a world was made"))
    assert said in refused(*changes, init_from=address)


def test_the_real_command_finds_them_with_check(tmp_path):
    command = [sys.executable, "-m", "tests.begun_entry", f"--config={FILE}:debug", "--check"]
    answer = run([*command, "--config.transfer.replay=keep"])
    assert answer.returncode == 2 and answer.stderr.startswith(
        "config.transfer.replay=keep is about the run of --init_from"
    )
    assert len(answer.stderr.splitlines()) == 1
    answer = run([*command, f"--config.data.path={tmp_path / 'nowhere'}"])
    assert answer.returncode == 2 and answer.stderr.endswith("set config.data.path\n")
    answer = run([*command, "--config.transfer.replay=keep", "--init_from=runs/later:all"])
    assert answer.returncode == 2 and answer.stderr.startswith("--init_from=runs/later:all: there is no folder")
    asked = [f"--config={FILE}:debug", "--config.transfer.replay=keep", "--init_from=runs/later:all"]
    answer = run([*command[:3], "--check_each"], f"{json.dumps(asked)}\n")  # of a sweep's later stage
    assert "config" in json.loads(answer.stdout), answer.stdout


def test_a_run_that_does_not_suit_is_refused(tmp_path, source):
    given = {"preset": "debug,agent=mpo", "init_from": f"{source}:all"}
    assert refused("transfer.freeze=control/actr", **given).startswith(
        "config.transfer.freeze=control/actr: 'control/actr' is no part of the parameters; did you mean control/actor?"
    )
    assert "'control/critc' is no part of the parameters; did you mean control/critic?" in refused(
        "transfer.anew=control/critc", **given
    )
    assert refused("env.repeat=2", "transfer.replay=keep", **given) == (
        f"a row of {source} is 1 control steps long, here 2; set config.env.repeat=1, or config.transfer.replay=none"
    )
    assert "does not fit: control/" in refused("agent.hidden=9,9", **given)
    none = begun(tmp_path / "none", "replay.in_checkpoint=false", preset="debug,agent=mpo")
    assert refused("transfer.replay=keep", preset="debug,agent=mpo", init_from=f"{none}:all") == (
        f"the checkpoints of {none} hold no replay; set config.transfer.replay=none, or train that run with "
        "config.replay.in_checkpoint=true"
    )
    with pytest.raises(checkpoint.CheckpointError, match="holds no complete checkpoint"):
        learning.with_init_from(asked(None, init_from=f"{tmp_path / 'nowhere'}:all"), begun_learner())


def begun_learner():
    return begun_entry.regression(registry.make(WALK, worlds=1, engine="native").spec).learner

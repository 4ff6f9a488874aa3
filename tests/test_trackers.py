"""Metrics in W&B or Trackio: every step once, whatever happened to the run, and nothing sent unless it is asked for."""

import json
import os
import sys
from types import ModuleType, SimpleNamespace

import jax
import jax.numpy as jnp
import optax
import pytest

from experiments.shared import cli
from skillhier.agents.learner import healthy
from skillhier.train import metrics, run_folder, session, trackers
from skillhier.types import Learner, LearnerState, Source, TimeStep, Trajectory


class Library(ModuleType):
    """The interface that both share, and of each what is used: W&B's `step` of a resumed run, Trackio's list of runs.

    `server` holds what is online: id -> rows. `runs` is what lies on this machine.
    """

    def __init__(self, name):
        super().__init__(name)
        self.server, self.runs, self.given, self.finished = {}, [], [], 0
        self.sends = None  # whether Trackio would have sent

    def init(self, **given):
        self.given.append(given)
        self.sends = [name for name in trackers.SENDS if name in os.environ]
        rows = self.server.setdefault(given["id"], []) if given.get("mode") == "online" else []
        run = SimpleNamespace(name=given["name"], rows=rows, step=rows[-1][0] + 1 if rows else 0)
        run.log = lambda values, step: rows.append((step, values))
        run.finish = lambda: setattr(self, "finished", self.finished + 1)
        run.delete = lambda: self.runs.remove(run)
        self.runs.append(run)
        return run

    def Api(self):
        if not self.runs:
            raise ValueError("no such project")
        return SimpleNamespace(runs=lambda project: list(self.runs))


@pytest.fixture
def library(monkeypatch):
    def install(name):
        monkeypatch.setitem(sys.modules, name, module := Library(name))
        for variable in trackers.QUIET:
            monkeypatch.delenv(variable, raising=False)
        return module

    return install


def folder(path, **settings):
    run_folder.open_run(path, "toy", {"seed": 0, **settings})
    return path


def train(path, tracker, budget, seeds=1):
    """A run of ten updates an epoch that is saved every twenty."""
    tx = optax.sgd(0.1)

    def init(key):
        params = {"w": jnp.ones(2)}
        return LearnerState(params, {}, tx.init(params), jnp.int32(0), healthy())

    def update(state, batch, key):
        params = jax.tree.map(lambda w: 0.9 * w, state.params)
        return LearnerState(params, {}, state.opt, state.steps + 1, state.health), {"loss": params["w"].sum()}

    rows, flags = jnp.zeros((2, 1)), jnp.zeros((2, 1), bool)
    batch = Trajectory(TimeStep({}, rows, rows, flags, flags), rows, {})
    source = Source(lambda key: {}, lambda state, params, key: (state, batch, {}))
    learner = Learner(init, update)
    settings = dict(seed=3, seeds=seeds, budget=budget, updates=10, save_every=20, about={"config": "c"})
    return session.execute(path, learner, source, tracker=tracker, **settings)


@pytest.mark.parametrize("name", trackers.LIBRARIES)
def test_a_run_that_goes_on_holds_every_step_once(tmp_path, library, name, monkeypatch):
    """Saved at 20, done until 30 and killed: 30 is done again, and stands there once."""
    module, path = library(name), folder(tmp_path / "run")
    monkeypatch.setenv("TRACKIO_SPACE_ID", "somebody/space")
    save = session.checkpoint.Checkpoints.save
    monkeypatch.setattr(  # as a kill would leave it
        session.checkpoint.Checkpoints, "save", lambda self, step, *rest: step == 20 and save(self, step, *rest)
    )
    tracker = trackers.Tracker(name, "mine")
    train(path, tracker, 30)
    assert [step for step, _ in module.runs[-1].rows] == [10, 20, 30]
    assert name == "wandb" or module.sends == []  # Trackio would have read the space from the environment
    monkeypatch.undo(), monkeypatch.setitem(sys.modules, name, module)
    train(path, tracker, 50)
    run = module.runs[-1]
    assert [step for step, _ in run.rows] == [10, 20, 30, 40, 50] and module.finished == 2
    recorded = metrics.rows(path / "metrics.jsonl")
    for (_, values), row in zip(run.rows, recorded, strict=True):
        assert values == {k: v for k, v in row.items() if k != "step" and v is not None}
        of_epoch = [2 * 0.9**update for update in range(row["step"] - 9, row["step"] + 1)]
        assert values["loss"] == pytest.approx(sum(of_epoch) / 10, rel=1e-4)
    first, second = module.given
    assert first["config"]["seed"] == 0 and first["config"]["entry"] == "toy" and first["project"] == "mine"
    assert first["name"] == second["name"] and not module.server
    if name == "wandb":
        assert (first["mode"], first["dir"], first["id"]) == ("offline", str(path), second["id"])
    else:
        assert len(module.runs) == 1


def test_what_is_online_already_is_not_logged_again_and_what_is_lacking_is(tmp_path, library):
    """The connection broke after 10 while the run went on until 30; the next start had reached 20 before."""
    module, path = library("wandb"), folder(tmp_path / "run")
    tracker = trackers.Tracker("wandb", online=True)
    train(path, tracker, 30)
    (rows,) = module.server.values()
    assert [step for step, _ in rows] == [10, 20, 30] and module.given[0]["mode"] == "online"
    del rows[1:]
    train(path, tracker, 40)
    assert [step for step, _ in rows] == [10, 20, 30, 40]
    assert [given["resume"] for given in module.given] == ["allow", "allow"]
    lines = (path / "metrics.jsonl").read_text().splitlines()
    (path / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines[:2]))  # back at 20, 40 is there
    (again,) = trackers.writers(tracker, path, [path])
    again.write(30, {"loss": 1.0}), again.write(50, {"loss": 2.0})
    assert [step for step, _ in rows] == [10, 20, 30, 40, 50] and rows[-1][1] == {"loss": 2.0}


def test_seeds_share_a_run_under_names_of_their_own(tmp_path, library):
    module, path = library("trackio"), folder(tmp_path / "run", seeds=2)
    train(path, trackers.Tracker("trackio"), 20, seeds=2)
    (run,) = module.runs
    names = [(step, name) for step, values in run.rows for name in values if name.endswith("loss")]
    assert names == [(step, f"seed_{n}/loss") for step in (10, 20) for n in (3, 4)] and module.finished == 1


def test_former_folders_of_an_offline_run_are_removed_and_of_others_not(tmp_path, library):
    library("wandb"), folder(tmp_path / "run")
    tracker, path = trackers.Tracker("wandb"), tmp_path / "run"
    trackers.writers(tracker, path, [path])
    identity = json.loads((path / trackers.RECORD).read_text())["id"]
    for name in (f"offline-run-20260101_000000-{identity}", "offline-run-20260101_000000-other"):
        (path / "wandb" / name).mkdir(parents=True)
    trackers.writers(tracker, path, [path])
    assert [child.name for child in (path / "wandb").iterdir()] == ["offline-run-20260101_000000-other"]


def test_functions_of_the_module_do_where_init_returns_nothing(tmp_path, monkeypatch):
    module, rows = ModuleType("wandb"), []
    module.init, module.finish = lambda **_: None, lambda: rows.append("finished")
    module.log = lambda values, step: rows.append((step, values))
    monkeypatch.setitem(sys.modules, "wandb", module)
    path = folder(tmp_path / "run")
    (writer,) = trackers.writers(trackers.Tracker("wandb"), path, [path])
    writer.write(5, {"loss": 1.0, "return": float("nan")}), writer.close()
    assert rows == [(5, {"loss": 1.0}), "finished"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--track=wandb"], "tracking with wandb needs the extra 'wandb': pip install -e '.[wandb]'"),
        (["--track=trackio", "--track_online"], "trackio sync --project=skillhier"),
        (["--track_online"], "--track_online means nothing without --track; set --track=wandb or --track=trackio"),
        (["--track=mlflow"], "--track=mlflow"),
    ],
)
def test_wrong_use_is_one_line(monkeypatch, arguments, said):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(cli.Refused) as caught:
        cli.parse_command("toy", ["toy.py", *arguments], needs_config=False)
        cli.find_tracker()
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_nothing_is_imported_unless_it_is_asked_for(tmp_path, monkeypatch):
    for name in trackers.LIBRARIES:
        monkeypatch.setitem(sys.modules, name, None)  # an import would fail
    path = folder(tmp_path / "run")
    train(path, None, 10)
    assert not (path / trackers.RECORD).exists() and cli.find_tracker() is None


def test_the_real_wandb_offline(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    path = folder(tmp_path / "run")
    train(path, trackers.Tracker("wandb"), 20)
    assert len(list((path / "wandb").glob("offline-run-*/*.wandb"))) == 1 and wandb

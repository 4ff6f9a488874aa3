"""What goals look like and where they are chosen: figures by hand, the command, its section of the page."""

import json
from types import SimpleNamespace

import imagined_run
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import call
from PIL import Image
from test_report import checked

from experiments import mrs_choices, mrs_goals
from experiments.imagined_goals import looks, sections, visits
from experiments.imagined_goals.visits import Visits
from skillhier.agents import registry as agents
from skillhier.envs import registry
from skillhier.report import figures
from skillhier.report.sections import Folder
from skillhier.train import evaluate


def test_choices_hold_until_the_next_one():
    values = np.array([[3, 1], [9, 9], [2, 9], [9, 0]])
    renewed = np.array([[True, True], [False, False], [True, False], [False, True]])
    assert visits.held(values, renewed).tolist() == [[3, 1], [3, 1], [2, 1], [2, 0]]


def test_purity_by_hand():
    labels, choices = np.array([0, 0, 0, 0, 1, 1]), np.array([2, 2, 2, 0, 1, 0])
    assert visits.purity(labels, choices) == pytest.approx((3 / 4 + 1 / 2) / 2)


def blobs(choice):
    """Memories in two heaps, of which the second is chosen by 1s."""
    rng = np.random.default_rng(0)
    heap = np.repeat([0, 1], 60)
    deter = rng.normal(size=(120, 3)) + 30 * heap[:, None]
    return Visits(deter[:, None], choice(heap, rng)[:, None], {}, None)


def test_choices_by_place_are_told_from_choices_by_chance():
    by_place = visits.map_of(blobs(lambda heap, rng: heap), seed=0)
    assert by_place["purity"] == 1 > 0.9 > by_place["by_chance"][2]
    by_chance = visits.map_of(blobs(lambda heap, rng: rng.integers(0, 2, 120)), seed=0)
    assert by_chance["by_chance"][1] <= by_chance["purity"] <= by_chance["by_chance"][2]
    places, choices = np.array(by_place["places"]), np.array(by_place["choices"])
    apart = np.linalg.norm(places[choices == 0].mean(0) - places[choices == 1].mean(0))
    assert apart > 2 * places[choices == 0].std(0).max()


def test_distances_of_goals_are_in_spreads():
    spread = np.array([[[0.0, 0.0]], [[2.0, 0.0]]])  # deviations 1 and 0: the second number says nothing
    taken = Visits(np.zeros((2, 1, 1)), np.zeros((2, 1), int), {"x": spread}, None)
    goals = looks.Goals([(0, 0)], {"8": [{"x": np.array([[1.0, 5.0]])}, {"x": np.array([[4.0, 9.0]])}]})
    assert looks.apart(goals, taken) == {"8": pytest.approx(3.0)}


@pytest.mark.parametrize(
    ("name", "coders"), [("mrs", ("8", "16", "32", "64", "infinity")), ("director", ("infinity",))]
)
def test_proposals_are_what_the_model_sees_at_the_goals(name, coders):
    """One coder's goal differs from another's, and each is in the units of the world."""
    config = imagined_run.cli.load_config(f"{imagined_run.cli.CONFIGS / 'mrs.py'}:debug,agent={name}")[0]
    settings = {**config.agent} | ({"resolutions": (8, 16, 32, 64)} if name == "mrs" else {})
    env = registry.make("dmc.cartpole_swingup")
    agent = agents.make(**settings, spec=env.spec)
    assert agent.coders == coders
    params = jax.jit(agent.learner.init)(jax.random.key(0)).params
    looks_like = jax.jit(agent.propose)(params, jnp.ones((3, 32)), jax.random.key(1))
    assert set(looks_like) == set(coders)
    for entries in looks_like.values():
        assert {k: v.shape for k, v in entries.items()} == {"position": (3, 3), "velocity": (3, 2), "reward": (3, 1)}
    if name == "mrs":
        assert float(jnp.abs(looks_like["8"]["position"] - looks_like["64"]["position"]).max()) > 1e-4


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "mrs"
    return imagined_run.make(path, "cartpole_swingup", "mrs", changes=(("agent.resolutions", "2,4"),), entry="mrs")


def test_goals_are_shown_by_posing_the_world(cartpole, capsys, monkeypatch):
    monkeypatch.setattr(looks, "SIZE", (24, 32))
    monkeypatch.setattr(looks, "EACH", 2)
    code, out, err = call(capsys, mrs_goals, f"--run={cartpole}", "--rows=20", "--episodes=3")
    assert code == 0, err
    content = json.loads((cartpole / "goals" / "goals.json").read_text())
    assert content["coders"] == ["2", "4", "infinity"] and content["rows"] == 60
    assert sum(content["shares"].values()) == pytest.approx(1)
    assert len(content["map"]["places"]) == len(content["map"]["choices"]) == 60
    assert all(value > 0 for value in content["apart"].values())
    wide, high = Image.open(cartpole / "goals" / "goals.jpg").size
    assert wide > 7 * looks.WIDTH and high > 5 * 24  # a start and two goals of three coders, from five starts
    assert (cartpole / "goals" / "choices.jpg").is_file()
    page = (cartpole / "report.html").read_text()
    checked(page)
    assert "<h2>Goals</h2>" in page and sections.sentence(content) in out


def test_goals_are_shown_as_pictures_where_the_world_has_one(tmp_path, capsys):
    path = imagined_run.make(tmp_path / "pictures", "cartpole_swingup@pixels", "director", entry="mrs")
    code, _, err = call(capsys, mrs_goals, f"--run={path}", "--rows=8", "--episodes=2")
    assert code == 0, err
    content = json.loads((path / "goals" / "goals.json").read_text())
    assert content["shares"] == {"infinity": 1.0} and (path / "goals" / "goals.jpg").is_file()
    checked((path / "report.html").read_text())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [((), "--run is missing"), (("--rows=41",), "--rows=41 is more than the 40 decisions of an episode; give fewer")],
)
def test_wrong_use_is_one_line(cartpole, capsys, arguments, line):
    run = (f"--run={cartpole}",) if arguments else ()
    code, _, err = call(capsys, mrs_goals, *run, *arguments)
    assert code == 2 and err.count("\n") == 1 and line in err, err


def test_an_agent_without_goals_is_refused(tmp_path, capsys):
    path = imagined_run.make(tmp_path / "flat", "cartpole_swingup", "dreamerv3", entry="mrs")
    code, _, err = call(capsys, mrs_goals, f"--run={path}")
    assert code == 2 and "is a run of dreamerv3, which has no goals; give one of mrs" in err


# --- choices over training ---


def test_choices_over_training_are_stacked_by_length(tmp_path):
    rows = [
        {"step": 10 * i, "manager/choice_infinity": 0.5, "manager/choice_16": 0.25, "manager/choice_8": 0.25}
        for i in (1, 2, 3)
    ]
    drawn = sections.chosen(Folder(tmp_path, {}, rows, {}))
    checked(drawn)
    assert drawn.index("<title>8: 0.25") < drawn.index("<title>16: 0.25") < drawn.index("<title>infinity: 0.5")
    assert sections.chosen(Folder(tmp_path, {}, [{"step": 1, "x": 1.0}], {})) == ""


def test_shares_are_of_their_sum():
    drawn = figures.stacked({"a": ([0, 1], [1.0, 3.0], "red"), "b": ([0, 1], [1.0, 1.0], "blue")}, "t", "x")
    assert "a: 0.625 in the mean, 0.75 at the end" in drawn and "b: 0.375 in the mean, 0.25 at the end" in drawn


# --- whose choice it is ---


def test_returns_by_who_chooses(cartpole, capsys):
    code, out, err = call(capsys, mrs_choices, f"--run={cartpole}", "--episodes=3")
    assert code == 0, err
    ways = json.loads((cartpole / "choices" / "choices.json").read_text())["ways"]
    assert list(ways) == ["learned", "uniform", "2", "4", "infinity"]
    for way in ways.values():
        assert way["return"] == pytest.approx(np.mean(way["returns"])) and way["low"] <= way["return"] <= way["high"]
    assert ways["2"]["returns"] != ways["infinity"]["returns"]
    assert "<h2>Whose choice it is</h2>" in (cartpole / "report.html").read_text() and "learned: " in out


def test_a_return_ends_with_its_episode():
    """Rows of the next episode do not count; the last row's reward does, where the episode reaches it."""
    rewards = jnp.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [0.0, 4.0], [8.0, 8.0]])
    first = jnp.array([[True, True], [False, False], [False, False], [True, False], [False, False]])
    rows = SimpleNamespace(step=SimpleNamespace(reward=rewards, first=first))
    assert evaluate.returns(rows).tolist() == [3.0, 15.0]


def test_one_kind_of_goal_leaves_no_choice(tmp_path, capsys):
    path = imagined_run.make(tmp_path / "one", "cartpole_swingup", "director", entry="mrs")
    code, _, err = call(capsys, mrs_choices, f"--run={path}")
    assert code == 2 and "which has no choice; give one of mrs with several resolutions" in err

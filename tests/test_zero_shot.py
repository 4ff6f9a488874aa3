"""What agents do before they learn: figures of episodes by hand, the table, and the command in worlds that count."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counters import counters
from kills import ROOT, entry, run
from test_helms_transfer import learned
from test_report import checked

from experiments import zero_shot
from experiments.shared import cli
from skillhier.envs import registry
from skillhier.policies.flat import flat
from skillhier.policies.hierarchy import hierarchy
from skillhier.policies.open_loop import uniform
from skillhier.report import coverage_page, statistics
from skillhier.report.coverage_page import Column, Row
from skillhier.rollout import rollout, start
from skillhier.train import coverage
from skillhier.types import TimeStep, Trajectory

FILE = ROOT / "experiments" / "configs" / "zero_shot.py"


# --- figures ---


def seen(obs: dict, reward, first, last) -> Trajectory:
    """Rows [T, B] of worlds; an entry is given as [T, B, d] and shown in stacks of two, whose older frame is noise."""
    told = {name: np.stack([np.asarray(x, np.float32), np.full(np.shape(x), 99.0, np.float32)], 2)
            for name, x in obs.items()}  # fmt: skip
    step = TimeStep(told, np.asarray(reward, np.float32), np.ones_like(reward, np.float32), np.array(first, bool),
                    np.array(last, bool))  # fmt: skip
    return Trajectory(jax.tree.map(jnp.asarray, step), None, {})


def columns(*worlds) -> np.ndarray:
    """[T, B, d] of values told world by world, each [T] or [T, d]."""
    each = [np.asarray(world, float) for world in worlds]
    return np.stack([world if world.ndim == 2 else world[:, None] for world in each], 1)


def test_figures_by_hand():
    """World 0 has 3 steps, world 1 has 2 and then opens another episode, world 2 breaks after 2."""
    first = np.zeros((4, 3), bool)
    first[0], first[3, 1], first[3, 2] = True, True, True
    last = np.zeros((4, 3), bool)
    last[3, 0], last[2, 1] = True, True
    pair = columns([[9, 9], [1, 5], [2, 5], [3, 5]], [[9, 9], [4, 0], [8, 2], [7, 7]], [[0, 0]] * 4)
    found = coverage.figures(
        seen(
            {"pair": pair, "one": columns([7, 0, 3, 0], [7, 1, 1, 7], [7, 0, 1, 7]),
             "stack": columns([[1, 9]] * 4, [[0, 0], [0, 1], [0, 2], [0, 9]], [[0, 0]] * 4),
             "won": columns([0, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1])},
            reward=np.array([[0, 0, 0], [1, 1, 5], [1, 2, 6], [1, 9, 9]], float), first=first, last=last,
        ),
        {"both": ("pair", "one"), "single": ("one",)}, {"second": ("stack", 1)}, "won",
    )  # fmt: skip
    # of 1 2 3: 2/3; of 5 5 5: 0; of 0 3 0: mean 1, squares 1 4 1: 2
    np.testing.assert_allclose(found["variance/both"][0], (2 / 3 + 0 + 2) / 3, rtol=1e-6)
    np.testing.assert_allclose(found["variance/both"][1], (4 + 1 + 0) / 3, rtol=1e-6)  # of 4 8, of 0 2, of 1 1
    np.testing.assert_allclose(found["variance/single"], [2, 0, 0.25], rtol=1e-6)
    np.testing.assert_array_equal(found["return"], [3, 3, 11])
    np.testing.assert_array_equal(found["return/second"], [27, 3, 0])
    np.testing.assert_array_equal(found["success"], [1, 0, 0])  # the third stood stacked when its world broke
    np.testing.assert_array_equal(found["broken"], [0, 0, 1])


def test_a_variance_does_not_drown_in_the_mean():
    """Thousandths on top of thousands, in single precision: the difference of squares would be noise."""
    values = 4096.0 + np.tile([0.0, 2.0**-9], 200)
    first, last = np.zeros((401, 1), bool), np.zeros((401, 1), bool)
    first[0], last[400] = True, True
    told = seen({"x": columns([4096.0, *values])}, np.zeros((401, 1)), first, last)
    found = coverage.figures(told, {"x": ("x",)}, {}, "x")
    np.testing.assert_allclose(found["variance/x"], 2.0**-20, rtol=1e-3)


def test_a_quaternion_that_jumps_to_its_negative_has_not_moved():
    turn = np.array([[0.1, 0, 0, 0.9], [-0.1, 0, 0, -0.9], [0.1, 0, 0, 0.9], [0.3, 0, 0, 0.9], [-0.1, 0, 0, -0.9]])
    shown = columns(np.concatenate([np.arange(15).reshape(5, 3), turn], 1))
    found = np.asarray(coverage.continuous(jnp.asarray(shown)))[:, 0]
    np.testing.assert_allclose(found[:, 3:], [turn[0]] * 3 + [turn[3], turn[0]], rtol=1e-6)
    np.testing.assert_array_equal(found[:, :3], np.arange(15).reshape(5, 3))
    first, last = np.zeros((5, 1), bool), np.zeros((5, 1), bool)
    first[0], last[4] = True, True
    told = seen({"pose": shown, "won": np.zeros((5, 1, 1))}, np.zeros((5, 1)), first, last)
    by_hand = (3 * 11.25 + 0.03 / 4 + 0.0 * 3) / 7  # 3 6 9 12 thrice; w: .1 .1 .3 .1 about .15
    found = coverage.figures(told, {"all": ("pose",)}, {}, "won", poses=("pose",))
    np.testing.assert_allclose(found["variance/all"], by_hand, rtol=1e-5)


def test_the_starts_are_of_the_key_whatever_the_policy():
    env = counters((3, 5))
    measure = coverage.episodes(env, uniform(env.spec.action), groups={"all": ("count",)}, totals={}, success="told")
    found = measure((), jax.random.key(0))
    np.testing.assert_allclose(found["variance/all"], [(3**2 - 1) / 24, (5**2 - 1) / 24], rtol=1e-6)  # of 1 .. L
    np.testing.assert_allclose(found["return"], [6, 15 + 5 / 8])


def test_a_held_choice_is_renewed_at_an_episodes_first_row_and_after_its_time():
    """The manager chooses the row that it is asked at; world 0 has episodes of 4 steps, world 1 of 9."""
    env = counters((4, 9))
    manager = flat(lambda params, obs, key: (obs["count"][:, 0, 0].astype(jnp.int32), {}))
    worker = flat(lambda params, obs, key: (0.0 * obs["count"][:, 0, :1], {}))
    policy = zero_shot.held(hierarchy(manager, worker), 3)
    _, told = rollout(env, policy, (), start(env, policy, jax.random.key(0)), jax.random.key(0), 10)
    np.testing.assert_array_equal(told.extras["skill"].T, [[0, 0, 0, 3, 3, 5, 5, 5, 8, 8],
                                                           [0, 0, 0, 3, 3, 3, 6, 6, 6, 9]])  # fmt: skip


# --- the table ---


def test_what_is_ever_paid_is_counted_in_whole_episodes():
    seen = {
        "broken": np.array([0.0, 1.0, 0.0, 0.0]),
        "return/staged": np.array([0.2, 9.0, 0.0, 3.0]),
        "return/sparse": np.array([0.0, 9.0, 0.0, 1.0]),
    }
    kept = zero_shot.whole(seen)
    assert kept["held"].tolist() == [1, 0, 1] and kept["paid"].tolist() == [0, 0, 1]
    assert kept["return/staged"].tolist() == [0.2, 0.0, 3.0]


def test_an_interval_holds_the_mean_and_narrows_as_it_should():
    values = np.random.default_rng(0).normal(3.0, 2.0, 1000)
    mean, low, high = statistics.mean_with_interval(values, 0)
    assert mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / 1000**0.5
    assert low == pytest.approx(mean - half, abs=0.15 * half) and high == pytest.approx(mean + half, abs=0.15 * half)
    mean, low, high = statistics.mean_with_interval(np.array([2.0]), 0)
    assert mean == 2.0 and np.isnan(low) and np.isnan(high)  # one episode cannot say how episodes differ


def test_the_table_in_markdown_and_numbers():
    rows = [Row("HeLMS", "runs/a", "new high level", {"x": np.array([1.0, 1.0]), "y": np.array([0.0, 0.0])}, 3),
            Row("MPO <b>", "", "new actor", {"x": np.array([0.5]), "y": np.array([2.0])}, 0)]  # fmt: skip
    asked = [Column("x", "first", "of x"), Column("y", "second", "of y")]
    assert coverage_page.markdown(rows, asked, 0) == (
        "| agent | acts | first | second | episodes |\n| --- | --- | ---: | ---: | ---: |\n"
        "| HeLMS | new high level | 1 (1 to 1) | 0 (0 to 0) | 2 and 3 broken |\n"
        "| MPO \\<b\\> | new actor | 0.5 | 2 | 1 |\n"
    )
    told = coverage_page.content(rows, asked, 0)
    assert told[0]["figures"]["x"] == {"mean": 1.0, "low": 1.0, "high": 1.0} and told[0]["source"] == "runs/a"
    assert told[1]["figures"]["x"] == {"mean": 0.5, "low": None, "high": None}
    page = coverage_page.page(rows, asked, 0, title="t", subtitle="s")
    checked(page)
    assert "MPO &lt;b&gt;" in page and "Fewer than 10 episodes" in page and page.count('<svg class="fig"') == 2


# --- the command, in worlds that cost nothing ---


@pytest.fixture(scope="module")
def skills(tmp_path_factory):
    """Runs of helms and npmp in one folder, whose skills see what counting worlds show."""
    path = tmp_path_factory.mktemp("skills")
    with pytest.MonkeyPatch.context() as patched:
        for agent in ("helms", "npmp"):
            learned(path / agent, patched, agent)
    return path


@pytest.fixture
def stand_ins(monkeypatch):
    """Every world counts its rows; skills see what it shows."""
    monkeypatch.setattr(registry, "make", lambda name, *, worlds, **_: counters((5, 6, 7, 7)[:worlds]))
    monkeypatch.setattr(zero_shot.stacking, "GROUPS", {"joints": ("count",), "grasp": ("told",), "objects": ("count",)})
    monkeypatch.setattr(zero_shot.stacking, "totals", lambda spec: {"staged": ("told", 0), "sparse": ("told", 0)})


def call(capsys, *arguments: str, preset: str = "debug") -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of the command."""
    sights = [f"--config.agents.{name}.{what}=count" for name in ("helms_cat", "npmp_kl", "mpo")
              for what in ("high", "critic")]  # fmt: skip
    with pytest.raises(SystemExit) as stopped:
        cli.run(zero_shot.main, argv=["zero_shot", f"--config={FILE}:{preset}", *sights, *arguments])
    told = capsys.readouterr()
    return stopped.value.code, told.out, told.err


def test_a_table_of_agents_and_the_same_command_again(tmp_path, monkeypatch, capsys, skills, stand_ins):
    capsys.readouterr()
    asked = (f"--skills={skills}/*", f"--workdir={tmp_path / 'out'}", "--config.baselines=mpo,random",
             "--config.episodes=7")  # fmt: skip
    code, out, err = call(capsys, *asked)
    assert code == 0, err
    told = json.loads((tmp_path / "out" / "zero_shot.json").read_text())
    assert [agent["agent"] for agent in told["agents"]] == ["HeLMS", "NPMP", "MPO from scratch", "random actions"]
    assert [agent["acts"] for agent in told["agents"]] == ["new high level", "new high level", "new actor", "chance"]
    lengths = np.array([5, 6, 7, 7, 5, 6, 7])  # seven episodes of two chunks of four worlds
    worlds = np.array([0, 1, 2, 3, 0, 1, 2])
    for agent in told["agents"]:  # these worlds do as they like, whoever acts
        assert agent["episodes"] == 7 and agent["broken"] == 0
        found = {name: figure["mean"] for name, figure in agent["figures"].items()}
        assert found["variance/joints"] == pytest.approx(((lengths**2 - 1) / 24).mean(), rel=1e-6)
        assert found["return"] == pytest.approx((lengths * (lengths + 1) / 2 + lengths * worlds / 8).mean(), rel=1e-6)
        assert found["return/staged"] == found["success"] == found["paid"] == 0  # of even episodes, the first ones
    page = (tmp_path / "out" / "zero_shot.html").read_text()
    checked(page)
    assert out.endswith(f"page: {tmp_path / 'out' / 'zero_shot.html'}\n") and "| HeLMS | new high level |" in out
    assert (tmp_path / "out" / "zero_shot.md").read_text().count("\n| ") == 2 + 4

    monkeypatch.setattr(zero_shot.coverage, "episodes", None)  # all of them are there
    code, again, err = call(capsys, *asked)
    assert code == 0 and again == out, err
    code, out, err = call(capsys, *asked, "--config.choice=prior")
    assert code == 2 and "was begun with config.choice=agent, now it is prior" in err


@pytest.mark.parametrize(("choice", "acts"), [("prior", "learned prior"), ("held", "new high level, 2 rows each")])
def test_the_choice_is_told(tmp_path, capsys, skills, stand_ins, choice, acts):
    code, out, err = call(capsys, f"--skills={skills / 'helms'}", f"--workdir={tmp_path / 'out'}",
                          f"--config.choice={choice}", "--config.choice_period=2",
                          "--config.baselines=random")  # fmt: skip
    assert code == 0, err
    assert f"| HeLMS | {acts} |" in out and "| random actions | chance |" in out


def test_what_cannot_be_is_refused_in_one_line(tmp_path, capsys, stand_ins):
    (tmp_path / "empty").mkdir()
    for arguments, said in (
        (["--config.baselines="], "--skills is missing and config.baselines is empty"),
        ([f"--skills={tmp_path}/none*"], f"no folder matches --skills={tmp_path}/none*"),
        ([f"--skills={tmp_path}/empty"], "is no config of a run"),
        (["--config.baselines=mpo,expret"], "config.baselines: 'expret' is not known; did you mean expert?"),
        (["--config.choice=mine"], "config.choice 'mine' is not known; choose agent, prior, held"),
        (
            ["--config.env.name=dmc.cheetah_run"],
            "give the world as option of --config instead",
        ),
        (["--init_from=a:all"], "--init_from=a:all means nothing to zero_shot"),
    ):
        code, out, err = call(capsys, *arguments, f"--workdir={tmp_path / 'out'}")
        assert code == 2 and said in err and len(err.splitlines()) == 1 and out == "", err
    assert not (tmp_path / "out").exists()


def test_skills_that_see_other_frames_are_refused(tmp_path, monkeypatch, capsys, skills, stand_ins):
    world = counters((5, 6))
    spec = world.spec._replace(obs={name: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)
                                    for name, x in world.spec.obs.items()})  # fmt: skip
    monkeypatch.setattr(registry, "make", lambda name, **_: world._replace(spec=spec))
    code, _, err = call(capsys, f"--skills={skills / 'helms'}", f"--workdir={tmp_path / 'out'}",
                        "--config.choice=prior", "--config.baselines=")  # fmt: skip
    assert code == 2 and "see other things than these worlds show; set config.env.stack" in err, err


def test_agents_of_one_name_are_told_apart():
    made = [zero_shot.Agent("HeLMS", source, "", "", lambda: None) for source in ("runs/a", "runs/b")]
    found = zero_shot.told_apart([*made, zero_shot.Agent("MPO", "", "", "", lambda: None)])
    assert [agent.label for agent in found] == ["HeLMS (a)", "HeLMS (b)", "MPO"]
    made.append(made[0]._replace(source="other/a"))
    assert [agent.label for agent in zero_shot.told_apart(made)] == [
        "HeLMS (runs/a)", "HeLMS (runs/b)", "HeLMS (other/a)"
    ]  # fmt: skip


# --- in its own worlds ---


@pytest.mark.slow
def test_the_table_of_the_paper_by_its_script(tmp_path):
    environment = {"PYTHON": entry("x")[0], "PRESET": "debug", "RUNS": str(tmp_path)}
    script = ["env", *(f"{name}={value}" for name, value in environment.items()), "sh", "launch/helms_table_1.sh"]
    told = run([*script, "--parallel=2", "--config.episodes=4", "--config.baselines=mpo,random"])
    assert told.returncode == 0, told.stderr
    found = json.loads((tmp_path / "table_1" / "zero_shot.json").read_text())["agents"]
    assert [agent["agent"] for agent in found] == [
        "HeLMS", "NPMP", "BC", "hierarchical BC", "MPO from scratch", "random actions"
    ]  # fmt: skip
    for agent in found:
        figures = {name: figure["mean"] for name, figure in agent["figures"].items()}
        assert figures["variance/joints"] > 0 and figures["variance/objects"] >= 0 and 0 < figures["return"] < 30
        assert 0 <= figures["return/sparse"] <= 30 and 0 <= figures["return/staged"] <= 30  # a step pays 1 at most
    checked((tmp_path / "table_1" / "zero_shot.html").read_text())

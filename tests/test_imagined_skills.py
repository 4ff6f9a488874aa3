"""Skills learned in imagination, held fixed and as they are chosen: figures by hand, commands, pages."""

import json

import imagined_run
import jax.numpy as jnp
import numpy as np
import pytest
from commands import call
from PIL import Image
from test_compare import run as logged_run
from test_report import checked

from experiments import lsp_noise, lsp_paths, lsp_skills
from experiments.imagined_skills import held, places, roaming, sections
from experiments.imagined_skills.held import Held
from experiments.imagined_skills.places import Places
from experiments.imagined_skills.roaming import Roamed
from experiments.shared import pictures
from skillhier import files
from skillhier.report import plan
from skillhier.report.sections import read

# --- figures by hand -------------------------------------------------------------------------------


def made_up(ends: list) -> Held:
    """Episodes that begin at 0 and end at `ends` [skills][repeats * starts] along x, in their third row."""
    values = np.zeros((len(ends), len(ends[0]), 4, 2))
    values[:, :, 2, 0] = ends
    values[:, :, 3] = 99.0  # of the next episode
    return Held(Places(values, "m", "xy of the torso"), np.full(values.shape[:2], 2), None, np.arange(2), 2)


def test_how_far_apart_skills_end():
    content = held.measure(made_up([[0, 10, 1, 12], [4, 10, 5, 10]]))  # two starts, twice
    # of one skill: 1, 2 and 1, 0; of different ones, from start 0: 4 5 3 4, from start 1: 0 0 2 2
    assert content["within"] == 1.0 and content["between"] == 20 / 8 and content["ratio"] == 2.5
    assert (content["starts"], content["repeats"]) == (2, 2)
    assert [of["moved"] for of in content["skills"]] == [23 / 4, 29 / 4]
    assert content["skills"][1]["paths"] == [[[0, 0], [0, 0], [4, 0]], [[0, 0], [0, 0], [5, 0]]]  # from start 0
    once = held.measure(made_up([[0, 1], [2, 3]]))
    assert once["within"] is None and once["ratio"] is None and once["between"] == 2.0
    assert "apart (xy of the torso)." in sections.distances(once)
    assert held.measure(made_up([[0, 0, 0, 0], [1, 1, 1, 1]]))["ratio"] is None  # repeats end in one place
    assert held.measure(made_up([[0, 1, 0, 1]]))["between"] is None


def test_without_physics_numbers_count_by_their_spread():
    values = np.array([[[0.0, 5.0, 0.0], [2.0, 5.0, 100.0], [7.0, 7.0, 7.0]]])
    valid = np.array([[True, True, False]])
    seen = places.read(values, None, valid)
    np.testing.assert_allclose(seen.values[0, :2], [[0, 5, 0], [2, 5, 2]])  # spreads 1, none, 50
    assert seen.unit == "" and "spread" in seen.what


def test_episodes_are_split_where_they_open_and_ordered_by_it():
    first = np.zeros((6, 2), bool)
    first[[0, 4], 0] = first[2, 1] = True
    torso = np.arange(6)[:, None, None] + np.array([[[0.0] * 3, [100.0] * 3]])
    episodes = roaming.split(torso, torso + 7, first)
    assert [episode.torso[:, 0].tolist() for episode in episodes] == [[0, 1, 2, 3], [102, 103, 104, 105], [4, 5]]
    assert episodes[1].target.tolist() == [109, 109] and not len(episodes[0].marks)


def test_cells_and_targets():
    def walk(points, target=(9.0, 9.0), marks=()):
        return Roamed(np.array(points, float), np.array(target), np.array(marks, int), np.zeros((0, 2)))

    content = roaming.measure(
        [walk([[0.1, 0.1], [0.4, 0.4], [0.6, 0.1]]), walk([[0.2, 0.2], [-0.1, 0.1], [2, 2]], target=(2, 2.5))], 0.5
    )
    assert content["cells"] == [2, 4] and content["reached"] == [False, True]
    assert content["closest"][1] == 0.5
    long = walk(np.arange(2000).reshape(1000, 2), marks=[0, 501, 999])
    drawn = roaming.measure([long], 1.0)["episodes"][0]
    assert len(drawn["path"]) < 2 * roaming.POINTS
    assert [drawn["path"][mark] for mark in drawn["marks"]] == [[0, 1], [1002, 1003], [1998, 1999]]


def ring(rows: int, head: int) -> dict:
    """A replay of 2 worlds whose rows, oldest first, have the torso at x = their number, an episode every 4 rows."""
    place = (np.arange(rows) - head) % rows  # of each place, how old its row is
    number = np.broadcast_to((20 + place)[:, None], (rows, 2))
    torso = np.stack([number, number, number], -1).astype(np.float32)
    step = {"obs": {"task.torso": torso, "task.target": 0 * torso}, "first": number % 4 == 0}
    count = lambda n: jnp.full((), n, jnp.int32)  # noqa: E731
    return {
        "replay": {"rows": {"step": step}, "head": count(head), "filled": count(rows), "next_row": count(20 + rows)}
    }


def test_training_is_read_from_the_replay_without_its_random_rows(tmp_path):
    path = imagined_run.make(tmp_path / "run", "cartpole_swingup", source=ring(16, 5))
    settings = {"train": {"unroll_length": 4}, "replay": {"prefill": 26}}  # rows 0 to 27 were random
    episodes = roaming.training(path, settings, 5)
    assert [episode.torso[:, 0].tolist() for episode in episodes] == [[28, 29, 30, 31]] * 2 + [[32, 33, 34, 35]] * 2
    assert len(roaming.training(path, settings, 3)) == 3
    later = roaming.training(path, settings | {"replay": {"prefill": 0}}, 99)
    assert later[0].torso[0, 0] == 20 and len(later) == 8


# --- pages -----------------------------------------------------------------------------------------


def test_a_plan_has_one_scale():
    line = plan.Line(np.array([[0.0, 0.0], [4.0, 1.0]]), "red", marks=(1,))
    drawn = plan.draw([line], "t", ("x", "y"), discs=[plan.Disc((2.0, 0.5), 0.5, "blue")])
    (data,) = [part.split('"')[0] for part in drawn.split(' d="') if part.startswith("M") and "L" in part.split('"')[0]]
    (ax, ay), (bx, by) = (map(float, point.split()) for point in data[1:].split("L"))
    assert bx - ax == pytest.approx(4 * (ay - by), abs=0.5)
    assert drawn.count('width="4.0"') == 1 and f'width="{(bx - ax) / 4:.1f}"' in drawn
    assert "no figures" in plan.draw([], "t", ("x", "y"))


def test_sections_show_what_is_there(tmp_path):
    assert sections.held(read(tmp_path)) == sections.ground(read(tmp_path)) == ""
    (tmp_path / "skills").mkdir()
    content = {"env": "<w>", "rows": 2, "seconds": 0.5} | held.measure(made_up([[0, 10, 1, 12], [4, 10, 5, 10]]))
    files.write_json(tmp_path / "skills" / "skills.json", content)
    page = sections.held(read(tmp_path))
    assert "&lt;w&gt;" in page and "lie 2.5 m apart" in page and "chance 1 m: 2.5 times as far" in page
    assert page.count("<title>skill 1</title>") == 2 and "y, m" in page
    (tmp_path / "paths").mkdir()
    one = Roamed(np.array([[0.0, 0], [1, 1]]), np.array([1.0, 1]), np.array([0, 1]), np.array([[3.0, 3]]))
    which = {name: roaming.measure([one] * 2, 1.0) for name in ("training", "recorded")}
    files.write_json(tmp_path / "paths" / "paths.json", {"env": "w", "radius": 1.0, "cell": 0.5, **which})
    page = sections.ground(read(tmp_path))
    assert page.count("2 episodes: 2 cells of 0.5 m visited, the target reached (within 1 m) in 2, nearest 0 m.") == 2
    assert page.count('width="4.0" height="4.0"') == 8 and page.count("<title>episode 2</title>") == 2


# --- commands --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory):
    return imagined_run.make(tmp_path_factory.mktemp("runs") / "lsp", "cartpole_swingup")


def test_each_skill_is_held_from_the_same_starts(cartpole, capsys, monkeypatch):
    monkeypatch.setattr(lsp_skills, "SIZE", (24, 32))
    code, out, err = call(capsys, lsp_skills, f"--run={cartpole}", "--rows=4", "--episodes=2")
    assert code == 0, err
    content = json.loads((cartpole / "skills" / "skills.json").read_text())
    assert (content["env"], content["rows"], content["starts"], content["repeats"]) == ("dmc.cartpole_swingup", 4, 2, 2)
    assert content["place"] == "xz of the cart" and len(content["skills"]) == 8
    paths = np.array([of["paths"] for of in content["skills"]])  # [skills, repeats, rows, 2]
    assert paths.shape == (8, 2, 5, 2)
    assert (paths[:, :, 0] == paths[0, 0, 0]).all() and np.ptp(paths[:, 0, -1, 0]) > 0
    assert content["between"] > 0 and content["within"] > 0
    assert Image.open(cartpole / "skills" / "strip.jpg").height > 8 * 24
    page = (cartpole / "report.html").read_text()
    checked(page)
    assert "What each skill does, held fixed" in page and "8 skills. Ends of different skills lie" in out


@pytest.mark.parametrize(
    ("command", "arguments", "line"),
    [
        (lsp_skills, (), "--run is missing"),
        (lsp_skills, ("--run=RUN", "--rows=21"), "--rows=21 is more than the 20 decisions of an episode; give fewer"),
        (lsp_skills, ("--run=DREAMER",), "is a run of dreamer, which has no skills to hold; give one of lsp"),
        (lsp_paths, (), "--run is missing"),
        (lsp_paths, ("--run=RUN",), "dmc.cartpole_swingup shows no task.torso, where its robot is"),
        (lsp_noise, (), "--runs is missing"),
        (
            lsp_noise,
            ("--runs=DREAMER", "--by=config.seed"),
            "skills.json is missing; run experiments.lsp_skills",
        ),
    ],
)
def test_wrong_use_is_told_in_one_line(cartpole, tmp_path, capsys, command, arguments, line):
    if any("DREAMER" in argument for argument in arguments):
        imagined_run.make(tmp_path / "dreamer", "cartpole_swingup", "dreamer")
        (tmp_path / "dreamer" / "metrics.jsonl").write_text('{"step": 40}\n')
    places = {"RUN": cartpole, "DREAMER": tmp_path / "dreamer"}
    arguments = [f"{a.partition('=')[0]}={places.get(a.partition('=')[2], a.partition('=')[2])}" for a in arguments]
    code, _, err = call(capsys, command, *arguments)
    assert code == 2 and err.count("\n") == 1 and line in err, err


def test_skills_beside_noise(tmp_path, capsys):
    for noise, seed, far in ((0.0, 0, 1.0), (0.0, 1, 2.0), (1.0, 0, 9.0)):
        path = logged_run(tmp_path / f"n{noise}s{seed}", data="", agent__pred_noise=noise, seed=seed)
        (path / "skills").mkdir()
        about = {"env": "w", "rows": 40, "place": "xy of the torso", "unit": "m", "skills": [0]}
        about |= {"between": far, "within": 0.5, "ratio": None}
        files.write_json(path / "skills" / "skills.json", about)
    code, out, err = call(capsys, lsp_noise, f"--runs={tmp_path}/n*", f"--out={tmp_path}/out")
    assert code == 0, err
    groups = json.loads((tmp_path / "out" / "skills.json").read_text())["groups"]
    assert groups["pred_noise=0.0"] == {"between": [1.0, 2.0], "within": [0.5, 0.5], "ratio": []}
    assert groups["pred_noise=1.0"]["between"] == [9.0]
    assert "pred_noise=0.0: between 1.5, within 0.5\n" in out
    page = (tmp_path / "out" / "skills.html").read_text()
    checked(page)
    assert "<title>pred_noise=0.0: 1.5</title>" in page
    files.write_json(path / "skills" / "skills.json", about | {"rows": 10})
    code, _, err = call(capsys, lsp_noise, f"--runs={tmp_path}/n*", f"--out={tmp_path}/out")
    assert code == 2 and "were held for 10 decisions in w, others for 40 in w" in err


def test_choices_in_words():
    rows = {"skill": np.array([[0.04, -1.26], [0.04, -1.26], [2, 3]]), "renewed": np.array([True, False, True])}
    choices = pictures.choices_of(rows)
    assert choices.count.tolist() == [0, 0, 1] and pictures.choice_words(choices, 1) == "+0.0 -1.3"
    wide = pictures.choices_of({**rows, "skill": np.zeros((3, 9))})
    assert pictures.choice_words(wide, 2) == "choice 2"
    assert pictures.choices_of({**rows, "renewed": np.ones(3, bool)}) is None  # a latent of every row is no skill
    assert pictures.choices_of({}) is None

"""Films of agents with a world model: their continuous skills in the captions, and what they dream beside it."""

import json

import imageio_ffmpeg
import imagined_run
import numpy as np
import pytest
from PIL import Image
from test_watch import SMALL, call, held

from experiments.shared import pictures
from skillhier.report import dreams, run_page

pytest.importorskip("dm_control")


def test_skills_that_are_chosen_and_held_are_shown_and_dreams_beside_them(tmp_path, capsys, monkeypatch):
    """The planner of preset debug chooses a skill every second row; skill 2 is one of eight."""
    run = imagined_run.make(tmp_path / "run", "cartpole_swingup")
    captions = []
    monkeypatch.setattr(pictures.film, "caption", lambda image, words, paint: captions.append((words, paint)) or image)
    code, out, err = call(capsys, f"--run={run}", "--film=false", *SMALL, "--rows=8")
    assert code == 0, err
    shown = [(words.split(" · ")[-1], paint) for words, paint in captions]
    assert len(shown) == pictures.FRAMES and all(len(numbers.split()) == 3 for numbers, _ in shown)
    changed = [a != b for a, b in zip(shown, shown[1:], strict=False)]
    assert [paint for _, paint in shown] == [pictures.drawing.hex_colour(row // 2) for row in (0, 1, 2, 3, 5, 6, 7, 8)]
    assert changed.count(True) >= 4 and held(run / "watch" / "episode.html")["episodes"][0]["skill"] is None
    about = json.loads((run / "watch" / "dream" / "dream.json").read_text())
    assert (about["rows"], about["context"]) == (9, 5) and "reward" in about["numbers"]
    numbers = next(iter(about["numbers"].values()))
    assert numbers["belief"][:5] == numbers["dream"][:5] and numbers["belief"][5:] != numbers["dream"][5:]
    assert "Dream of the first episode above" in (run / "report.html").read_text()
    captions.clear()
    code, _, err = call(capsys, f"--run={run}", "--film=false", "--skill=2", *SMALL, "--rows=4")
    assert code == 0, err
    assert {words.split(" · ")[0] for words, _ in captions} == {"skill 2"} and len(
        {paint for _, paint in captions}
    ) == 1
    assert not (run / "watch" / "dream").exists()  # five rows are seen, and no row is left to be dreamt of


def test_pictures_are_dreamt_of_as_a_film(tmp_path):
    rng = np.random.default_rng(0)
    some = lambda: {"pixels": rng.uniform(size=(7, 16, 16, 3)), "reward": rng.uniform(size=(7, 1))}  # noqa: E731
    rows = {line: some() for line in dreams.LINES}
    run = tmp_path / "run"
    (run / "watch").mkdir(parents=True)
    dreams.write(run / "watch", rows, 5, 0.04)
    dreams.write_films(run / "watch", rows, 5, 0.04)
    folder = run / "watch" / "dream"
    assert sorted(file.name for file in folder.iterdir()) == ["dream-pixels.mp4", "dream.json", "strip-pixels.jpg"]
    frames = imageio_ffmpeg.read_frames(str(folder / "dream-pixels.mp4"))
    assert next(frames)["size"] == (3 * 256, 256) and len(list(frames)) == 7
    assert Image.open(folder / "strip-pixels.jpg").height == 3 * 84 + 2 * 3
    page = run_page.page(dreams.Folder(run, {}, [], {}), (dreams.watched,))
    assert "data:video/mp4" in page and "5 rows are seen" in page
    assert dreams.section(dreams.Folder(run, {}, [], {})) == ""  # that of the run itself, which has none

"""Films and strips: how many pictures, how fast, in which colours."""

import io
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from skillhier.report import film


def plain(rgb: tuple[int, int, int], height: int = 48, width: int = 64) -> np.ndarray:
    return np.broadcast_to(np.array(rgb, np.uint8), (height, width, 3)).copy()


def test_a_film_has_its_pictures_at_its_rate_in_a_code_that_browsers_play(tmp_path):
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    path = tmp_path / "a.mp4"
    assert film.write(path, (plain(colours[i // 10]) for i in range(30)), 20.0) == 30
    assert imageio_ffmpeg.count_frames_and_secs(str(path)) == (30, pytest.approx(1.5))
    told = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)], capture_output=True, text=True).stderr
    assert "h264" in told and "yuv420p" in told and "64x48" in told and "20 fps" in told
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-loglevel",
        "error",
        "-i",
        str(path),
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    seen = np.frombuffer(raw, np.uint8).reshape(30, 48, 64, 3)
    for i in (0, 15, 29):
        assert abs(seen[i].mean((0, 1)) - colours[i // 10]).max() < 12
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    ("interval", "step", "rate"),
    [(0.05, 1, 20.0), (0.04, 1, 25.0), (0.01, 4, 25.0), (0.025, 2, 20.0), (1 / 30, 1, 30.0), (0.5, 1, 2.0)],
)
def test_time_runs_as_it_does(interval, step, rate):
    assert film.pace(interval) == (step, pytest.approx(rate))


def test_what_cannot_be_a_film_is_told_in_a_line_and_leaves_nothing(tmp_path, monkeypatch):
    for pictures, line in (([plain((0, 0, 0), 47)], "64 x 47 pixels"), ([], "at least one image")):
        with pytest.raises(film.FilmError, match=line):
            film.write(tmp_path / "a.mp4", iter(pictures), 20.0)
    with pytest.raises(film.FilmError, match="--film=false leaves it out"):
        film.write(tmp_path / "nowhere" / "a.mp4", (plain((0, 0, 0)) for _ in range(3)), 20.0)

    def missing() -> str:
        raise RuntimeError("no ffmpeg executable could be found")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    with pytest.raises(film.FilmError, match="no ffmpeg executable"):
        film.write(tmp_path / "a.mp4", iter([plain((0, 0, 0))]), 20.0)
    assert not list(tmp_path.iterdir())


def test_captions_lie_in_the_upper_left_corner():
    before = plain((120, 120, 120), 96, 160)
    after = film.caption(before, "2.0 s", "#3b6fd4")
    assert after.shape == before.shape
    assert (after[26:] == before[26:]).all() and (after[:, 130:] == before[:, 130:]).all()
    assert (after.max(-1) > 240).any() and (after == (0x3B, 0x6F, 0xD4)).all(-1).sum() > 20
    assert (before == 120).all()


def test_tiles_and_strips_put_pictures_side_by_side():
    red, green, blue = (plain(rgb) for rgb in ((255, 0, 0), (0, 255, 0), (0, 0, 255)))
    sheet = film.tiled([red, green, blue])
    assert sheet.shape == (96, 128, 3)
    assert (sheet[:48, :64] == red).all() and (sheet[:48, 64:] == green).all() and (sheet[48:, :64] == blue).all()
    assert (film.tiled([red]) == red).all() and film.tiled([red, green, blue], 3).shape == (48, 192, 3)
    shown = Image.open(io.BytesIO(film.strip([[red, green], [blue, red]], 32)))
    assert shown.format == "JPEG" and shown.size == (2 * 32 + film.GAP, 2 * 24 + film.GAP)
    assert abs(np.array(shown)[12, 32 + film.GAP + 16].astype(int) - (0, 255, 0)).max() < 12

"""LeRobot data sets of versions 2.1 and 3.0, written as their documentation says; films by ffmpeg."""

import builtins
import io
import json

import imageio_ffmpeg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from skillhier.data import dataset
from skillhier.data.faults import DataFault

LENGTHS, FPS, SIZE = (30, 27), 10, (16, 32)  # frames of each episode; height and width of pictures
VECTOR = {"dtype": "float32", "shape": [2], "names": None}
FEATURES = {
    "observation.state": VECTOR,
    "observation.gripper": {"dtype": "int64", "shape": [1]},
    "observation.images.top": {"dtype": "video", "shape": [3, *SIZE], "names": ["c", "h", "w"]},
    "observation.images.wrist": {"dtype": "image", "shape": [*SIZE, 3]},
    "task": {"dtype": "string", "shape": [1]},
    "action": VECTOR,
    "next.reward": {"dtype": "float32", "shape": [1]},
    "next.success": {"dtype": "bool", "shape": [1]},
    "episode_index": {"dtype": "int64", "shape": [1]},
}


def line(path, *args, **kwargs) -> str:
    with pytest.raises(DataFault) as caught:
        dataset.load(path, *args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def picture(shade: int) -> np.ndarray:
    return np.full((*SIZE, 3), shade, np.uint8)


def png(shade: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture(shade)).save(file, "PNG")
    return file.getvalue()


def film(path, shades) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = imageio_ffmpeg.write_frames(str(path), SIZE[::-1], fps=FPS, codec="libx264", macro_block_size=1)
    writer.send(None)
    for shade in shades:
        writer.send(picture(shade).tobytes())
    writer.close()


def table(episodes) -> pa.Table:
    """Row t of episode e: state 100 e + t, action t / 100, reward t; pictures of shade 4 t + 40 e."""
    frames = [(e, t) for e in episodes for t in range(LENGTHS[e])]
    lists = lambda values: pa.array(values, pa.list_(pa.float32(), 2))  # noqa: E731
    images = [{"bytes": png(4 * t + 40 * e), "path": None} for e, t in frames]
    return pa.table(
        {
            "observation.state": lists([[100 * e + t, 0.5] for e, t in frames]),
            "observation.gripper": pa.array([t % 2 for _, t in frames]),
            "observation.images.wrist": pa.array(images),
            "task": pa.array(["stack"] * len(frames)),
            "action": pa.array([[t / 100, -t / 100] for _, t in frames], pa.list_(pa.float32())),
            "next.reward": pa.array([float(t) for _, t in frames], pa.float32()),
            "next.success": pa.array([e == 1 and t == LENGTHS[e] - 1 for e, t in frames]),
            "episode_index": pa.array([e for e, _ in frames]),
        }
    )


def shades(e: int) -> list[int]:
    return [4 * t + 40 * e for t in range(LENGTHS[e])]


@pytest.fixture(params=["v2.1", "v3.0"])
def root(request, tmp_path):
    info = {
        "codebase_version": request.param, "robot_type": "so100", "total_episodes": 2, "fps": FPS,
        "splits": {"train": "0:1", "val": "1:2"}, "features": FEATURES, "data_path": "../../elsewhere",
    }  # fmt: skip
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "info.json").write_text(json.dumps(info))
    chunk = tmp_path / "data" / "chunk-000"
    chunk.mkdir(parents=True)
    camera = "observation.images.top"
    if request.param == "v2.1":
        for e in range(2):
            pq.write_table(table([e]), chunk / f"episode_{e:06d}.parquet")
            film(tmp_path / "videos" / "chunk-000" / camera / f"episode_{e:06d}.mp4", shades(e))
        return tmp_path
    pq.write_table(table([0, 1]), chunk / "file-000.parquet")
    film(tmp_path / "videos" / camera / "chunk-000" / "file-000.mp4", shades(0) + shades(1))
    (tmp_path / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
    about = {"episode_index": [0, 1], "length": list(LENGTHS)}
    about |= {f"videos/{camera}/{what}_index": [0, 0] for what in ("chunk", "file")}
    about |= {f"videos/{camera}/from_timestamp": [0.0, LENGTHS[0] / FPS]}
    pq.write_table(pa.table(about), tmp_path / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
    return tmp_path


def test_numbers(root):
    loaded = dataset.load(root)
    assert sorted(loaded.obs) == ["observation.gripper", "observation.state"]
    assert loaded.length.tolist() == [n - 1 for n in LENGTHS] and not loaded.info["terminated"].any()
    assert loaded.obs["observation.state"][loaded.start, 0].tolist() == [0, 100]
    assert loaded.obs["observation.gripper"][:3, 0].tolist() == [0, 1, 0]
    np.testing.assert_allclose(loaded.action[5], [0.05, -0.05], rtol=1e-6)
    assert loaded.reward[:4].tolist() == [0, 0, 1, 2] and loaded.info["success"].tolist() == [0, 1]
    assert loaded.notes == (
        "no observation follows on the last action of 2 episodes, and so their last rewards are left out: 55 in all",
    )  # 29 + 26
    assert dataset.about(root)["control_timestep"] == pytest.approx(0.1)


def test_splits_and_short_episodes(root):
    assert dataset.load(root, subset="val").obs["observation.state"][0, 0] == 100
    assert "found no split 'test', needs data.subset left out, or one of train, val" in line(root, subset="test")
    assert dataset.load(root, min_length=28, drop_short=True).length.tolist() == [29]


def test_pictures_where_they_are_named(root):
    names = ("observation.images.top", "observation.images.wrist")
    loaded = dataset.load(root, names)
    for name in names:
        assert loaded.obs[name].shape == (sum(LENGTHS), *SIZE, 3) and loaded.obs[name].dtype == np.uint8
    wrist, top = (loaded.obs[name][..., 0].mean((1, 2)) for name in names[::-1])
    assert wrist.tolist() == [*shades(0), *shades(1)]
    np.testing.assert_allclose(top, wrist, atol=3)  # films lose a little; a neighbouring frame differs by 4
    assert np.abs(top - wrist).mean() < 1.5
    assert "observation.images.top: found pictures (16, 32, 3), needs vectors" in line(root, names, pictures=False)


def test_one_line_where_something_is_missing(root, monkeypatch):
    assert "observation.force: found nothing, needs one of observation.state, " in line(root, ("observation.force",))
    info = json.loads((root / "meta" / "info.json").read_text())
    (root / "meta" / "info.json").write_text(json.dumps(info | {"total_episodes": 3}))
    assert "found 2 episodes, needs 3, the total_episodes of info.json" in line(root)
    (root / "meta" / "info.json").write_text(json.dumps(info | {"codebase_version": "v1.6"}))
    assert "found version v1.6, needs v2.0, v2.1 or v3.0" in line(root)
    (root / "meta" / "info.json").write_text(json.dumps(info))
    for film in root.glob("videos/**/*.mp4"):
        film.unlink()
    assert "found no video of this episode, needs an mp4" in line(root, ("observation.images.top",))
    real = builtins.__import__

    def without_pyarrow(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    assert "pyarrow, which reads them, is not installed; pip install 'skillhier[lerobot]'" in line(root)


def test_a_damaged_parquet_file(root):
    path = next(root.glob("data/*/*.parquet"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "found unreadable data" in line(root)


def test_runs_of_one_value_do_not_become_gigabytes(root):
    path = next(root.glob("data/*/*.parquet"))
    pq.write_table(pa.table({"episode_index": np.zeros(2_000_000, np.int64)}), path)
    assert path.stat().st_size < 10_000
    assert "episode_index: found 2,000,000 values, needs numbers that were written" in line(root)

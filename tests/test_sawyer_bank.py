"""The bank of starts: what its rows are, and how it is kept."""

import os
import stat

import h5py
import jax
import mujoco
import numpy as np
import pytest

from skillhier.envs import bank as kept
from skillhier.envs.sawyer import bank, controller, model

NAMES = ("s0", "g5", "b6")


def rows_of(objects):
    """A bank with these objects, and arms at rest."""
    size = len(objects)
    return bank.Bank(objects, *(np.ones((size, n), np.float32) for n in (7, 7, 7, 13)))


@pytest.fixture(scope="module")
def made():
    return bank.make(NAMES, 24, seed=3)


def test_objects_lie_still_apart_and_in_the_basket(made):
    assert made.objects.shape == (24, 3, 7) and made.objects.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(made.objects[:, :, 3:], axis=-1), 1, atol=1e-5)
    assert np.abs(made.objects[:, :, :2] - model.BASKET[:2]).max() < bank.INSIDE
    scene = model.build(NAMES)
    layout, data = model.layout(scene), mujoco.MjData(scene)
    for poses, arm in zip(made.objects, made.arms, strict=True):
        data.qpos[:], data.qvel[:] = scene.qpos0, 0
        data.qpos[layout.arm] = data.act[layout.arm] = arm
        data.qpos[layout.objects] = poses
        mujoco.mj_step(scene, data, 20)
        assert np.abs(data.qpos[layout.objects[:, :3]] - poses[:, :3]).max() < 2e-3
        assert not np.any(data.sensordata[layout.tip_any]) and not np.any(data.sensordata[layout.object_palm])
        assert data.contact.dist.min(initial=0) > -2e-3
    assert np.ptp(made.objects[:, 0, :2], axis=0).min() > 0.08  # varied places
    assert len(np.unique(made.objects[:, 2, 2].round(2))) > 1  # the long box lies on different sides


def test_arms_point_down_over_the_objects(made):
    pose = jax.vmap(controller.forward)(made.arms)
    assert np.all(pose.pinch > np.array(bank.PINCH_LOW) - 1e-3) and np.all(
        pose.pinch < np.array(bank.PINCH_HIGH) + 1e-3
    )
    np.testing.assert_allclose(pose.pinch_axes[:, :, 2], np.tile((0, 0, -1), (24, 1)), atol=2e-3)
    yaw = np.arctan2(pose.pinch_axes[:, 1, 0], pose.pinch_axes[:, 0, 0])
    assert np.abs(yaw).max() < bank.YAW + 1e-3 and np.ptp(yaw) > 0.8


def test_first_rows_look_like_the_logged_ones(made, expert_logs):
    """Arm velocities and loads after a control step without a command: mean and spread over 324 logged episodes."""
    names = ("sawyer.joints.velocity", "sawyer.joints.torque", "wrist.force", "wrist.torque")
    logged = {name: [] for name in names}
    for path in sorted(expert_logs.glob("*.h5")):
        with h5py.File(path) as file:
            for group in file.values():
                for name in names:
                    logged[name].append(group["observations"][name][0])
    ours = dict(zip(names, (made.rates, *np.split(made.loads, (7, 10), 1)), strict=True))
    #        rad/s, N m, N, N m: the largest difference of an entry's mean, and of its spread
    for name, mean, spread in zip(names, (4e-3, 0.03, 0.012, 5e-4), (4e-3, 0.012, 0.008, 5e-4), strict=True):
        theirs = np.array(logged[name])
        np.testing.assert_allclose(ours[name].mean(0), theirs.mean(0), atol=mean, err_msg=name)
        np.testing.assert_allclose(ours[name].std(0), theirs.std(0), atol=spread, err_msg=name)
        assert np.abs(theirs.mean(0)).max() > 1.5 * mean  # zeros would differ by more


def test_the_same_seed_gives_the_same_rows(made):
    again = bank.make(NAMES, 24, seed=3)
    np.testing.assert_array_equal(made.arms, again.arms)
    np.testing.assert_array_equal(made.objects, again.objects)
    assert not np.array_equal(bank.make(NAMES, 2, seed=4).arms, made.arms[:2])


def test_a_bank_is_made_once(tmp_path, monkeypatch):
    calls = []

    def make(names, size, seed):
        calls.append(seed)
        return rows_of(np.full((size, 3, 7), seed, np.float32))

    monkeypatch.setattr(bank, "make", make)
    first = bank.load(NAMES, 5, seed=7, folder=tmp_path / "new")
    second = bank.load(NAMES, 5, seed=7, folder=tmp_path / "new")
    assert calls == [7]
    np.testing.assert_array_equal(first.objects, second.objects)
    bank.load(NAMES, 5, seed=8, folder=tmp_path / "new")
    bank.load(NAMES, 6, seed=7, folder=tmp_path / "new")
    bank.load(("s0", "g5", "s0"), 5, seed=7, folder=tmp_path / "new")
    assert calls == [7, 8, 7, 7]
    assert sorted(p.suffix for p in (tmp_path / "new").iterdir()) == [".npz"] * 4  # no drafts left behind


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other", "short", "nan"])
def test_a_damaged_file_is_made_anew(tmp_path, monkeypatch, caplog, damage):
    rows = rows_of(np.random.default_rng(0).random((9, 3, 7), np.float32))
    monkeypatch.setattr(bank, "make", lambda names, size, seed: rows)
    bank.load(NAMES, 9, folder=tmp_path)
    path = bank.file(NAMES, 9, 0, tmp_path)
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[:-100])
    elif damage == "flipped":
        path.write_bytes(content[:300] + bytes([content[300] ^ 1]) + content[301:])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "other":
        path.write_bytes(b"not a bank")
    elif damage == "short":
        np.savez(path, **{name: part[:3] for name, part in rows._asdict().items()})
    else:
        np.savez(path, **rows._replace(objects=rows.objects * np.nan)._asdict())
    np.testing.assert_array_equal(bank.load(NAMES, 9, folder=tmp_path).objects, rows.objects)
    assert "recomputed" in caplog.text
    assert path.read_bytes() == content


def test_the_cache_is_the_users_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = rows_of(np.zeros((2, 3, 7), np.float32))
    monkeypatch.setattr(bank, "make", lambda names, size, seed: rows)
    bank.load(NAMES, 2)
    folder = tmp_path / "cache" / "skillhier" / "banks"
    assert kept.cache() == folder and len(list(folder.glob("s0-g5-b6-*.npz"))) == 1
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert kept.cache().is_absolute() and kept.cache().parts[-3:] == (".cache", "skillhier", "banks")


def test_a_user_without_a_home_has_no_cache(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(kept.Path, "home", homeless)
    rows = rows_of(np.zeros((2, 3, 7), np.float32))
    monkeypatch.setattr(bank, "make", lambda names, size, seed: rows)
    assert kept.cache() is None and (bank.load(NAMES, 2).arms == 1).all()


def test_a_folder_that_cannot_be_written_costs_only_the_file(tmp_path, monkeypatch, caplog):
    rows = rows_of(np.zeros((2, 3, 7), np.float32))
    monkeypatch.setattr(bank, "make", lambda names, size, seed: rows)
    (tmp_path / "file").write_text("in the way")
    assert bank.load(NAMES, 2, folder=tmp_path / "file" / "banks").arms.shape == (2, 7)
    assert "could not be stored" in caplog.text


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="starts must be >= 1, got 0; set env.starts"):
        bank.load(NAMES, 0)

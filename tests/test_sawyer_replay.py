"""The scene against logs of the real experts in DeepMind's own simulation, by a small loop on C MuJoCo.

Figures over all logged starts at 1, 2, 2.5 and 5 ms: `python -m tests.test_sawyer_replay FOLDER`.
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import h5py
import jax
import mujoco
import numpy as np
import pytest

from skillhier.envs.sawyer import controller, model, objects, observations, sensing

command = jax.jit(controller.command)
SETS = sorted(objects.OBJECT_SETS)
STEPS = (0.001, 0.002, 0.0025, 0.005)


class Log(NamedTuple):
    """One episode: rows 0..399 of the simulator's state before each action, 0..400 of what was seen."""

    qpos: np.ndarray
    qvel: np.ndarray
    act: np.ndarray
    actions: np.ndarray
    seen: dict[str, np.ndarray]


def logs(folder: Path, number: int, episodes: int = 8) -> tuple[list[str], list[Log]]:
    with h5py.File(folder / f"set{number}.h5") as file:
        groups = [file[f"episode_{i}"] for i in range(episodes)]
        state = lambda g: [g[f"infos/{k}"][:] for k in ("qpos", "qvel", "act")]  # noqa: E731
        seen = lambda g: {k: v[:] for k, v in g["observations"].items()}  # noqa: E731
        return json.loads(file.attrs["objects"]), [Log(*state(g), g["actions"][:], seen(g)) for g in groups]


class Replay:
    """One world of C MuJoCo that can be put where a log was."""

    def __init__(self, names: list[str], timestep: float):
        self.model = model.build(names, timestep=timestep)
        self.layout, self.data = model.layout(self.model), mujoco.MjData(self.model)
        self.substeps = round(controller.INTERVAL / timestep)
        self.unload = jax.jit(sensing.unloaded(self.model))

    def open(self, log: Log, row: int) -> None:
        """The logged state; of its eight finger joints ours are the drivers (7 and 11), fingertips parallel."""
        layout, data = self.layout, self.data
        mujoco.mj_resetData(self.model, data)
        for ours, theirs, size in ((data.qpos, log.qpos[row], 7), (data.qvel, log.qvel[row], 6)):
            ours[layout.arm] = theirs[:7]
            right, left = theirs[7], theirs[11]
            ours[layout.fingers] = right, -right, left, -left
            rows = layout.objects if size == 7 else layout.object_dofs
            ours[rows] = theirs[15:].reshape(3, size)
        data.act[:] = log.act[row]
        mujoco.mj_forward(self.model, data)

    def step(self, action: np.ndarray) -> sensing.Load:
        """One control step; the forces that were felt in its last physics step."""
        layout, data = self.layout, self.data
        data.ctrl[layout.arm], data.ctrl[layout.gripper] = command(data.qpos[layout.arm].astype(np.float32), action)
        mujoco.mj_step(self.model, data, self.substeps)
        felt = data.sensordata.copy()
        mujoco.mj_kinematics(self.model, data)
        rows = lambda x: x.reshape(-1, 3, 3)  # noqa: E731
        return self.unload(data.xpos, rows(data.xmat), data.site_xpos, rows(data.site_xmat), felt)

    @property
    def pinch(self) -> np.ndarray:
        return self.data.site_xpos[self.layout.pinch].copy()

    @property
    def ticks(self) -> float:
        return round(self.data.qpos[self.layout.driver] / model.DRIVER_RANGE * model.TICKS)

    @property
    def finger(self) -> observations.Finger:
        return observations.Finger(*(float(x[self.layout.driver]) for x in (self.data.qpos, self.data.qvel)))

    def held(self, colour: int) -> np.ndarray:
        """Place of an object in the pinch frame."""
        axes = self.data.site_xmat[self.layout.pinch].reshape(3, 3)
        return axes.T @ (self.data.qpos[self.layout.objects[colour, :3]] - self.pinch)


def free(log: Log, row: int, steps: int = 20) -> bool:
    """Whether the hand touches nothing over the next steps: nothing pulls at the wrist, nothing is grasped."""
    window = slice(row, row + steps + 1)
    pull = np.abs(log.seen["wrist.force"][window]).max()
    empty = (log.seen["gripper.grasp"][window] == 1) | (log.seen["gripper.joints.angle"][window] > 248)
    return pull < 1.5 and empty.all()


def after_twenty(replay: Replay, log: Log) -> tuple[float, float]:
    """Distance (m) of the pinch and largest difference of the finger count over 20 steps from the logged start."""
    replay.open(log, 0)
    difference = []
    for row in range(20):
        replay.step(log.actions[row])
        difference.append(abs(replay.ticks - log.seen["gripper.joints.angle"][row + 1]))
    return float(np.linalg.norm(replay.pinch - log.seen["sawyer.pinch.pose"][20, :3])), max(difference)


def first_lift(log: Log) -> int | None:
    """The row at which the first grasp that lifts red begins, just before the fingers touch it."""
    red, pinch = log.seen["rgb30_red.abs_pose"][:400, :3], log.seen["sawyer.pinch.pose"][:400, :3]
    inward = log.seen["gripper.grasp"][:400] == 2
    up = (red[:, 2] > red[0, 2] + 0.03) & inward & (np.linalg.norm(red - pinch, axis=1) < 0.05)
    if not up.any():
        return None
    row = int(np.argmax(up))
    while row > 2 and log.seen["gripper.grasp"][row] != 1:
        row -= 1
    return row - 2


def regrasp(replay: Replay, log: Log, steps: int = 25) -> tuple[float, float] | None:
    """Shift of red in the hand (m) and difference of the finger count after the grasp is done over by our fingers."""
    row = first_lift(log)
    if row is None or row + steps >= 400:
        return None
    closing = int(np.argmax(np.append(log.actions[row + 3 :, 4] < 0, True))) + 3
    steps = min(steps, closing)
    replay.open(log, row + steps)
    wanted = replay.held(0)
    replay.open(log, row)
    for k in range(steps):
        replay.step(log.actions[row + k])
    difference = replay.ticks - log.seen["gripper.joints.angle"][row + steps]
    return float(np.linalg.norm(replay.held(0) - wanted)), float(difference)


@pytest.mark.parametrize("number", SETS)
def test_logged_joint_angles_put_the_hand_at_the_logged_pose(expert_logs, number):
    forward = jax.jit(jax.vmap(controller.forward))
    for log in logs(expert_logs, number)[1]:
        pose = forward(log.seen["sawyer.joints.angle"])
        for site, place, axes in (("pinch", pose.pinch, pose.pinch_axes), ("tcp", pose.wrist, pose.wrist_axes)):
            logged = log.seen[f"sawyer.{site}.pose"]
            assert np.linalg.norm(place - logged[:, :3], axis=1).max() < 1e-3
            turn = np.zeros((len(logged), 9))
            for row, quat in zip(turn, logged[:, 3:].astype(float), strict=True):
                mujoco.mju_quat2Mat(row, quat)
            cosine = (np.einsum("bij,bij->b", turn.reshape(-1, 3, 3), np.asarray(axes)) - 1) / 2
            assert np.arccos(np.clip(cosine, -1, 1)).max() < 0.01


@pytest.mark.parametrize("number", SETS)
def test_twenty_logged_actions_from_a_logged_start(expert_logs, number):
    names, episodes = logs(expert_logs, number)
    replay = Replay(names, model.STEPS["native"])
    chosen = [log for log in episodes if free(log, 0)]
    assert len(chosen) >= 4
    for log in chosen:
        distance, ticks = after_twenty(replay, log)
        assert distance < 1.5e-3  # m; 5e-3 is wanted
        assert ticks <= 6


@pytest.mark.parametrize("timestep", STEPS)
def test_the_same_at_every_physics_step(expert_logs, timestep):
    names, episodes = logs(expert_logs, 4, 4)
    replay = Replay(names, timestep)
    assert max(after_twenty(replay, log)[0] for log in episodes if free(log, 0)) < 1.5e-3


def test_forces_are_felt_as_logged(expert_logs):
    """Joint torques, wrist force and moment of a hand that moves freely: same signs, sizes within a few percent."""
    felt, logged = [], []
    names, episodes = logs(expert_logs, 1)
    replay = Replay(names, model.STEPS["native"])
    for log in episodes:
        for row in range(5, 395, 3):
            still = np.abs(log.qvel[row : row + 2, 7]).max() < 0.02  # the fingers' own motion is felt otherwise
            low = log.qpos[row, [17, 24, 31]].max() < 0.1 < log.seen["sawyer.pinch.pose"][row, 2] - 0.06
            if still and low and free(log, row, 1):
                replay.open(log, row)
                felt.append(np.concatenate(replay.step(log.actions[row])))
                logged.append(np.concatenate([log.seen[k][row + 1] for k in WRENCH]))
    felt, logged = np.array(felt), np.array(logged)
    assert len(felt) > 50
    gain = (felt * logged).sum(0) / (felt * felt).sum(0)
    agreement = (felt * logged).sum(0) / np.sqrt((felt * felt).sum(0) * (logged * logged).sum(0))
    assert np.all(agreement[:9] > 0.97), agreement  # torques of 7 joints, force in the plane of the wrist
    np.testing.assert_allclose(gain[:9], 1, atol=0.15)


WRENCH = ("sawyer.joints.torque", "wrist.force", "wrist.torque")


@pytest.mark.parametrize("number", SETS)
def test_ticks_moved_at_logged_states_are_the_logged_ones(expert_logs, number):
    """From the finger at the two ends of a logged control step; 58 % of rows if ticks of the whole step are counted."""
    count = jax.jit(jax.vmap(lambda *ends: observations.ticks_moved(*ends, controller.INTERVAL)))
    finger = lambda log, rows: observations.Finger(log.qpos[rows, 11], log.qvel[rows, 11])  # noqa: E731
    right = []
    for log in logs(expert_logs, number)[1]:
        moved = count(finger(log, slice(0, -1)), finger(log, slice(1, None)))
        right.append(moved == log.seen["gripper.joints.velocity"][1:400])
    assert np.mean(right) > 0.98


def test_our_fingers_move_as_many_ticks_as_the_real_ones(expert_logs):
    """One control step from every tenth logged state: the ticks of its last 12.5 ms. What differs most are grasps, on
    which our fingers close anew, since a log does not say how far the real ones give."""
    count = jax.jit(lambda *ends: observations.ticks_moved(*ends, controller.INTERVAL))
    difference = []
    for number in SETS:
        names, episodes = logs(expert_logs, number)
        replay = Replay(names, model.STEPS["native"])
        for log in episodes:
            for row in range(0, 399, 10):
                replay.open(log, row)
                before = replay.finger
                replay.step(log.actions[row])
                difference.append(count(before, replay.finger) - log.seen["gripper.joints.velocity"][row + 1])
    assert np.mean(np.array(difference) == 0) > 0.78
    assert np.mean(np.abs(difference) <= 1) > 0.95


@pytest.mark.parametrize("number", SETS)
def test_our_fingers_hold_what_the_real_ones_held(expert_logs, number):
    names, episodes = logs(expert_logs, number)
    replay = Replay(names, model.STEPS["native"])
    results = [r for r in (regrasp(replay, log) for log in episodes) if r is not None]
    assert len(results) >= 5
    shift, ticks = np.array(results).T
    assert shift.max() < 0.015  # all held
    assert np.median(shift) < 0.004
    assert np.abs(np.median(ticks)) <= 5


def test_closed_on_nothing_the_count_is_the_logged_one(expert_logs):
    """Fingers that close on nothing end at the logged count, where the real reading says 'inward'."""
    _, episodes = logs(expert_logs, 4)
    counts = np.concatenate([log.seen["gripper.joints.angle"][1:] for log in episodes])
    reading = np.concatenate([log.seen["gripper.grasp"][1:] for log in episodes])
    closing = np.concatenate([log.actions[:, 4] > 0 for log in episodes])
    assert (reading[closing & (counts >= 252)] == 2).all()
    assert (reading[closing & (counts > 200) & (counts < 249)] == 1).mean() > 0.95


def _figures(folder: Path) -> None:
    for timestep in STEPS:
        paths, counts, shifts, ticks = [], [], [], []
        for number in SETS:
            names, episodes = logs(folder, number)
            replay = Replay(names, timestep)
            for log in episodes:
                if free(log, 0):
                    path, count = after_twenty(replay, log)
                    paths.append(path), counts.append(count)
                if (again := regrasp(replay, log)) is not None:
                    shifts.append(again[0]), ticks.append(again[1])
        print(
            f"{1e3 * timestep:.1f} ms: pinch after 20 steps {1e3 * np.mean(paths):.2f} mm, at most"
            f" {1e3 * np.max(paths):.2f} ({len(paths)} starts), fingers within {np.max(counts):.0f} ticks;"
            f" grasps held {np.sum(np.array(shifts) < 0.015)}/{len(shifts)}, shift {1e3 * np.median(shifts):.2f} mm,"
            f" ticks {np.mean(ticks):+.2f} +- {np.std(ticks):.2f}"
        )


if __name__ == "__main__":
    _figures(Path(sys.argv[1]))

"""Kinematics against C MuJoCo, the controller against a general QP solver and against the real cell's commands."""

import h5py
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from scipy.optimize import lsq_linear, minimize

from skillhier.envs.sawyer import controller, model, robot

START = np.array([0.136, -0.908, -0.627, 1.549, 0.425, 1.069, -0.073], np.float32)  # pinch at the workspace's middle
forward = jax.jit(controller.forward)
command = jax.jit(jax.vmap(controller.command))


def test_kinematics_are_those_of_the_model():
    scene = model.build()
    layout, data = model.layout(scene), mujoco.MjData(scene)
    rng = np.random.default_rng(0)
    for _ in range(10):
        data.qpos[layout.arm] = q = rng.uniform(robot.LOWER, robot.UPPER)
        mujoco.mj_kinematics(scene, data)
        mujoco.mj_comPos(scene, data)
        jacobian = np.zeros((6, scene.nv))
        mujoco.mj_jacSite(scene, data, jacobian[:3], jacobian[3:], layout.wrist)
        pose = forward(q.astype(np.float32))
        np.testing.assert_allclose(pose.wrist, data.site_xpos[layout.wrist], atol=1e-5)
        np.testing.assert_allclose(pose.pinch, data.site_xpos[layout.pinch], atol=1e-5)
        np.testing.assert_allclose(pose.wrist_axes.ravel(), data.site_xmat[layout.wrist], atol=1e-5)
        np.testing.assert_allclose(pose.pinch_axes.ravel(), data.site_xmat[layout.pinch], atol=1e-5)
        np.testing.assert_allclose(pose.jacobian, jacobian[:, :7], atol=1e-5)


def test_the_known_start_pose():
    pose = forward(START)
    np.testing.assert_allclose(pose.pinch, (0.6, 0.0, 0.1698), atol=1e-3)
    np.testing.assert_allclose(pose.pinch_axes[:, 2], (0, 0, -1), atol=2e-3)
    values = np.linalg.svd(pose.jacobian, compute_uv=False)
    np.testing.assert_allclose(values, (1.82, 1.75, 1.17, 0.43, 0.37, 0.23), atol=0.006)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_twenty_full_steps_along_an_axis(axis, sign):
    action = np.zeros(5, np.float32)
    action[axis] = sign

    def step(q, _):
        velocity, _ = controller.command(q, action)
        return q + controller.INTERVAL * velocity, None

    last = forward(jax.jit(lambda q: jax.lax.scan(step, q, None, length=20)[0])(START))
    moved = np.asarray(last.pinch - forward(START).pinch)
    assert 0.060 < sign * moved[axis] < 0.068
    assert np.abs(np.delete(moved, axis)).max() < 0.0033
    assert np.degrees(np.arccos(min(1.0, -float(last.pinch_axes[2, 2])))) < 0.15


def test_turning_about_the_vertical_is_signed_as_the_real_cell():
    action = np.array([0, 0, 0, 1, 0], np.float32)
    pose = forward(START)
    twist = controller.twist(START, pose, action)
    np.testing.assert_allclose(twist, (0, 0, 0, 0, 0, 1), atol=5e-3)


def test_gates_stop_what_leaves_and_let_back_in():
    pose = forward(START)._replace(pinch=jnp.array([0.726, 0.0, 0.06]))
    out, back = np.array([1, 0, -1, 0, 0], np.float32), np.array([-1, 0, 1, 0, 0], np.float32)
    np.testing.assert_allclose(controller.twist(START, pose, out)[:3], 0, atol=1e-7)
    np.testing.assert_allclose(controller.twist(START, pose, back)[:3], np.array([-0.07, 0, 0.07]) / 2**0.5, atol=1e-5)
    turned = jnp.array(START).at[6].set(-1.6)  # s = -q6 beyond pi/2
    assert abs(float(controller.twist(turned, pose, np.array([0, 0, 0, 1, 0], np.float32))[5])) < 1e-2
    assert float(controller.twist(turned, pose, np.array([0, 0, 0, -1, 0], np.float32))[5]) < -0.9


def test_a_joint_slows_before_its_end_and_stops_beyond():
    upper = np.array(robot.UPPER, np.float32)
    lower, higher = controller.bounds(upper - 0.02)
    np.testing.assert_allclose(higher, 0.19, rtol=1e-3)
    np.testing.assert_allclose(lower, -np.array(controller.SPEED), rtol=1e-6)
    np.testing.assert_allclose(controller.bounds(upper)[1], 0)


def test_an_active_bound_is_met_as_by_a_qp_solver(monkeypatch):
    """Both levels: the hand's velocity and the spare motion are those of the QP."""
    rng = np.random.default_rng(0)
    hand, joints = [], []
    for case in range(21):
        q = (START + 0.2 * rng.normal(size=7)).astype(np.float32)
        wanted = np.r_[rng.uniform(-0.07, 0.07, 3), rng.uniform(-0.3, 0.3, 2), rng.uniform(-1, 1)].astype(np.float32)
        pose = forward(q)
        free = np.asarray(controller.joint_velocity(q, pose, wanted))
        low, high = np.full(7, -9.0), np.full(7, 9.0)
        joint = case % 7
        (high if free[joint] > 0 else low)[joint] = 0.4 * free[joint]
        monkeypatch.setattr(controller, "bounds", lambda q, low=low, high=high: (jnp.array(low), jnp.array(high)))
        found = np.asarray(controller.joint_velocity(q, pose, wanted))
        monkeypatch.undo()
        assert np.all(found >= low - 1e-6) and np.all(found <= high + 1e-6)

        jacobian = np.asarray(pose.jacobian, float)
        stacked = np.vstack([jacobian, controller.DAMPING**0.5 * np.eye(7)])
        first = lsq_linear(stacked, np.r_[wanted, np.zeros(7)], bounds=(low, high), tol=1e-12).x
        pull = np.clip(controller.NULL_GAIN * (np.array(controller.REFERENCE) - q), low, high)
        best = minimize(
            lambda x, pull=pull: ((x - pull) ** 2).sum(),
            first,
            jac=lambda x, pull=pull: 2 * (x - pull),
            bounds=list(zip(low, high, strict=True)),
            constraints={
                "type": "eq",
                "fun": lambda x, j=jacobian, f=first: j @ (x - f),
                "jac": lambda x, j=jacobian: j,
            },
            method="SLSQP",
            options={"maxiter": 300, "ftol": 1e-14},
        ).x
        hand.append(np.abs(jacobian @ (found - best)).max())
        joints.append(np.abs(found - best).max())
    assert max(hand) < 1e-4
    assert max(joints) < 3e-4


def test_no_library_call_in_the_hot_path():
    text = command.lower(np.zeros((4, 7), np.float32), np.zeros((4, 5), np.float32)).as_text()
    assert "custom_call" not in text
    assert "stablehlo.reduce" not in text and "gather" not in text  # calls of their own on a CPU, see envs.tiny


def test_inverse_finds_starts():
    rng = np.random.default_rng(0)
    pinch = rng.uniform((0.5, -0.14, 0.22), (0.7, 0.14, 0.43), (64, 3)).astype(np.float32)
    yaw = rng.uniform(-np.pi / 4, np.pi / 4, 64).astype(np.float32)
    pose = jax.jit(jax.vmap(lambda p, y: controller.forward(controller.inverse(p, y))))(pinch, yaw)
    np.testing.assert_allclose(pose.pinch, pinch, atol=2e-4)
    np.testing.assert_allclose(pose.pinch_axes[:, :, 2], np.tile((0, 0, -1), (64, 1)), atol=1e-3)
    np.testing.assert_allclose(np.arctan2(pose.pinch_axes[:, 1, 0], pose.pinch_axes[:, 0, 0]), yaw, atol=1e-3)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_joint_commands_are_those_the_real_cell_gave(expert_logs, number):
    """The cell's own controller moved its motors' targets by its command: both seen in the logs."""
    with h5py.File(expert_logs / f"set{number}.h5") as file:
        for episode in range(4):
            group = file[f"episode_{episode}"]
            targets, actions = group["infos/act"][:], group["actions"][:]
            joints, fingers = command(group["infos/qpos"][:, :7], actions)
            given = np.diff(targets, axis=0) / controller.INTERVAL
            np.testing.assert_allclose(joints[:-1], given[:, :7], atol=0.01)  # rad/s; its solver stops at 1e-3
            moving = (targets[1:, 7] > 0) & (targets[1:, 7] < 255)  # the count saturates at its ends
            np.testing.assert_allclose(np.asarray(fingers)[:-1][moving], given[:, 7][moving], atol=0.01)


def test_starts_are_the_postures_of_the_real_cell(expert_logs):
    with h5py.File(expert_logs / "set4.h5") as file:
        first = [file[f"episode_{i}/observations"] for i in range(40)]
        angles = np.array([o["sawyer.joints.angle"][0] for o in first])
    pose = jax.vmap(controller.forward)(angles)
    yaw = jnp.arctan2(pose.pinch_axes[:, 1, 0], pose.pinch_axes[:, 0, 0])
    np.testing.assert_allclose(jax.jit(jax.vmap(controller.inverse))(pose.pinch, yaw), angles, atol=0.01)

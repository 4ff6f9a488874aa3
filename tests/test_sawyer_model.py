"""The scene: it compiles for both engines, rests, closes its fingers on a circle in a second, feels and touches."""

import jax
import mujoco
import numpy as np
import pytest

from skillhier.envs import physics
from skillhier.envs.sawyer import controller, expert_geometry, model, objects, randomise, robot, sensing

START = (0.136, -0.908, -0.627, 1.549, 0.425, 1.069, -0.073)  # rad; the pinch is at the workspace's middle


@pytest.fixture(scope="module", params=[1, 2, 3, 4, 5], ids=lambda n: f"set{n}")
def names(request):
    return objects.OBJECT_SETS[request.param]


def fresh(scene: mujoco.MjModel, arm=START) -> tuple[model.Layout, mujoco.MjData]:
    layout, data = model.layout(scene), mujoco.MjData(scene)
    data.qpos[layout.arm] = data.act[layout.arm] = arm
    return layout, data


def test_sizes_and_places(names):
    scene = model.build(names)
    layout = model.layout(scene)
    assert (scene.nq, scene.nv, scene.nu, scene.na, scene.neq) == (32, 29, 8, 8, 1)
    np.testing.assert_array_equal(layout.arm, np.arange(7))
    assert layout.objects.shape == (3, 7) and layout.object_basket.shape == (3, 5)
    for colour, name in zip(model.COLOURS, names, strict=True):
        body, solid = scene.body(colour), objects.solid(name)
        assert body.mass == objects.MASS
        np.testing.assert_allclose(body.ipos, solid.com, atol=1e-7)
        np.testing.assert_allclose(np.sort(body.inertia), np.linalg.eigvalsh(solid.inertia), rtol=1e-4)
        is_box = scene.geom(colour).type[0] == mujoco.mjtGeom.mjGEOM_BOX
        assert is_box == solid.box


def test_an_objects_mesh_lies_on_its_vertices():
    scene = model.build(("r3", "r5", "g3"))
    layout, data = fresh(scene)
    mujoco.mj_kinematics(scene, data)
    for colour, name in zip(model.COLOURS, ("r3", "r5", "g3"), strict=True):
        geom = scene.geom(colour).id
        mesh = scene.mesh(colour)
        corners = scene.mesh_vert[mesh.vertadr[0] :][: mesh.vertnum[0]]
        placed = data.geom_xpos[geom] + corners @ data.geom_xmat[geom].reshape(3, 3).T - data.body(colour).xpos
        wanted = objects.vertices(name)
        distance = np.linalg.norm(placed[:, None] - wanted[None], axis=-1)
        assert distance.min(0).max() < 1e-6


def test_mjx_takes_the_scene(names):
    from mujoco import mjx

    scene = model.build(names)
    data = mjx.make_data(mjx.put_model(scene, impl="jax"), impl="jax")
    assert data._impl.ncon <= 48  # room for what occurs, not for every pair
    assert set(scene.sensor_type) <= {int(t) for t in _known_to_mjx()}


def _known_to_mjx():
    t = mujoco.mjtSensor
    return t.mjSENS_CONTACT, t.mjSENS_FORCE, t.mjSENS_TORQUE, t.mjSENS_FRAMELINVEL, t.mjSENS_FRAMEANGVEL


@pytest.mark.parametrize("timestep", [0.001, 0.002, 0.0025, 0.005])
def test_all_rests(timestep):
    scene = model.build(("s0", "g5", "b6"), timestep=timestep)
    layout, data = fresh(scene)
    for row, (x, y, z) in zip(
        layout.objects, [(0.6, -0.09, 0.025), (0.6, 0.0, 0.025), (0.6, 0.09, 0.048)], strict=True
    ):
        data.qpos[row[:3]] = x, y, z + model.BASKET[2]
    mujoco.mj_step(scene, data, round(1 / timestep))
    assert np.abs(data.qvel).max() < 2e-3
    np.testing.assert_allclose(data.qpos[layout.arm], START, atol=1e-3)
    np.testing.assert_allclose(data.qpos[layout.objects[:, 2]] - model.BASKET[2], (0.025, 0.025, 0.048), atol=5e-4)
    assert np.all(data.sensordata[layout.object_basket[:, 0]] > 0)
    assert np.all(data.sensordata[layout.object_basket[:, 1:]] == 0)


@pytest.mark.parametrize("timestep", [0.001, 0.005])
def test_fingers_close_in_a_second_on_a_circle(timestep):
    scene = model.build(timestep=timestep)
    layout, data = fresh(scene)
    base = scene.body("gripper").id
    ticks = []
    for _ in range(22):
        data.ctrl[layout.gripper] = 255.0
        mujoco.mj_step(scene, data, round(controller.INTERVAL / timestep))
        mujoco.mj_kinematics(scene, data)
        ticks.append(data.qpos[layout.driver] / model.DRIVER_RANGE * model.TICKS)
        for side, sign in (("right", 1), ("left", -1)):
            away = data.body(f"{side}_tip").xpos - data.xpos[base]
            y, z = away @ data.xmat[base].reshape(3, 3)[:, 1], away @ data.xmat[base].reshape(3, 3)[:, 2]
            angle = data.joint(f"{side}_driver").qpos[0]
            start = np.arctan2(*robot.REACH)
            np.testing.assert_allclose(sign * y, 0.0306011 + 0.0575 * np.sin(start - angle), atol=1e-4)
            np.testing.assert_allclose(z, 0.054904 + 0.0575 * np.cos(start - angle), atol=1e-4)
            parallel = data.body(f"{side}_tip").xmat.reshape(3, 3)[:, 2] @ data.xmat[base].reshape(3, 3)[:, 2]
            assert parallel > 0.9999
    assert ticks[0] < 15 and 235 < ticks[19] < 255 and ticks[21] > 252
    stroke = 2 * 0.0575 * (np.sin(start) - np.sin(start - model.DRIVER_RANGE))
    np.testing.assert_allclose(stroke, 0.085, atol=0.006)  # the 85 mm of a 2F-85, as its five-bar has it


def tip_corners(scene, data, side) -> np.ndarray:
    """Corners of a fingertip in the pinch frame, mm: [8, 3]; the fingers move along y, the tool points along z."""
    geom, site = scene.geom(f"{side}_tip").id, data.site("pinch")
    mesh = scene.mesh(scene.geom_dataid[geom])
    corners = scene.mesh_vert[mesh.vertadr[0] :][: mesh.vertnum[0]]
    placed = data.geom_xpos[geom] + corners @ data.geom_xmat[geom].reshape(3, 3).T
    return 1e3 * (placed - site.xpos) @ site.xmat.reshape(3, 3)


@pytest.mark.parametrize(("angle", "beyond"), [(0.0, 0.6), (model.DRIVER_RANGE, 13.9)])
@pytest.mark.parametrize("side", ["right", "left"])
def test_fingertips_end_where_the_released_ones_do_and_as_narrow(angle, beyond, side):
    """Released: 0.6 mm beyond the pinch site when open, 13.9 mm when closed; 22 x 19.2 mm, 14 x 4.4 mm at the end."""
    scene = model.build()
    layout, data = fresh(scene)
    data.qpos[layout.fingers] = angle * np.array([1, -1, 1, -1])
    mujoco.mj_kinematics(scene, data)
    corners = tip_corners(scene, data, side)
    end = corners[:, 2].max()
    np.testing.assert_allclose(end, beyond, atol=0.3)
    np.testing.assert_allclose(np.ptp(corners, axis=0), (22, 19.2, 46), atol=1e-3)
    np.testing.assert_allclose(np.ptp(corners[corners[:, 2] > end - 1e-3], axis=0)[:2], (14, 4.4), atol=1e-3)
    gap = np.abs(corners[:, 1]).min()  # the pad is flat, and half the opening away from the middle
    np.testing.assert_allclose(np.sort(np.abs(corners[:, 1]))[:4], gap, atol=1e-3)
    ticks = angle / model.DRIVER_RANGE * model.TICKS
    np.testing.assert_allclose(gap, 1e3 * float(expert_geometry.opening(ticks)) / 2, atol=1e-2)
    np.testing.assert_allclose(end, 1e3 * float(expert_geometry.drop(ticks)), atol=1e-2)


@pytest.mark.parametrize("timestep", [0.001, 0.0025, 0.005])
def test_a_cube_is_grasped_held_and_felt(timestep):
    """Closed on a 50 mm cube in the air: the reading of the real logs (125 +- 5 ticks), and no slip in a second."""
    scene = model.build(("s0", "g5", "b6"), timestep=timestep)
    layout, data = fresh(scene)
    mujoco.mj_forward(scene, data)
    axes = data.site_xmat[layout.pinch].reshape(3, 3)
    yaw = np.arctan2(axes[1, 0], axes[0, 0])
    place = data.site_xpos[layout.pinch] - (0, 0, 0.01)
    data.qpos[layout.objects[1:, 1]] = -0.09, 0.09  # the others fall aside
    data.qpos[layout.objects[0]] = *place, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)
    data.ctrl[layout.gripper] = 255.0
    red = scene.body("red").id
    data.xfrc_applied[red, 2] = objects.MASS * 9.81  # weightless until gripped
    mujoco.mj_step(scene, data, round(1.2 / timestep))
    data.xfrc_applied[red, 2] = 0
    mujoco.mj_step(scene, data, round(0.2 / timestep))
    ticks = data.qpos[layout.driver] / model.DRIVER_RANGE * model.TICKS
    assert 112 < ticks < 130
    gripped = data.qpos[layout.objects[0]].copy()
    assert np.linalg.norm(gripped[:3] - place) < 2e-3
    mujoco.mj_step(scene, data, round(1 / timestep))
    assert np.linalg.norm(data.qpos[layout.objects[0]][:3] - gripped[:3]) < 2e-3
    assert np.all(data.sensordata[layout.tip_object[0]] > 0) and np.all(data.sensordata[layout.tip_any] > 0)
    assert data.sensordata[layout.tip_tip] == 0
    assert not np.any(data.sensordata[layout.object_object])
    load = load_of(scene, data)
    np.testing.assert_allclose(np.asarray(load.force), (0, 0, -objects.MASS * 9.81), atol=0.05)
    assert bool(sensing.gripping(layout, data.qpos, data.sensordata))


def load_of(scene: mujoco.MjModel, data: mujoco.MjData) -> sensing.Load:
    felt = data.sensordata.copy()
    mujoco.mj_kinematics(scene, data)
    rows = lambda x: x.reshape(-1, 3, 3)  # noqa: E731
    return sensing.unloaded(scene)(data.xpos, rows(data.xmat), data.site_xpos, rows(data.site_xmat), felt)


def test_the_robot_does_not_feel_its_own_weight():
    scene = model.build()
    scene.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT  # the arm may point anywhere
    rng = np.random.default_rng(0)
    for _ in range(4):
        layout, data = fresh(scene, rng.uniform(robot.LOWER, robot.UPPER) * 0.5)
        mujoco.mj_forward(scene, data)
        assert np.abs(data.sensordata[layout.torque]).max() > 1
        load = load_of(scene, data)
        np.testing.assert_allclose(load.torque, 0, atol=2e-3)
        np.testing.assert_allclose(load.force, 0, atol=1e-3)
        np.testing.assert_allclose(load.moment, 0, atol=1e-3)
    data.sensordata[:] = 0
    assert not any(np.any(np.asarray(part)) for part in load_of(scene, data))


def test_gripping_wants_both_fingertips_or_closed_ones():
    scene = model.build()
    layout, data = fresh(scene)
    touched = np.zeros(scene.nsensordata)
    assert not bool(sensing.gripping(layout, data.qpos, touched))
    touched[layout.tip_any[0]] = 1
    assert not bool(sensing.gripping(layout, data.qpos, touched))
    touched[layout.tip_any[1]] = 2
    assert bool(sensing.gripping(layout, data.qpos, touched))
    data.qpos[layout.driver] = 253 / 255 * model.DRIVER_RANGE
    assert bool(sensing.gripping(layout, data.qpos, np.zeros_like(touched)))


def test_the_arm_touches_nothing_but_its_gripper_does():
    scene = model.build()
    able = {scene.geom(g).name for g in range(scene.ngeom) if scene.geom_contype[g] or scene.geom_conaffinity[g]}
    fingers = {f"{side}_{part}" for side in ("right", "left") for part in ("link", "tip")}
    assert able == {*model.COLOURS, *model.FLOORS, "palm", *fingers}


def test_one_object_too_many_is_refused():
    with pytest.raises(ValueError, match="three objects .*, got 2"):
        model.build(("s0", "s0"))


def test_randomised_fields_are_within_the_spread_and_leave_the_rest():
    scene = model.build()
    draw = jax.jit(jax.vmap(lambda key: randomise.randomise(scene, key)))
    drawn = draw(jax.random.split(jax.random.key(0), 200))
    assert set(drawn) <= set(physics.PARAMETERS)
    for name, values in drawn.items():
        nominal = getattr(scene, name)
        assert values.shape[1:] == nominal.shape and values.dtype == np.float32
        ratio = np.asarray(values)[:, nominal != 0] / nominal[nominal != 0]
        assert 0.899 < ratio.min() < 0.91 and 1.09 < ratio.max() < 1.101
        assert np.all(np.asarray(values)[:, nominal == 0] == 0)
    cubes = [scene.body(colour).id for colour in model.COLOURS]
    mass, inertia = np.asarray(drawn["body_mass"]), np.asarray(drawn["body_inertia"])
    assert np.all(mass[:, 3] == np.float32(scene.body_mass[3]))  # the arm's own masses stay
    np.testing.assert_allclose(
        inertia[:, cubes, 0] / scene.body_inertia[cubes, 0], mass[:, cubes] / scene.body_mass[cubes], rtol=1e-5
    )
    tips = [scene.geom(f"{side}_tip").id for side in ("right", "left")]
    friction = np.asarray(drawn["geom_friction"])
    assert np.all(friction[:, tips[0]] == friction[:, tips[1]])

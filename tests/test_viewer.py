"""What is drawn of a model: where MuJoCo puts it, in the colours that it has."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from skillhier.envs import physics, registry
from skillhier.envs.dmc import suite
from skillhier.envs.render import viewer
from skillhier.policies import open_loop
from skillhier.rollout import rollout, start
from skillhier.types import Policy

pytest.importorskip("dm_control")


def sawyer() -> mujoco.MjModel:
    from skillhier.envs.sawyer import model

    return model.build(("r3", "s0", "b2"))


def posed(model: mujoco.MjModel, seed: int) -> mujoco.MjData:
    """The model somewhere in its space of positions."""
    data, noise = mujoco.MjData(model), np.random.default_rng(seed)
    mujoco.mj_integratePos(model, data.qpos, noise.normal(size=model.nv), 1.0)
    data.mocap_pos[:] = noise.normal(size=data.mocap_pos.shape)
    mujoco.mj_forward(model, data)
    return data


def turned(pose: np.ndarray) -> np.ndarray:
    """The rotation [3, 3] of x y z, w x y z."""
    found = np.zeros(9)
    mujoco.mju_quat2Mat(found, np.array(pose[3:], float))
    return found.reshape(3, 3)


@pytest.mark.parametrize("name", ["sawyer", "cheetah", "quadruped", "pendulum"])
def test_every_shape_lies_where_mujoco_has_it(name):
    model = sawyer() if name == "sawyer" else suite.load(name)
    data, shapes = posed(model, 3), viewer.scene(model)["shapes"]
    record = physics.Data(None, None, data.xpos, data.xmat.reshape(-1, 3, 3), *[None] * 4)
    bodies = viewer.poses(record)
    assert bodies.shape == (model.nbody, 7) and bodies.dtype == np.float32
    terrain = mujoco.mjtGeom.mjGEOM_HFIELD  # the one kind that is not drawn
    geoms = [i for i in range(model.ngeom) if model.geom_group[i] < 3 and model.geom_type[i] != terrain]
    sites = [i for i in range(model.nsite) if model.site_group[i] < 3 and model.site_rgba[i, 3] > 0]
    assert len(shapes) == len(geoms) + len(sites) > 0
    places = [(data.geom_xpos[i], data.geom_xmat[i]) for i in geoms] + [
        (data.site_xpos[i], data.site_xmat[i]) for i in sites
    ]
    for shape, (place, turn) in zip(shapes, places, strict=True):
        body = bodies[shape["body"]]
        local = np.array(shape["pose"])
        np.testing.assert_allclose(body[:3] + turned(body) @ local[:3], place, atol=2e-6)
        np.testing.assert_allclose(turned(body) @ turned(local), turn.reshape(3, 3), atol=2e-6)


def test_a_scene_is_data_that_json_takes_and_knows_what_moves():
    import json

    found = viewer.scene(sawyer())
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    names = [found["bodies"][i] for i in found["moving"]]
    assert {"red", "green", "blue"} < set(names) and "basket" not in names and "world" not in names
    red = next(shape for shape in found["shapes"] if shape["name"] == "red")
    assert red["kind"] == "mesh" and red["rgba"] == [1, 0, 0, 1]
    corners = np.array(found["meshes"][red["mesh"]]["corners"]).reshape(-1, 3)
    faces = np.array(found["meshes"][red["mesh"]]["faces"]).reshape(-1, 3)
    solid = np.linalg.det(corners[faces]).sum() / 6  # m^3; positive where faces turn outward
    from skillhier.envs.sawyer import objects

    assert solid == pytest.approx(objects.solid("r3").volume, rel=1e-5)


def test_floor_and_sky_of_the_suite():
    found = viewer.scene(suite.load("cheetah"))
    floor = next(shape for shape in found["shapes"] if shape["kind"] == "plane")
    two = {tuple(np.round(rgb, 2)) for rgb in (floor["rgba"][:3], floor["checker"]["other"])}
    assert two == {(0.1, 0.2, 0.3), (0.2, 0.3, 0.4)} and floor["checker"]["cell"] == [1.0, 1.0]
    torso = next(shape for shape in found["shapes"] if shape["kind"] == "capsule")
    np.testing.assert_allclose(torso["rgba"], [0.7, 0.5, 0.3, 1.0], atol=1e-6)  # its material's
    assert found["sky"]["above"][2] > found["sky"]["haze"][2] > 0.2
    assert viewer.scene(sawyer())["sky"] == viewer.DAY


def test_views_are_the_cameras_and_one_of_all():
    model = suite.load("cheetah")
    views, data = {view["name"]: view for view in viewer.views(model)}, mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    assert list(views) == ["side", "back", "everything"]
    side = views["side"]
    assert side["follow"] == model.body("torso").id and side["base"] == data.body("torso").xpos.tolist()
    np.testing.assert_allclose(side["eye"], data.cam_xpos[model.camera("side").id])
    forward = np.subtract(side["target"], side["eye"])
    np.testing.assert_allclose(
        forward / np.linalg.norm(forward), -data.cam_xmat[model.camera("side").id].reshape(3, 3)[:, 2], atol=1e-9
    )
    hopper = suite.load("hopper")  # its cameras track the world's own mass: the hopper's
    assert viewer.views(hopper)[0]["follow"] == 1
    assert views["everything"]["reach"] == 0
    assert (viewer.filmed(model), viewer.filmed(sawyer())) == (0, sawyer().camera("video").id)


def test_a_view_that_follows_knows_how_far_the_robot_reaches():
    """By hand for a ball of 0.1 m on an arm of 0.5 m and another of 0.2 m that stands by itself; and the walker's."""
    model = mujoco.MjModel.from_xml_string("""
      <mujoco><worldbody>
        <body name="robot" pos="0 0 1"><freejoint/><geom type="sphere" size="0.05"/>
          <camera name="near" mode="track" pos="0 -2 0" euler="90 0 0"/>
          <body pos="0.5 0 0"><joint/><geom type="sphere" size="0.1"/><geom type="sphere" size="5" group="4"/></body>
        </body>
        <body name="other" pos="9 0 1"><freejoint/><geom type="sphere" size="0.2"/></body>
      </worldbody></mujoco>""")
    view = viewer.views(model)[0]
    np.testing.assert_allclose(view["target"], [0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(view["reach"], 0.5 + 0.1)
    walker = viewer.views(suite.load("walker"))[0]
    away = np.linalg.norm(np.subtract(walker["eye"], walker["target"]))
    assert away < walker["reach"] / np.sin(walker["fovy"] / 2) < 1.5 * away  # the suite's own camera cuts it off


def test_the_record_rides_along_and_policies_do_not_see_it():
    env = registry.make("dmc.pendulum_swingup", worlds=2)
    seen = []

    def act(params, carry, step, key):
        seen.append(sorted(step.obs))
        return open_loop.constant(jnp.ones(1)).act(params, carry, step, key)

    policy = Policy(lambda worlds: (), act)
    shown, unaware = viewer.shown(env), viewer.unaware(policy)

    def episode(env, policy, key):
        return rollout(env, policy, (), start(env, policy, key), key, 4)[1]

    plain = jax.jit(lambda key: episode(env, policy, key))(jax.random.key(1))
    noted = jax.jit(lambda key: episode(shown, unaware, key))(jax.random.key(1))
    record = noted.step.obs.pop(viewer.RECORD)
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), plain, noted)))
    assert len({tuple(names) for names in seen}) == 1 and viewer.RECORD not in seen[0]
    model = registry.task("dmc.pendulum_swingup").physics.model
    assert viewer.poses(record).shape == (4, 2, model.nbody, 7)
    data = mujoco.MjData(model)
    data.qpos[:] = record.state.qpos[3, 1]
    mujoco.mj_kinematics(model, data)
    np.testing.assert_allclose(record.xpos[3, 1], data.xpos, atol=1e-5)


def test_worlds_without_our_physics_are_refused():
    with pytest.raises(ValueError, match="no physics of ours"):
        viewer.record({"state": jnp.zeros(3)})

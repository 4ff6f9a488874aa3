"""Pictures: solids met where they are worked out by hand, and MuJoCo's own pictures (tests/render_references.py)."""

import functools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
import render_references as references

from skillhier.envs import physics
from skillhier.envs.render import light, rays, shapes, view
from skillhier.envs.render.colours import Checker
from skillhier.envs.render.scene import bake

pytest.importorskip("dm_control")
BALL = """<mujoco><visual><headlight ambient="0.1 0.1 0.1" diffuse="0.6 0.6 0.6" specular="0 0 0"/></visual>
<worldbody><camera pos="0 -3 0" xyaxes="1 0 0 0 0 1" fovy="60"/>
<geom name="ball" type="sphere" size="1" rgba="0.5 1 0.2 1"/><geom type="sphere" size="1" pos="0 9 0" group="3"/>
</worldbody></mujoco>"""


def record(model: mujoco.MjModel, *every: mujoco.MjData) -> physics.Data:
    """The record of some worlds, as an engine would fill it."""
    names = ("xpos", "xmat", "site_xpos", "site_xmat")
    stack = lambda name: jnp.asarray(np.stack([getattr(d, name) for d in every]), jnp.float32)  # noqa: E731
    seen = {name: stack(name) for name in names}
    seen |= {name: seen[name].reshape(*seen[name].shape[:-1], 3, 3) for name in ("xmat", "site_xmat")}
    many = len(every)
    state = jax.tree.map(lambda x: jnp.broadcast_to(x, (many, *x.shape)), physics.initial(model))
    blank = jnp.zeros((many, model.nu)), jnp.zeros((many, model.nsensordata)), jnp.zeros(many, bool)
    return physics.Data(state, blank[0], **seen, sensordata=blank[1], broken=blank[2])


def ball() -> tuple[mujoco.MjModel, physics.Data]:
    model = mujoco.MjModel.from_xml_string(BALL)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, jax.tree.map(lambda x: x[0], record(model, data))


@functools.cache
def reference(name: str):
    with np.load(references.FOLDER / f"render_{name}.npz", allow_pickle=False) as file:
        found = dict(file)
    model = references.model_of(name)
    every = [references.posed(model, found, i) for i in range(len(found["qpos"]))]
    return model, record(model, *every), found | {"depth": found["depth"].cumsum(-1, dtype=np.uint16) / 1000}


@functools.cache
def ours(name: str) -> dict[str, np.ndarray]:
    model, data, _ = reference(name)
    draw = rays.renderer(model, references.SCENES[name][1], outputs=("rgb", "depth", "segmentation"))
    return jax.device_get(jax.jit(jax.vmap(draw))(data))


def test_a_ball_by_hand():
    model, data = ball()
    made = rays.renderer(model, height=5, width=5, outputs=("depth", "segmentation", "rgb"))(data)
    assert made["segmentation"][2].tolist() == [-1, 0, 0, 0, -1] and made["segmentation"].dtype == jnp.int32
    np.testing.assert_allclose(made["depth"][2, 2], 2.0, rtol=1e-6)
    # one pixel aside the ray is (2 tan 30 / 5, 1, 0) from 3 m before the ball: (1 + a^2) t^2 - 6 t + 8 = 0
    a = 2 * np.tan(np.radians(30)) / 5
    np.testing.assert_allclose(made["depth"][2, 3], np.roots([1 + a * a, -6, 8]).min(), rtol=1e-5)
    # the headlight falls straight on the middle: 0.7 of the ball's own colour
    np.testing.assert_allclose(made["rgb"][2, 2], 255 * 0.7 * np.array([0.5, 1, 0.2]), atol=0.6)
    np.testing.assert_array_equal(made["rgb"][0, 0], 0)
    np.testing.assert_allclose(made["depth"][0, 0], model.vis.map.zfar * model.stat.extent, rtol=1e-6)


@pytest.mark.parametrize("kind", ["sphere", "capsule", "cylinder", "ellipsoid", "box", "hull"])
def test_a_ray_ends_on_the_surface_and_sees_what_mujoco_sees(kind):
    """Against MuJoCo's own ray casting, which is other code: 400 rays at a turned solid."""
    types = {"hull": 'type="mesh" mesh="m"'}
    sizes = {
        "sphere": "0.4",
        "capsule": "0.2 0.4",
        "cylinder": "0.3 0.4",
        "ellipsoid": "0.2 0.3 0.5",
        "box": "0.2 0.3 0.5",
    }
    shape = types.get(kind, f'type="{kind}" size="{sizes.get(kind)}"')
    corners = "0.3 0 0  -0.3 0.1 0  0 0.5 0.1  0 0 0.6  0.2 0.4 0.5  0 -0.4 0"
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><asset><mesh name="m" vertex="{corners}"/></asset><worldbody><camera pos="0.3 -2 0.4" '
        f'xyaxes="1 0 0 0 0 1"/><geom {shape} pos="0.1 0 0.2" euler="40 -30 70"/></worldbody></mujoco>'
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    scene = bake(model, 0)
    seen = view.look(scene, jax.tree.map(lambda x: x[0], record(model, data)))
    noise = np.random.default_rng(0).uniform(-0.35, 0.35, (400, 2))
    gaze = np.stack([noise[:, 0], np.ones(400), noise[:, 1]], -1)
    eye = np.array([0.3, -2.0, 0.4])
    ray = tuple(jnp.asarray(gaze.T, jnp.float32))
    hit = rays.first(scene.solid, seen.solid, jnp.asarray(eye, jnp.float32), ray, 0.0, 100.0)
    kept = np.zeros(1, np.int32)
    unit = gaze / np.linalg.norm(gaze, axis=1, keepdims=True)
    far = np.array([mujoco.mj_ray(model, data, eye, v, None, 1, -1, kept, None) for v in unit])
    met = np.asarray(hit.number) >= 0
    assert 40 < met.sum() < 400 and (met != (far >= 0)).sum() <= 1
    both = met & (far >= 0)
    np.testing.assert_allclose((np.asarray(hit.t) * np.linalg.norm(gaze, axis=1))[both], far[both], rtol=2e-4)
    normal = np.stack(hit.normal, -1)[both]
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1, atol=2e-4)
    assert ((normal * unit[both]).sum(-1) < 1e-3).all()


def test_a_checker_by_hand():
    """Squares of half a metre on a floor seen straight from above, and their mean from far away."""
    white, black, red = np.ones(3), np.zeros(3), np.array([1.0, 0, 0])
    pattern = Checker(np.array([1.0, -1.0]), np.zeros(2), white, black, red, 0.0)
    floor, gaze = (jnp.zeros(3), jnp.eye(3)), jnp.eye(3)
    across, up = jnp.array([0.25, 0.75, -0.25, 0.25]), jnp.array([-0.25, -0.25, -0.25, 0.25])
    ray = (across, up, -jnp.ones(4))
    draw = lambda pattern, pitch: light.checkered(  # noqa: E731
        pattern, floor, jnp.array([0.0, 0, 1]), ray, jnp.ones(4), gaze, pitch
    )
    np.testing.assert_allclose(draw(pattern, 1e-3)[0], [1, 0, 0, 0], atol=1e-4)
    np.testing.assert_allclose(draw(pattern, 2.0)[0], 0.5, atol=1e-4)
    # a pixel of 1 m is one texture, which is half of it dark, and 1 % lines either way
    np.testing.assert_allclose(draw(pattern._replace(edge=0.01), 1.0)[1][0], 0.5 * 0.99**2, atol=1e-4)


@pytest.mark.parametrize("camera", ["corner", "aims", "aims_com", "rides", "tracks", "tracks_com"])
def test_cameras_stand_where_mujoco_puts_them(camera):
    model, data, found = reference("zoo")
    number = model.camera(camera).id
    place, axes = jax.vmap(lambda d: view.camera(model, number, d))(data)
    for i in range(len(found["qpos"])):
        theirs = references.posed(model, found, i)
        np.testing.assert_allclose(place[i], theirs.cam_xpos[number], atol=2e-6)
        np.testing.assert_allclose(axes[i].reshape(-1), theirs.cam_xmat[number], atol=2e-6)


def overlap(name: str) -> list[float]:
    """Intersection over union of every geom of at least 20 pixels in every picture, floors and sky left out."""
    model, _, found = reference(name)
    plane = {i for i in range(model.ngeom) if model.geom_type[i] == mujoco.mjtGeom.mjGEOM_PLANE}
    shares = []
    for mine, theirs in zip(ours(name)["segmentation"], found["segmentation"], strict=True):
        for number in {*np.unique(theirs).tolist()} - plane - {-1}:
            if (theirs == number).sum() >= 20:
                shares.append(
                    ((mine == number) & (theirs == number)).sum() / ((mine == number) | (theirs == number)).sum()
                )
    return shares


@pytest.mark.parametrize("name", references.SCENES)
def test_solids_are_where_mujoco_draws_them(name):
    shares = overlap(name)
    print(f"{name}: overlap {np.mean(shares):.4f} of {len(shares)} solids, least {np.min(shares):.3f}")
    assert len(shares) >= 10 and np.mean(shares) >= 0.95


@pytest.mark.parametrize("name", references.SCENES)
def test_depth_is_mujocos(name):
    """Where both see the same solid: within 1 %, but for the few pixels on the facets of MuJoCo's round solids."""
    _, _, found = reference(name)
    made = ours(name)
    clear = made["depth"] < 0.99 * made["depth"].max()
    same = (made["segmentation"] == found["segmentation"]) & (found["depth"] > 0) & clear
    wrong = np.abs(made["depth"] / np.maximum(found["depth"], 1e-3) - 1)[same]
    print(
        f"{name}: depth off by {wrong.mean():.5f} in the mean, more than 1 % in {(wrong > 0.01).mean():.5f} of pixels"
    )
    assert same.mean() > 0.05 and (wrong > 0.01).mean() < 0.002 and wrong.mean() < 0.001


@pytest.mark.parametrize("name", references.SCENES)
def test_colours_are_mujocos(name):
    """As MuJoCo draws without its extras, and with them; of 255."""
    _, _, found = reference(name)
    plain = np.abs(ours(name)["rgb"][: references.COLOURED].astype(int) - found["plain"])
    print(f"{name}: plain colours off by {plain.mean():.2f}, by more than 30 in {(plain.max(-1) > 30).mean():.4f}")
    assert plain.mean() < 4 and (plain.max(-1) > 30).mean() < 0.03


@pytest.mark.parametrize("name", ["walker", "quadruped", "sawyer_video"])
def test_colours_with_shadows_and_mirrors_are_mujocos(name):
    model, data, found = reference(name)
    extras = {"shadows": True, "reflections": True, "samples": 2}
    draw = jax.jit(rays.renderer(model, references.SCENES[name][1], **extras))
    few = range(references.COLOURED)
    made = np.stack([draw(jax.tree.map(lambda x, i=i: x[i], data))["rgb"] for i in few])
    off = np.abs(made.astype(int) - found["rgb"])
    print(f"{name}: colours off by {off.mean():.2f} in the mean, more than 30 in {(off.max(-1) > 30).mean():.4f}")
    assert off.mean() < 6 and (off.max(-1) > 30).mean() < 0.04
    without = np.abs(ours(name)["rgb"][: references.COLOURED].astype(int) - found["rgb"])
    assert off.mean() < 0.8 * without.mean()  # the extras are what makes the difference


def test_many_worlds_are_drawn_as_one_by_one():
    """20 are more than a CPU does at a time; in a scan and once more they are the same pictures."""
    model, data, _ = reference("hopper")
    draw = rays.renderer(model, 0, 16, 16)
    many = jax.jit(jax.vmap(draw))(data)["rgb"]
    assert len(many) > rays.TOGETHER
    scanned = jax.jit(lambda d: jax.lax.map(lambda one: draw(one)["rgb"], d))(data)
    np.testing.assert_array_equal(many, scanned)
    np.testing.assert_array_equal(many, jax.jit(jax.vmap(draw))(data)["rgb"])
    nested = jax.tree.map(lambda x: x.reshape(4, 5, *x.shape[1:]), data)
    np.testing.assert_array_equal(jax.jit(jax.vmap(jax.vmap(draw)))(nested)["rgb"].reshape(many.shape), many)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"camera": "sid"}, "camera 'sid' is not known; the model has 0 .side., 1 .back.; set env.camera"),
        ({"camera": 2}, "camera '2' is not known"),
        ({"outputs": ("rgb", "deph")}, "output 'deph' is not known; choose of rgb, depth, segmentation"),
        ({"height": 0}, "height 0 is less than 1"),
    ],
)
def test_wrong_use_is_one_line(arguments, line):
    with pytest.raises(ValueError, match=line) as told:
        rays.renderer(reference("cheetah")[0], **arguments)
    assert "\n" not in str(told.value)


def test_nothing_met_is_far_away():
    hit = shapes.nothing(jnp.zeros(3))
    assert (hit.t == shapes.FAR).all() and (hit.number == -1).all()

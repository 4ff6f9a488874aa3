"""Poses of solids, camera and lights in one world, by MuJoCo's rules for modes fixed, track and target."""

from typing import NamedTuple

import jax.numpy as jnp
import mujoco
import numpy as np

from skillhier.envs.physics import Data
from skillhier.envs.render import shapes
from skillhier.envs.render.scene import Group, Scene
from skillhier.types import Array

_MODES = mujoco.mjtCamLight
_FIXED = int(_MODES.mjCAMLIGHT_FIXED)
_TRACK, _TRACKCOM = int(_MODES.mjCAMLIGHT_TRACK), int(_MODES.mjCAMLIGHT_TRACKCOM)
_TARGET, _TARGETCOM = int(_MODES.mjCAMLIGHT_TARGETBODY), int(_MODES.mjCAMLIGHT_TARGETBODYCOM)


class View(NamedTuple):
    """One world, placed."""

    solid: tuple[shapes.Solids, ...]  # as in Scene
    clear: tuple[shapes.Solids, ...]
    eye: Array  # [3] m
    gaze: Array  # [3, 3] columns: right, up, backward
    light: Array  # [L, 3] m
    beam: Array  # [L, 3] unit, where it shines


def look(scene: Scene, data: Data) -> View:
    """The scene in the world of `data`."""
    model = scene.model
    eye, gaze = camera(model, scene.camera, data)
    placed = [_light(model, i, data) if i >= 0 else (eye, -gaze[:, 2]) for i in scene.lights.ids]
    lights, beams = (jnp.stack([place[k] for place in placed]) if placed else jnp.zeros((0, 3)) for k in (0, 1))
    solid, clear = (tuple(_placed(group, data) for group in groups) for groups in (scene.solid, scene.clear))
    return View(solid, clear, eye, gaze, lights, beams)


def plane_of(scene: Scene, view: View, number: int) -> tuple[Array, Array]:
    """Centre [3] and axes [3, 3] of the solid of that number."""
    groups = zip((*scene.solid, *scene.clear), (*view.solid, *view.clear), strict=True)
    at, solids = next((np.flatnonzero(group.number == number)[0], s) for group, s in groups if number in group.number)
    return solids.centre[at], solids.axes[at]


def camera(model: mujoco.MjModel, i: int, data: Data) -> tuple[Array, Array]:
    """Place [3] m and axes [3, 3] of a camera of the model."""
    body, mode, target = model.cam_bodyid[i], model.cam_mode[i], model.cam_targetbodyid[i]
    fixed = jnp.asarray(model.cam_mat0[i].reshape(3, 3), jnp.float32)
    if mode == _TRACK:
        return data.xpos[body] + jnp.asarray(model.cam_pos0[i], jnp.float32), fixed
    if mode == _TRACKCOM:
        return centre_of_mass(model, body, data) + jnp.asarray(model.cam_poscom0[i], jnp.float32), fixed
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, model.cam_quat[i])
    place = data.xpos[body] + data.xmat[body] @ jnp.asarray(model.cam_pos[i], jnp.float32)
    if mode in (_TARGET, _TARGETCOM) and target >= 0:
        back = _unit(place - _aim(model, mode, target, data))
        right = _unit(jnp.cross(jnp.array([0.0, 0.0, 1.0]), back))
        return place, jnp.stack([right, _unit(jnp.cross(back, right)), back], -1)
    return place, data.xmat[body] @ jnp.asarray(turn.reshape(3, 3), jnp.float32)


def steady(model: mujoco.MjModel, i: int) -> np.ndarray | None:
    """The axes [3, 3] of a camera that never turns; None of one that may."""
    if model.cam_mode[i] in (_TRACK, _TRACKCOM) or (
        model.cam_mode[i] == _FIXED and model.body_weldid[model.cam_bodyid[i]] == 0
        and model.body_mocapid[model.cam_bodyid[i]] < 0
    ):  # fmt: skip
        return model.cam_mat0[i].reshape(3, 3)
    return None


def centre_of_mass(model: mujoco.MjModel, body: int, data: Data) -> Array:
    """Of the body and all that hangs on it: [3] m."""
    parents, inside = model.body_parentid, np.zeros(model.nbody, bool)
    for i in range(model.nbody):
        inside[i] = i == body or (i > 0 and inside[parents[i]])
    mass = data.state.params.get("body_mass", jnp.asarray(model.body_mass, jnp.float32))
    mass = jnp.where(inside, mass, 0)
    centres = data.xpos + jnp.einsum("bij,bj->bi", data.xmat, jnp.asarray(model.body_ipos, jnp.float32))
    return (mass[:, None] * centres).sum(0) / jnp.maximum(mass.sum(), 1e-10)


def _light(model: mujoco.MjModel, i: int, data: Data) -> tuple[Array, Array]:
    body, mode, target = model.light_bodyid[i], model.light_mode[i], model.light_targetbodyid[i]
    fixed = jnp.asarray(model.light_dir0[i], jnp.float32)
    if mode == _TRACK:
        return data.xpos[body] + jnp.asarray(model.light_pos0[i], jnp.float32), fixed
    if mode == _TRACKCOM:
        return centre_of_mass(model, body, data) + jnp.asarray(model.light_poscom0[i], jnp.float32), fixed
    place = data.xpos[body] + data.xmat[body] @ jnp.asarray(model.light_pos[i], jnp.float32)
    if mode in (_TARGET, _TARGETCOM) and target >= 0:
        return place, _unit(_aim(model, mode, target, data) - place)
    return place, _unit(data.xmat[body] @ jnp.asarray(model.light_dir[i], jnp.float32))


def _aim(model: mujoco.MjModel, mode: int, body: int, data: Data) -> Array:
    return centre_of_mass(model, body, data) if mode == _TARGETCOM else data.xpos[body]


def _placed(group: Group, data: Data) -> shapes.Solids:
    if group.site:
        centre, axes = data.site_xpos[group.owner], data.site_xmat[group.owner]
    else:
        body = data.xmat[group.owner]
        centre = data.xpos[group.owner] + jnp.einsum("gij,gj->gi", body, jnp.asarray(group.place, jnp.float32))
        axes = jnp.einsum("gij,gjk->gik", body, jnp.asarray(group.turn, jnp.float32))
    size, faces = (jnp.asarray(values, jnp.float32) for values in (group.size, group.faces))
    return shapes.Solids(centre, axes, size, faces, jnp.asarray(group.number))


def _unit(vector: Array) -> Array:
    return vector / jnp.maximum(jnp.linalg.norm(vector), 1e-10)

"""What a picture of a model consists of: solids, colours, lights, sky and camera, before they are placed in a world.

Everything that MuJoCo draws by default is here: geoms and sites of groups 0 to 2 that are not invisible. Height
fields, tendons and skins are not drawn. A mesh is its convex hull.
"""

from typing import NamedTuple

import mujoco
import numpy as np

from skillhier.envs.render import shapes
from skillhier.envs.render.colours import Checker, Lights, checker, lights, paint, sky

_KINDS = {int(getattr(mujoco.mjtGeom, f"mjGEOM_{name.upper()}")): name for name in shapes.KINDS if name != "hull"}
_KINDS |= {int(mujoco.mjtGeom.mjGEOM_MESH): "hull"}
CLEAR = 0.995  # below this opacity solids are blended
BEHIND = 0.3  # how opaque a plane is from behind


class Group(NamedTuple):
    """Solids of one kind; all numpy."""

    kind: str
    site: bool  # sites, not geoms
    owner: np.ndarray  # [G] the geom's body, or the site
    place: np.ndarray  # [G, 3] m, in the body
    turn: np.ndarray  # [G, 3, 3]
    size: np.ndarray  # [G, 3] m
    faces: np.ndarray  # [G, F, 4]
    number: np.ndarray  # [G] see Scene


class Scene(NamedTuple):
    """A model as a camera sees it. Things that are drawn are numbered so that those of one look follow each other."""

    model: mujoco.MjModel
    camera: int
    solid: tuple[Group, ...]  # opaque
    clear: tuple[Group, ...]  # blended over what is behind; one solid each
    ids: np.ndarray  # [N] number -> the geom's id, or the number of geoms plus the site's
    looks: np.ndarray  # [U] the first number of each look
    palette: np.ndarray  # [U, 7] red, green, blue, alpha, emission, specular, shininess of each look
    checkers: tuple[tuple[int, Checker], ...]  # (number of a plane, its pattern)
    mirror: tuple[int, float] | None  # number of the plane that reflects, and how much
    lights: Lights
    sky: np.ndarray | None  # see colours.sky


def bake(model: mujoco.MjModel, camera: int | str) -> Scene:
    """The scene of `model` as its `camera` (number or name) sees it. Raises ValueError for an unknown camera."""
    camera = camera_number(model, camera)
    things = [(site, i) for site in (False, True) for i in range(model.nsite if site else model.ngeom)]
    things = [thing for thing in things if _drawn(model, *thing)]
    patterns = {thing: pattern for thing in things if (pattern := checker(model, *thing)) is not None}
    look = {thing: paint(model, *thing, patterned=thing in patterns) for thing in things}
    for thing in things:
        if _behind(model, camera, *thing):
            look[thing][3] *= BEHIND
    things.sort(key=lambda thing: tuple(look[thing]))  # stable: those of one look stay in the model's order
    table = np.array([look[thing] for thing in things]).reshape(-1, 7)
    looks = np.flatnonzero(np.r_[True, (np.diff(table, axis=0) != 0).any(-1)][: len(table)])
    number = {thing: n for n, thing in enumerate(things)}
    groups: dict[tuple, list] = {}
    for thing in things:
        kind, clear = _KINDS[_type(model, *thing)], look[thing][3] < CLEAR
        groups.setdefault((clear, thing if clear else thing[0], kind), []).append(thing)
    built = [(key[0], _group(model, key[2], members, number)) for key, members in groups.items()]
    reflecting = [(number[thing], _reflectance(model, *thing)) for thing in things if _reflectance(model, *thing) > 0]
    return Scene(
        model, camera,
        solid=tuple(group for clear, group in built if not clear),
        clear=tuple(group for clear, group in built if clear),
        ids=np.array([model.ngeom * site + i for site, i in things], np.int32),
        looks=looks, palette=table[looks],
        checkers=tuple((number[thing], pattern) for thing, pattern in patterns.items()),
        mirror=min(reflecting, default=None), lights=lights(model), sky=sky(model),
    )  # fmt: skip


def camera_number(model: mujoco.MjModel, camera: int | str) -> int:
    """The number of a camera from its number or name. Raises ValueError for an unknown one."""
    names = [model.camera(i).name for i in range(model.ncam)]
    if camera not in names and camera not in range(model.ncam):
        cameras = ", ".join(f"{i} ({name})" for i, name in enumerate(names)) or "none"
        raise ValueError(f"camera '{camera}' is not known; the model has {cameras}; set env.camera")
    return names.index(camera) if camera in names else int(camera)


def _type(model: mujoco.MjModel, site: bool, i: int) -> int:
    return int((model.site_type if site else model.geom_type)[i])


def _drawn(model: mujoco.MjModel, site: bool, i: int) -> bool:
    group = (model.site_group if site else model.geom_group)[i]
    return group <= 2 and _type(model, site, i) in _KINDS and paint(model, site, i)[3] > 0


def _plane(model: mujoco.MjModel, site: bool, i: int) -> bool:
    return not site and model.geom_type[i] == mujoco.mjtGeom.mjGEOM_PLANE


def _reflectance(model: mujoco.MjModel, site: bool, i: int) -> float:
    material = model.geom_matid[i] if _plane(model, site, i) else -1
    return float(model.mat_reflectance[material]) if material >= 0 else 0.0


def _behind(model: mujoco.MjModel, camera: int, site: bool, i: int) -> bool:
    """Whether a plane that never moves is seen from behind by a camera that never moves. (Others count as in front.)"""
    still = [model.geom_bodyid[i], model.cam_bodyid[camera]] if _plane(model, site, i) else []
    if not still or model.body_weldid[still].any() or (model.body_mocapid[still] >= 0).any():
        return False
    if model.cam_mode[camera] != mujoco.mjtCamLight.mjCAMLIGHT_FIXED and model.cam_bodyid[camera] != 0:
        return False
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_camlight(model, data)
    return float((data.cam_xpos[camera] - data.geom_xpos[i]) @ data.geom_xmat[i].reshape(3, 3)[:, 2]) < 0


def _group(model: mujoco.MjModel, kind: str, things: list[tuple[bool, int]], number: dict) -> Group:
    site, ids = things[0][0], np.array([i for _, i in things])
    turn, faces = np.zeros((len(ids), 9)), []
    turn[:] = np.eye(3).ravel()
    if site:
        place, size, owner = np.zeros((len(ids), 3)), model.site_size[ids], ids
    else:
        place, size, owner = model.geom_pos[ids], model.geom_size[ids], model.geom_bodyid[ids]
        for row, i in zip(turn, ids, strict=True):
            mujoco.mju_quat2Mat(row, model.geom_quat[i])
            if kind == "hull":
                faces.append(_hull(model, model.geom_dataid[i]))
    most = max((len(f) for f in faces), default=0)
    blank = np.array([0.0, 0.0, 0.0, 1.0])  # a half-space that holds everything
    faces = np.array([[*f, *[blank] * (most - len(f))] for f in faces]).reshape(len(ids), most, 4)
    numbers = np.array([number[thing] for thing in things], np.int32)
    return Group(kind, site, owner, place, turn.reshape(-1, 3, 3), size, faces, numbers)


def _hull(model: mujoco.MjModel, mesh: int) -> np.ndarray:
    """[F, 4] the faces of the mesh's hull as half-spaces; triangles of one plane are one face."""
    start = model.mesh_graphadr[mesh]
    if start < 0:
        raise ValueError(f"mesh '{model.mesh(mesh).name}' has no convex hull to be drawn")
    vertices, triangles = model.mesh_graph[start], model.mesh_graph[start + 1]
    start += 2 + 3 * vertices + 3 * triangles
    corners = model.mesh_graph[start : start + 3 * triangles].reshape(-1, 3)
    corners = model.mesh_vert[model.mesh_vertadr[mesh] + corners].astype(float)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1)
    corners, normal = corners[length > 1e-12], normal[length > 1e-12] / length[length > 1e-12, None]
    planes: list[np.ndarray] = []
    for plane in np.c_[normal, (normal * corners[:, 0]).sum(-1)]:
        if not any(plane[:3] @ other[:3] > 1 - 1e-6 for other in planes):
            planes.append(plane)
    return np.array(planes)

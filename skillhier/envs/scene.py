"""What there is to see of a model, as plain data, and where it was in every row of an episode.

`shown(env)` lets the one rollout carry the physics record along; `scene(model)` and `poses(record)` turn model and
record into what a page can draw without knowing MuJoCo. Units: m; quaternions are w x y z.
"""

from typing import Any

import jax
import mujoco
import numpy as np

from skillhier.envs import physics
from skillhier.types import Carry, Env, EnvState, Key, Params, Policy, TimeStep

RECORD = "physics"  # the entry under which `shown` worlds show their physics.Data
KINDS = {
    mujoco.mjtGeom.mjGEOM_PLANE: "plane",
    mujoco.mjtGeom.mjGEOM_SPHERE: "sphere",
    mujoco.mjtGeom.mjGEOM_CAPSULE: "capsule",
    mujoco.mjtGeom.mjGEOM_ELLIPSOID: "ellipsoid",
    mujoco.mjtGeom.mjGEOM_CYLINDER: "cylinder",
    mujoco.mjtGeom.mjGEOM_BOX: "box",
    mujoco.mjtGeom.mjGEOM_MESH: "mesh",
}
HIDDEN = 3  # groups from here on are not drawn, as in MuJoCo's own viewer
PLAIN = (0.5, 0.5, 0.5, 1.0)  # MuJoCo's colour of what has none: a material then decides
CHECK = 1.0  # m, side of a check of a texture that repeats once; a texture spans two


def shown(env: Env) -> Env:
    """`env` whose rows also hold the physics.Data that they belong to, as observation entry `RECORD`.

    Its spec is that of `env`, and `unaware` policies never see the entry. Raises ValueError, when it is first used,
    where `env` has no physics of ours.
    """

    def noted(state: EnvState, step: TimeStep) -> tuple[EnvState, TimeStep]:
        return state, step._replace(obs={**step.obs, RECORD: record(state)})

    return Env(lambda key: noted(*env.reset(key)), lambda state, action: noted(*env.step(state, action)), env.spec)


def unaware(policy: Policy) -> Policy:
    """`policy` as it acts in `shown` worlds: it sees what it would see without."""

    def act(params: Params, carry: Carry, step: TimeStep, key: Key):
        seen = {name: entry for name, entry in step.obs.items() if name != RECORD}
        return policy.act(params, carry, step._replace(obs=seen), key)

    return Policy(policy.init, act)


def record(state: EnvState) -> physics.Data:
    """The physics record in the state of any of our worlds, whatever was wrapped round them."""
    leaves = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, physics.Data))
    found = [leaf for leaf in leaves if isinstance(leaf, physics.Data)]
    if not found:
        raise ValueError("this world has no physics of ours, so its bodies cannot be drawn; choose another in env.name")
    return found[0]


def poses(data: physics.Data) -> np.ndarray:
    """Places and turns of all bodies, [..., nbody, 7] float32 (x y z, w x y z), from a record with leading axes."""
    turns = np.asarray(data.xmat, np.float64)
    flat = turns.reshape(-1, 9)
    quats = np.empty((len(flat), 4))
    for quat, turn in zip(quats, flat, strict=True):
        mujoco.mju_mat2Quat(quat, turn)
    quats = quats.reshape(*turns.shape[:-2], 4)
    return np.concatenate([np.asarray(data.xpos), quats], -1).astype(np.float32)


def scene(model: mujoco.MjModel) -> dict[str, Any]:
    """What to draw, as data that JSON takes: bodies, shapes on them, meshes, where to look from.

    bodies: names; moving: the numbers of those that can move. shapes: {name, body, kind, size, pose (on its body),
    rgba, and mesh (its number) or checker ({other: rgb, cell: m})}. meshes: {corners, faces}, flat lists. views:
    {name, follow (a body, or -1), eye, target, fovy (radians)}, of the cameras at the model's own first state and
    one of all. extent: m of what matters. Sizes are MuJoCo's.
    """
    bodies = [model.body(i).name or ("world" if i == 0 else f"body {i}") for i in range(model.nbody)]
    moving = [
        i for i in range(model.nbody) if model.body_weldid[i] != 0 or model.body_mocapid[model.body_rootid[i]] >= 0
    ]
    shapes = [
        shape
        for kind in ("geom", "site")
        for i in range(getattr(model, f"n{kind}"))
        for shape in _shape(model, kind, i)
    ]
    return {
        "bodies": bodies,
        "moving": moving,
        "shapes": shapes,
        "meshes": [_mesh(model, i) for i in range(model.nmesh)],
        "views": views(model),
        "extent": float(model.stat.extent),
    }


def colour(model: mujoco.MjModel, kind: str, i: int) -> np.ndarray:
    """RGBA of geom or site `i`, float64: its own, or where that is MuJoCo's default, its material's."""
    own, material = getattr(model, f"{kind}_rgba")[i], getattr(model, f"{kind}_matid")[i]
    return np.array(model.mat_rgba[material] if material >= 0 and np.allclose(own, PLAIN) else own, np.float64)


def _shape(model: mujoco.MjModel, kind: str, i: int) -> list[dict[str, Any]]:
    """Geom or site `i`; nothing where it is not drawn."""
    get = lambda field: getattr(model, f"{kind}_{field}")[i]  # noqa: E731
    rgba, what = colour(model, kind, i), KINDS.get(int(get("type")))
    if what is None or get("group") >= HIDDEN or rgba[3] == 0:
        return []
    size, pose = get("size").tolist(), [*get("pos").tolist(), *get("quat").tolist()]
    told = {"name": model.geom(i).name if kind == "geom" else model.site(i).name, "body": int(get("bodyid"))}
    told |= {"kind": what, "size": size, "pose": pose, "rgba": rgba.tolist()}
    if what == "mesh":
        return [told | {"mesh": int(get("dataid"))}]
    return [told | _checker(model, int(get("matid")), told)]


def _checker(model: mujoco.MjModel, material: int, told: dict[str, Any]) -> dict[str, Any]:
    """The two colours of a plane whose material has a checkered texture, and the sides of a check."""
    texture = int(model.mat_texid[material, mujoco.mjtTextureRole.mjTEXROLE_RGB]) if material >= 0 else -1
    if told["kind"] != "plane" or texture < 0 or model.tex_type[texture] != mujoco.mjtTexture.mjTEXTURE_2D:
        return {}
    high, wide, channels = (int(x[texture]) for x in (model.tex_height, model.tex_width, model.tex_nchannel))
    start = int(model.tex_adr[texture])
    pixels = model.tex_data[start : start + high * wide * channels].reshape(high, wide, channels)[..., :3] / 255.0
    one, other = pixels[high // 4, wide // 4], pixels[high // 4, wide - wide // 4]  # clear of the marks on the edges
    tint, repeat = np.array(told["rgba"][:3]), model.mat_texrepeat[material]
    spans = [1.0, 1.0] if model.mat_texuniform[material] else [half or 1.0 for half in told["size"][:2]]
    cell = [float(CHECK * span / times) for span, times in zip(spans, repeat, strict=True)]
    return {
        "rgba": [*(one * tint).tolist(), told["rgba"][3]],
        "checker": {"other": (other * tint).tolist(), "cell": cell},
    }


def _mesh(model: mujoco.MjModel, i: int) -> dict[str, Any]:
    corners = model.mesh_vert[model.mesh_vertadr[i] :][: model.mesh_vertnum[i]]
    faces = model.mesh_face[model.mesh_faceadr[i] :][: model.mesh_facenum[i]]
    return {"corners": corners.astype(float).round(7).ravel().tolist(), "faces": faces.ravel().tolist()}


def views(model: mujoco.MjModel) -> list[dict[str, Any]]:
    """Where to look from: cameras that track a body, a view of everything, then the other cameras; see `scene`."""
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    tracking = (mujoco.mjtCamLight.mjCAMLIGHT_TRACK, mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM)
    aiming = (mujoco.mjtCamLight.mjCAMLIGHT_TARGETBODY, mujoco.mjtCamLight.mjCAMLIGHT_TARGETBODYCOM)
    found = []
    for i in range(model.ncam):
        mode, body = int(model.cam_mode[i]), int(model.cam_bodyid[i])
        if mode == mujoco.mjtCamLight.mjCAMLIGHT_FIXED and body:
            continue  # fixed to something that turns: an eye that goes round cannot stand there
        eye, ahead = data.cam_xpos[i], -data.cam_xmat[i].reshape(3, 3)[:, 2]
        middle = data.xpos[body] if mode in tracking and body else model.stat.center
        if mode in aiming:
            middle = data.xpos[int(model.cam_targetbodyid[i])]
        away = max(float(ahead @ (middle - eye)), 0.1 * float(model.stat.extent), 0.05)
        found.append(
            {
                "name": model.camera(i).name or f"camera {i}",
                "follow": body if mode in tracking and body else -1,
                "eye": eye.tolist(),
                "target": (eye + away * ahead).tolist(),
                "fovy": float(np.radians(model.cam_fovy[i])),
            }
        )
    turn, tilt = np.radians(model.vis.global_.azimuth + 55.0), np.radians(-27.0)
    ahead = np.array([np.cos(tilt) * np.cos(turn), np.cos(tilt) * np.sin(turn), np.sin(tilt)])
    target = np.array(model.stat.center)
    whole = {"name": "everything", "follow": -1, "eye": (target - 1.5 * model.stat.extent * ahead).tolist()}
    whole |= {"target": target.tolist(), "fovy": float(np.radians(model.vis.global_.fovy))}
    return [
        *(view for view in found if view["follow"] >= 0),
        whole,
        *(view for view in found if view["follow"] < 0),
    ]

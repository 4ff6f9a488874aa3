"""The visible shapes of a model as plain data, and where they were in every row of an episode.

`shown(env)` lets the one rollout carry the physics record along; `scene(model)` and `poses(record)` turn model and
record into what a page can draw without MuJoCo. Units: m; quaternions are w x y z.
"""

from typing import Any

import jax
import mujoco
import numpy as np

from skillhier.envs import physics
from skillhier.envs.render import colours
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
HIDDEN = 3  # groups from this one on are not drawn, as in MuJoCo's viewer
TRACKING = (mujoco.mjtCamLight.mjCAMLIGHT_TRACK, mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM)
DAY = {"above": [0.62, 0.72, 0.84], "haze": [0.87, 0.89, 0.91]}  # the sky of a model without one


def shown(env: Env) -> Env:
    """`env` whose rows also hold their physics.Data as observation entry `RECORD`.

    The spec does not change, and `unaware` policies do not see the entry. Raises ValueError when it is first used if
    `env` has no physics of this package.
    """

    def noted(state: EnvState, step: TimeStep) -> tuple[EnvState, TimeStep]:
        return state, step._replace(obs={**step.obs, RECORD: record(state)})

    return Env(lambda key: noted(*env.reset(key)), lambda state, action: noted(*env.step(state, action)), env.spec)


def unaware(policy: Policy) -> Policy:
    """`policy` for `shown` worlds: it does not see the added entry."""

    def act(params: Params, carry: Carry, step: TimeStep, key: Key):
        obs = {name: entry for name, entry in step.obs.items() if name != RECORD}
        return policy.act(params, carry, step._replace(obs=obs), key)

    return Policy(policy.init, act)


def record(state: EnvState) -> physics.Data:
    """The physics record in the state of one of our worlds, also if the Env was wrapped."""
    leaves = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, physics.Data))
    records = [leaf for leaf in leaves if isinstance(leaf, physics.Data)]
    if not records:
        raise ValueError("this world has no physics of ours, so its bodies cannot be drawn; choose another in env.name")
    return records[0]


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
    {name, camera (its number, or -1), follow (a body, or -1), eye, target, fovy (radians), base, reach}: one of
    everything, and those of the cameras while the followed body is at `base`, as in the model's own state; all of the
    followed robot is then within `reach` m of the target (0: none is followed). sky: {above, haze}, rgb. extent: m of
    what matters. Sizes are MuJoCo's.
    """
    bodies = [model.body(i).name or ("world" if i == 0 else f"body {i}") for i in range(model.nbody)]
    things = [(kind, i) for kind in ("geom", "site") for i in range(getattr(model, f"n{kind}"))]
    return {
        "bodies": bodies,
        "moving": moving(model),
        "shapes": [shape for thing in things for shape in _shape(model, *thing)],
        "meshes": [_mesh(model, i) for i in range(model.nmesh)],
        "views": views(model),
        "sky": sky(model),
        "extent": float(model.stat.extent),
    }


def moving(model: mujoco.MjModel) -> list[int]:
    """The numbers of the bodies that can move."""
    free = (model.body_weldid != 0) | (model.body_mocapid[model.body_rootid] >= 0)
    return np.flatnonzero(free).tolist()


def filmed(model: mujoco.MjModel) -> int:
    """The camera for films: one that tracks a body, else one that tracks all, else one called video, else the first.

    -1 where the model has none.
    """
    tracking = sorted(
        np.flatnonzero(np.isin(model.cam_mode, TRACKING)).tolist(), key=lambda i: model.cam_bodyid[i] == 0
    )
    video = [i for i in range(model.ncam) if model.camera(i).name == "video"]
    return next(iter([*tracking, *video, *range(model.ncam)]), -1)


def sky(model: mujoco.MjModel) -> dict[str, list[float]]:
    """The model's sky {above, haze}: rgb high up and at the horizon."""
    polynomial = colours.sky(model)
    if polynomial is None:
        return DAY
    sines = {"above": 0.8, "haze": 0.05}  # of the elevation
    return {name: np.clip(at ** np.arange(len(polynomial)) @ polynomial, 0, 1).tolist() for name, at in sines.items()}


def _shape(model: mujoco.MjModel, kind: str, i: int) -> list[dict[str, Any]]:
    """Geom or site `i`; nothing where it is not drawn."""
    site = kind == "site"
    get = lambda field: getattr(model, f"{kind}_{field}")[i]  # noqa: E731
    pattern, what = colours.checker(model, site, i), KINDS.get(int(get("type")))
    rgba = colours.paint(model, site, i, patterned=pattern is not None)[:4]
    if what is None or get("group") >= HIDDEN or rgba[3] == 0:
        return []
    pose = [*get("pos").tolist(), *get("quat").tolist()]
    shape = {"name": (model.site if site else model.geom)(i).name, "body": int(get("bodyid")), "kind": what}
    shape |= {"size": get("size").tolist(), "pose": pose, "rgba": rgba.tolist()}
    if what == "mesh":
        return [shape | {"mesh": int(get("dataid"))}]
    if pattern is None:
        return [shape]
    even, odd = ((rgba[:3] * one).tolist() for one in (pattern.odd, pattern.even))  # a texture begins at x = y = 1 m
    cell = np.abs(0.5 / pattern.repeat).tolist()  # two by two squares a texture
    return [shape | {"rgba": [*even, float(rgba[3])], "checker": {"other": odd, "cell": cell}}]


def _mesh(model: mujoco.MjModel, i: int) -> dict[str, Any]:
    corners = model.mesh_vert[model.mesh_vertadr[i] :][: model.mesh_vertnum[i]]
    faces = model.mesh_face[model.mesh_faceadr[i] :][: model.mesh_facenum[i]]
    return {"corners": corners.astype(float).round(7).ravel().tolist(), "faces": faces.ravel().tolist()}


def _reach(model: mujoco.MjModel, data: mujoco.MjData, body: int, target: np.ndarray) -> float:
    """How far from `target` the drawn shapes of that body's whole robot reach, m; 0 for no body."""
    if body < 0:
        return 0.0
    own = (model.body_rootid[model.geom_bodyid] == model.body_rootid[body]) & (model.geom_group < HIDDEN)
    return float(np.max(np.linalg.norm(data.geom_xpos - target, axis=1) + model.geom_rbound, where=own, initial=0.0))


def views(model: mujoco.MjModel) -> list[dict[str, Any]]:
    """Where to look from: cameras that track a body, a view of everything, then the other cameras; see `scene`."""
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    aiming = (mujoco.mjtCamLight.mjCAMLIGHT_TARGETBODY, mujoco.mjtCamLight.mjCAMLIGHT_TARGETBODYCOM)
    cameras = []
    for i in range(model.ncam):
        mode, body = int(model.cam_mode[i]), int(model.cam_bodyid[i])
        if mode == mujoco.mjtCamLight.mjCAMLIGHT_FIXED and body:
            continue  # fixed to a body that turns: an orbiting view cannot start there
        eye, ahead = data.cam_xpos[i], -data.cam_xmat[i].reshape(3, 3)[:, 2]
        follow = (body or next(iter(moving(model)), -1)) if mode in TRACKING else -1  # the world's own mass: of all
        middle = data.xpos[follow] if follow >= 0 else model.stat.center
        if mode in aiming:
            middle = data.xpos[int(model.cam_targetbodyid[i])]
        away = max(float(ahead @ (middle - eye)), 0.1 * float(model.stat.extent), 0.05)
        target = eye + away * ahead
        cameras.append(
            {
                "name": model.camera(i).name or f"camera {i}",
                "camera": i,
                "follow": follow,
                "base": (data.xpos[follow] if follow >= 0 else np.zeros(3)).tolist(),
                "eye": eye.tolist(),
                "target": target.tolist(),
                "fovy": float(np.radians(model.cam_fovy[i])),
                "reach": _reach(model, data, follow, target),
            }
        )
    turn, tilt = np.radians(model.vis.global_.azimuth + 55.0), np.radians(-27.0)
    ahead = np.array([np.cos(tilt) * np.cos(turn), np.cos(tilt) * np.sin(turn), np.sin(tilt)])
    target = np.array(model.stat.center)
    whole = {"name": "everything", "camera": -1, "follow": -1, "base": [0.0, 0.0, 0.0], "reach": 0.0}
    whole |= {
        "eye": (target - 1.5 * model.stat.extent * ahead).tolist(),
        "target": target.tolist(),
        "fovy": float(np.radians(model.vis.global_.fovy)),
    }
    return [
        *(view for view in cameras if view["follow"] >= 0),
        whole,
        *(view for view in cameras if view["follow"] < 0),
    ]

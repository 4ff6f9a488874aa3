"""The model of an ant in a maze, and where to find the ant in its record.

The ant is read from the file that the `dm_control` package ships and moves as under its locomotion tasks; maze, target
and solver are built around it. Source: Director's ant mazes, fact sheet of MRS, section 5.3.

Profile `parity` has dm_control's physics: elliptic cones, five noslip iterations (engine native only: MJX has none),
an ant that collides with itself. Walls are merged across colours, so what spans a seam of dm_control's has one contact
here and two there. Profile `fast` has pyramids, less exact solutions, no collisions of the ant with itself and few
contacts in MJX.
"""

from functools import lru_cache
from typing import NamedTuple

import mujoco
import numpy as np

from skillhier.envs.antmaze import mazes
from skillhier.envs.dmc import suite

TIMESTEP = 0.005  # s
WALL = 2.0  # m, height
RADIUS = 1.2  # m, of the target
EGOCENTRIC = 4  # number of the torso's camera; 0 looks down on the whole maze
PARKED = -20.0  # m, the height of a target that was touched
_PREFIX = "ant/"
_FEET = ("front_left_foot", "front_right_foot", "back_right_foot", "back_left_foot")  # dm_control's order
_TAB10 = (  # matplotlib's, red green blue of 255: colour d - 1 paints the walls of digit d
    (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189),
    (140, 86, 75), (227, 119, 194), (127, 127, 127), (188, 189, 34),
)  # fmt: skip
_FLOOR, _TARGET = (0.2, 0.2, 0.2, 1.0), (0.0, 0.55, 0.0, 1.0)  # the mean of the target's two greens
_SKY = ((0.4, 0.6, 0.8), (0.0, 0.0, 0.0))  # top, bottom
_ITERATIONS = (4, 8)  # of the solver and its line search under profile fast
_CAPS = {"max_contact_points": 24, "max_geom_pairs": 13}  # in MJX under profile fast
_VISUAL, _COLLISION = 0, 3  # groups of geoms; the second is not drawn
_CONTACT = {  # (contype, conaffinity)
    "parity": {"ant": (1, 1), "maze": (1, 1)},
    "fast": {"ant": (1, 0), "maze": (0, 1)},
}


class Layout(NamedTuple):
    """Where the ant is in a record."""

    torso: int  # body
    joints: np.ndarray  # [8] rows of qpos; those of qvel are one less
    feet: np.ndarray  # [12] rows of sensordata: places of the feet seen from the torso
    places: np.ndarray  # [39] of all 13 bodies
    turns: np.ndarray  # [52] their quaternions (wxyz) in the torso's frame
    gyro: np.ndarray  # [3] rad/s
    velocimeter: np.ndarray  # [3] m/s
    accelerometer: np.ndarray  # [3] m/s^2
    touch: np.ndarray  # [9] N
    shape: "Capsules"


class Capsules(NamedTuple):
    """What the ant is made of; a sphere is a capsule without length."""

    body: np.ndarray  # [13]
    ends: np.ndarray  # [13, 2, 3] m, ends of the axis in the body's frame
    radius: np.ndarray  # [13] m


@lru_cache(maxsize=8)
def build(maze: str, profile: str = "parity") -> mujoco.MjModel:
    """The ant in the maze called `maze` (a key of `mazes.LAYOUTS`), the target at rest on a mocap body."""
    if profile not in suite.PROFILES:
        raise ValueError(f"profile '{profile}' is not known; choose auto, {' or '.join(suite.PROFILES)} in env.profile")
    layout = mazes.LAYOUTS[maze]
    spec = mujoco.MjSpec()
    _solver(spec, profile)
    _scenery(spec)
    _maze(spec, layout, _CONTACT[profile]["maze"])
    _ant(spec, _CONTACT[profile]["ant"])
    _target(spec, layout)
    return spec.compile()


def _solver(spec: mujoco.MjSpec, profile: str) -> None:
    spec.modelname = "antmaze"
    spec.compiler.degree = False
    spec.compiler.boundmass, spec.compiler.boundinertia = 1e-5, 1e-11  # dm_control's, for the body of the free joint
    spec.option.timestep = TIMESTEP
    if profile == "parity":
        spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
        spec.option.noslip_iterations, spec.option.noslip_tolerance = 5, 0.0
        return
    spec.option.iterations, spec.option.ls_iterations = _ITERATIONS
    for name, most in _CAPS.items():
        spec.add_numeric(name=name, size=1, data=[most])


def _scenery(spec: mujoco.MjSpec) -> None:
    """Light and sky."""
    head = spec.visual.headlight
    head.ambient, head.diffuse, head.specular = [0.3] * 3, [0.6] * 3, [0.0] * 3
    spec.visual.map.znear = 0.0005
    spec.add_texture(
        name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=_SKY[0], rgb2=_SKY[1], width=100, height=600,
    )  # fmt: skip


def _maze(spec: mujoco.MjSpec, layout: tuple[str, ...], bits: tuple[int, int]) -> None:
    """A camera above, a floor, boxes that collide whatever their colour, and boxes of each colour that are only seen.

    The floor belongs to the world and the walls to a body, as in dm_control: noslip iterations depend on the order of
    contacts, and this decides it.
    """
    height, width = (len(side) * mazes.CELL for side in (layout, layout[0]))
    above, margin = 100.0, 1.1
    fovy = 2 * np.degrees(np.arctan2(margin * max(height, width) / 2, above))
    spec.worldbody.add_camera(name="top", pos=[0, 0, above], fovy=fovy)
    collides = dict(zip(("contype", "conaffinity"), bits, strict=True))
    spec.worldbody.add_geom(
        name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[width / 2, height / 2, 1.0], rgba=_FLOOR, group=_VISUAL,
        **collides,
    )  # fmt: skip
    body = spec.worldbody.add_body(name="maze")

    def box(name: str, place: mazes.Rectangle, **settings) -> None:
        x, y = mazes.centre(layout, (place.top + place.bottom) / 2, (place.left + place.right) / 2)
        half = [
            mazes.CELL / 2 * (place.right - place.left + 1),
            mazes.CELL / 2 * (place.bottom - place.top + 1),
            WALL / 2,
        ]
        body.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_BOX, pos=[x, y, WALL / 2], size=half, **settings)

    for i, place in enumerate(mazes.rectangles(mazes.walls(layout))):
        box(f"wall_{i}", place, group=_COLLISION, **collides)
    for digit, colour in enumerate(_TAB10, start=1):
        rgba = [*(channel / 255 for channel in colour), 1.0]
        for i, place in enumerate(mazes.rectangles(mazes.cells(layout) == str(digit))):
            box(f"colour_{digit}_{i}", place, group=_VISUAL, rgba=rgba, contype=0, conaffinity=0)


def _target(spec: mujoco.MjSpec, layout: tuple[str, ...]) -> None:
    x, y = mazes.centre(layout, *mazes.find(layout, mazes.GOAL))
    body = spec.worldbody.add_body(name="target", mocap=True, pos=[x, y, 0.0])
    sphere = mujoco.mjtGeom.mjGEOM_SPHERE
    body.add_geom(name="target", type=sphere, size=[RADIUS, 0, 0], rgba=_TARGET, contype=0, conaffinity=0)


def _ant(spec: mujoco.MjSpec, bits: tuple[int, int]) -> None:
    """dm_control's ant without rangefinders, hung on a free joint at the floor as its composer does."""
    ant = mujoco.MjSpec.from_file(str(suite.folder().parent / "third_party" / "ant" / "ant.xml"))
    rays = [sensor for sensor in ant.sensors if sensor.type == mujoco.mjtSensor.mjSENS_RANGEFINDER]
    for sensor in rays:
        ant.delete(sensor)
    for site in list(ant.sites):
        if site.name.startswith(("rf_", "rc")):  # rangefinders; balls inside the torso
            ant.delete(site)
        elif site.name == "torso_site":  # inside the torso too, but sensors are there
            site.group = _COLLISION
    for geom in ant.geoms:
        geom.contype, geom.conaffinity = bits
    bodies = [body.name for body in ant.bodies if body.name != "world"]
    root = spec.worldbody.add_body(name="ant")
    root.add_freejoint(name="root")
    spec.attach(ant, prefix=_PREFIX, frame=root.add_frame())
    body = mujoco.mjtObj.mjOBJ_XBODY
    for kind in (mujoco.mjtSensor.mjSENS_FRAMEPOS, mujoco.mjtSensor.mjSENS_FRAMEQUAT):
        for name in bodies:
            spec.add_sensor(
                name=f"{name}_{kind.name}", type=kind, objtype=body, objname=_PREFIX + name, reftype=body,
                refname=f"{_PREFIX}torso",
            )  # fmt: skip


@lru_cache(maxsize=8)
def layout(model: mujoco.MjModel) -> Layout:
    """Where things are in records of `model`."""
    kinds = mujoco.mjtSensor

    def rows(kind: int, of: tuple[str, ...] = ()) -> np.ndarray:
        ids = np.flatnonzero(model.sensor_type == kind)
        if of:
            wanted = [model.body(_PREFIX + name).id for name in of]
            ids = [i for body in wanted for i in ids if model.sensor_objid[i] == body]
        return np.concatenate([np.arange(a := model.sensor_adr[i], a + model.sensor_dim[i]) for i in ids])

    return Layout(
        torso=model.body(f"{_PREFIX}torso").id,
        joints=model.jnt_qposadr[model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE],
        feet=rows(kinds.mjSENS_FRAMEPOS, _FEET),
        places=rows(kinds.mjSENS_FRAMEPOS),
        turns=rows(kinds.mjSENS_FRAMEQUAT),
        gyro=rows(kinds.mjSENS_GYRO),
        velocimeter=rows(kinds.mjSENS_VELOCIMETER),
        accelerometer=rows(kinds.mjSENS_ACCELEROMETER),
        touch=rows(kinds.mjSENS_TOUCH),
        shape=_capsules(model),
    )


def _capsules(model: mujoco.MjModel) -> Capsules:
    ids = np.flatnonzero(model.body_rootid[model.geom_bodyid] == model.body("ant").id)
    long = np.where(model.geom_type[ids] == mujoco.mjtGeom.mjGEOM_CAPSULE, model.geom_size[ids, 1], 0.0)
    axes = np.zeros((len(ids), 9))
    for row, quaternion in zip(axes, model.geom_quat[ids], strict=True):
        mujoco.mju_quat2Mat(row, quaternion)
    along = axes.reshape(-1, 3, 3)[:, :, 2] * long[:, None]
    ends = model.geom_pos[ids][:, None] + np.stack([-along, along], 1)
    return Capsules(model.geom_bodyid[ids], ends, model.geom_size[ids, 0])

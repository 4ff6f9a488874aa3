"""The suite's quadruped, alone or in an arena, and where to find things in its record.

The arena is one model for every task: pillars and a target hang on mocap bodies, so a layout is a part of the state.
What a task has no use for is parked below the floor. Pillars are upright capsules, not cylinders: MJX has faster
collisions for them. Source: the LSP fact sheet, 4.3 to 4.6.
"""

from functools import lru_cache
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement

import jax.numpy as jnp
import mujoco
import numpy as np

from skillhier.envs.dmc import suite
from skillhier.types import Array

SLOTS = 12  # pillars of the arena
PARKED = -20.0  # m, the height of what is out of the way
FLOOR = 100.0  # m, half the floor that is drawn (collisions know no edge): 5 m/s for 20 s, the suite's for `run`
EXTENT = 20.0  # m, the suite's for `run`
DISC = (0.4, 0.05)  # m, radius and half height of the drawn target
# (contype, conaffinity). MJX would also look at pillars against the floor and each other, so bits keep them apart.
_COLLIDES = {
    "parity": {"robot": (3, 1), "torso": (3, 1), "eye": (3, 1), "floor": (1, 1), "pillar": (0, 2), "target": (0, 0)},
    # without itself; pillars meet a sphere in the torso's stead
    "fast": {
        "robot": (5, 2), "torso": (1, 2), "ball": (4, 0), "eye": (0, 0),
        "floor": (2, 1), "pillar": (0, 4), "target": (0, 0),
    },
}  # fmt: skip
BALL = 0.28  # m: MJX takes as long for the torso's ellipsoid against pillars as for all else together


class Robot(NamedTuple):
    """Where the quadruped is in a record, and its hull."""

    torso: int  # body
    hinges: np.ndarray  # [16] rows of qpos; those of qvel are one less
    imu: np.ndarray  # [6] rows of sensordata: accelerometer, gyro
    velocity: np.ndarray  # [3] velocimeter
    feelers: np.ndarray  # [24] forces, then torques, of the toes
    hull: "Hull"


class Hull(NamedTuple):
    """The robot's geoms with all joints at zero, in the torso's frame."""

    centre: np.ndarray  # [G, 3] m
    frame: np.ndarray  # [G, 3, 3]
    half: np.ndarray  # [G, 3] m: half axes of an ellipsoid; other kinds are zero here
    round: np.ndarray  # [G] m: radius of a sphere or capsule
    long: np.ndarray  # [G] m: half length of a capsule or cylinder
    disc: np.ndarray  # [G] m: radius of a cylinder


@lru_cache(maxsize=8)
def build(profile: str = "parity", arena: bool = True, radius: float = 0.5, height: float = 1.0) -> mujoco.MjModel:
    """The quadruped on a floor; with `arena` also `SLOTS` pillars and a target, all parked.

    `parity` is the suite's own physics; `fast` has less exact solutions, no collisions of the robot with itself, eyes
    that only look, a ball for a torso where pillars are met, and few contacts under engine mjx. A pillar is a
    cylinder of `radius` (m) up to `height` (m), rounded above it.
    """
    if radius <= 0 or height <= 0:
        raise ValueError(f"pillars of radius {radius} m and height {height} m: both must be positive; set env.pillar")

    def edit(root: Element) -> None:
        _strip(root)
        world = root.find("worldbody")
        if arena:
            _furnish(world, radius, height)
            # parked things would move what the cameras take for the middle and the size of the scene
            SubElement(root, "statistic", center="0 0 0", extent=str(EXTENT))
        if arena and profile == "fast":
            torso = world.find("body[@name='torso']")
            SubElement(torso, "geom", name="ball", type="sphere", size=str(BALL), mass="0", group="4", rgba="0 0 0 0")
        if arena or profile == "fast":
            _sort(world, _COLLIDES[profile])

    return suite.load("quadruped", profile, edit)


def _strip(root: Element) -> None:
    """Takes out what walk and run have no use for: terrain, walls, ball, target, rangefinders."""
    idle = {"terrain", "wall_px", "wall_py", "wall_nx", "wall_ny", "ball", "target"}
    parent = {child: above for above in root.iter() for child in above}
    for node, above in parent.items():
        name = node.get("name", "")
        assets = above.tag == "asset" and node.tag != "hfield"
        if (name in idle and not assets) or name.startswith("rf_"):
            above.remove(node)
    root.find("worldbody/geom[@name='floor']").set("size", f"{FLOOR} {FLOOR} .5")


def _furnish(world: Element, radius: float, height: float) -> None:
    at = f"0 0 {PARKED}"
    for i in range(SLOTS):
        body = SubElement(world, "body", name=f"pillar_{i}", mocap="true", pos=at)
        size = f"{radius} {height / 2}"
        SubElement(
            body, "geom", name=f"pillar_{i}", type="capsule", size=size, pos=f"0 0 {height / 2}", material="decoration"
        )
    body = SubElement(world, "body", name="target", mocap="true", pos=at)
    size = f"{DISC[0]} {DISC[1]}"
    SubElement(body, "geom", name="target", type="cylinder", size=size, rgba=".9 .1 .1 1")


def _sort(world: Element, bits: dict[str, tuple[int, int]]) -> None:
    """Says what collides with what."""
    for geom in world.iter("geom"):
        kind = geom.get("name").split("_")[0]
        contype, conaffinity = bits.get(kind, bits["robot"])
        geom.set("contype", str(contype))
        geom.set("conaffinity", str(conaffinity))


def robot(model: mujoco.MjModel) -> Robot:
    """Where things are in records of `model`."""
    kinds = mujoco.mjtSensor
    hinges = model.jnt_qposadr[model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE]

    def rows(*sensors) -> np.ndarray:
        matches = np.flatnonzero(np.isin(model.sensor_type, sensors))
        return np.concatenate([np.arange(a := model.sensor_adr[i], a + model.sensor_dim[i]) for i in matches])

    return Robot(
        torso=model.body("torso").id,
        hinges=hinges,
        imu=rows(kinds.mjSENS_ACCELEROMETER, kinds.mjSENS_GYRO),
        velocity=rows(kinds.mjSENS_VELOCIMETER),
        feelers=rows(kinds.mjSENS_FORCE, kinds.mjSENS_TORQUE),
        hull=hull(model),
    )


def hull(model: mujoco.MjModel) -> Hull:
    """The robot's geoms that are drawn, eyes included."""
    data = mujoco.MjData(model)
    data.qpos[:3] = 0
    mujoco.mj_kinematics(model, data)
    torso = model.body("torso").id
    mine = np.flatnonzero((model.body_rootid[model.geom_bodyid] == torso) & (model.geom_group < 3))
    kind, size = model.geom_type[mine], model.geom_size[mine]
    shapes = mujoco.mjtGeom
    ball = np.isin(kind, (shapes.mjGEOM_SPHERE, shapes.mjGEOM_CAPSULE))
    rod = np.isin(kind, (shapes.mjGEOM_CAPSULE, shapes.mjGEOM_CYLINDER))
    return Hull(
        centre=data.geom_xpos[mine],
        frame=data.geom_xmat[mine].reshape(-1, 3, 3),
        half=np.where((kind == shapes.mjGEOM_ELLIPSOID)[:, None], size, 0),
        round=np.where(ball, size[:, 0], 0),
        long=np.where(rod, size[:, 1], 0),
        disc=np.where(kind == shapes.mjGEOM_CYLINDER, size[:, 0], 0),
    )


def clearance(hull: Hull, quaternion: Array) -> Array:
    """The height [] (m) of a torso turned by `quaternion` [4] (wxyz) at which nothing touches the floor.

    The suite raises the robot from the floor by steps of 1 cm until MuJoCo finds no contact; this is where it stops.
    """
    w, x, y, z = quaternion
    up = jnp.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)])  # world z, in the torso's frame
    tilt = jnp.einsum("i,gij->gj", up, jnp.asarray(hull.frame, jnp.float32))  # [G, 3] world z, in each geom's frame
    along = jnp.abs(tilt[:, 2])
    across = jnp.sqrt(jnp.maximum(1 - along**2, 0))
    reach = hull.round + hull.long * along + hull.disc * across + jnp.linalg.norm(hull.half * tilt, axis=-1)
    return 0.01 * jnp.ceil(100 * jnp.max(reach - jnp.asarray(hull.centre, jnp.float32) @ up))

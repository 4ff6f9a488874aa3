"""The MuJoCo model of arm, wrist sensor, gripper, basket and three objects, written from numbers alone.

Source: DeepMind's RGB-stacking cell as collected in the fact sheet, sections 4.5-4.8 and appendix A. SI
units; quaternions are w x y z. The robot's own numbers are in `robot`.

Elliptic cones: a grasped object slips about 1 mm over a second where pyramids let it slip 5, and the C solver is no
slower. MJX has pyramids all the same (`CONES`): with elliptic cones MJX 3.17 in float32 throws what a firm grip holds
(speeds of 190 within 120 physics steps of 2.5 ms, none above 0.5 with pyramids). Fingertips keep
the full six contact dimensions (their rolling friction is what stops a held object from turning), all else
has three: an object's own torsional and rolling friction moves nothing here, and costs rows.
"""

from typing import NamedTuple

import mujoco
import numpy as np

from skillhier.envs.sawyer import objects, robot
from skillhier.envs.sawyer.robot import TOUCH, actuators, arm, couplings, fingertip, text

# The numbers of the robot that readers of the scene want beside it.
JOINTS, DRIVER_RANGE, TICKS, REACH = robot.JOINTS, robot.DRIVER_RANGE, robot.TICKS, robot.REACH

COLOURS = tuple(objects.COLOURS)  # bodies and geoms of the objects

CONES = {"native": "elliptic", "mjx": "pyramidal", "warp": "pyramidal"}  # friction cones that each engine solves well
# s, the largest physics step at which the scripted expert succeeds as at 1 ms. With pyramids fingers tremble on what
# they hold at 5 ms, and half of the stacks fail.
STEPS = {"native": 0.005, "mjx": 0.0025, "warp": 0.0025}
BASKET = (0.6, 0.0, 0.0498)  # m, its floor's top face
# MJX allocates every contact that any two geoms could have (160); with this limit it passes on only the deepest of each
# contact dimension. Replayed logs never had more than 15 (between objects and basket) and 10 (fingertips).
_CONTACTS = 24
_SLOPE_TILT = np.radians(25.5)

FLOORS = ("floor", "slope_0", "slope_1", "slope_2", "slope_3")  # geoms of the basket


def build(names=("s0", "g5", "b6"), *, timestep: float = STEPS["native"], **options) -> mujoco.MjModel:
    """The compiled model for the objects `names` (red, green, blue) at a physics step of `timestep` s."""
    return mujoco.MjModel.from_xml_string(xml(names, timestep=timestep, **options))


def xml(
    names=("s0", "g5", "b6"), *, timestep: float = STEPS["native"], cone: str = "elliptic",
    iterations: int = 20, impratio: float = 10.0,
) -> str:  # fmt: skip
    """The MJCF text that `build` compiles."""
    if len(names) != 3:
        raise ValueError(f"the scene has three objects (red, green, blue), got {len(names)}; set `objects`")
    solids = [objects.solid(name) for name in names]
    return f"""<mujoco model="sawyer">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{timestep}" integrator="implicitfast" cone="{cone}" impratio="{impratio}" solver="Newton"
    iterations="{iterations}" ls_iterations="20" tolerance="1e-6"/>
  <statistic center="0.5 0 0.3" extent="1.2"/>
  <visual><global offwidth="640" offheight="480"/><map znear="0.01"/></visual>
  <default>
    <geom rgba="0.75 0.75 0.78 1" condim="3"/>
    <default class="shape"><geom type="capsule" group="1" {TOUCH["nothing"]} mass="0"/></default>
    <default class="arm"><joint type="hinge" axis="0 0 1" armature="1" damping="0.1"/></default>
    <default class="finger">
      <geom friction="0.5 0.1 0.01" solimp="0.9 0.95 0.001 0.01 2" rgba="0.2 0.2 0.22 1"/>
      <joint type="hinge" axis="1 0 0"/>
    </default>
    <default class="object">
      <geom {TOUCH["object"]} friction="{text(objects.FRICTION)}" solref="0.004 1" condim="3"/>
    </default>
    <default class="basket"><geom type="plane" rgba="0.35 0.35 0.38 1" friction="1 0.001 0.001"/></default>
  </default>
  <asset>
    {fingertip()}{"".join(_mesh(c, s) for c, s in zip(COLOURS, solids, strict=True))}
  </asset>
  <worldbody>
    <light name="top" pos="0.6 0 2.5" dir="0 0 -1" diffuse="0.6 0.6 0.6"/>
    <light name="side" pos="1.5 -1 1.5" dir="-0.6 0.6 -0.6" diffuse="0.3 0.3 0.3"/>
{_cameras()}
    <geom name="ground" type="plane" size="2 2 0.1" {TOUCH["nothing"]} rgba="0.55 0.55 0.5 1"/>
    <geom class="shape" type="cylinder" fromto="0 0 0 0 0 0.08" size="0.11"/>
{_basket()}
{arm()}
{"".join(_object(c, s) for c, s in zip(COLOURS, solids, strict=True))}
  </worldbody>
{couplings()}
  <actuator>
{actuators()}
  </actuator>
  <custom><numeric name="max_contact_points" data="{_CONTACTS}"/></custom>
  <sensor>
{_sensors()}
  </sensor>
</mujoco>
"""


class Layout(NamedTuple):
    """Indices into qpos, qvel, ctrl and sensordata of a model of `build`, numpy."""

    arm: np.ndarray  # [7] in qpos, qvel, ctrl, act
    driver: int  # the observed finger joint (left), in qpos and qvel
    fingers: np.ndarray  # [4] right driver, right tip, left driver, left tip in qpos and qvel
    objects: np.ndarray  # [3, 7] red, green, blue in qpos: position, quaternion
    object_dofs: np.ndarray  # [3, 6] in qvel
    gripper: int  # in ctrl and act
    wrist: int  # site
    pinch: int  # site
    torque: np.ndarray  # [7] joint torques about z, N m; with the robot's weight: use `sensing.unloaded`
    force: np.ndarray  # [3] N, wrist sensor, likewise
    moment: np.ndarray  # [3] N m, likewise
    velocity: np.ndarray  # [6] m/s, rad/s of the wrist site in world axes
    tip_any: np.ndarray  # [2] contacts of the right and left fingertip with anything; see `sensing.gripping`
    tip_tip: int  # contacts between the fingertips
    tip_object: np.ndarray  # [3, 2]
    object_object: np.ndarray  # [3] red-green, red-blue, green-blue
    object_basket: np.ndarray  # [3, 5] floor and four slopes
    object_palm: np.ndarray  # [3, 3] palm, right and left finger links


PAIRS = ((0, 1), (0, 2), (1, 2))  # rows of Layout.object_object
_PALM = ("palm", "right_link", "left_link")
_TIPS = ("right_tip", "left_tip")


def layout(model: mujoco.MjModel) -> Layout:
    """The layout of a model of `build`; raises KeyError for other models."""
    sensor = lambda name: int(model.sensor(name).adr[0])  # noqa: E731
    span = lambda name, size: sensor(name) + np.arange(size)  # noqa: E731
    table = lambda rows, columns: np.array([[sensor(f"{r}_{c}") for c in columns] for r in rows])  # noqa: E731
    fingers = [f"{side}_{part}" for side in ("right", "left") for part in ("driver", "tip")]
    return Layout(
        arm=np.array([model.joint(name).qposadr[0] for name in JOINTS]),
        driver=int(model.joint("left_driver").qposadr[0]),
        fingers=np.array([model.joint(name).qposadr[0] for name in fingers]),
        objects=np.array([model.joint(c).qposadr[0] + np.arange(7) for c in COLOURS]),
        object_dofs=np.array([model.joint(c).dofadr[0] + np.arange(6) for c in COLOURS]),
        gripper=model.actuator("fingers").id,
        wrist=model.site("wrist").id,
        pinch=model.site("pinch").id,
        torque=np.array([sensor(f"torque_{name}") + 2 for name in JOINTS]),
        force=span("wrist_force", 3),
        moment=span("wrist_torque", 3),
        velocity=np.concatenate([span("wrist_linear", 3), span("wrist_angular", 3)]),
        tip_any=np.array([sensor(f"{tip}_any") for tip in _TIPS]),
        tip_tip=sensor("tip_tip"),
        tip_object=table(COLOURS, _TIPS),
        object_object=np.array([sensor(f"{COLOURS[i]}_{COLOURS[j]}") for i, j in PAIRS]),
        object_basket=table(COLOURS, FLOORS),
        object_palm=table(COLOURS, _PALM),
    )


def _mesh(colour: str, solid: objects.Solid) -> str:
    return "" if solid.box else f'\n    <mesh name="{colour}" vertex="{text(solid.vertices)}"/>'


def _object(colour: str, solid: objects.Solid) -> str:
    shape = f'type="box" size="{text(solid.half_extents)}"' if solid.box else f'type="mesh" mesh="{colour}"'
    i = solid.inertia
    full = text([i[0, 0], i[1, 1], i[2, 2], i[0, 1], i[0, 2], i[1, 2]])
    at = (BASKET[0], 0.12 * (COLOURS.index(colour) - 1), 0.2)
    return f"""
    <body name="{colour}" pos="{text(at)}">
      <freejoint name="{colour}"/>
      <inertial mass="{objects.MASS}" pos="{text(solid.com)}" fullinertia="{full}"/>
      <geom name="{colour}" class="object" {shape} rgba="{text(objects.COLOURS[colour])} 1"/>
    </body>"""


def _basket() -> str:
    """Floor and slopes as planes: inside a convex basket they are the faces of the public boxes, and a plane needs no
    search for its contacts. MJX steps three times faster and compiles three times sooner than with boxes, C a tenth
    faster; and a grip above a box floor slips in MJX, above a plane it holds."""
    geoms = [f'<geom name="floor" size="0.25 0.25 0.02" {TOUCH["floor"]}/>']
    for k in range(4):  # walls that lead back to a flat square of about +-0.12 m
        turn, top = k * np.pi / 2, 0.005  # m from a wall's middle to its face
        out, up = 0.28 - top * np.sin(_SLOPE_TILT), 0.07 + top * np.cos(_SLOPE_TILT)
        centre = (out * np.cos(turn), out * np.sin(turn), up)
        tilt = np.array([np.cos(_SLOPE_TILT / 2), 0, -np.sin(_SLOPE_TILT / 2), 0])
        quat = np.zeros(4)
        mujoco.mju_mulQuat(quat, np.array([np.cos(turn / 2), 0, 0, np.sin(turn / 2)]), tilt)
        geoms.append(
            f'<geom name="slope_{k}" size="0.2 0.4 0.02" pos="{text(centre)}" quat="{text(quat)}" {TOUCH["slope"]}/>'
        )
    inside = "\n      ".join(geoms)
    return f"""    <body name="basket" pos="{text(BASKET)}" quat="0.70710678 0 0 0.70710678" childclass="basket">
      {inside}
    </body>"""


def _cameras() -> str:
    listed = (
        ("front_left", (0.970, -0.375, 0.235), (0.7815, 0.4900, 0.2050, 0.3272), 30),
        ("front_right", (0.970, 0.375, 0.235), (0.3272, 0.2050, 0.4900, 0.7815), 30),
        ("back_left", (0.060, -0.260, 0.390), (0.754, 0.373, -0.250, -0.480), 30),
        ("video", (1.4, 0, 0.45 - BASKET[2]), (0.541, 0.455, 0.456, 0.541), 45),
    )
    return "\n".join(
        f'    <camera name="{n}" pos="{text([p[0], p[1], p[2] + BASKET[2]])}" quat="{text(q)}" fovy="{f}"/>'
        for n, p, q, f in listed
    )


def _sensors() -> str:
    touch = lambda name, a, b=None: (  # noqa: E731
        f'<contact name="{name}" geom1="{a}"' + (f' geom2="{b}"' if b else "") + ' data="found"/>'
    )
    lines = [f'<torque name="torque_{j}" site="{j}"/>' for j in JOINTS]
    lines += ['<force name="wrist_force" site="wrist_sensor"/>', '<torque name="wrist_torque" site="wrist_sensor"/>']
    lines += ['<framelinvel name="wrist_linear" objtype="site" objname="wrist"/>']
    lines += ['<frameangvel name="wrist_angular" objtype="site" objname="wrist"/>']
    lines += [touch(f"{tip}_any", tip) for tip in _TIPS] + [touch("tip_tip", *_TIPS)]
    lines += [touch(f"{COLOURS[i]}_{COLOURS[j]}", COLOURS[i], COLOURS[j]) for i, j in PAIRS]
    lines += [touch(f"{c}_{other}", c, other) for c in COLOURS for other in (*_TIPS, *FLOORS, *_PALM)]
    return "\n".join("    " + line for line in lines)

"""The MuJoCo model of arm, wrist sensor, gripper, basket and three objects, written from numbers alone.

Source: DeepMind's RGB-stacking cell (Rethink Sawyer, Robotiq FTS300 and 2F-85, RGB basket), as collected in
the fact sheet, sections 4.4-4.8 and appendix A. SI units; quaternions are w x y z.

The gripper is a simplification. The real finger is a five-bar; while its coupler rests on its stop it is a
parallelogram whose sides are 57.5 mm long, so the fingertip keeps its direction and moves on a circle. Here
each finger is that: a driver hinge (the observed angle) and a fingertip hinge which a stiff spring-damper
tendon holds to the opposite angle. The spring stands for the give of the five-bar under load (a gripped
cube is read 12 ticks deeper than its width), and needs no constraint rows; only the two drivers are tied
by an equality. 4 joints and 1 constraint instead of 8 and 5, no stiff loop at a 5 ms step.
"""

from typing import NamedTuple

import mujoco
import numpy as np

from skillhier.envs.sawyer import objects

JOINTS = tuple(f"right_j{i}" for i in range(7))
COLOURS = tuple(objects.COLOURS)  # bodies and geoms of the objects

# Offset and quaternion of each link in the one before it, mass, centre of mass, inertia frame and diagonal.
CHAIN = (
    ("l0", (0, 0, 0.08), (1, 0, 0, 0), 5.3213, (0.024366, 0.010969, 0.14363),
     (0.894823, 0.008999, -0.170275, 0.412573), (0.0651588, 0.0510944, 0.0186218)),
    ("l1", (0.081, 0.05, 0.237), (0.5, -0.5, 0.5, 0.5), 4.505, (-0.0030849, -0.026811, 0.092521),
     (0.424888, 0.891987, 0.132364, -0.0794296), (0.0224339, 0.0221624, 0.0097097)),
    ("l2", (0, -0.14, 0.1325), (0.7071, 0.7071, 0, 0), 1.7251, (-0.00016232, -0.015346, 0.13445),
     (0.707249, -0.0541564, 0.0533441, 0.702866), (0.0255023, 0.025176, 0.00285946)),
    ("l3", (0, -0.042, 0.26), (0.7071, -0.7071, 0, 0), 2.4743, (-0.0046678, -0.028394, -0.083127),
     (0.894367, 0.380888, -0.106513, 0.209016), (0.0100572, 0.00959393, 0.00350313)),
    ("l4", (0, -0.115, -0.1265), (0.7071, 0.7071, 0, 0), 1.0433, (-0.0027794, 0.0076558, 0.13273),
     (0.801274, 0.0333339, -0.0340185, 0.596399), (0.013057, 0.0129029, 0.00113257)),
    ("l5", (0, 0.031, 0.275), (0.7071, -0.7071, 0, 0), 1.5343, (0.0062067, -0.024291, 0.075564),
     (0.405457, 0.912624, 0.0521713, 0.000995), (0.00461663, 0.0041769, 0.00178717)),
    ("l6", (0, -0.11, 0.1053), (0.0616248, 0.06163, -0.704416, 0.704416), 0.3292, (-0.0000081, 0.0085838, -0.0049566),
     (0.479044, 0.515636, -0.513069, 0.491322), (0.000360258, 0.000311068, 0.000214974)),
)  # fmt: skip
HAND = ((0, 0, 0.0245), (0.7071, 0, 0, 0.7071))  # of the wrist (tcp) site in l6
PINCH = ((0, 0, 0.2012), (0.7071, 0, 0, -0.7071))  # of the pinch site in the wrist site; the fingers move along its y
LOWER = (-3.0503, -3.8095, -3.0426, -3.0439, -2.9761, -2.9761, -4.7124)  # rad
UPPER = (3.0503, 2.2736, 3.0426, 3.0439, 2.9761, 2.9761, 4.7124)
TORQUE = (80, 80, 40, 40, 9, 9, 9)  # N m
FRICTION_LOSS = (0.3, 0.3, 0.3, 0.3, 0.1, 0.1, 0.1)  # N m
STIFFNESS, DAMPING = 500, 50  # N m/rad, N m s/rad of the joint actuators

DRIVER_RANGE = 0.8  # rad from open to closed
TICKS = 255  # counts over that range
REACH = (0.0376, 0.0435)  # m, y and z from a driver hinge to its fingertip hinge when open
TIP = ((-0.0168, 0.034), (0.011, 0.008, 0.021))  # fingertip box: y and z from its hinge, half sizes (m)
GIVE = 90.0  # N m/rad, stiffness of the spring that keeps a fingertip parallel

BASKET = (0.6, 0.0, 0.0498)  # m, its floor's top face
_SLOPE_TILT = np.radians(25.5)

# Arm shapes, for the eye only: link, from, to, radius (capsules).
_SHAPES = (
    ("l0", (0, 0, 0.02), (0, 0, 0.25), 0.08), ("l0", (0.08, -0.01, 0.23), (0.08, 0.04, 0.23), 0.09),
    ("l1", (0, 0, 0.03), (0, 0, 0.13), 0.074), ("l1", (0, -0.1, 0.13), (0, -0.065, 0.13), 0.075),
    ("l2", (0, 0, 0.02), (0, 0, 0.26), 0.07), ("l3", (0, 0, -0.14), (0, 0, -0.02), 0.06),
    ("l3", (0, -0.1, -0.12), (0, -0.05, -0.12), 0.06), ("l4", (0, 0, 0.03), (0, 0, 0.28), 0.06),
    ("l5", (0, 0, 0.04), (0, 0, 0.08), 0.07), ("l5", (0, 0, 0.1), (0, -0.05, 0.1), 0.07),
    ("l6", (0, -0.005, -0.002), (0, 0.035, -0.002), 0.05),
)  # fmt: skip

# Who may touch whom: objects everything; fingertips also each other, the floor and the slopes; the palm and
# the finger links objects and floor. The arm touches nothing (as in the fact sheet's minimal contact set).
_TOUCH = {
    "object": 'contype="1" conaffinity="1"',
    "tip": 'contype="2" conaffinity="3"',
    "palm": 'contype="4" conaffinity="1"',
    "floor": 'contype="0" conaffinity="7"',
    "slope": 'contype="0" conaffinity="3"',
    "nothing": 'contype="0" conaffinity="0"',
}
FLOORS = ("floor", "slope_0", "slope_1", "slope_2", "slope_3")  # geoms of the basket


def build(names=("s0", "g5", "b6"), *, timestep: float = 0.0025, **options) -> mujoco.MjModel:
    """The compiled model for the objects `names` (red, green, blue) at a physics step of `timestep` s."""
    return mujoco.MjModel.from_xml_string(xml(names, timestep=timestep, **options))


def xml(
    names=("s0", "g5", "b6"), *, timestep: float = 0.0025, cone: str = "elliptic", iterations: int = 20,
    impratio: float = 10.0,
) -> str:  # fmt: skip
    """The MJCF text that `build` compiles."""
    if len(names) != 3:
        raise ValueError(f"{len(names)} objects given; the scene has three: red, green, blue (set `objects`)")
    solids = [objects.solid(name) for name in names]
    return f"""<mujoco model="sawyer">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{timestep}" integrator="implicitfast" cone="{cone}" impratio="{impratio}" solver="Newton"
    iterations="{iterations}" ls_iterations="20" tolerance="1e-6"/>
  <statistic center="0.5 0 0.3" extent="1.2"/>
  <visual><global offwidth="640" offheight="480"/><map znear="0.01"/></visual>
  <default>
    <geom rgba="0.75 0.75 0.78 1" condim="3"/>
    <default class="shape"><geom type="capsule" group="1" {_TOUCH["nothing"]} mass="0"/></default>
    <default class="arm"><joint type="hinge" axis="0 0 1" armature="1" damping="0.1"/></default>
    <default class="finger">
      <geom friction="0.5 0.1 0.01" solimp="0.9 0.95 0.001 0.01 2" rgba="0.2 0.2 0.22 1"/>
      <joint type="hinge" axis="1 0 0"/>
    </default>
    <default class="object">
      <geom {_TOUCH["object"]} friction="{_text(objects.FRICTION)}" solref="0.004 1" condim="3"/>
    </default>
    <default class="basket"><geom type="box" rgba="0.35 0.35 0.38 1" friction="1 0.001 0.001"/></default>
  </default>
  <asset>{"".join(_mesh(c, s) for c, s in zip(COLOURS, solids, strict=True))}
  </asset>
  <worldbody>
    <light name="top" pos="0.6 0 2.5" dir="0 0 -1" diffuse="0.6 0.6 0.6"/>
    <light name="side" pos="1.5 -1 1.5" dir="-0.6 0.6 -0.6" diffuse="0.3 0.3 0.3"/>
{_cameras()}
    <geom name="ground" type="plane" size="2 2 0.1" {_TOUCH["nothing"]} rgba="0.55 0.55 0.5 1"/>
    <geom class="shape" type="cylinder" fromto="0 0 0 0 0 0.08" size="0.11"/>
{_basket()}
{_arm()}
{"".join(_object(c, s) for c, s in zip(COLOURS, solids, strict=True))}
  </worldbody>
  <tendon>
    <fixed name="fingers"><joint joint="right_driver" coef="0.5"/><joint joint="left_driver" coef="0.5"/></fixed>
    <fixed name="right_tip" stiffness="{GIVE}" damping="1.1" springlength="0">
      <joint joint="right_driver" coef="1"/><joint joint="right_tip" coef="1"/></fixed>
    <fixed name="left_tip" stiffness="{GIVE}" damping="1.1" springlength="0">
      <joint joint="left_driver" coef="1"/><joint joint="left_tip" coef="1"/></fixed>
  </tendon>
  <equality>
    <joint name="drivers" joint1="right_driver" joint2="left_driver" solimp="0.95 0.99 0.001" solref="0.005 1"/>
  </equality>
  <actuator>
{_actuators()}
  </actuator>
  <sensor>
{_sensors()}
  </sensor>
</mujoco>
"""


class Layout(NamedTuple):
    """Where things lie in qpos, qvel, ctrl and sensordata of a model made by `build`: numpy indices."""

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
    """Addresses by name; raises where `model` was not made by `build`."""
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


def _text(numbers) -> str:
    return " ".join(f"{float(x):.9g}" for x in np.ravel(numbers))


def _inertial(mass, com, diagonal, quat=(1, 0, 0, 0)) -> str:
    return f'<inertial mass="{mass}" pos="{_text(com)}" quat="{_text(quat)}" diaginertia="{_text(diagonal)}"/>'


def _mesh(colour: str, solid: objects.Solid) -> str:
    return "" if solid.box else f'\n    <mesh name="{colour}" vertex="{_text(solid.vertices)}"/>'


def _object(colour: str, solid: objects.Solid) -> str:
    shape = f'type="box" size="{_text(solid.half_extents)}"' if solid.box else f'type="mesh" mesh="{colour}"'
    i = solid.inertia
    full = _text([i[0, 0], i[1, 1], i[2, 2], i[0, 1], i[0, 2], i[1, 2]])
    at = (BASKET[0], 0.12 * (COLOURS.index(colour) - 1), 0.2)
    return f"""
    <body name="{colour}" pos="{_text(at)}">
      <freejoint name="{colour}"/>
      <inertial mass="{objects.MASS}" pos="{_text(solid.com)}" fullinertia="{full}"/>
      <geom name="{colour}" class="object" {shape} rgba="{_text(objects.COLOURS[colour])} 1"/>
    </body>"""


def _basket() -> str:
    geoms = [f'<geom name="floor" size="0.25 0.25 0.02" pos="0 0 -0.02" {_TOUCH["floor"]}/>']
    for k in range(4):  # walls that lead back to a flat square of about +-0.12 m
        turn = k * np.pi / 2
        centre = (0.28 * np.cos(turn), 0.28 * np.sin(turn), 0.07)
        tilt = np.array([np.cos(_SLOPE_TILT / 2), 0, -np.sin(_SLOPE_TILT / 2), 0])
        quat = np.zeros(4)
        mujoco.mju_mulQuat(quat, np.array([np.cos(turn / 2), 0, 0, np.sin(turn / 2)]), tilt)
        geoms.append(
            f'<geom name="slope_{k}" size="0.2 0.4 0.005" pos="{_text(centre)}" quat="{_text(quat)}" {_TOUCH["slope"]}/>'
        )
    inside = "\n      ".join(geoms)
    return f"""    <body name="basket" pos="{_text(BASKET)}" quat="0.70710678 0 0 0.70710678" childclass="basket">
      {inside}
    </body>"""


def _arm() -> str:
    opening, closing = [], []
    for i, (name, pos, quat, mass, com, frame, diagonal) in enumerate(CHAIN):
        shapes = "".join(
            f'\n      <geom class="shape" fromto="{_text([a, b])}" size="{r}"/>' for link, a, b, r in _SHAPES if link == name
        )
        opening.append(f"""    <body name="{name}" pos="{_text(pos)}" quat="{_text(quat)}" childclass="arm" gravcomp="1">
      {_inertial(mass, com, diagonal, frame)}
      <joint name="{JOINTS[i]}" range="{LOWER[i]} {UPPER[i]}" frictionloss="{FRICTION_LOSS[i]}"/>
      <site name="{JOINTS[i]}" group="4"/>{shapes}""")
        if name == "l0":
            head = _inertial(1.5795, (0.0053207, -0.0000265, 0.1021), (0.0118334, 0.00827089, 0.00496574))
            opening.append(f"""      <body name="head" pos="0 0 0.2965" gravcomp="1">{head}
        <geom class="shape" fromto="0 0 0.02 0 0 0.21" size="0.05"/>
        <geom class="shape" type="box" pos="0.02 0 0.11" size="0.02 0.13 0.09"/></body>""")
        closing.append("    </body>")
    return "\n".join([*opening, _hand(), *closing])


def _hand() -> str:
    """Hand, wrist sensor and gripper. Body frames: hand at the wrist site, gripper at its own base."""
    # Listed: 0.3 kg and 2.6e-4 kg m^2. The logged joint torques ask for more between hand and gripper (mounting
    # plates, not listed), and the logged wrist force for 1.04 kg beyond the sensor (so heavier fingertips).
    fts = _inertial(0.7, (0, 0, -0.0205), (5.1e-4, 5.1e-4, 4.7e-4))
    base = _inertial(0.777441, (0, -0.000027, 0.0354675), (2.603e-4, 2.254e-4, 1.527e-4))
    return f"""      <body name="hand" pos="{_text(HAND[0])}" quat="{_text(HAND[1])}" gravcomp="1">
        {_inertial(0.4524, (0, 0, 0.02), (0.000467469, 0.000467469, 0.000814301))}
        <site name="wrist" group="4"/>
        <site name="pinch" pos="{_text(PINCH[0])}" quat="{_text(PINCH[1])}" group="4"/>
        <geom class="shape" type="sphere" pos="0 0 0.015" size="0.05"/>
        <body name="wrist_sensor" pos="0 0 0.0415" gravcomp="1">{fts}
        <body name="gripper" pos="0 0 0.0108" quat="{_text(PINCH[1])}" gravcomp="1" childclass="finger">{base}
          <site name="wrist_sensor" pos="0 0 -0.0108" quat="0 0 0 1" group="4"/>
          <geom name="palm" type="sphere" pos="0 0 0.05" size="0.045" mass="0" {_TOUCH["palm"]}/>
          <geom class="shape" type="cylinder" pos="0 0 0.01" size="0.04 0.024"/>
          {_finger("right", 1)}
          {_finger("left", -1)}
        </body></body>
      </body>"""


def _finger(side: str, sign: int) -> str:
    """One finger; the left is the right turned half round."""
    quat = "1 0 0 0" if sign > 0 else "0 0 0 1"
    link = _inertial(0.0452573, (0, 0.019, 0.022), (2e-5, 1.4e-5, 8e-6))
    tip = _inertial(0.0875, (0, -0.014, 0.026), (2.4e-5, 2.2e-5, 6e-6))
    (y, z), half = TIP
    return f"""<body name="{side}_driver" pos="0 {sign * 0.0306011} 0.054904" quat="{quat}" gravcomp="1">{link}
            <joint name="{side}_driver" range="0 {DRIVER_RANGE}" armature="0.1" damping="1" solimplimit="0.95 0.99 0.001" solreflimit="0.005 1"/>
            <geom name="{side}_link" type="capsule" fromto="0 0 0 0 {_text(REACH)}" size="0.012" mass="0" {_TOUCH["palm"]}/>
            <body name="{side}_tip" pos="0 {_text(REACH)}" gravcomp="1">{tip}
              <joint name="{side}_tip" range="-1 0.2" armature="0.01"/>
              <geom name="{side}_tip" type="box" pos="0 {y} {z}" size="{_text(half)}" condim="6" solref="-30000 -200" {_TOUCH["tip"]}/>
            </body>
          </body>"""


def _cameras() -> str:
    listed = (
        ("front_left", (0.970, -0.375, 0.235), (0.7815, 0.4900, 0.2050, 0.3272), 30),
        ("front_right", (0.970, 0.375, 0.235), (0.3272, 0.2050, 0.4900, 0.7815), 30),
        ("back_left", (0.060, -0.260, 0.390), (0.754, 0.373, -0.250, -0.480), 30),
        ("video", (1.4, 0, 0.45 - BASKET[2]), (0.541, 0.455, 0.456, 0.541), 45),
    )
    return "\n".join(
        f'    <camera name="{n}" pos="{_text([p[0], p[1], p[2] + BASKET[2]])}" quat="{_text(q)}" fovy="{f}"/>'
        for n, p, q, f in listed
    )


def _actuators() -> str:
    arm = [
        f'    <intvelocity name="{j}" joint="{j}" kp="{STIFFNESS}" kv="{DAMPING}" actrange="{lo} {hi}" forcerange="{-t} {t}"/>'
        for j, lo, hi, t in zip(JOINTS, LOWER, UPPER, TORQUE, strict=True)
    ]
    gripper = (
        f'    <general name="fingers" tendon="fingers" dyntype="integrator" actrange="0 {TICKS}" forcerange="-5 5"'
        f' gaintype="fixed" gainprm="{100 * DRIVER_RANGE / TICKS:.9g}" biastype="affine" biasprm="0 -100 0"/>'
    )
    return "\n".join([*arm, gripper])


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

"""Arm, wrist sensor and gripper: their numbers, and the MJCF text made of them.

Source: fact sheet 4.4, 4.5 and appendix A (DeepMind's Rethink Sawyer, Robotiq FTS300 and 2F-85). SI units;
quaternions are w x y z.

The gripper is a simplification. The real finger is a five-bar; while its coupler rests on its stop it is a
parallelogram whose sides are 57.5 mm long, so the fingertip keeps its direction and moves on a circle. Here
each finger is that: a driver hinge (the observed angle) and a fingertip hinge which a stiff spring-damper
tendon holds to the opposite angle. The spring stands for the give of the five-bar under load and needs no
constraint rows; only the two drivers are tied by an equality. 4 joints and 1 constraint instead of 8 and 5,
no stiff loop at a 5 ms step. Its stiffness and the pads' place were fitted to 40 grasps of the expert logs:
replayed from their start, all are held, at the logged finger angle (mean within half a tick) and tilt.
"""

import numpy as np

JOINTS = tuple(f"right_j{i}" for i in range(7))

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
# The fingertip is a wedge, the convex hull of its two ends; its flat pad faces the other finger. From its hinge:
PAD = -0.0245  # m, y of the pad; fitted to logged grasps
TIP_BASE = (0.00485, 0.022, 0.0192)  # m, z, width and thickness where it begins
TIP_END = (0.05085, 0.014, 0.0044)  # m, the same where it ends
GIVE = 90.0  # N m/rad, stiffness of the spring that keeps a fingertip parallel

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
TOUCH = {
    "object": 'contype="1" conaffinity="1"',
    "tip": 'contype="2" conaffinity="3"',
    "palm": 'contype="4" conaffinity="1"',
    "floor": 'contype="0" conaffinity="7"',
    "slope": 'contype="0" conaffinity="3"',
    "nothing": 'contype="0" conaffinity="0"',
}


def arm() -> str:
    """The chain of bodies from the first link to the fingertips."""
    opening, closing = [], []
    for i, (name, pos, quat, mass, com, frame, diagonal) in enumerate(CHAIN):
        shapes = "".join(
            f'\n      <geom class="shape" fromto="{text([a, b])}" size="{r}"/>'
            for link, a, b, r in _SHAPES
            if link == name
        )
        opening.append(f"""    <body name="{name}" pos="{text(pos)}" quat="{text(quat)}" childclass="arm" gravcomp="1">
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
    return f"""      <body name="hand" pos="{text(HAND[0])}" quat="{text(HAND[1])}" gravcomp="1">
        {_inertial(0.4524, (0, 0, 0.02), (0.000467469, 0.000467469, 0.000814301))}
        <site name="wrist" group="4"/>
        <site name="pinch" pos="{text(PINCH[0])}" quat="{text(PINCH[1])}" group="4"/>
        <geom class="shape" type="sphere" pos="0 0 0.015" size="0.05"/>
        <body name="wrist_sensor" pos="0 0 0.0415" gravcomp="1">{fts}
        <body name="gripper" pos="0 0 0.0108" quat="{text(PINCH[1])}" gravcomp="1" childclass="finger">{base}
          <site name="wrist_sensor" pos="0 0 -0.0108" quat="0 0 0 1" group="4"/>
          <geom name="palm" type="sphere" pos="0 0 0.05" size="0.045" mass="0" {TOUCH["palm"]}/>
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
    return f"""<body name="{side}_driver" pos="0 {sign * 0.0306011} 0.054904" quat="{quat}" gravcomp="1">{link}
            <joint name="{side}_driver" range="0 {DRIVER_RANGE}" armature="0.1" damping="1"
              solimplimit="0.95 0.99 0.001" solreflimit="0.005 1"/>
            <geom name="{side}_link" type="capsule" fromto="0 0 0 0 {text(REACH)}" size="0.012" mass="0"
              {TOUCH["palm"]}/>
            <body name="{side}_tip" pos="0 {text(REACH)}" gravcomp="1">{tip}
              <joint name="{side}_tip" range="-1 0.2" armature="0.01"/>
              <geom name="{side}_tip" type="mesh" mesh="fingertip" condim="6"
                solref="-30000 -200" {TOUCH["tip"]}/>
            </body>
          </body>"""


def fingertip() -> str:
    """The fingertip's mesh, in the frame of its hinge."""
    corners = [
        (x * width / 2, PAD + y * thickness, z)
        for z, width, thickness in (TIP_BASE, TIP_END)
        for x in (-1, 1)
        for y in (0, 1)
    ]
    return f'<mesh name="fingertip" vertex="{text(corners)}"/>'


def couplings() -> str:
    """What ties the fingers: the motor's tendon, each fingertip's spring, and driver to driver."""
    springs = "".join(
        f"""
    <fixed name="{side}_tip" stiffness="{GIVE}" damping="1.1" springlength="0">
      <joint joint="{side}_driver" coef="1"/><joint joint="{side}_tip" coef="1"/></fixed>"""
        for side in ("right", "left")
    )
    return f"""  <tendon>
    <fixed name="fingers">
      <joint joint="right_driver" coef="0.5"/><joint joint="left_driver" coef="0.5"/></fixed>{springs}
  </tendon>
  <equality>
    <joint name="drivers" joint1="right_driver" joint2="left_driver" solimp="0.95 0.99 0.001" solref="0.005 1"/>
  </equality>"""


def actuators() -> str:
    """Integrated-velocity motors of the arm; the finger motor, whose state counts ticks."""
    arm = [
        f'    <intvelocity name="{j}" joint="{j}" kp="{STIFFNESS}" kv="{DAMPING}"'
        f' actrange="{lo} {hi}" forcerange="{-t} {t}"/>'
        for j, lo, hi, t in zip(JOINTS, LOWER, UPPER, TORQUE, strict=True)
    ]
    gripper = (
        f'    <general name="fingers" tendon="fingers" dyntype="integrator" actrange="0 {TICKS}" forcerange="-5 5"'
        f' gaintype="fixed" gainprm="{100 * DRIVER_RANGE / TICKS:.9g}" biastype="affine" biasprm="0 -100 0"/>'
    )
    return "\n".join([*arm, gripper])


def text(numbers) -> str:
    return " ".join(f"{float(x):.9g}" for x in np.ravel(numbers))


def _inertial(mass, com, diagonal, quat=(1, 0, 0, 0)) -> str:
    return f'<inertial mass="{mass}" pos="{text(com)}" quat="{text(quat)}" diaginertia="{text(diagonal)}"/>'

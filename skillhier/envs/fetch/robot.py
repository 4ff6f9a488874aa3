"""The Fetch robot: its numbers, and the MJCF text made of them.

Source: fact sheet of MRS, section 5.2, and the model of gymnasium-robotics 1.4.2 (MIT), whose links have their inertia
written out. SI units; quaternions are w x y z. All joints are kept, also those that damping holds (base, torso, head):
the solver of the hand's weld sees a base that yields.

The links' meshes are replaced. Two boxes collide: the base stands on the floor, which decides how far the base yields,
and the palm meets block, table and floor. Upper links are only seen, as boxes and capsules of the meshes' extents.
Stop button and laser are inside the base's box, and so the camera `lidar` is left out.
"""

from typing import NamedTuple

import numpy as np

GREY, WHITE, BLUE = "0.356 0.361 0.376 1", "1 1 1 1", "0.086 0.506 0.767 1"
# who touches whom (contype, conaffinity): hand and block each other, table and floor; the base the floor alone
TOUCH = {
    "hand": 'contype="1" conaffinity="0"',
    "block": 'contype="2" conaffinity="1"',
    "base": 'contype="4" conaffinity="0"',
    "table": 'contype="0" conaffinity="3"',
    "floor": 'contype="0" conaffinity="7"',
    "nothing": 'contype="0" conaffinity="0"',
}


class Link(NamedTuple):
    """A body of the arm, with the hinge that turns it in the one before."""

    name: str
    place: tuple[float, ...]  # m, in the link before it
    axis: tuple[int, int, int]  # of its hinge
    joint: str  # attributes of the hinge
    inertia: tuple  # mass (kg), centre (m), quaternion and diagonal (kg m^2)
    shape: str  # what is seen
    colour: str


def _box(place: str, half: str) -> str:
    return f'type="box" pos="{place}" size="{half}"'


def _capsule(ends: str, radius: float) -> str:
    return f'type="capsule" fromto="{ends}" size="{radius}"'


BASE, TORSO, HAND = (0.2869, 0.2641, 0.0), (-0.0869, 0.0, 0.3774), (0.1664, 0.0, 0.0)  # m, each in the one before
GRIP = (0.02, 0.0, 0.0)  # m, the grip site in the hand (gripper_link)
FINGER = 0.0159  # m, from the hand's middle to a finger's origin
ARM = (
    Link("shoulder_pan", (0.1195, 0, 0.3486), (0, 0, 1), 'range="-1.6056 1.6056"',
         (2.5587, (0.0927, -0.0056, 0.0564), (-0.1364, 0.7624, -0.1562, 0.613), (0.009, 0.0086, 0.0041)),
         _capsule("0 0 0.005 0.115 0 0.055", 0.062), WHITE),
    Link("shoulder_lift", (0.117, 0, 0.06), (0, 1, 0), 'range="-1.221 1.518"',
         (2.6615, (0.1432, 0.0072, -0.0001), (0.4382, 0.4382, 0.555, 0.555), (0.0116, 0.0112, 0.0023)),
         _capsule("0 0.005 0 0.12 0.005 0", 0.057), BLUE),
    Link("upperarm_roll", (0.219, 0, 0), (1, 0, 0), "",
         (2.3311, (0.1165, 0.0014, 0), (-0.0136, 0.707, 0.0136, 0.707), (0.0047, 0.0045, 0.0019)),
         _capsule("0 -0.005 0 0.13 -0.005 0", 0.054), WHITE),
    Link("elbow_flex", (0.133, 0, 0), (0, 1, 0), 'range="-2.251 2.251"',
         (2.1299, (0.1279, 0.0073, 0), (0.4332, 0.4332, 0.5589, 0.5589), (0.0086, 0.0084, 0.002)),
         _capsule("0 0.005 0 0.11 0.005 0", 0.055), BLUE),
    Link("forearm_roll", (0.197, 0, 0), (1, 0, 0), 'armature="2.7538" damping="3.5247" stiffness="10"',
         (1.6563, (0.1097, -0.0266, 0), (-0.0715, 0.7035, 0.0715, 0.7035), (0.0035, 0.0031, 0.0015)),
         _capsule("0.02 -0.012 0 0.125 -0.012 0", 0.054), WHITE),
    Link("wrist_flex", (0.1245, 0, 0), (0, 1, 0), 'range="-2.16 2.16"',
         (1.725, (0.0882, 0.0009, -0.0001), (0.4895, 0.4895, 0.5103, 0.5103), (0.0042, 0.0042, 0.0018)),
         _capsule("0 0.003 0 0.065 0.003 0", 0.054), BLUE),
    Link("wrist_roll", (0.1385, 0, 0), (1, 0, 0), "",
         (0.1354, (0.0095, 0.0004, -0.0002), (1, 0, 0, 0), (0.0001, 0.0001, 0.0001)),
         'type="cylinder" fromto="-0.023 0 0 0.0196 0 0" size="0.052"', WHITE),
)  # fmt: skip


def defaults() -> str:
    """Classes of joints and geoms."""
    return f"""    <default class="robot">
      <geom margin="0.001" solimp="0.99 0.99 0.01" solref="0.01 1" rgba="{WHITE}" material="robot"/>
      <joint armature="1" damping="50"/>
      <default class="finger">
        <geom type="box" size="0.0385 0.007 0.0135" condim="4" friction="1 0.05 0.01" rgba="{GREY}"/>
        <joint type="slide" armature="100" damping="1000" range="0 0.05" solimplimit="0.99 0.999 0.01"
          solreflimit="0.01 1"/>
      </default>
      <default class="shape"><geom {TOUCH["nothing"]}/></default>
    </default>"""


def body() -> str:
    """The robot from its base to its fingers."""
    arm = "".join(
        f"""
      <body name="{link.name}" pos="{text(link.place)}">{inertial(*link.inertia)}
        <joint name="{link.name}" axis="{text(link.axis)}" {link.joint}/>
        <geom class="shape" {link.shape} rgba="{link.colour}"/>"""
        for link in ARM
    )
    return f"""    <body name="base" pos="{text(BASE)}" childclass="robot">
      {inertial(70.1294, (-0.0036, 0, 0.0014), (0.7605, -0.0133, -0.0061, 0.6491), (1.2869, 1.2236, 0.9868))}
      <joint name="base_x" type="slide" axis="1 0 0" armature="0.0001" damping="1e11"/>
      <joint name="base_y" type="slide" axis="0 1 0" armature="0.0001" damping="1e11"/>
      <joint name="base_z" type="slide" axis="0 0 1" armature="0.0001" damping="1e11"/>
      <geom name="base" {_box("-0.0002 0 0.1795", "0.2866 0.2641 0.1795")} rgba="{GREY}" {TOUCH["base"]}/>
{_fixtures()}
      <body name="torso_lift" pos="{text(TORSO)}">
      {inertial(10.7796, (-0.0013, -0.0009, 0.2935), (0.9993, -0.0006, 0.0336, 0.0185), (0.3365, 0.3354, 0.0943))}
      <joint name="torso_lift" type="slide" axis="0 0 1" damping="1e7" range="0.0386 0.3861"/>
      <geom class="shape" {_box("-0.0068 0 0.3158", "0.1784 0.1708 0.2873")}/>
{_head()}{arm}
{_hand()}
      {"</body>" * len(ARM)}
      </body>
    </body>"""


def _fixtures() -> str:
    """What is fixed to the base, and the camera there."""
    return f"""      <body name="estop" pos="-0.1246 0.2389 0.3113" quat="0.7071 0.7071 0 0">
        {inertial(0.002, (0.0024, -0.0033, 0.0067), (0.3774, -0.1814, 0.1375, 0.8977), (0, 0, 0))}</body>
      <body name="laser" pos="0.235 0 0.2878" quat="0 1 0 0">
        {inertial(0.0083, (-0.0306, 0.0007, 0.0552), (0.5878, 0.5378, -0.4578, 0.3945), (0, 0, 0))}</body>
      <body name="torso_fixed" pos="{text(TORSO)}">
        {inertial(13.2775, (-0.0722, 0.0057, 0.2656), (0.9995, 0.0249, 0.0177, 0.011), (0.3865, 0.3394, 0.1009))}
        <geom class="shape" {_box("-0.1002 0 0.2124", "0.0681 0.1553 0.2309")} rgba="{BLUE}"/></body>
      <camera name="external_camera_0" euler="0 0.75 1.57" fovy="43.3" pos="1.3 0 1.2"/>"""


def _head() -> str:
    return f"""      <body name="head_pan" pos="0.0531 0 0.603">
        {inertial(2.2556, (0.0321, 0.0161, 0.039), (0.5148, 0.5451, -0.453, 0.4823), (0.0185, 0.0128, 0.0095))}
        <joint name="head_pan" axis="0 0 1" range="-1.57 1.57"/>
        <geom class="shape" {_box("0.0363 0 0.055", "0.1612 0.143 0.058")} rgba="{GREY}"/>
        <body name="head_tilt" pos="0.1425 0 0.058">
          {inertial(0.9087, (0.0081, 0.0025, 0.0113), (0.6458, 0.66, -0.274, 0.2689), (0.0063, 0.0059, 0.0014))}
          <joint name="head_tilt" axis="0 1 0" damping="1000" range="-0.76 1.45" ref="0.06"/>
          <geom class="shape" {_box("0 0 0", "0.055 0.105 0.055")} rgba="{BLUE}"/>
          <frame pos="0.055 0.02 0.0225" quat="0.5 -0.5 0.5 -0.5">
            <camera name="head_camera_rgb" euler="3.1415 0 0" fovy="50"/></frame>
        </body></body>"""


def _hand() -> str:
    fingers = "".join(
        f"""
        <body name="{side}_finger" pos="0 {sign * FINGER} 0" childclass="finger">
          {inertial(4, (-0.01, 0, 0), (1, 0, 0, 0), (0.1, 0.1, 0.1))}
          <joint name="{side}_finger" axis="0 {sign} 0"/>
          <geom name="{side}_finger" pos="0 {-sign * 0.008} 0" {TOUCH["hand"]}/></body>"""
        for side, sign in (("right", 1), ("left", -1))
    )
    return f"""      <body name="hand" pos="{text(HAND)}">
        {inertial(1.5175, (-0.09, -0.0001, -0.0017), (0, 0.7071, 0, 0.7071), (0.0024, 0.0019, 0.0013))}
        <geom name="palm" {_box("-0.093 0 0", "0.061 0.063 0.0397")} {TOUCH["hand"]}/>
        <frame pos="0.055 0.02 0.0225" quat="0.5 -0.5 0.5 -0.5">
          <camera name="gripper_camera_rgb" euler="3.1415 0 0" fovy="50"/></frame>{fingers}
        <site name="grip" pos="{text(GRIP)}" size="0.02" rgba="0 0 0 0"/>
      </body>"""


def inertial(mass: float, centre, quat, diagonal) -> str:
    return f'<inertial mass="{mass}" pos="{text(centre)}" quat="{text(quat)}" diaginertia="{text(diagonal)}"/>'


def text(numbers) -> str:
    return " ".join(f"{float(x):.9g}" for x in np.ravel(numbers))

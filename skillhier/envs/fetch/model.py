"""The model of the Fetch robot before a table with a block, where things are in its record, and where episodes begin.

Source: fact sheet of MRS, section 5.2; gymnasium-robotics 1.4.2. A weld draws the hand after the mocap body `lead`; the
red ball that shows the goal is on the mocap body `target`, so that every episode has its own.

Profile `parity` has the original's solver. Profile `fast` has less exact solutions and few contacts in MJX.
"""

from functools import lru_cache
from typing import NamedTuple

import mujoco
import numpy as np

from skillhier.envs.fetch import robot
from skillhier.envs.fetch.robot import TOUCH, text

TIMESTEP, SUBSTEPS = 0.002, 20  # s; physics steps in a control step
PROFILES = ("parity", "fast")
LEAD, TARGET = 0, 1  # mocap bodies
_ITERATIONS = (4, 8)  # of the solver and its line search under profile fast
# In MJX under profile fast, of each contact dimension: four of the base, four of the block and eight of the palm; and
# all that two fingers can have with block and table.
_CONTACTS = 16
_FREE = ((1.3, 0.75, 0.55), 2.5, 132.0, -14.0)  # the original's view: looks at (m), from (m), azimuth, elevation (deg)
_NEAR = ((1.3, 0.75, 0.5), 1.2, 132.0, -30.0)
_BLOCK = (1.25, 0.53, 0.4)  # m, where the block is while the hand moves to its first place
_BASE = (0.405, 0.48)  # m, the base's x and y
_SETTLING = 10  # control steps until the hand is at its first place


class Layout(NamedTuple):
    """Where things are in a record."""

    base: np.ndarray  # [4] x, y, z and torso lift in qpos and qvel
    arm: np.ndarray  # [7] in qpos and qvel
    fingers: np.ndarray  # [2] right, left in qpos and qvel
    block: np.ndarray  # [7] in qpos: position, quaternion
    block_dofs: np.ndarray  # [6] in qvel
    gripper: np.ndarray  # [nu] the fingers that the controls move, in qpos


class Start(NamedTuple):
    """What all episodes of a task begin with; numpy."""

    qpos: np.ndarray  # [22]
    qvel: np.ndarray  # [21]
    grip: np.ndarray  # [3] m, which block and goal are drawn around
    height: float  # m, of a block's middle on the table


@lru_cache(maxsize=8)
def build(gripper: bool, profile: str = "parity") -> mujoco.MjModel:
    """The compiled model, with motors at the fingers or without."""
    if profile not in PROFILES:
        raise ValueError(f"profile '{profile}' is not known; choose auto, {' or '.join(PROFILES)} in env.profile")
    return mujoco.MjModel.from_xml_string(xml(gripper, profile))


def xml(gripper: bool, profile: str) -> str:
    """The MJCF text that `build` compiles."""
    iterations, custom = "", ""
    if profile == "fast":
        iterations = 'iterations="{}" ls_iterations="{}"'.format(*_ITERATIONS)
        custom = f'<custom><numeric name="max_contact_points" data="{_CONTACTS}"/></custom>'
    motors = "".join(
        f'<position joint="{side}_finger" kp="30000" ctrlrange="0 0.2"/>' for side in ("left", "right") if gripper
    )
    return f"""<mujoco model="fetch">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{TIMESTEP}" {iterations}/>
  <default>
{robot.defaults()}
  </default>
  <asset>
    <texture type="skybox" builtin="gradient" rgb1="0.44 0.85 0.56" rgb2="0.46 0.87 0.58" width="32" height="32"/>
    <material name="robot" shininess="0.03" specular="0.4"/>
    <material name="dull" shininess="0.5" specular="0"/>
  </asset>
  <worldbody>
    <light name="light" directional="true" ambient="0.2 0.2 0.2" diffuse="0.8 0.8 0.8" specular="0.3 0.3 0.3"
      castshadow="false" pos="0 0 4" dir="0 0 -1"/>
{_camera("free", *_FREE)}
{_camera("near", *_NEAR)}
    <geom name="floor" type="plane" pos="0.8 0.75 0" size="0.85 0.7 1" material="dull" rgba="0.2 0.2 0.2 1"
      {TOUCH["floor"]}/>
    <body name="lead" mocap="true"/>
    <body name="target" mocap="true">
      <site name="target" type="sphere" size="0.02" rgba="1 0 0 1"/></body>
{robot.body()}
    <body name="table" pos="1.3 0.75 0.2">
      <geom name="table" type="box" size="0.25 0.35 0.2" material="dull" rgba="0.93 0.93 0.93 1"
        {TOUCH["table"]}/></body>
    <body name="block" pos="0.025 0.025 0.025">
      <joint name="block" type="free" damping="0.01"/>
      <geom name="block" type="box" size="0.025 0.025 0.025" mass="2" material="dull" rgba="0.2 0.2 0.2 1"
        {TOUCH["block"]}/></body>
  </worldbody>
  <equality>
    <weld body1="lead" body2="hand" relpose="0 0 0 1 0 0 0" solimp="0.9 0.95 0.001" solref="0.02 1"/>
  </equality>
  <contact><exclude body1="right_finger" body2="left_finger"/></contact>
  <actuator>{motors}</actuator>
  {custom}
</mujoco>"""


def _camera(name: str, at: tuple[float, ...], distance: float, azimuth: float, elevation: float) -> str:
    """A camera where MuJoCo's viewer would be."""
    a, e = np.radians([azimuth, elevation])
    ahead = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    right = np.array([np.sin(a), -np.cos(a), 0.0])
    return (
        f'    <camera name="{name}" pos="{text(at - distance * ahead)}"'
        f' xyaxes="{text([right, np.cross(right, ahead)])}" fovy="45"/>'
    )


@lru_cache(maxsize=8)
def layout(model: mujoco.MjModel) -> Layout:
    """Where things are in records of `model`."""

    def rows(*names: str) -> np.ndarray:
        return np.array([model.joint(name).qposadr[0] for name in names])

    block, dof = model.joint("block").qposadr[0], model.joint("block").dofadr[0]
    return Layout(
        base=rows("base_x", "base_y", "base_z", "torso_lift"),
        arm=rows(*(link.name for link in robot.ARM)),
        fingers=rows("right_finger", "left_finger"),
        block=np.arange(block, block + 7),
        block_dofs=np.arange(dof, dof + 6),
        gripper=model.jnt_qposadr[model.actuator_trnid[:, 0]],
    )


@lru_cache(maxsize=4)
def settled(gripper: bool, above: float) -> Start:
    """What the original finds when it is made: the hand is drawn to its first place, `above` (m) the lowest one."""
    model = build(gripper)
    data, where = mujoco.MjData(model), layout(model)
    grip, block = model.site("grip").id, model.body("block").id
    data.qpos[where.base[:2]] = _BASE
    data.qpos[where.block] = [*_BLOCK, 1, 0, 0, 0]
    mujoco.mj_forward(model, data)
    data.mocap_pos[LEAD] = data.site_xpos[grip] + [-0.498, 0.005, -0.431 + above]
    data.mocap_quat[LEAD] = [1, 0, 1, 0]
    mujoco.mj_step(model, data, nstep=_SETTLING * SUBSTEPS)
    return Start(data.qpos.copy(), data.qvel.copy(), data.site_xpos[grip].copy(), float(data.xpos[block, 2]))

"""Pictures by MuJoCo's own renderer, which tests/test_render.py holds ours to. Needs OpenGL (EGL or OSMesa).

MUJOCO_GL=egl python tests/render_references.py        # writes tests/golden/render_*.npz

A file holds the positions of some states of a model and what a camera sees of them at 64 x 64: segmentation and depth
of all, colours of the first few, once as MuJoCo draws by default and once without shadows, reflections and smooth
edges. Depth is in whole mm; a row keeps the difference from pixel to pixel (it packs better), a sky pixel is 0.
"""

from pathlib import Path

import jax
import mujoco
import numpy as np

from skillhier.envs import registry
from skillhier.types import Policy

FOLDER = Path(__file__).parent / "golden"
SIZE, COLOURED = 64, 3
# name -> world whose states they are (the zoo is ours), camera, states
SCENES = {
    "cheetah": ("dmc.cheetah_run", 0, 20),
    "walker": ("dmc.walker_walk", 0, 20),
    "hopper": ("dmc.hopper_hop", 0, 20),
    "quadruped": ("dmc.quadruped_obstacles_random", 2, 20),
    "sawyer_front": ("sawyer.stack_red_on_blue.set1", 0, 10),
    "sawyer_video": ("sawyer.stack_red_on_blue.set5", 3, 10),
    "zoo": (None, 0, 6),
}
FEW = {"sawyer": {"starts": 16}, "dmc": {}}
ZOO = """<mujoco>
  <visual><headlight ambient="0.2 0.2 0.2" diffuse="0.5 0.5 0.5" specular="0.2 0.2 0.2"/></visual>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" rgb1="0.3 0.5 0.7" rgb2="0 0.1 0" width="64" height="64"/>
    <texture name="squares" type="2d" builtin="checker" rgb1="0.9 0.2 0.1" rgb2="0.9 0.9 0.9" width="64" height="64"/>
    <material name="floor" texture="squares" texrepeat="3 2" texuniform="false" specular="0"/>
    <material name="wall" texture="squares" texrepeat="2 2" texuniform="true" specular="0"/>
    <mesh name="wedge" vertex="0 0 0  0.4 0 0  0 0.5 0  0 0 0.6  0.3 0.3 0.3"/>
  </asset>
  <worldbody>
    <light directional="true" dir="-1 0.5 -2" diffuse="0.4 0.4 0.3" castshadow="false"/>
    <light pos="0 0 3" dir="0 0 -1" cutoff="60" exponent="3" attenuation="1 0.1 0" diffuse="0.4 0.4 0.6"/>
    <camera name="corner" pos="2.4 -2.4 1.9" xyaxes="1 1 0 -0.45 0.45 1" fovy="50"/>
    <camera name="aims" pos="-2 -2 1" mode="targetbody" target="ball"/>
    <camera name="aims_com" pos="-2 2 1" mode="targetbodycom" target="ball"/>
    <geom name="floor" type="plane" size="3 2 0.1" material="floor"/>
    <geom name="wall" type="plane" size="2 1 0.1" pos="0 2 0.5" zaxis="0 -1 0" material="wall"/>
    <body name="ball" pos="-0.9 0 0.6">
      <freejoint/>
      <geom name="ball" type="sphere" size="0.3" rgba="0.2 0.7 0.3 1"/>
      <geom name="drum" type="cylinder" size="0.2 0.3" pos="0 0 0.7" euler="60 20 0" rgba="0.7 0.3 0.6 1"/>
      <camera name="rides" pos="0 -2 0.3" xyaxes="1 0 0 0 0.2 1"/>
      <camera name="tracks" mode="track" pos="0 -3 1" xyaxes="1 0 0 0 0.3 1"/>
      <camera name="tracks_com" mode="trackcom" pos="0 3 1" xyaxes="-1 0 0 0 -0.3 1"/>
    </body>
    <body name="mixed" pos="0.5 0 0.7">
      <freejoint/>
      <geom name="egg" type="ellipsoid" size="0.2 0.3 0.5" rgba="0.9 0.8 0.2 1"/>
      <geom name="rod" type="capsule" fromto="0 0 0.3 0.7 0.3 0.5" size="0.1" rgba="0.1 0.5 0.9 1"/>
      <geom name="brick" type="box" size="0.2 0.3 0.15" pos="0.3 -0.6 0" rgba="0.8 0.4 0.2 1"/>
      <geom name="wedge" type="mesh" mesh="wedge" pos="-0.7 -0.7 0" rgba="0.5 0.5 0.9 1"/>
      <geom name="glass" type="box" size="0.05 0.5 0.4" pos="0.9 -0.3 0.2" rgba="0.2 0.9 0.9 0.4"/>
      <geom name="hidden" type="sphere" size="0.5" group="3"/>
      <site name="spot" pos="0 -0.3 0" size="0.12" rgba="1 0 0 1"/>
    </body>
  </worldbody>
</mujoco>"""


def model_of(name: str) -> mujoco.MjModel:
    world = SCENES[name][0]
    if world is None:
        return mujoco.MjModel.from_xml_string(ZOO)
    return registry.task(world, engine="native", **FEW[world.split(".")[0]]).physics.model


def states(name: str) -> dict[str, np.ndarray]:
    """Positions after some control steps under random actions; of the zoo: anywhere."""
    world, _, many = SCENES[name]
    if world is None:
        model, noise = model_of(name), np.random.default_rng(1)
        qpos = np.tile(model.qpos0, (many, 1))
        for row in qpos:
            mujoco.mj_integratePos(model, row, noise.normal(size=model.nv) * ([0.2, 0.2, 0.1, 1, 1, 1] * 2), 1.0)
        return {"qpos": qpos, "mocap_pos": np.zeros((many, 0, 3)), "mocap_quat": np.zeros((many, 0, 4))}
    from skillhier.rollout import rollout, start

    env = registry.make(world, worlds=many, engine="native", **FEW[world.split(".")[0]])
    acted = lambda p, c, step, key: (c, jax.random.uniform(key, (many, *env.spec.action.shape), minval=-1.0), {})  # noqa: E731
    policy = Policy(lambda worlds: (), acted)
    actor = start(env, policy, jax.random.key(0))
    actor, _ = jax.jit(lambda actor: rollout(env, policy, (), actor, jax.random.key(1), 30))(actor)
    state = actor.env.data.state
    return {k: np.asarray(getattr(state, k), np.float64) for k in ("qpos", "mocap_pos", "mocap_quat")}


def posed(model: mujoco.MjModel, known: dict[str, np.ndarray], i: int) -> mujoco.MjData:
    data = mujoco.MjData(model)
    for name in ("qpos", "mocap_pos", "mocap_quat"):
        getattr(data, name)[:] = known[name][i]
    mujoco.mj_forward(model, data)
    return data


def seen(name: str) -> dict[str, np.ndarray]:
    """What a file holds."""
    model, camera, found = model_of(name), SCENES[name][1], states(name)
    every = [posed(model, found, i) for i in range(len(found["qpos"]))]
    with mujoco.Renderer(model, SIZE, SIZE) as renderer:

        def taken(data: mujoco.MjData) -> np.ndarray:
            renderer.update_scene(data, camera)
            return renderer.render().copy()

        found["rgb"] = np.stack([taken(data) for data in every[:COLOURED]])
        renderer.enable_depth_rendering()
        depth = np.stack([taken(data) for data in every])
        renderer.disable_depth_rendering()
        renderer.enable_segmentation_rendering()
        ids = np.stack([taken(data) for data in every])
    kinds = mujoco.mjtObj
    number = np.where(ids[..., 1] == int(kinds.mjOBJ_SITE), model.ngeom + ids[..., 0], ids[..., 0])
    found["segmentation"] = np.where(np.isin(ids[..., 1], [int(kinds.mjOBJ_GEOM), int(kinds.mjOBJ_SITE)]), number, -1)
    found["segmentation"] = found["segmentation"].astype(np.int16)
    depth = np.where(found["segmentation"] >= 0, np.round(1000 * depth), 0).clip(max=65535).astype(np.uint16)
    found["depth"] = np.diff(depth, axis=-1, prepend=np.uint16(0))
    model.vis.quality.offsamples = 0
    with mujoco.Renderer(model, SIZE, SIZE) as renderer:
        plain = []
        for data in every[:COLOURED]:
            renderer.update_scene(data, camera)
            for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
                renderer.scene.flags[flag] = 0
            plain.append(renderer.render().copy())
    found["plain"] = np.stack(plain)
    return found


if __name__ == "__main__":
    for name in SCENES:
        np.savez_compressed(FOLDER / f"render_{name}.npz", **seen(name))
        print(name, (FOLDER / f"render_{name}.npz").stat().st_size)

"""Frames a second of our pictures by number of worlds, beside MuJoCo's software OpenGL in turns with them."""

import os
import subprocess
import sys
import time
from typing import Any

import jax
import mujoco
import numpy as np

from experiments.benchmarks import timing
from skillhier.envs import batch, physics, registry
from skillhier.envs.render import pixels, rays

WORLDS = ("dmc.cheetah_run", "dmc.walker_walk", "dmc.quadruped_walk", "sawyer.stack_red_on_blue.set4")
SIZE = 64
TARGETS = {"default": 4.0, "plain": 1.0}  # times the frames of MuJoCo: as it comes, and without its extras
FRAMES = {"default": 4, "plain": 48}  # of MuJoCo in a turn
BARE = (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION)


class Opengl:
    """MuJoCo's renderer over one world's states, as it comes or without shadows, reflections and smooth edges."""

    def __init__(self, model: mujoco.MjModel, states: list[mujoco.MjData], camera: int, plain: bool) -> None:
        self.states, self.camera, self.plain, self.at = states, camera, plain, 0
        smooth = model.vis.quality.offsamples
        model.vis.quality.offsamples = 0 if plain else smooth
        try:
            self.renderer = mujoco.Renderer(model, SIZE, SIZE)
        finally:
            model.vis.quality.offsamples = smooth

    def draw(self, frames: int) -> np.ndarray:
        for _ in range(frames):
            self.at = (self.at + 1) % len(self.states)
            self.renderer.update_scene(self.states[self.at], self.camera)
            for flag in BARE if self.plain else ():
                self.renderer.scene.flags[flag] = 0
            picture = self.renderer.render()
        return picture


def opened(name: str, worlds: int, **settings: Any) -> tuple[physics.Physics, physics.Data, list[mujoco.MjData]]:
    """A world's physics, where `worlds` of it open, and the same for MuJoCo (16 of them at most)."""
    task = registry.task(name, engine="native", **settings)
    data = jax.jit(batch.make(task, worlds).reset)(jax.random.key(0))[0].data
    states = []
    for i in range(min(worlds, 16)):
        state = mujoco.MjData(task.physics.model)
        for field in ("qpos", "mocap_pos", "mocap_quat"):
            getattr(state, field)[:] = np.asarray(getattr(data.state, field)[i])
        mujoco.mj_forward(task.physics.model, state)
        states.append(state)
    return task.physics, data, states


PROBE = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco/>")
with mujoco.Renderer(model, 8, 8) as renderer:
    renderer.update_scene(mujoco.MjData(model))
    renderer.render()
"""


def opengl() -> str | None:
    """Why there is no OpenGL to compare with; None where there is. A driver may end its process, so another asks."""
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True)
    if not done.returncode:
        return None
    line = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
    return f"no OpenGL to compare with ({line[:80]}); set MUJOCO_GL to egl or osmesa"


def frames(name: str, counts: tuple[int, ...], repeats: int, **settings: Any) -> list[dict[str, Any]]:
    """Our frames a second of world `name` drawn in `counts` worlds at a time, and MuJoCo's, turn by turn.

    `share` is how many times MuJoCo's frames ours are, as it draws without its extras (which ours have not either);
    `share_of_default` as it comes; `extras` is our own rate with shadows, reflections and two by two rays a pixel.
    """
    engine, data, states = opened(name, max(counts), **settings)
    camera = next((number for family, number in pixels.CAMERA.items() if name.startswith(family)), 0)
    draw = jax.vmap(rays.renderer(engine.model, camera, SIZE, SIZE))
    missing = opengl()
    theirs = {} if missing else {kind: Opengl(engine.model, states, camera, kind == "plain") for kind in TARGETS}
    rows = []
    for count in counts:
        some = jax.tree.map(lambda x, count=count: x[:count], data)
        began = time.perf_counter()
        run = jax.jit(draw).lower(some).compile()
        compiled = time.perf_counter() - began
        many = max(1, 64 // count)  # so that a turn is long enough to be timed
        jobs = [lambda run=run, some=some, many=many: [run(some) for _ in range(many)]]
        jobs += [lambda of=of, kind=kind: of.draw(FRAMES[kind]) for kind, of in theirs.items()]
        mine, *others = timing.in_turns(repeats, *jobs)
        row = {
            "world": name, "worlds": count, "frames_per_second": timing.rate(count * many, mine),
            "compile_seconds": compiled, "seconds": {"ours": mine},
        }  # fmt: skip
        if missing:
            row["skipped"] = missing
        for kind, taken in zip(theirs, others, strict=True):
            row["seconds"][kind] = taken
            row[f"{kind}_per_second"] = timing.rate(FRAMES[kind], taken)
            each = [t / (count * many) for t in mine], [t / FRAMES[kind] for t in taken]
            row |= {f"{k}_{kind}": v for k, v in timing.shares(*each).items()}
        rows.append(row | {"opengl": os.environ.get("MUJOCO_GL", "") if theirs else None, "targets": TARGETS})
    return rows

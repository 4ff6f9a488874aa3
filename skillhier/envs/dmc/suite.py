"""Models of the control suite, and what its tasks share.

A model is read from the text that the `dm_control` package ships; no code of that package runs. Source of the
numbers: the fact sheet of LSP, section 4.
"""

import importlib.util
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from skillhier.envs import batch, limits, physics
from skillhier.types import Array, Bounds, Key

LIMIT = limits.LIMITS["dmc"]  # control steps of every task; only the time limit ends an episode
PROFILES = ("parity", "fast")  # or auto, see `world`
# Iterations of the solver under profile fast: with 4, a tenth of a walker's steps in contact end 1e-3 or more away.
ITERATIONS = {"cheetah": 6, "walker": 8, "hopper": 6}  # elsewhere 4
EXPLICIT = ("quadruped",)  # domains whose joint damping may be integrated explicitly: stiffer ones move otherwise
CAPS = {  # (contacts, pairs of geoms looked at closely) a world, at most, in MJX under profile fast
    "cheetah": (6, 4),
    "walker": (8, 7),
    "hopper": (8, 6),
    "quadruped": (24, 12),
}


def folder() -> Path:
    """The suite's folder of the installed package."""
    package = importlib.util.find_spec("dm_control")
    if package is None or not package.submodule_search_locations:
        raise ValueError(
            "control-suite worlds need the package dm_control, which has no wheel here; use Python 3.11 or 3.12"
        )
    return Path(package.submodule_search_locations[0]) / "suite"


def load(
    domain: str, profile: str = "parity", edit: Callable[[ElementTree.Element], None] | None = None
) -> mujoco.MjModel:
    """The model of `domain` (cheetah, walker, ...) after `edit` of its parsed MJCF text.

    profile `parity` solves as the suite does; `fast` solves less exactly, for training on accelerators (docs/worlds.md
    says by how much). Energies, which MJX cannot compute and no task reads, are off.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile '{profile}' is not known; choose auto, {' or '.join(PROFILES)} in env.profile")
    root = ElementTree.fromstring((folder() / f"{domain}.xml").read_text())
    for flag in root.iter("flag"):
        flag.attrib.pop("energy", None)
    masses = [float(c.attrib.pop("settotalmass")) for c in root.iter("compiler") if "settotalmass" in c.attrib]
    if profile == "fast" and domain in CAPS:
        custom = ElementTree.SubElement(root, "custom")
        for name, most in zip(("max_contact_points", "max_geom_pairs"), CAPS[domain], strict=True):
            ElementTree.SubElement(custom, "numeric", name=name, data=str(most))
    if edit is not None:
        edit(root)
    common = {f"./common/{file.name}": file.read_bytes() for file in (folder() / "common").glob("*.xml")}
    model = mujoco.MjModel.from_xml_string(ElementTree.tostring(root, encoding="unicode"), common)
    for mass in masses:  # kg; a deprecated attribute, whose warning would be shown at every load
        mujoco.mj_setTotalmass(model, mass)
        mujoco.mj_setConst(model, mujoco.MjData(model))
    if profile == "fast":
        model.opt.iterations, model.opt.ls_iterations = ITERATIONS.get(domain, 4), 8
        if domain in EXPLICIT:
            model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_EULERDAMP
    return model


def stretched(model: mujoco.MjModel) -> Callable[[Array], Array]:
    """Actions [nu] in [-1, 1] to controls: linear onto each actuator's range."""
    low, high = model.actuator_ctrlrange.T
    middle, half = np.float32((low + high) / 2), np.float32((high - low) / 2)
    return lambda action: middle + half * action  # to the bit where the range is [-1, 1]


@lru_cache(maxsize=32)
def _world(domain: str, interval: float, profile: str, engine: str, worlds: int) -> physics.Physics:
    model = load(domain, profile)
    return physics.make(model, substeps=round(interval / model.opt.timestep), engine=engine, worlds=worlds)


def world(domain: str, interval: float, profile: str, engine: str, worlds: int) -> physics.Physics:
    """Physics of `domain` with control steps of `interval` s; cached, so that all tasks of the domain share it.

    profile `auto` is parity under engine native and fast under the others.
    """
    engine = physics.resolve(engine)
    if profile == "auto":
        profile = "parity" if engine == "native" else "fast"
    return _world(domain, interval, profile, engine, worlds if engine == "warp" else 1)


def task(
    engines: physics.Physics,
    interval: float,
    sizes: dict[str, int],
    start: Callable[[Key], physics.State],
    observe: Callable[[physics.Data], dict[str, Array]],
    reward: Callable[[physics.Data], Array],
) -> batch.Task:
    """A task of the suite: without memory, with entries of `sizes`, ended by the time limit only."""
    stretch = stretched(engines.model)
    return batch.Task(
        physics=engines,
        obs={name: jax.ShapeDtypeStruct((size,), jnp.float32) for name, size in sizes.items()},
        action=Bounds((engines.model.nu,), -1.0, 1.0),
        interval=interval,
        limit=LIMIT,
        start=lambda key, index: (start(key), ()),
        control=lambda data, memory, action: (data.state, stretch(action)),
        observe=lambda data, memory, action: (observe(data), ()),
        reward_and_discount=lambda data, memory: (reward(data), jnp.ones(())),
    )


def scattered(model: mujoco.MjModel) -> Callable[[Key], Array]:
    """Draws positions [nq]: limited joints uniform in their ranges, other hinges in (-pi, pi), other slides at 0."""
    hinges = model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE
    reach = np.where(hinges, np.pi, 0.0)
    limited = model.jnt_limited.astype(bool)
    low = np.where(limited, model.jnt_range[:, 0], -reach).astype(np.float32)
    high = np.where(limited, model.jnt_range[:, 1], reach).astype(np.float32)
    drawn = 1 << (model.nq - 1).bit_length()  # XLA takes 3 times as long to compile a draw of 9 numbers as one of 16
    return lambda key: low + (high - low) * jax.random.uniform(key, (drawn,))[: model.nq]


def reader(model: mujoco.MjModel, name: str) -> Callable[[physics.Data], Array]:
    """What the sensor `name` reads: [its size]."""
    sensor = model.sensor(name)
    where = slice(sensor.adr[0], sensor.adr[0] + sensor.dim[0])
    return lambda data: data.sensordata[where]

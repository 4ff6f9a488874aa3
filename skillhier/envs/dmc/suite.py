"""Models of the control suite, and what its tasks share.

A model is read from the text that the `dm_control` package ships; no code of that package runs. Source of the
numbers: the fact sheet of LSP, section 4.
"""

import importlib.util
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import mujoco

from skillhier.types import Array

LIMIT = 1000  # control steps of every task; nothing but the clock ends an episode
PROFILES = ("parity", "fast")


def folder() -> Path:
    """The suite's folder of the installed package."""
    found = importlib.util.find_spec("dm_control")
    if found is None or not found.submodule_search_locations:
        raise ValueError(
            "control-suite worlds need the package dm_control, which has no wheel here; use Python 3.11 or 3.12"
        )
    return Path(found.submodule_search_locations[0]) / "suite"


def load(
    domain: str, profile: str = "parity", edit: Callable[[ElementTree.Element], None] | None = None
) -> mujoco.MjModel:
    """The model of `domain` (cheetah, walker, ...) after `edit` of its parsed MJCF text.

    profile `parity` solves as the suite does; `fast` solves less exactly, for training on accelerators. Energies,
    which MJX cannot compute and no task reads, are off.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile '{profile}' is not known; choose {' or '.join(PROFILES)} in env.profile")
    root = ElementTree.fromstring((folder() / f"{domain}.xml").read_text())
    for flag in root.iter("flag"):
        flag.attrib.pop("energy", None)
    if edit is not None:
        edit(root)
    common = {f"./common/{file.name}": file.read_bytes() for file in (folder() / "common").glob("*.xml")}
    model = mujoco.MjModel.from_xml_string(ElementTree.tostring(root, encoding="unicode"), common)
    if profile == "fast":
        model.opt.iterations, model.opt.ls_iterations = 4, 8
        model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_EULERDAMP
    return model


def stretched(model: mujoco.MjModel) -> Callable[[Array], Array]:
    """Actions [nu] in [-1, 1] to controls: linear onto each actuator's range."""
    low, high = jnp.asarray(model.actuator_ctrlrange.T, jnp.float32)
    return lambda action: low + 0.5 * (action + 1.0) * (high - low)

"""Episodes with each skill fixed in stacking worlds, from the same initial states (HeLMS 4.2, Fig. 3a).

skill_measures.py computes their measures. Letters: those of fixed_skills/rollouts.py, and O objects.
"""

from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from experiments.fixed_skills import rollouts
from experiments.fixed_skills.rollouts import FixedSkills
from experiments.shared.lanes import ACT
from skillhier import files
from skillhier.types import Array, Env, Key, Params, Spec, Trajectory

FILE = "skills.npz"
PINCH, GRIPPER, GRASP = "sawyer.pinch.pose", "gripper.joints.angle", "gripper.grasp"  # entries
STROKE = 255.0  # what GRIPPER shows when it is closed
# The grasp reading unless both fingers are in contact: with an object (it alternates where an expert holds by short
# pulses), or with each other once they are closed beyond a share of the stroke (in the released experts' logs so in
# nine of ten rows with empty closed fingers).
NO_CONTACT = 1.0
CLOSED_EMPTY = 0.97
OBJECTS = {name: f"rgb30_{name}.abs_pose" for name in ("red", "green", "blue")}


class SkillRollouts(NamedTuple):
    """Episodes of all lanes as numpy arrays; row t of an episode is meaningful where valid."""

    skill: np.ndarray  # [L] int, PRIOR for the lane that follows the prior
    pinch: np.ndarray  # [L, E, T, 3] m
    objects: np.ndarray  # [L, E, T, O, 3] m, in the order of `OBJECTS`
    closed: np.ndarray  # [L, E, T] 0 open .. 1 closed
    grasping: np.ndarray  # [L, E, T] bool: both fingers are in contact and not fully closed
    action: np.ndarray  # [L, E, T, A]; meaningless in an episode's last row
    chosen: np.ndarray  # [L, E, T] int: the active skill, PRIOR where the policy does not report it
    valid: np.ndarray  # [L, E, T] bool: from the start to the true end, or to the row before the world broke
    broken: np.ndarray  # [L] episodes that a broken world cut short
    interval: np.ndarray  # [] s between rows


def shows(spec: Spec) -> bool:
    """Whether such worlds show all that these rollouts are made of."""
    return not missing(spec)


def missing(spec: Spec) -> list[str]:
    """The entries that they are made of, and that such worlds do not show."""
    return [name for name in (PINCH, GRIPPER, GRASP, *OBJECTS.values()) if name not in spec.obs]


def select(rows: Trajectory) -> dict[str, Array]:
    """What of rows [T, B, ...] they are made of."""
    frame = {name: rows.step.obs[name][:, :, 0] for name in (PINCH, GRIPPER, GRASP, *OBJECTS.values())}
    return {
        "pinch": frame[PINCH][..., :3],
        "objects": jnp.stack([frame[name][..., :3] for name in OBJECTS.values()], -2),
        "closed": frame[GRIPPER][..., 0] / STROKE,
        "grasping": grasping(frame[GRASP][..., 0], frame[GRIPPER][..., 0]),
    }


def grasping(reading: Array, angle: Array) -> Array:
    """Whether both fingers are in contact and not closed on each other, bool, from GRASP and GRIPPER of any shape."""
    return (reading != NO_CONTACT) & (angle < CLOSED_EMPTY * STROKE)


def read(selected: dict[str, np.ndarray], held: FixedSkills) -> SkillRollouts:
    """The rollouts, from what `select` gave of the episodes `held`."""
    shared = {name: getattr(held, name) for name in ("skill", "action", "chosen", "valid", "broken")}
    return SkillRollouts(**selected, **shared, interval=np.float32(held.interval))


def collect(env: Env, act: ACT, params: Params, skills: int, key: Key, *, rows: int | None = None) -> SkillRollouts:
    """An episode of each of `skills` skills, REPEATS times in every world of `env`, and as many that follow the prior.

    As fixed_skills.rollouts.collect. Raises ValueError where the env does not show one of the entries.
    """
    if missing(env.spec):
        raise ValueError(
            f"the env has no observation entry {missing(env.spec)[0]!r}, which skill rollouts need; it has "
            f"{', '.join(sorted(env.spec.obs))}"
        )
    held, selected = rollouts.collect(env, act, params, skills, key, rows=rows, extra=select)
    return read(selected, held)


def save(episodes: SkillRollouts, folder: Path | str, name: str = FILE) -> Path:
    """Writes the file `name` into a run folder."""
    path = Path(folder) / name
    with files.draft(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **episodes._asdict())
    return path


def load(folder: Path | str, name: str = FILE) -> SkillRollouts:
    """The rollouts from the file `name` of a run folder."""
    with np.load(Path(folder) / name, allow_pickle=False) as data:
        return SkillRollouts(**{name: data[name] for name in SkillRollouts._fields})

"""Episodes with each skill fixed, from the same initial states (HeLMS 4.2, Fig. 3a).

`collect` returns SkillRollouts; skill_measures.py computes their measures.

Letters: those of shared/lanes.py, and O objects. A lane covers the same initial states `REPEATS` times: episode e
starts where episode e + E/2 does, and where episode e of every other lane does. Two lanes therefore differ by their
skill and by chance, the two halves of one lane by chance alone.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from experiments.shared.lanes import ACT, PRIOR, collect_lanes, validity
from skillhier.types import Array, Env, Key, Params, Trajectory

REPEATS = 2
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


def collect(*arguments: Any, **settings: Any) -> SkillRollouts:
    """The rollouts of `collect_with` alone."""
    return collect_with(*arguments, **settings)[0]


def collect_with(
    env: Env,
    act: ACT,
    params: Params,
    skills: int,
    key: Key,
    *,
    rows: int | None = None,
    pinch: str = "sawyer.pinch.pose",
    gripper: str = "gripper.joints.angle",
    stroke: float = 255.0,
    grasp: str = "gripper.grasp",
    no_contact: float = 1.0,
    closed_empty: float = 0.97,
    extra: Callable[[Trajectory], Any] | None = None,
) -> tuple[SkillRollouts, Any]:
    """An episode of each of `skills` skills, REPEATS times in every world of `env`, and as many that follow the prior.

    skills = 0 is for a system without skills and gives the lane of the prior alone.
    rows: control steps of an episode, the env's limit by default
    pinch, gripper, grasp: entries of the observation: pinch pose, gripper closing (0 to `stroke`), grasp reading
    no_contact: the grasp reading unless both fingers are in contact: with an object (the reading alternates where an
        expert holds by short pulses), or with each other once they are closed beyond the share `closed_empty` (in the
        released experts' logs so in nine of ten rows with empty closed fingers)
    extra: selects more from the same rows [T, B, ...]; the second result, with leaves [L, E, T, ...], or None

    Raises ValueError where the env does not show one of the entries.
    """
    missing = [name for name in (pinch, gripper, grasp, *OBJECTS.values()) if name not in env.spec.obs]
    if missing:
        raise ValueError(
            f"the env has no observation entry {missing[0]!r}, which skill rollouts need; it has "
            f"{', '.join(sorted(env.spec.obs))}"
        )

    def select(trajectory: Trajectory) -> dict[str, Array]:
        frame = {name: trajectory.step.obs[name][:, :, 0] for name in (pinch, gripper, grasp, *OBJECTS.values())}
        return {
            "pinch": frame[pinch][..., :3],
            "objects": jnp.stack([frame[name][..., :3] for name in OBJECTS.values()], -2),
            "closed": frame[gripper][..., 0] / stroke,
            "grasping": (frame[grasp][..., 0] != no_contact) & (frame[gripper][..., 0] < closed_empty * stroke),
            "action": trajectory.action,
            "extra": None if extra is None else extra(trajectory),
        }

    skill = range(PRIOR, skills)
    arrays = collect_lanes(env, act, params, skill, key, select, has_skills=skills > 0, repeats=REPEATS, rows=rows)
    valid, broken = validity(arrays.pop("first"), arrays.pop("last"))
    extras, interval = arrays.pop("extra"), np.float32(env.spec.interval)
    arrays = {name: arrays[name] for name in SkillRollouts._fields if name in arrays}
    return SkillRollouts(skill=np.array(skill), valid=valid, broken=broken.sum(-1), interval=interval, **arrays), extras


def save(rollouts: SkillRollouts, folder: Path | str) -> Path:
    """Writes skills.npz into a run folder."""
    path = Path(folder) / "skills.npz"
    np.savez_compressed(path, **rollouts._asdict())
    return path


def load(folder: Path | str) -> SkillRollouts:
    """The rollouts from skills.npz of a run folder."""
    with np.load(Path(folder) / "skills.npz", allow_pickle=False) as data:
        return SkillRollouts(**{name: data[name] for name in SkillRollouts._fields})

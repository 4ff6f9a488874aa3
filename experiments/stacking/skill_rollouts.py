"""Episodes with each skill fixed, from the same initial states (HeLMS 4.2, Fig. 3a).

`collect` returns SkillRollouts; skill_measures.py computes their measures.

Letters beside those of types.py: L lanes (one for each skill, and one in which skills follow the learned prior),
E episodes of a lane, O objects. A lane covers the same initial states `REPEATS` times: episode e starts where episode
e + E/2 does, and where episode e of every other lane does. Two lanes therefore differ by their skill and by chance,
the two halves of one lane by chance alone.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from skillhier.rollout import rollout, start
from skillhier.types import Array, Env, Key, Params, Policy, TimeStep, Trajectory

REPEATS = 2
PRIOR = -1  # the lane whose skill follows the learned prior
OBJECTS = {name: f"rgb30_{name}.abs_pose" for name in ("red", "green", "blue")}
ACT = Callable[[Array | None], Policy]  # a skill [] int32, or None: the skill follows the prior


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


def skill_policy(act: ACT, skill: Array) -> Policy:
    """The policy of `skill`, or the one that follows the prior if it is PRIOR. One program serves all skills."""
    fixed, free = act(jnp.maximum(skill, 0)), act(None)

    def init(worlds: int):
        return fixed.init(worlds), free.init(worlds)

    def step(params: Params, carry, timestep: TimeStep, key: Key):
        fixed_carry, action, _ = fixed.act(params, carry[0], timestep, key)
        free_carry, free_action, extras = free.act(params, carry[1], timestep, key)
        chosen = jnp.asarray(extras.get("skill", jnp.int32(PRIOR)))
        if chosen.dtype != jnp.int32:  # a skill of several numbers has no index
            chosen = jnp.full(timestep.first.shape, PRIOR)
        chosen = jnp.broadcast_to(chosen.reshape(-1) if chosen.ndim else chosen, timestep.first.shape)
        prior = skill == PRIOR
        action = jnp.where(prior, free_action, action)
        return (fixed_carry, free_carry), action, {"chosen": jnp.where(prior, chosen, skill)}

    return Policy(init, step)


def skillless_policy(act: ACT) -> Policy:
    """The policy of a system without skills; its extras say that no skill is active."""
    free = act(None)

    def step(params: Params, carry, timestep: TimeStep, key: Key):
        carry, action, _ = free.act(params, carry, timestep, key)
        return carry, action, {"chosen": jnp.full(timestep.first.shape, PRIOR)}

    return Policy(free.init, step)


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
    return SkillRollouts(skill=np.array(skill), valid=valid, broken=broken.sum(-1), interval=interval, **arrays), extras


def collect_lanes(
    env: Env,
    act: ACT,
    params: Params,
    skills: Sequence[int],
    key: Key,
    select: Callable[[Trajectory], dict[str, Any]],
    *,
    has_skills: bool = True,
    repeats: int = 1,
    rows: int | None = None,
) -> dict[str, Any]:
    """`select` of the rows [T, B, ...] of each lane, with chosen, first and last: numpy leaves [L, E, T, ...].

    A lane has an episode of one of `skills` (PRIOR: they follow the learned prior) in every world of `env`, `repeats`
    times; has_skills=False is for a system without skills. Lanes are vmapped over one env and one reset key: one
    compiled program, in which the native engine steps all worlds of all lanes in one call.
    """
    length = (env.spec.limit if rows is None else rows) + 1
    key_start, key_act = jax.random.split(key)

    def lane(params: Params, key_start: Key, skill: Array, key: Key) -> dict[str, Any]:
        policy = skill_policy(act, skill) if has_skills else skillless_policy(act)
        _, trajectory = rollout(env, policy, params, start(env, policy, key_start), key, length)
        step = trajectory.step
        return {**select(trajectory), "chosen": trajectory.extras["chosen"], "first": step.first, "last": step.last}

    all_lanes = jax.vmap(jax.vmap(lane, (None, None, None, 0)), (None, None, 0, 0))  # [L, repeats, T, B, ...]
    keys = jax.random.split(key_act, (len(skills), repeats))
    arrays = jax.jit(all_lanes)(params, key_start, jnp.asarray(skills, jnp.int32), keys)
    return jax.tree.map(_episodes, jax.device_get(arrays))


def _episodes(values: np.ndarray) -> np.ndarray:
    """[L, repeats, T, B, ...] -> [L, repeats * B, T, ...]"""
    values = np.moveaxis(values, 3, 2)
    return values.reshape(values.shape[0], values.shape[1] * values.shape[2], *values.shape[3:])


def validity(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(bool [..., T] which rows belong to the episode that row 0 opens, bool [...] whether its world broke).

    A `first` row after row 0 opens another episode; without a `last` row before it, the world broke.
    """
    again = first.copy()
    again[..., 0] = False
    valid = np.cumsum(again, -1) == 0
    return valid, again.any(-1) & ~(last & valid).any(-1)


def save(rollouts: SkillRollouts, folder: Path | str) -> Path:
    """Writes skills.npz into a run folder."""
    path = Path(folder) / "skills.npz"
    np.savez_compressed(path, **rollouts._asdict())
    return path


def load(folder: Path | str) -> SkillRollouts:
    """The rollouts from skills.npz of a run folder."""
    with np.load(Path(folder) / "skills.npz", allow_pickle=False) as data:
        return SkillRollouts(**{name: data[name] for name in SkillRollouts._fields})

"""Every skill held fixed, from the same starts: what does it do?

`roll` acts and gives a Study; skill_measures.py makes figures of it. HeLMS 4.2, Fig. 3a.

Letters beside those of types.py: L lanes (one skill each, and one in which skills follow the learned prior),
E episodes of a lane, O objects. Episodes come in `REPEATS` passes over the same starts: episode e opens
where episode e + E/2 does, and where episode e of every other lane does. Two lanes therefore differ by
their skill and by chance, the two halves of one lane by chance alone.
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


class Study(NamedTuple):
    """What was seen, as numpy arrays; row t of an episode means something where valid."""

    skill: np.ndarray  # [L] int, PRIOR for the lane that follows the prior
    pinch: np.ndarray  # [L, E, T, 3] m
    objects: np.ndarray  # [L, E, T, O, 3] m, in the order of `OBJECTS`
    closed: np.ndarray  # [L, E, T] 0 open .. 1 closed
    grasping: np.ndarray  # [L, E, T] bool: both fingers feel something and are not quite shut
    action: np.ndarray  # [L, E, T, A]; means nothing in an episode's last row
    chosen: np.ndarray  # [L, E, T] int: the skill in charge, PRIOR where the policy does not say
    valid: np.ndarray  # [L, E, T] bool: from the start to the true end, or to the row before the world broke
    broken: np.ndarray  # [L] episodes that a broken world cut short
    interval: np.ndarray  # [] s between rows


def switched(act: ACT, skill: Array) -> Policy:
    """The policy of `skill`, or the prior-driven one where it is PRIOR. The skill is data: one program serves all."""
    fixed, free = act(jnp.maximum(skill, 0)), act(None)

    def init(worlds: int):
        return fixed.init(worlds), free.init(worlds)

    def step(params: Params, carry, seen: TimeStep, key: Key):
        held, action, _ = fixed.act(params, carry[0], seen, key)
        loose, other, extras = free.act(params, carry[1], seen, key)
        chosen = jnp.asarray(extras.get("skill", PRIOR), jnp.int32)
        chosen = jnp.broadcast_to(chosen.reshape(-1) if chosen.ndim else chosen, seen.first.shape)
        prior = skill == PRIOR
        return (held, loose), jnp.where(prior, other, action), {"chosen": jnp.where(prior, chosen, skill)}

    return Policy(init, step)


def unheld(act: ACT) -> Policy:
    """The policy of a system without skills, noting that no skill was in charge."""
    free = act(None)

    def step(params: Params, carry, seen: TimeStep, key: Key):
        carry, action, _ = free.act(params, carry, seen, key)
        return carry, action, {"chosen": jnp.full(seen.first.shape, PRIOR)}

    return Policy(free.init, step)


def roll(*arguments: Any, **settings: Any) -> Study:
    """The study alone that `rolled` gives."""
    return rolled(*arguments, **settings)[0]


def rolled(
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
    nothing: float = 1.0,
    shut: float = 0.97,
    also: Callable[[Trajectory], Any] | None = None,
) -> tuple[Study, Any]:
    """Each of `skills` skills held for an episode, REPEATS times in every world of `env`; the prior likewise.

    skills = 0 (a system without skills) leaves the prior-driven lane alone.
    `rows` is the episode's length in control steps (the env's limit by default). The names say where an
    entry of the observation holds the pinch pose, the gripper's closing (0 to `stroke`) and its grasp reading. That
    is `nothing` unless both fingers feel something: an object (while closing or opening: an expert that holds by
    short pulses makes it read both by turns), or each other once they are closed beyond the share `shut` (in the
    released experts' logs it reads so in nine of ten rows with empty closed fingers).
    With the study comes what `also` takes of the same rows [T, B, ...], leaves [L, E, T, ...]; None if it is None.
    """
    missing = [name for name in (pinch, gripper, grasp, *OBJECTS.values()) if name not in env.spec.obs]
    if missing:
        raise ValueError(
            f"the env shows no {missing[0]!r}; skill rollouts need it, and it shows {', '.join(sorted(env.spec.obs))}"
        )

    def keep(seen: Trajectory) -> dict[str, Array]:
        frame = {name: seen.step.obs[name][:, :, 0] for name in (pinch, gripper, grasp, *OBJECTS.values())}
        return {
            "pinch": frame[pinch][..., :3],
            "objects": jnp.stack([frame[name][..., :3] for name in OBJECTS.values()], -2),
            "closed": frame[gripper][..., 0] / stroke,
            "grasping": (frame[grasp][..., 0] != nothing) & (frame[gripper][..., 0] < shut * stroke),
            "action": seen.action,
            "also": None if also is None else also(seen),
        }

    skill = range(PRIOR, skills)
    seen = lanes(env, act, params, skill, key, keep, held=skills > 0, repeats=REPEATS, rows=rows)
    valid, broken = validity(seen.pop("first"), seen.pop("last"))
    taken, interval = seen.pop("also"), np.float32(env.spec.interval)
    return Study(skill=np.array(skill), valid=valid, broken=broken.sum(-1), interval=interval, **seen), taken


def lanes(
    env: Env,
    act: ACT,
    params: Params,
    skills: Sequence[int],
    key: Key,
    keep: Callable[[Trajectory], dict[str, Any]],
    *,
    held: bool = True,
    repeats: int = 1,
    rows: int | None = None,
) -> dict[str, Any]:
    """What `keep` takes of the rows [T, B, ...] of each lane, and chosen, first and last: leaves [L, E, T, ...], numpy.

    A lane is an episode of one of `skills` (PRIOR: they follow the learned prior) in every world of `env`, `repeats`
    times over; held=False is for a system without skills. One compiled program: lanes are vmapped over one env and
    one reset key, so the native engine steps all worlds of all lanes in one call.
    """
    length = (env.spec.limit if rows is None else rows) + 1
    key_start, key_act = jax.random.split(key)

    def lane(params: Params, key_start: Key, skill: Array, key: Key) -> dict[str, Any]:
        policy = switched(act, skill) if held else unheld(act)
        _, seen = rollout(env, policy, params, start(env, policy, key_start), key, length)
        noted = {"chosen": seen.extras["chosen"], "first": seen.step.first, "last": seen.step.last}
        return {**keep(seen), **noted}

    every = jax.vmap(jax.vmap(lane, (None, None, None, 0)), (None, None, 0, 0))  # [L, repeats, T, B, ...]
    keys = jax.random.split(key_act, (len(skills), repeats))
    seen = jax.jit(every)(params, key_start, jnp.asarray(skills, jnp.int32), keys)
    return jax.tree.map(_episodes, jax.device_get(seen))


def _episodes(values: np.ndarray) -> np.ndarray:
    """[L, repeats, T, B, ...] -> [L, repeats * B, T, ...]"""
    values = np.moveaxis(values, 3, 2)
    return values.reshape(values.shape[0], values.shape[1] * values.shape[2], *values.shape[3:])


def validity(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which rows [..., T] belong to the episode that row 0 opens, and [...] whether it broke.

    A `first` row later than row 0 opens another episode; where no `last` row came before it, the world broke.
    """
    again = first.copy()
    again[..., 0] = False
    valid = np.cumsum(again, -1) == 0
    return valid, again.any(-1) & ~(last & valid).any(-1)


def save(study: Study, folder: Path | str) -> Path:
    """Writes what was seen to skills.npz in a run folder."""
    path = Path(folder) / "skills.npz"
    np.savez_compressed(path, **study._asdict())
    return path


def load(folder: Path | str) -> Study:
    """The study in a run folder."""
    with np.load(Path(folder) / "skills.npz", allow_pickle=False) as data:
        return Study(**{name: data[name] for name in Study._fields})

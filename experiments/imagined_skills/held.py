"""Each skill held fixed from the same starts: paths, where they end, and how far apart (LSP, Fig. 7 and 10)."""

from typing import Any, NamedTuple

import jax
import mujoco
import numpy as np

from experiments.imagined_skills import places
from experiments.imagined_skills.places import Places
from experiments.shared import lanes, saved
from skillhier.envs.render import viewer
from skillhier.types import Env, Key, Trajectory


class Held(NamedTuple):
    """Episodes of all skills; E = repeats * starts, all starts of one repeat side by side."""

    places: Places  # values [L, E, T, D]
    ends: np.ndarray  # [L, E] int: each episode's last row
    records: Any  # physics of the first episode of each skill at `frames`, leaves [L, F, ...]; None without physics
    frames: np.ndarray  # [F] rows
    starts: int


def collect(
    env: Env, model: mujoco.MjModel | None, agent: saved.Agent, key: Key, *, rows: int, repeats: int, frames: int
) -> Held:
    """Episodes of `rows` decisions of every skill of `agent` in all worlds of `env`, `repeats` times each.

    Actions are what the skill thinks best; only chance in the agent's belief tells repeats apart.
    """
    at = np.linspace(0, rows, frames).round().astype(int)
    where = places.select(env.spec, model)

    def select(trajectory: Trajectory) -> dict[str, Any]:
        selected = {"place": where(trajectory)}
        if model is not None:
            record = trajectory.step.obs[viewer.RECORD]
            selected["record"] = jax.tree.map(lambda leaf: leaf[at][:, :1], record)
        return selected

    shown, act = env, agent.act
    if model is not None:
        shown, act = viewer.shown(env), lambda skill: viewer.unaware(agent.act(skill))
    arrays = lanes.collect_lanes(
        shown, act, agent.params, range(agent.skills), key, select, repeats=repeats, rows=rows
    )  # fmt: skip
    valid, _ = lanes.validity(arrays["first"], arrays["last"])
    records = None if model is None else jax.tree.map(lambda leaf: leaf[:, 0], arrays["record"])
    return Held(places.read(arrays["place"], model, valid), valid.sum(-1) - 1, records, at, env.spec.worlds)


def measure(held: Held) -> dict[str, Any]:
    """The figures of `held`, for JSON.

    between  mean distance between the ends of two different skills from the same start
    within   mean distance between the ends of one skill from the same start, with other keys
    ratio    between / within; null where repeats end in one place
    skills   of each: `moved`, the mean way from start to end; `paths` from the first start
    """
    values, ends = held.places.values, held.ends
    last = np.take_along_axis(values, ends[..., None, None], 2)[:, :, 0]  # [L, E, D]
    last = last.reshape(len(last), -1, held.starts, last.shape[-1])  # [L, repeats, starts, D]
    skills, repeats = last.shape[:2]
    apart = np.linalg.norm(last[:, :, None, None] - last[None, None], axis=-1)  # [L, R, L, R, starts]
    apart = apart.transpose(0, 2, 1, 3, 4)  # [L, L, R, R, starts]
    other = ~np.eye(skills, dtype=bool)
    between = float(apart[other].mean()) if skills > 1 else None
    within = float(apart[~other][:, ~np.eye(repeats, dtype=bool)].mean()) if repeats > 1 else None
    moved = np.linalg.norm(last - values[:, :, 0].reshape(last.shape), axis=-1).mean((1, 2))
    own = [
        [values[lane, e, : ends[lane, e] + 1, :2].round(4).tolist() for e in range(0, ends.shape[1], held.starts)]
        for lane in range(skills)
    ]
    return {
        "place": held.places.what,
        "unit": held.places.unit,
        "starts": held.starts,
        "repeats": repeats,
        "between": between,
        "within": within,
        "ratio": between / within if between is not None and within else None,
        "skills": [{"skill": skill, "moved": float(moved[skill]), "paths": own[skill]} for skill in range(skills)],
    }

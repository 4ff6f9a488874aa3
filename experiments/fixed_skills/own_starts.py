"""Episodes with each skill held fixed that begin where demonstrations begin to use it.

A skill is learned from the rows where the posterior chooses it, and knows no others: held from the start of an episode
it may never come to what it does best. Letters: those of shared/lanes.py.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shared.lanes import ACT, by_episode, held_policy, validity
from skillhier.envs import batch, pose
from skillhier.rollout import rollout, start
from skillhier.types import Array, Key, Params, Trajectory

LASTING = 3  # rows that a skill must stay chosen for its beginning to count
SECONDS = 5.0  # of an episode: demonstrations keep to a skill for less


class Beginnings(NamedTuple):
    """Rows of demonstrations where the posterior begins to choose each skill."""

    frames: dict[str, np.ndarray]  # entry -> [K, E, D], its newest frame
    number: np.ndarray  # [K] how many there are; of fewer than E some are used again, of none rows mean nothing
    share: np.ndarray  # [K] of all rows, those where the skill is chosen


def beginnings(
    infer: Callable[[Params, Trajectory], Array],
    params: Params,
    windows: Iterable[Trajectory],
    episodes: int,
    seed: int = 0,
) -> Beginnings:
    """`episodes` rows for each skill, drawn without replacement from all of `windows` as far as there are enough."""
    believe = jax.jit(infer)
    frames: list[dict[str, np.ndarray]] = []
    begun, used = [], []
    for window in windows:
        weights = np.asarray(believe(params, window))  # [T, B, K]
        chosen, skills = weights.argmax(-1), weights.shape[-1]
        at, of = np.nonzero(begins(chosen, np.asarray(window.step.first)[: len(chosen)]))
        begun.append(chosen[at, of])
        used.append(np.bincount(chosen.ravel(), minlength=skills))
        frames.append({name: np.asarray(values)[at, of, 0] for name, values in window.step.obs.items()})
    every = {name: np.concatenate([each[name] for each in frames]) for name in frames[0]}
    skill, rng = np.concatenate(begun), np.random.default_rng(seed)
    number = np.bincount(skill, minlength=skills)
    drawn = [np.resize(rng.permutation(np.flatnonzero(skill == k)), episodes) if number[k] else np.zeros(episodes, int)
             for k in range(skills)]  # fmt: skip
    rows = {name: np.stack([values[index] for index in drawn]) for name, values in every.items()}
    return Beginnings(rows, number, sum(used) / sum(each.sum() for each in used))


def begins(chosen: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Where a skill of `chosen` [T, B] opens an episode or follows another one, and stays for LASTING rows: bool."""
    begin = first.copy()
    begin[1:] |= chosen[1:] != chosen[:-1]
    for later in range(1, LASTING):
        begin[:-later] &= chosen[later:] == chosen[:-later]
        begin[-later:] = False
    return begin


def collect(
    task: batch.Task,
    frames: Mapping[str, np.ndarray],
    skills: Sequence[int],
    act: ACT,
    params: Params,
    key: Key,
    select: Callable[[Trajectory], dict[str, Any]],
    **episodes: Any,
) -> dict[str, np.ndarray]:
    """`select` of an episode of SECONDS from each of `frames` [L, E, D], skills[l] throughout those of lane l.

    Numpy, [L, E, T, ...]; also `action`, `chosen` and `valid`, as in fixed_skills.rollouts. `episodes` are settings of
    envs.batch.make. Raises ValueError: a task that has no pose.
    """
    lanes, worlds = next(iter(frames.values())).shape[:2]
    rows = round(SECONDS / task.interval)

    def lane(params: Params, frames: dict[str, Array], skill: Array, key: Key) -> dict[str, Any]:
        env = batch.make(pose.opening(task, frames), worlds, limit=rows, **episodes)
        policy = held_policy(act, skill)
        _, trajectory = rollout(env, policy, params, start(env, policy, key), key, rows + 1)
        step = trajectory.step
        noted = {"action": trajectory.action, "chosen": trajectory.extras["chosen"]}
        return {**select(trajectory), **noted, "first": step.first, "last": step.last}

    every = jax.jit(jax.vmap(lane, (None, 0, 0, 0)))
    numbers, keys = jnp.asarray(skills, jnp.int32), jax.random.split(key, lanes)
    arrays = jax.tree.map(by_episode, jax.device_get(every(params, dict(frames), numbers, keys)))
    valid, broken = validity(arrays.pop("first"), arrays.pop("last"))
    return {**arrays, "valid": valid, "broken": broken.sum(-1)}

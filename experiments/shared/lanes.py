"""Episodes with each skill held fixed, and of the agent as it is, from the same initial states: lanes.

Letters beside those of types.py: L lanes, one for each skill, and one where the agent chooses (`PRIOR`); E episodes of
a lane; Z numbers of a continuous skill.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from skillhier.rollout import rollout, start
from skillhier.types import Array, Env, Key, Params, Policy, TimeStep, Trajectory

PRIOR = -1  # the lane whose skill the agent chooses: by a learned prior, by planning
ACT = Callable[[Array | None], Policy]  # a skill [] int32, or None: the agent as it is


def lane_name(skill: int | None) -> str:
    """What a lane is called, in figures and tables."""
    return "prior" if skill is None or skill == PRIOR else f"skill {skill}"


def skill_policy(act: ACT, skill: Array) -> Policy:
    """The policy of `skill`, or the agent as it is if that is PRIOR. One program serves all skills."""
    fixed, free = act(jnp.maximum(skill, 0)), act(None)

    def init(worlds: int):
        return fixed.init(worlds), free.init(worlds)

    def step(params: Params, carry, timestep: TimeStep, key: Key):
        fixed_carry, action, fixed_extras = fixed.act(params, carry[0], timestep, key)
        free_carry, free_action, free_extras = free.act(params, carry[1], timestep, key)
        prior = skill == PRIOR
        held = choices(fixed_extras, timestep.first) | {"chosen": jnp.full(timestep.first.shape, skill)}
        chosen = choices(free_extras, timestep.first)
        notes = {name: jnp.where(prior, chosen[name], held[name]) for name in chosen.keys() & held.keys()}
        return (fixed_carry, free_carry), jnp.where(prior, free_action, action), notes

    return Policy(init, step)


def held_policy(act: ACT, skill: Array) -> Policy:
    """The policy of `skill`, for lanes of which none is PRIOR: nothing is chosen, nothing planned."""
    fixed = act(skill)

    def step(params: Params, carry, timestep: TimeStep, key: Key):
        carry, action, extras = fixed.act(params, carry, timestep, key)
        held = {"chosen": jnp.full(timestep.first.shape, skill)}
        return carry, action, choices(extras, timestep.first) | held

    return Policy(fixed.init, step)


def skillless_policy(act: ACT) -> Policy:
    """The policy of a system without skills that could be held; its extras say that none of those is active."""
    free = act(None)

    def step(params: Params, carry, timestep: TimeStep, key: Key):
        carry, action, extras = free.act(params, carry, timestep, key)
        none = {"chosen": jnp.full(timestep.first.shape, PRIOR)}
        return carry, action, choices(extras, timestep.first) | none

    return Policy(free.init, step)


def choices(extras: Mapping[str, Any], first: Array) -> dict[str, Array]:
    """What a policy notes of its skill: `chosen` [B] int32, its number or PRIOR where it has none.

    Of a skill that is several numbers also `skill` [B, Z], and `renewed` [B], whether it was chosen at this row.
    """
    chosen = extras.get("skill", PRIOR)
    if isinstance(chosen, Mapping):  # of several parts
        return {"chosen": jnp.full(first.shape, PRIOR)}
    chosen = jnp.asarray(chosen)
    if chosen.dtype == jnp.int32 and chosen.ndim < 2:
        return {"chosen": jnp.broadcast_to(chosen.reshape(-1) if chosen.ndim else chosen, first.shape)}
    none = {"chosen": jnp.full(first.shape, PRIOR)}
    if chosen.ndim != 2 or "skill_renewed" not in extras:
        return none
    return none | {"skill": chosen, "renewed": extras["skill_renewed"]}


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
    """`select` of the rows [T, B, ...] of each lane, with first, last and what `choices` gives: numpy [L, E, T, ...].

    A lane has an episode of one of `skills` (PRIOR: of the agent as it is) in every world of `env`, `repeats` times;
    has_skills=False is for a system without skills. Lanes are vmapped over one env and one reset key: one compiled
    program, in which the native engine steps all worlds of all lanes in one call. Worlds whose state lies on the host
    have one episode at a time, from the same key.
    """
    length = (env.spec.limit if rows is None else rows) + 1
    key_start, key_act = jax.random.split(key)
    if has_skills:
        policy_of = skill_policy if PRIOR in skills else held_policy
    else:
        policy_of = lambda act, skill: skillless_policy(act)  # noqa: E731

    def lane(params: Params, key_start: Key, skill: Array, key: Key) -> dict[str, Any]:
        policy = policy_of(act, skill)
        _, trajectory = rollout(env, policy, params, start(env, policy, key_start), key, length)
        step = trajectory.step
        return {**select(trajectory), **trajectory.extras, "first": step.first, "last": step.last}

    keys, numbers = jax.random.split(key_act, (len(skills), repeats)), jnp.asarray(skills, jnp.int32)
    if env.spec.restorable:
        all_lanes = jax.vmap(jax.vmap(lane, (None, None, None, 0)), (None, None, 0, 0))  # [L, repeats, T, B, ...]
        arrays = jax.device_get(jax.jit(all_lanes)(params, key_start, numbers, keys))
    else:
        one = jax.jit(lane)
        each = [jax.device_get(one(params, key_start, n, k)) for n, own in zip(numbers, keys, strict=True) for k in own]
        arrays = jax.tree.map(lambda *parts: np.stack(parts).reshape(*keys.shape, *parts[0].shape), *each)
    return jax.tree.map(_repeated, arrays)


def _repeated(values: np.ndarray) -> np.ndarray:
    """[L, repeats, T, B, ...] -> [L, repeats * B, T, ...]"""
    values = np.moveaxis(values, 3, 2)
    return values.reshape(values.shape[0], values.shape[1] * values.shape[2], *values.shape[3:])


def by_episode(values: np.ndarray) -> np.ndarray:
    """Rows as a rollout has them, [L, T, B, ...], episode by episode: [L, B, T, ...]."""
    return np.moveaxis(values, 2, 1)


def validity(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(bool [..., T] which rows belong to the episode that row 0 opens, bool [...] whether its world broke).

    A `first` row after row 0 opens another episode; without a `last` row before it, the world broke.
    """
    again = first.copy()
    again[..., 0] = False
    valid = np.cumsum(again, -1) == 0
    return valid, again.any(-1) & ~(last & valid).any(-1)

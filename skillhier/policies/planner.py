"""Planning skills in imagination, as a policy whose action is a skill (LSP, section 3)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.branch import any_unbatched
from skillhier.ops import cem
from skillhier.policies.hierarchy import hierarchy
from skillhier.policies.imagine import imagine_rows
from skillhier.types import Array, Env, Key, Params, Policy, Trajectory

Latents = dict[str, Array]


class PlanState(NamedTuple):
    """The plan that is followed."""

    plan: Array  # [B, P, Z]
    mean: Array  # [B, P, Z] of the Gaussian it was drawn from
    stddev: Array  # [B, P, Z]
    used: Array  # [B] int32 skills of it that have been given out


def prior(size: int) -> Policy:
    """Skills [B, Z] drawn from N(0, I), whatever is seen. Notes the Gaussian, as `plan` does."""

    def act(params, carry, step, key):
        shape = (len(step.first), size)
        return carry, jax.random.normal(key, shape), {"mean": jnp.zeros(shape), "stddev": jnp.ones(shape)}

    return Policy(lambda worlds: (), act)


def plan(
    world: Callable[[Params, Latents], Env],
    worker: Policy,
    score: Callable[[Params, Trajectory], Array],
    *,
    size: int,
    period: int,
    horizon: int,
    proposals: int,
    elites: int,
    iterations: int,
    mean_noise: float = 0.1,
    sample: bool = True,
    starts: int | None = None,
    shared: bool = False,
    follow: bool = False,
) -> Policy:
    """Chooses the skill [B, Z] that is best in `world` by the cross-entropy method, from N(0, I) on.

    world       (params, starts) -> Env whose observation is what this policy sees
    worker      acts in it on {**obs, "skill"}, holding each skill of a plan for `period` rows
    score       (params, `horizon` + 1 imagined rows) -> [N]; where it reads no latents, none are kept in memory
    size        Z; a plan has ceil(horizon / period) skills
    mean_noise  deviation added to the final mean, which keeps the entropy of skills bounded below
    sample      the skill is drawn from the final Gaussian; else it is its mean, without noise
    starts      plans for the first so many worlds; the others draw from N(0, I). None: for all
    shared      one Gaussian for all worlds
    follow      gives out all skills of a plan before it plans again, in imagination; else only the first one

    Notes: `mean`, `stddev` [B, Z] of the skill's Gaussian; `gain` [B], by how much the elites of the last iteration
    score more than those of the first (0 where not planned). Parameters get no gradient.
    """
    count = -(-horizon // period)

    def pick(plans: Array, place: Array) -> Array:
        """Skill `place` [N] of each of the plans [N, P, Z], the last one beyond their end: [N, Z]."""
        return jnp.take_along_axis(plans, jnp.minimum(place, count - 1)[:, None, None], 1)[:, 0]

    def blank(worlds: int) -> PlanState:
        zeros = jnp.zeros((worlds, count, size))
        return PlanState(zeros, zeros, jnp.ones_like(zeros), jnp.full(worlds, count, jnp.int32))

    def search(params: Params, obs: Latents, key: Key) -> cem.Search:
        """Of plans [B, P, Z] for the worlds of `obs`."""

        def scored(plans: Array, key: Key) -> Array:
            flat = plans.reshape(-1, count, size)  # [G B, P, Z]
            tiled = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(plans), *x.shape)).reshape(-1, *x.shape[1:]), obs)
            env = world(params, tiled)
            manager = Policy(
                lambda worlds: jnp.zeros(worlds, jnp.int32),
                lambda params, k, step, key: (k + 1, pick(flat, k), {}),
            )
            policy = hierarchy(manager, worker, period, initial_choice=lambda worlds: jnp.zeros((worlds, size)))
            return score(params, imagine_rows(env, policy, params, key, horizon)).reshape(plans.shape[:2])

        zeros = jnp.zeros((len(jax.tree.leaves(obs)[0]), count, size))
        settings = {"proposals": proposals, "elites": elites, "iterations": iterations, "shared": shared}
        return cem.search(scored, zeros, jnp.ones_like(zeros), key, **settings)

    def make_plan(params: Params, obs: Latents, key: Key) -> tuple[PlanState, Array]:
        search_key, mean_key, skill_key = jax.random.split(key, 3)
        worlds = len(jax.tree.leaves(obs)[0])
        planned = worlds if starts is None else min(starts, worlds)
        result = search(params, jax.tree.map(lambda x: x[:planned], obs), search_key)
        mean, stddev = result.mean, result.stddev
        if sample:
            mean = mean + mean_noise * jax.random.normal(mean_key, mean.shape)
        rest = jnp.zeros((worlds - planned, count, size))
        mean, stddev = jnp.concatenate([mean, rest]), jnp.concatenate([stddev, jnp.ones_like(rest)])
        noise = jax.random.normal(skill_key, mean.shape)
        drawn = jnp.arange(worlds)[:, None, None] >= (0 if sample else planned)
        skills = mean + jnp.where(drawn, stddev * noise, 0.0)
        gain = jnp.concatenate([result.scores[-1] - result.scores[0], jnp.zeros(worlds - planned)])
        return PlanState(skills, mean, stddev, jnp.zeros(worlds, jnp.int32)), gain

    def act(params, state, step, key):
        params, obs = jax.lax.stop_gradient((params, step.obs))
        if follow and count > 1:
            again = lambda state: make_plan(params, obs, key)  # noqa: E731
            due = any_unbatched(state.used >= count)
            state, gain = jax.lax.cond(due, again, lambda state: (state, jnp.zeros(len(step.first))), state)
        else:
            state, gain = make_plan(params, obs, key)
        notes = {"mean": pick(state.mean, state.used), "stddev": pick(state.stddev, state.used), "gain": gain}
        return state._replace(used=state.used + 1), pick(state.plan, state.used), notes

    return Policy(blank, act)

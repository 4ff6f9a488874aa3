"""A learned world as an Env: imagining is a rollout in it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.rollout import rollout, start
from skillhier.types import Action, Array, Env, Key, Params, Policy, Spec, TimeStep, Trajectory

Latents = dict[str, Array]  # what a dream shows: entries of a latent, [N, ...]
Read = Callable[[Params, Latents], Array]  # a number of every row, [N]


class DreamState(NamedTuple):
    """The state of a dream."""

    latent: Latents
    key: Key  # [] of the samples to come


def dream(
    imagine: Callable[[Params, Latents, Action, Key], Latents],
    reward: Read | None = None,
    continues: Read | None = None,
    shows: Mapping[str, Read] = MappingProxyType({}),
) -> Callable[[Params, Latents], Env]:
    """(params, starts) -> an Env that begins at `starts` and shows its latents as its observation.

    imagine            one row: (params, latents, action, key) -> latents; actions are not clipped
    reward, continues  what a row pays, and its discount; without them 0 and 1 (see `paid`)
    shows              further entries: a planner that scores by them needs to keep no latents

    Rows have `first` and `last` False throughout, the starts too: a level's view sets its own cuts. An Env holds the
    params it was made from, so one that was kept goes stale: make it where it is used.
    """

    def env(params: Params, starts: Latents) -> Env:
        worlds = len(jax.tree.leaves(starts)[0])
        no = jnp.zeros(worlds, bool)

        def show(latent: Latents) -> TimeStep:
            paid = jnp.zeros(worlds) if reward is None else reward(params, latent)
            discount = jnp.ones(worlds) if continues is None else continues(params, latent)
            entries = {name: read(params, latent) for name, read in shows.items()}
            return TimeStep({**latent, **entries}, paid, discount, no, no)

        def reset(key: Key) -> tuple[DreamState, TimeStep]:
            return DreamState(starts, key), show(starts)

        def step(state: DreamState, action: Action) -> tuple[DreamState, TimeStep]:
            key, sample_key = jax.random.split(state.key)
            latent = imagine(params, state.latent, action, sample_key)
            return DreamState(latent, key), show(latent)

        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), jax.eval_shape(show, starts).obs)
        return Env(reset, step, Spec(shapes, {}, worlds, 0.0, 0))

    return env


def imagine_rows(
    env: Env, policy: Policy, params: Params, key: Key, horizon: int, *, ask_last: bool = False
) -> Trajectory:
    """`horizon` + 1 rows of `policy` in a dream: the starts, and what `horizon` actions led to.

    The last row's action leads nowhere and is not asked for: it repeats action and notes of the row before. With
    `ask_last` it is, for what the policy notes there.
    """
    env_key, act_key, last_key = jax.random.split(key, 3)
    actor, rows = rollout(env, policy, params, start(env, policy, env_key), act_key, horizon)
    if ask_last:
        _, *chosen = policy.act(params, actor.carry, actor.step, last_key)
    else:
        chosen = jax.tree.map(lambda x: x[-1], rows[1:])
    last = Trajectory(actor.step, *chosen)
    return jax.tree.map(lambda x, y: jnp.concatenate([x, y[None]]), rows, last)


def paid(
    params: Params,
    imagined: Trajectory,
    reward: Read,
    continues: Read | None = None,
    first_discount: Array | None = None,
) -> Trajectory:
    """Imagined rows with what they pay and their discount, computed for all of them at once.

    first_discount  [N] of the starts, which were seen: 0 where the task ended there
    """
    step = imagined.step
    discount = step.discount if continues is None else continues(params, step.obs)
    if first_discount is not None:
        discount = discount.at[0].set(first_discount)
    return imagined._replace(step=step._replace(reward=reward(params, step.obs), discount=discount))

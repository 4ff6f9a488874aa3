"""Rollouts of a policy in an env: the one scan behind collection, evaluation, imagination and planning."""

from typing import NamedTuple

import jax

from skillhier.types import Carry, Env, EnvState, Key, Params, Policy, TimeStep, Trajectory


class ActorState(NamedTuple):
    """The state of acting between two rows."""

    env: EnvState
    step: TimeStep  # the row to act on next
    carry: Carry  # the policy's state


def start(env: Env, policy: Policy, key: Key) -> ActorState:
    """The state at the start of a new episode in every world of `env`."""
    state, step = env.reset(key)
    return ActorState(state, step, policy.init(step.first.shape[0]))


def rollout(
    env: Env, policy: Policy, params: Params, actor: ActorState, key: Key, length: int
) -> tuple[ActorState, Trajectory]:
    """`length` rows of `policy` acting in `env` from `actor` on; leaves of the trajectory are [length, B, ...].

    Row t holds a step and the action taken there; the step that the action led to is row t + 1, after the last row
    `actor.step` of the returned state. Pure, so it can be jitted, vmapped and scanned.
    """

    def row(actor: ActorState, key: Key) -> tuple[ActorState, Trajectory]:
        carry, action, extras = policy.act(params, actor.carry, actor.step, key)
        state, step = env.step(actor.env, action)
        return ActorState(state, step, carry), Trajectory(actor.step, action, extras)

    return jax.lax.scan(row, actor, jax.random.split(key, length))

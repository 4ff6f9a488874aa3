"""The one scan that steps a policy in an env: collecting, evaluating, dreaming and planning all use it."""

from typing import NamedTuple

import jax

from skillhier.types import Carry, Env, EnvState, Key, Params, Policy, TimeStep, Trajectory


class ActorState(NamedTuple):
    """All that acting carries from one row to the next."""

    env: EnvState
    step: TimeStep  # the row that is about to be acted on
    carry: Carry  # the policy's own memory


def start(env: Env, policy: Policy, key: Key) -> ActorState:
    """Opens an episode in every world of `env`."""
    state, step = env.reset(key)
    return ActorState(state, step, policy.init(step.first.shape[0]))


def rollout(
    env: Env, policy: Policy, params: Params, actor: ActorState, key: Key, length: int
) -> tuple[ActorState, Trajectory]:
    """`length` rows of `policy` acting in `env` from `actor` on; leaves of the trajectory are [length, B, ...].

    Row t holds the step that was seen and the action taken there; the step it led to is row t + 1,
    and the last one of them is `actor.step` of the returned state. Pure: jit, vmap and scan it freely.
    """

    def row(actor: ActorState, key: Key) -> tuple[ActorState, Trajectory]:
        carry, action, extras = policy.act(params, actor.carry, actor.step, key)
        state, step = env.step(actor.env, action)
        return ActorState(state, step, carry), Trajectory(actor.step, action, extras)

    return jax.lax.scan(row, actor, jax.random.split(key, length))

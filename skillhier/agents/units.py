"""The units that an agent learns in, between it and its worlds: actions are scaled, quaternions keep one sign.

    agent = with_units(agent, data.units.measure(demonstrations))

Everything in the agent is in its own units, everything outside in those of worlds and data. The units are a part of
the parameters, `units`, that never learns: whoever is handed the parameters of skills is handed their units, and
agents.registry.make puts them to use.
"""

from typing import Any

import jax
import jax.numpy as jnp

from skillhier.types import Agent, Array, Bounds, Key, Learner, LearnerState, Params, Policy, Spec, TimeStep, Trajectory

PART = "units"  # of the parameters: {"action": {"offset", "scale" [A]}, "quaternions": {entry: {"first", "axis"}}}


def of(params: Params) -> dict[str, Any] | None:
    """The units among an agent's parameters, if it has any."""
    return params.get(PART) if isinstance(params, dict) else None


def without(params: Params) -> Params:
    """The parameters without their units."""
    return {name: part for name, part in params.items() if name != PART}


def with_units(agent: Agent, units: dict[str, Any]) -> Agent:
    """`agent`, whose parameters hold `units` as well, and which acts and learns in them."""
    return agent._replace(
        learner=_learner(agent.learner, units),
        explore=_policy(agent.explore),
        exploit=_policy(agent.exploit),
        assess=agent.assess
        and (lambda params, batch, key: agent.assess(without(params), learned_from(params[PART], batch), key)),
        hold=agent.hold and (lambda skill, **settings: _policy(agent.hold(skill, **settings))),
    )


def inner_spec(spec: Spec, units: dict[str, Any]) -> Spec:
    """What worlds of `spec` are to an agent with these units: its actions are in [-1, 1]."""
    return spec._replace(action=Bounds(spec.action.shape, -1.0, 1.0)) if "action" in units else spec


def normalised(units: dict[str, Any], action: Array) -> Array:
    """Actions [..., A] of worlds in the agent's units; 0 in a dimension of scale 0."""
    if "action" not in units:
        return action
    scale = units["action"]["scale"]
    return jnp.where(scale > 0, (action - units["action"]["offset"]) / jnp.where(scale > 0, scale, 1.0), 0.0)


def undone(units: dict[str, Any], action: Array) -> Array:
    """Actions [..., A] of the agent in the units of worlds."""
    return action * units["action"]["scale"] + units["action"]["offset"] if "action" in units else action


def seen(units: dict[str, Any], obs: dict[str, Array]) -> dict[str, Array]:
    """Observations [..., d] with each quaternion on the side of the data's mean rotation."""
    converted = dict(obs)
    for name, one in units.get("quaternions", {}).items():
        if name in obs:
            columns = one["first"][:, None] + jnp.arange(4)  # [G, 4]
            each = obs[name][..., columns]
            away = (each * one["axis"]).sum(-1, keepdims=True) < 0
            converted[name] = obs[name].at[..., columns].set(jnp.where(away, -each, each))
    return converted


def learned_from(units: dict[str, Any], batch: Trajectory) -> Trajectory:
    """Rows of worlds or data in the agent's units."""
    step = batch.step._replace(obs=seen(units, batch.step.obs))
    return batch._replace(step=step, action=normalised(units, batch.action))


def _policy(policy: Policy) -> Policy:
    def act(params: Params, carry: Any, step: TimeStep, key: Key):
        units = params[PART]
        carry, action, notes = policy.act(without(params), carry, step._replace(obs=seen(units, step.obs)), key)
        return carry, undone(units, action), notes

    return Policy(policy.init, act)


def _learner(learner: Learner, units: dict[str, Any]) -> Learner:
    def joined(state: LearnerState, own: dict[str, Any]) -> LearnerState:
        return state._replace(params={**state.params, PART: own})

    def updating(update):
        def updated(state: LearnerState, batch: Trajectory, key: Key):
            own = state.params[PART]
            state, metrics = update(state._replace(params=without(state.params)), learned_from(own, batch), key)
            return joined(state, own), metrics

        return updated

    def freeze(paths: tuple[str, ...]):
        inner = tuple(path for path in paths if path.split("/")[0] != PART)
        return updating(learner.freeze(inner) if inner else learner.update)

    return Learner(
        lambda key: joined(learner.init(key), jax.tree.map(jnp.asarray, units)),
        updating(learner.update),
        learner.from_params and (lambda params: joined(learner.from_params(without(params)), params[PART])),
        learner.freeze and freeze,
    )

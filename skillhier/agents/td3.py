"""TD3's part of an agent: the networks of one level in an action range, its optimisers and its target copies."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from skillhier.agents import slow
from skillhier.agents.optimisers import every
from skillhier.agents.slow import SlowPart
from skillhier.nets.actor import DeterministicActor
from skillhier.nets.critic import TwinCritic
from skillhier.types import Array, Bounds, Key, Params, Spec


class Controller(NamedTuple):
    """One level's actor and twin critics; functions are given the level's parameters, {"actor", "critic"}."""

    init: Callable[[Key, Array], Params]  # from features [1, F] such as it will see
    act: Callable[[Params, Array], Array]  # actions [..., A] in the range, of features [..., F]
    value: Callable[[Params, Array, Array], Array]  # both Q of features [..., F] and actions, [2, ...]
    explore: Callable[[Array, float, Key], Array]  # actions with noise of so many half-ranges, clipped to the range
    low: Array  # [A]
    high: Array  # [A]


def controller(low: Array, high: Array, hidden: Sequence[int] = (300, 300), dtype: Any = jnp.float32) -> Controller:
    """A controller of actions between `low` and `high`, [A] each."""
    low, high = jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)
    middle, half = 0.5 * (high + low), 0.5 * (high - low)
    actor_net, critic_net = DeterministicActor(len(half), hidden, dtype), TwinCritic(hidden, dtype)

    def init(key: Key, x: Array) -> Params:
        actor_key, critic_key = jax.random.split(key)
        return {
            "actor": actor_net.init(actor_key, x)["params"],
            "critic": critic_net.init(critic_key, x, jnp.zeros((*x.shape[:-1], len(half))))["params"],
        }

    def explore(action: Array, stddev: float, key: Key) -> Array:
        # clipped here, not by the world alone: the replay must hold what the critic is to value
        return jnp.clip(action + stddev * half * jax.random.normal(key, action.shape), low, high)

    return Controller(
        init,
        lambda params, x: middle + half * actor_net.apply({"params": params["actor"]}, x),
        lambda params, x, action: critic_net.apply({"params": params["critic"]}, x, action),
        explore,
        low,
        high,
    )


def action_range(spec: Spec, who: str = "TD3") -> tuple[Array, Array]:
    """Least and largest actions, [A] each. Raises ValueError where actions have parts."""
    if not isinstance(spec.action, Bounds):
        raise ValueError(f"{who} acts by one array, and these worlds' actions have the parts {', '.join(spec.action)}")
    return jnp.full(spec.action.shape, spec.action.low), jnp.full(spec.action.shape, spec.action.high)


def optimisers(
    level: str, *, learning_rate: float, actor_learning_rate: float, delay: int, period: int = 1
) -> dict[str, optax.GradientTransformation]:
    """Adam for a level's critic at every period-th update, and for its actor at one in `delay` of these."""
    return {
        f"{level}/critic": every(period, optax.adam(learning_rate)),
        f"{level}/actor": every(period * delay, optax.adam(actor_learning_rate)),
    }


def targets(level: str, *, tau: float, delay: int, period: int = 1) -> dict[str, SlowPart]:
    """A level's target copies, which move by `tau` together with its actor."""
    rates = {"actor": tau, "critic": tau}
    return {f"{level}/target": slow.moving_averages(rates, within=level, period=period * delay)}

"""PPO (Schulman et al., 2017): one level, `control`, that learns from what it has just done.

Read in order: losses/ppo.py, agents/running.py (what whitens observations), agents/minibatches.py. Parameters are
`encoder`, which no gradient moves, and control/{actor, critic}. agents/hippo.py is the same with two levels.

Batches are those of data/on_policy.py; an update is several epochs over one of them, in minibatches of whole worlds.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from skillhier.agents import running, slow
from skillhier.agents.learner import MAX_CONSECUTIVE_SKIPS, learner
from skillhier.agents.minibatches import minibatched
from skillhier.agents.optimisers import adam
from skillhier.agents.td3 import action_range
from skillhier.losses.levels import Level, levels, scope
from skillhier.losses.ppo import ppo_loss
from skillhier.nets import encoder
from skillhier.nets.actor import FreeSpreadActor
from skillhier.nets.encoder import Encoder
from skillhier.nets.mlp import MLP, TANH
from skillhier.ops import families
from skillhier.ops.families import Family, Gaussian
from skillhier.policies.flat import flat
from skillhier.types import Action, Agent, Array, Key, Learner, Params, Policy, SlowLoss, Spec, Trajectory

GAUSSIAN = families.gaussian()
LEVEL = "control"
DEFAULTS = {
    "sees": (),  # entries that the networks see; none: all that are not privileged
    "hidden": (64, 64),  # widths of all layers
    "init_stddev": 1.0,  # of actions at first, in units of half their range
    "gamma": 0.99,  # discount of a decision
    "lambda_": 0.95,  # of the advantages: 0 trusts the next value, 1 the rewards alone
    "clip": 0.2,  # how far the ratio of new to old probabilities may be from 1 to be pushed further
    "epochs": 10,  # passes through a batch
    "minibatches": 4,  # of each pass, as many steps of the optimiser; worlds are a multiple
    "learning_rate": 3e-4,  # of Adam
    "decay_updates": 0,  # batches over which the rate falls to 0 along a cosine; 0: it stays
    "max_grad_norm": 1.0,  # gradients are clipped at this norm
    "value_weight": 0.5,  # of half the squared error of values
    "entropy": 0.01,  # weight of the policy's entropy, in nats
    "reward_scale": 0.1,  # of rewards, so that values are of the size of what networks begin with
    "max_consecutive_skips": 10,  # steps in a row left out for NaN or Inf before the run stops
}


def make(
    spec: Spec,
    *,
    sees: Sequence[str] = (),
    hidden: Sequence[int] = (64, 64),
    init_stddev: float = 1.0,
    gamma: float = 0.99,
    lambda_: float = 0.95,
    clip: float = 0.2,
    value_weight: float = 0.5,
    entropy: float = 0.01,
    reward_scale: float = 0.1,
    dtype: Any = jnp.float32,
    **optimisation: Any,
) -> Agent:
    """PPO with a Gaussian policy, settings as in DEFAULTS; `optimisation` are those of `trained`, dtype is that of the
    products in networks. Worlds clip actions beyond their range.
    """
    loss = {"gamma": gamma, "lambda_": lambda_, "clip": clip, "value_weight": value_weight, "entropy": entropy}
    level = control(spec, sees=sees, hidden=hidden, init_stddev=init_stddev, dtype=dtype, **loss)
    behaviour = levels({LEVEL: Level(level.loss, reward=scaled_reward(reward_scale))})
    return Agent(trained(level.init, behaviour, (LEVEL,), **optimisation), level.act(True), level.act(False))


class Control(NamedTuple):
    """The level `control`: one Gaussian policy and its critic, on what an encoder sees."""

    init: Callable[[Key], Params]  # encoder, control/{actor, critic}
    loss: SlowLoss  # given the level's scope
    act: Callable[[bool], Policy]  # samples if True
    seen: Encoder


def control(
    spec: Spec,
    *,
    sees: Sequence[str],
    hidden: Sequence[int],
    init_stddev: float,
    dtype: Any = jnp.float32,
    **loss: Any,
) -> Control:
    """That level for worlds of `spec`; `loss` are settings of losses.ppo.ppo_loss."""
    seen, critic = sight(spec, sees), value_net(hidden, dtype)
    actor = gaussian_actor(spec, hidden, init_stddev, dtype)

    def init(key: Key) -> Params:
        actor_key, critic_key = jax.random.split(key)
        params = {"encoder": seen.init(key)}
        x = seen.apply(params["encoder"], encoder.blank(spec.obs, tuple(spec.obs)))
        return {**params, LEVEL: {"actor": actor.init(actor_key, x), "critic": critic.init(critic_key, x)["params"]}}

    def policy(params: Params, entries: Mapping[str, Array]) -> Gaussian:
        return actor.apply(params["actor"], seen.apply(params["encoder"], entries))

    def value(params: Params, batch: Trajectory) -> Array:
        return critic.apply({"params": params["critic"]}, seen.apply(params["encoder"], batch.step.obs))[..., 0]

    act = lambda sample: choosing(GAUSSIAN, policy, LEVEL, sample)  # noqa: E731
    return Control(init, ppo_loss(GAUSSIAN, policy, value, **loss), act, seen)


class Actor(NamedTuple):
    """A policy network."""

    init: Callable[[Key, Array], Params]  # from features [1, F] such as it will see
    apply: Callable[[Params, Array], Gaussian]  # of features [..., F]


def gaussian_actor(spec: Spec, hidden: Sequence[int], init_stddev: float, dtype: Any = jnp.float32) -> Actor:
    """Actions of `spec`, whose mean and spread are in units of half their range about its middle."""
    low, high = action_range(spec, "PPO")
    middle, half = 0.5 * (high + low), 0.5 * (high - low)
    net = FreeSpreadActor(len(half), tuple(hidden), init_stddev, dtype)

    def apply(params: Params, x: Array) -> Gaussian:
        mean, scale = net.apply({"params": params}, x)
        return Gaussian(middle + half * mean, half * scale)

    return Actor(lambda key, x: net.init(key, x)["params"], apply)


def value_net(hidden: Sequence[int], dtype: Any = jnp.float32) -> MLP:
    """Values [..., 1] of features; 0 everywhere at first."""
    return MLP(tuple(hidden), 1, 0.0, dtype, TANH)


def sight(spec: Spec, names: Sequence[str]) -> Encoder:
    """The encoder of the named entries, or of all visible ones, whitened by their running statistics."""
    whitened = encoder.whitened(spec.obs, tuple(names) or spec.visible)
    return whitened._replace(init=lambda key: running.begun(whitened.init(key)))


def scaled_reward(scale: float) -> Callable[[Params, Trajectory, Key], Array]:
    """What the world paid, times `scale`, [T, B]."""
    return lambda params, batch, key: scale * batch.step.reward


def choosing(family: Family, policy: Callable[[Params, Any], Any], level: str, sample: bool) -> Policy:
    """Acts by the level's `policy`; the note `log_prob` [B] is that of what it does, before a world clips it."""

    def choose(params: Params, obs: Mapping[str, Array], key: Key) -> tuple[Action, dict[str, Array]]:
        distribution = policy(scope(params, level), obs)
        choice = family.sample(distribution, key) if sample else family.mode(distribution)
        return choice, {"log_prob": family.log_prob(distribution, choice)}

    return flat(choose)


def trained(
    init: Callable[[Key], Params],
    loss: SlowLoss,
    children: Sequence[str],
    *,
    epochs: int = 10,
    minibatches: int = 4,
    learning_rate: float = 3e-4,
    decay_updates: int = 0,
    max_grad_norm: float = 1.0,
    max_consecutive_skips: int = MAX_CONSECUTIVE_SKIPS,
) -> Learner:
    """A learner of those children of the parameters by one Adam, and of the statistics of `encoder`."""
    rates = {"encoder": None, **dict.fromkeys(children, learning_rate)}
    tx = adam(rates, max_grad_norm=max_grad_norm, decay_updates=decay_updates * epochs * minibatches)
    steps = learner(init, loss, tx, slow.combined({}), max_consecutive_skips=max_consecutive_skips)
    return running.with_running_statistics(minibatched(steps, epochs=epochs, minibatches=minibatches))

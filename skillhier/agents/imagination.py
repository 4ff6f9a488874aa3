"""What agents that learn in imagination share: a level's actor and critics, and a learner of model and levels together.

A level's settings are those of LEVEL; agents/dreamer.py and agents/lsp.py say what is theirs.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from skillhier.agents import slow, world_model
from skillhier.agents.learner import learner
from skillhier.agents.optimisers import by_child, decayed
from skillhier.agents.slow import SlowPart
from skillhier.agents.world_model import WorldModel
from skillhier.losses import actor_critic as losses
from skillhier.losses.levels import all_rows, scope
from skillhier.nets import heads
from skillhier.nets.mlp import MLP, Style
from skillhier.ops import action_heads, scale
from skillhier.ops.action_heads import ActionHead
from skillhier.ops.predictions import FORMS, Prediction
from skillhier.ops.temporal import leaving
from skillhier.policies.flat import flat
from skillhier.types import Array, Key, Learner, Metrics, Params, Policy, Scalar, Slow, SlowLoss, Spec, Trajectory

# Dreamer (2020)
LEVEL: dict[str, Any] = {
    "output_scale": 1.0,  # variance of the last layers' weights of actor and critic, as a share of the others'
    "actor_hidden": (400, 400, 400, 400),  # widths
    "critic_hidden": (400, 400, 400),  # widths
    "head": "tanh_normal",  # the actor's distribution: tanh_normal, bounded_normal
    "min_stddev": 0.03,  # of bounded_normal
    "critic_form": "normal",  # how returns are predicted: normal, symlog, two_hot
    "gamma": 0.99,  # discount of a decision
    "lambda_": 0.95,  # of the returns: 0 trusts the next value, 1 the rewards alone
    "rewards": "leaving",  # a row pays on leaving it, and the start does not count; or on arriving
    "gradient": "dynamics",  # of the actor: dynamics, score
    "bootstrap": "own",  # targets from the critic's own values, or from those of its slow copy
    "baseline": False,  # through the dynamics, the values of rows are taken off their returns
    "scale": "none",  # of returns: none, percentiles, moments
    "advantage_scale": False,  # the advantage is normalised by its moving mean and deviation
    "entropy": 0.0,  # weight of the actor's entropy, in nats
    "entropy_target": 0.0,  # share of its range that each part's own weight moves it to; 0: entropy's fixed weight
    "slow_critic": "none",  # none, copy (every slow_period updates), average (by slow_rate)
    "slow_period": 100,  # updates between two copies
    "slow_rate": 0.02,  # share of the way that the average moves with an update
    "slow_weight": 0.0,  # of the copy's value as a second target of the critic
}
TRAINING: dict[str, Any] = {
    "horizon": 15,  # actions imagined
    "starts": 0,  # rows of a batch that imagination starts from; 0: all
    "noise": 0.3,  # standard deviation added to actions while collecting
    "learning_rate": 6e-4,  # of Adam, for the world model
    "actor_learning_rate": 8e-5,  # of Adam, for actors
    "critic_learning_rate": 8e-5,  # of Adam, for critics
    "adam_epsilon": 1e-7,  # of the world model's Adam
    "max_grad_norm": 100.0,  # of the world model's gradient
    "behaviour_adam_epsilon": 1e-7,  # of all others
    "behaviour_max_grad_norm": 100.0,  # of each other optimiser's own gradient
    "weight_decay": 0.0,  # of kernels, decoupled
    "decay_updates": 0,  # updates over which all learning rates fall to zero along a cosine; 0: they stay
    "max_consecutive_skips": 10,  # updates with bad numbers in a row that stop the learner
}
HEADS: dict[str, Callable[[int], ActionHead]] = {
    "tanh_normal": action_heads.tanh_normal,
    "bounded_normal": action_heads.bounded_normal,
}
Features = tuple[Callable[[Mapping[str, Array]], Array], int]


class LevelParts(NamedTuple):
    """One level's networks and how they learn."""

    init: Callable[[Key], Params]  # actor, critic
    loss: SlowLoss  # of a view
    slow: dict[str, SlowPart]  # by name within the level
    act: Callable[[bool], Policy]  # of shown entries, given the level's scope; samples if True
    value: Callable[[Params, Mapping[str, Array]], Array]  # of shown entries, given the level's scope


def make_level(
    name: str,
    head: ActionHead,
    settings: Mapping[str, Any],
    *,
    actor_sees: Features,
    critic_sees: Features,
    rewards: Mapping[str, float] = MappingProxyType({"task": 1.0}),
) -> LevelParts:
    """The level `name`, whose actions are those of `head`; settings as in LEVEL.

    actor_sees, critic_sees  (function of shown entries -> features, their number)
    rewards                  weights by name: each has a critic of its own
    """
    at = SimpleNamespace(**settings)
    style, dtype = Style(at.activation, at.norm, "glorot"), jnp.dtype(at.dtype)
    actor_net = MLP(at.actor_hidden, head.outputs, at.output_scale, dtype, style)
    last = 0.0 if at.critic_form == "two_hot" else at.output_scale
    critic_head = heads.scalar(FORMS[at.critic_form](), at.critic_hidden, style, last, dtype)
    if at.slow_critic == "none" and (at.bootstrap == "slow" or at.slow_weight):
        raise ValueError("bootstrap=slow and slow_weight need a slow critic; set agent.slow_critic to copy or average")
    kinds = "none, copy or average"
    if at.slow_critic not in ("none", "copy", "average"):
        raise ValueError(f"slow_critic '{at.slow_critic}' is not known; choose {kinds} in agent.slow_critic")

    def init(key: Key) -> Params:
        actor_key, *keys = jax.random.split(key, 1 + len(rewards))
        return {
            "actor": actor_net.init(actor_key, jnp.zeros((1, actor_sees[1])))["params"],
            "critic": {reward: critic_head.init(k, critic_sees[1]) for k, reward in zip(keys, rewards, strict=True)},
        }

    def actor(params: Params, entries: Mapping[str, Array]) -> dict[str, Array]:
        return head.stats(actor_net.apply({"params": params}, actor_sees[0](entries)))

    def critic(params: Params, entries: Mapping[str, Array]) -> Prediction:
        return critic_head.apply(params, critic_sees[0](entries))

    moving = {"none": None, "percentiles": scale.percentiles(), "moments": scale.moments(0.999, 0.01, centred=False)}
    scales, advantage = moving[at.scale], scale.moments(0.99) if at.advantage_scale else None
    weights = scale.adaptive_weight(at.entropy_target, high=100.0, inverse=True) if at.entropy_target else None
    bonus = losses.Entropy(at.entropy, weights)
    loss = losses.actor_critic(
        actor, head, critic, rewards=rewards, gamma=at.gamma, lambda_=at.lambda_, gradient=at.gradient,
        bootstrap=at.bootstrap, slow_weight=at.slow_weight, baseline=at.baseline, scales=scales,
        advantage=advantage, entropy=bonus,
    )  # fmt: skip
    parts = {
        part: SlowPart(lambda params, state=state: jax.tree.map(jnp.copy, state))
        for part, state in losses.init_slow(head, rewards, scales, advantage, bonus).items()
    }
    if at.slow_critic == "copy":
        parts["target"] = slow.hard_copies({"critic": at.slow_period}, within=name)
    elif at.slow_critic == "average":
        parts["target"] = slow.moving_averages({"critic": at.slow_rate}, within=name)

    def act(sample: bool) -> Policy:
        def choose(params, entries, key):
            stats = actor(params["actor"], jax.lax.stop_gradient(entries))
            return (head.sample if sample else head.mode)(stats, key), {}

        return flat(choose)

    def value(params: Params, entries: Mapping[str, Array]) -> Array:
        return sum(w * critic(params["critic"][reward], entries).mean for reward, w in rewards.items())

    return LevelParts(init, loss, parts, act, value)


def make_learner(
    model: WorldModel,
    init: Callable[[Key], Params],
    imagined: Callable[[Params, Mapping[str, Array], Key], Trajectory],
    behaviour: SlowLoss,
    slow_parts: Mapping[str, SlowPart],
    rates: Mapping[str, float],
    settings: Mapping[str, Any],
    remembered: SlowLoss | None = None,
) -> Learner:
    """A learner whose update fits the model to a batch, imagines from its posterior and improves the levels there.

    init      parameters beside params["world"]
    imagined  (params, starts, key) -> rows; the params it is given hold the world without a gradient
    behaviour the loss of all levels on those rows
    rates     learning rate of every child beside the world, by its path
    settings  as in TRAINING
    remembered  a loss of the batch's own rows, with the posterior as their entries, without a gradient
    """
    at = SimpleNamespace(**settings)

    def init_all(key: Key) -> Params:
        world_key, rest_key = jax.random.split(key)
        return model.init(world_key) | init(rest_key)

    def loss(params: Params, slow: Slow, batch: Trajectory, key: Key) -> tuple[Scalar, tuple[Slow, Metrics]]:
        model_key, start_key, roll_key, level_key, own_key = jax.random.split(key, 5)
        state = slow.get("world", model.loss_state)
        value, (posterior, state, metrics) = model.loss(params, state, batch, model_key)
        metrics = {f"world/{name}": metric for name, metric in metrics.items()}
        begin, discount = world_model.starts(posterior, batch.step.discount, at.starts, start_key)
        frozen = {**params, "world": jax.lax.stop_gradient(params["world"])}
        rows = model.paid(frozen, imagined(frozen, begin, roll_key), discount)
        behaviour_loss, (slow, level_metrics) = behaviour(frozen, slow, rows, level_key)
        value, metrics = value + behaviour_loss, metrics | level_metrics
        if remembered is not None:
            entries = jax.lax.stop_gradient(posterior._asdict())
            own = Trajectory(batch.step._replace(obs=entries), batch.action, {})
            own_loss, (slow, own_metrics) = remembered(params, slow, own, own_key)
            value, metrics = value + own_loss, metrics | own_metrics
        return value, ({**slow, "world": state} if "world" in slow else slow, metrics)

    parts = dict(slow_parts)
    if jax.tree.leaves(model.loss_state):
        parts["world"] = SlowPart(lambda params: jnp.copy(model.loss_state))

    def optimiser(rate: float, epsilon: float, max_norm: float) -> optax.GradientTransformation:
        decay = optax.add_decayed_weights(at.weight_decay, lambda params: jax.tree.map(lambda x: x.ndim > 1, params))
        steps = [optax.clip_by_global_norm(max_norm), optax.scale_by_adam(eps=epsilon)]
        return optax.chain(
            *steps,
            *([decay] if at.weight_decay else []),
            optax.scale_by_learning_rate(decayed(rate, at.decay_updates)),
        )

    world = optimiser(at.learning_rate, at.adam_epsilon, at.max_grad_norm)
    others = at.behaviour_adam_epsilon, at.behaviour_max_grad_norm
    tx = by_child({"world": world, **{path: optimiser(rate, *others) for path, rate in rates.items()}})
    return learner(init_all, loss, tx, slow.combined(parts), max_consecutive_skips=at.max_consecutive_skips)


def scoped(policy: Policy, name: str) -> Policy:
    """`policy` of the level `name` as it acts on the parameters of the whole agent."""
    return Policy(policy.init, lambda params, carry, step, key: policy.act(scope(params, name), carry, step, key))


def pick(settings: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the settings that `names` has."""
    return {name: settings[name] for name in names}


def action_head(name: str, spec: Spec, min_stddev: float) -> ActionHead:
    """The actor's distribution of that name over the world's actions."""
    if name not in HEADS:
        raise ValueError(f"head '{name}' is not known; choose {' or '.join(HEADS)} in agent.head")
    size = spec.action.shape[-1]
    return HEADS[name](size, min_stddev) if name == "bounded_normal" else HEADS[name](size)


def view(rewards: str) -> Callable[[Params, Trajectory], Trajectory]:
    """The view of a level that sees all rows, by its setting `rewards`."""
    if rewards == "leaving":
        on_leaving = leaving()
        return lambda params, batch: on_leaving(batch)
    if rewards == "arriving":
        return all_rows
    raise ValueError(f"rewards '{rewards}' is not known; choose leaving or arriving in agent.rewards")

"""One level's actor and critics on any trajectory: through the dynamics of a learned world, or by score function.

Every slot of Dreamer, Director and DreamerV3 is an argument. Rows are [T, N]; the transition from row t to row t + 1 is
that of ops/returns.py, so ends, cuts and chunks are handled there. The loss sees the level's scope: params["actor"],
params["critic"][name], and of the slow state "target" (copies of the critics), "scale", "advantage", "entropy".
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from skillhier.ops import returns, scale
from skillhier.ops.action_heads import ActionHead
from skillhier.ops.predictions import Prediction
from skillhier.ops.scale import AdaptiveWeight, Scale
from skillhier.types import Array, Key, Metrics, Params, Scalar, Slow, SlowLoss, Trajectory

GRADIENTS = ("dynamics", "score")


class Entropy(NamedTuple):
    """How entropy is rewarded: a fixed weight of its nats, or weights that move each part to a share of its range."""

    weight: float = 0.0
    adaptive: AdaptiveWeight | None = None


NO_ENTROPY = Entropy()


def actor_critic(
    actor: Callable[[Params, Mapping[str, Array]], Any],
    head: ActionHead,
    critic: Callable[[Params, Mapping[str, Array]], Prediction],
    *,
    rewards: Mapping[str, float],
    gamma: float,
    lambda_: float,
    gradient: str = "dynamics",
    bootstrap: str = "own",
    slow_weight: float = 0.0,
    baseline: bool = False,
    scales: Scale | None = None,
    advantage: Scale | None = None,
    entropy: Entropy = NO_ENTROPY,
    train_actor: bool = True,
) -> SlowLoss:
    """The loss of a level whose actor maximises the lambda-returns of its critics.

    actor        (params["actor"], entries) -> statistics of `head`; entries are the observation and the notes of rows
    critic       (one of params["critic"], entries) -> its prediction of the return
    rewards      name -> weight of each reward, with a critic of its own; with one name the level's reward is an array
    gradient     dynamics: of the returns, through the rows; score: -log p(action) times the advantage
    bootstrap    own: targets take the critic's own values; slow: those of its copies
    slow_weight  of a second target of the critic, its copy's value (DreamerV3)
    baseline     through the dynamics, returns less the values of their rows are maximised; by score function always
    scales       of each reward's returns; advantage: of their weighted sum
    train_actor  False: the critics alone learn

    Row t weighs as much as it is likely to be reached: the product of the discounts up to it. The actor's loss takes
    critics, and the critics' losses take rows, without a gradient. Rows have T - 1 targets.
    """
    if gradient not in GRADIENTS:
        raise ValueError(f"gradient '{gradient}' is not known; choose {' or '.join(GRADIENTS)} in agent.gradient")
    if (entropy.weight or entropy.adaptive) and head.entropy is None:
        raise ValueError("this action head has no entropy in closed form; set agent.entropy=0, or agent.head")
    scales, advantage = scales or scale.unscaled(), advantage or scale.unscaled()

    def loss(params: Params, slow: Slow, batch: Trajectory, key: Key) -> tuple[Scalar, tuple[Slow, Metrics]]:
        frozen = jax.lax.stop_gradient(params)
        entries = {**batch.step.obs, **batch.extras}
        seen = jax.lax.stop_gradient(entries)
        before = lambda tree: jax.tree.map(lambda x: x[:-1], tree)  # noqa: E731
        total, metrics, score, slow = 0.0, {}, 0.0, dict(slow)
        states, several = dict(slow.get("scale", {})), len(rewards) > 1
        reward = batch.step.reward
        reward = reward if isinstance(reward, Mapping) else dict.fromkeys(rewards, reward)
        for name, share in rewards.items():
            judge = slow["target"]["critic"][name] if bootstrap == "slow" else frozen["critic"][name]
            value = critic(judge, entries).mean  # [T, N]
            moves = returns.transitions(batch.step._replace(reward=reward[name]), gamma)
            targets = returns.lambda_returns(moves, value[1:], lambda_)  # [T - 1, N]
            reached = jnp.cumprod(jnp.concatenate([batch.step.discount[:1], moves.discount[:-1]]), 0)
            weight = jax.lax.stop_gradient(jnp.where(moves.valid, reached, 0.0))
            prediction = critic(params["critic"][name], before(seen))
            fitted = prediction.log_prob(jax.lax.stop_gradient(targets))
            if slow_weight:
                copied = critic(slow["target"]["critic"][name], before(seen)).mean
                fitted = fitted + slow_weight * prediction.log_prob(jax.lax.stop_gradient(copied))
            critic_loss = -(weight * fitted).mean()
            total = total + critic_loss
            state = scales.update(states.get(name, scales.init), targets)
            states[name] = state
            offset, width = scales.offset_and_scale(state)
            gain = (targets - offset) / width
            if baseline or gradient == "score":
                gain = gain - (value[:-1] - offset) / width
            score = score + share * gain
            at = f"{name}_" if several else ""
            metrics |= {
                f"{at}critic_loss": critic_loss,
                f"{at}return": targets.mean(),
                f"{at}reward": reward[name].mean(),
                f"{at}value_error": jnp.abs(prediction.mean - targets).mean(),
            } | ({f"{at}scale": width} if scales.init != () else {})
        if scales.init != ():
            slow["scale"] = states
        if advantage.init != ():
            slow["advantage"] = advantage.update(slow.get("advantage", advantage.init), score)
            offset, width = advantage.offset_and_scale(slow["advantage"])
            score = (score - offset) / width
        if not train_actor:
            return total, (slow, metrics)
        objective = score
        if gradient == "score" or entropy.weight or entropy.adaptive:
            stats = actor(params["actor"], before(seen))
        if gradient == "score":
            log_prob = head.log_prob(stats, jax.lax.stop_gradient(batch.action[:-1]))
            objective = log_prob * jax.lax.stop_gradient(score)
        if entropy.weight or entropy.adaptive:
            nats = head.entropy(stats)  # [T - 1, N, parts]
            low, high = head.entropy_range
            shares = (nats - low) / (high - low)
            metrics["entropy"] = shares.mean()
            counts = 1.0 if head.entropy_counts is None else head.entropy_counts(before(batch.action))
            if entropy.adaptive:
                slow["entropy"] = entropy.adaptive.update(slow["entropy"], shares.mean((0, 1)))
                objective = objective + (slow["entropy"] * counts * shares).sum(-1)
            else:
                objective = objective + entropy.weight * (counts * nats).sum(-1)
        actor_loss = -(weight * objective).mean()
        return total + actor_loss, (slow, metrics | {"actor_loss": actor_loss})

    return loss


def init_slow(
    head: ActionHead,
    rewards: Mapping[str, float],
    scales: Scale | None = None,
    advantage: Scale | None = None,
    entropy: Entropy = NO_ENTROPY,
) -> Slow:
    """The parts of the slow state that the loss itself moves; target copies come beside them."""
    state: Slow = {}
    if scales is not None and scales.init != ():
        state["scale"] = dict.fromkeys(rewards, scales.init)
    if advantage is not None and advantage.init != ():
        state["advantage"] = advantage.init
    if entropy.adaptive:
        parts = jax.eval_shape(lambda raw: head.entropy(head.stats(raw)), jnp.zeros(head.outputs)).shape
        state["entropy"] = entropy.adaptive.init(parts)
    return state

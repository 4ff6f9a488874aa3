"""HiPPO (Li et al., ICLR 2020): a manager chooses one of several sub-policies for a random while; both by PPO at once.

Read in order: agents/ppo.py, policies/hierarchy.py (`clock`), then `make`. Parameters are `encoder`, which no gradient
moves, the shared `critic`, manager/actor and worker/actor, with `skill_baseline` also worker/skill_critic.

The worker is one network for all sub-policies: it sees the choice as a one-hot code, and the products of the code with
all that it sees, so that each choice has weights of its own in the first layer. Both see `time_remaining`, the share of
the longest period that the choice has left. The loss is that of the worker plus that of the manager over the mean
period, so that a decision weighs as much as a row.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from skillhier.agents.ppo import GAUSSIAN, choosing, gaussian_actor, scaled_reward, sight, trained, value_net
from skillhier.losses.levels import Level, levels
from skillhier.losses.ppo import ppo_loss
from skillhier.nets import encoder
from skillhier.nets.actor import SMALL_VARIANCE
from skillhier.nets.mlp import MLP, TANH
from skillhier.ops import families
from skillhier.ops.families import Categorical, Gaussian
from skillhier.ops.temporal import acting_on
from skillhier.policies.hierarchy import hierarchy, uniform_period
from skillhier.types import Agent, Array, Key, Params, Policy, Spec, Trajectory

NOTE, CLOCK = "skill", "time_remaining"
CATEGORICAL = families.categorical()
DEFAULTS = {
    "sees": (),  # entries that both levels see; none: all that are not privileged
    "skills": 6,  # sub-policies
    "period": (5, 15),  # fewest and most rows that a choice lasts, each number between them as likely
    "skill_baseline": False,  # the worker's advantages are those of a critic that sees the choice too
    "hidden": (64, 64),  # widths of all layers
    "init_stddev": 1.0,  # of actions at first, in units of half their range
    "gamma": 0.99,  # discount of a decision
    "lambda_": 0.95,  # of the advantages: 0 trusts the next value, 1 the rewards alone
    "clip": 0.1,  # how far the ratio of new to old probabilities may be from 1 to be pushed further, of both levels
    "epochs": 10,  # passes through a batch
    "minibatches": 4,  # of each pass, as many steps of the optimiser; worlds are a multiple
    "learning_rate": 3e-4,  # of Adam
    "decay_updates": 0,  # batches over which the rate falls to 0 along a cosine; 0: it stays
    "max_grad_norm": 1.0,  # gradients are clipped at this norm
    "value_weight": 0.5,  # of half the squared error of values
    "entropy": 0.01,  # weight of the entropy of both levels' policies, in nats
    "reward_scale": 0.1,  # of rewards, so that values are of the size of what networks begin with
    "max_consecutive_skips": 10,  # steps in a row left out for NaN or Inf before the run stops
}


def make(
    spec: Spec,
    *,
    sees: Sequence[str] = (),
    skills: int = 6,
    period: Sequence[int] = (5, 15),
    skill_baseline: bool = False,
    hidden: Sequence[int] = (64, 64),
    init_stddev: float = 1.0,
    gamma: float = 0.99,
    lambda_: float = 0.95,
    clip: float = 0.1,
    value_weight: float = 0.5,
    entropy: float = 0.01,
    reward_scale: float = 0.1,
    dtype: Any = jnp.float32,
    **optimisation: Any,
) -> Agent:
    """HiPPO, settings as in DEFAULTS; `optimisation` are those of ppo.trained."""
    if len(period) != 2 or not 1 <= period[0] <= period[1]:
        given = ", ".join(map(str, period))
        raise ValueError(f"period must be two numbers of rows, 1 <= fewest <= most, got {given}; set agent.period")
    if skills < 1:
        raise ValueError(f"skills must be >= 1, got {skills}; set agent.skills")
    fewest, most = period
    seen, critic, skill_critic = sight(spec, sees), value_net(hidden, dtype), value_net(hidden, dtype)
    manager = MLP(tuple(hidden), skills, SMALL_VARIANCE, dtype, TANH)
    worker = gaussian_actor(spec, hidden, init_stddev, dtype)

    def timed(params: Params, entries: Mapping[str, Array]) -> Array:
        return jnp.concatenate([seen.apply(params["encoder"], entries), entries[CLOCK][..., None]], -1)

    def skilled(x: Array, skill: Array) -> Array:
        """Features beside the one-hot code and the products of both, [..., F + K + F K]."""
        code = jax.nn.one_hot(skill, skills)
        products = code[..., :, None] * x[..., None, :]
        return jnp.concatenate([x, code, products.reshape(*x.shape[:-1], -1)], -1)

    def init(key: Key) -> Params:
        critic_key, manager_key, worker_key, skill_key = jax.random.split(key, 4)
        params = {"encoder": seen.init(key)}
        blank = {**encoder.blank(spec.obs, tuple(spec.obs)), CLOCK: jnp.zeros(1)}
        x, none = timed(params, blank), jnp.zeros(1, jnp.int32)
        behaviour = {"actor": worker.init(worker_key, skilled(x, none))}
        if skill_baseline:
            behaviour["skill_critic"] = skill_critic.init(skill_key, skilled(x[..., :-1], none))["params"]
        return {
            **params,
            "critic": critic.init(critic_key, x[..., :-1])["params"],
            "manager": {"actor": manager.init(manager_key, x)["params"]},
            "worker": behaviour,
        }

    def choose(params: Params, entries: Mapping[str, Array]) -> Categorical:
        return Categorical(manager.apply({"params": params["actor"]}, timed(params, entries)))

    def act(params: Params, entries: Mapping[str, Array]) -> Gaussian:
        return worker.apply(params["actor"], skilled(timed(params, entries), entries[NOTE]))

    def value(params: Params, batch: Trajectory) -> Array:
        x = seen.apply(params["encoder"], batch.step.obs)
        return critic.apply({"params": params["critic"]}, x)[..., 0]

    def skill_value(params: Params, batch: Trajectory) -> Array:
        """At the last row, where nothing has been chosen yet, the value of the state alone: of any choice."""
        x = seen.apply(params["encoder"], batch.step.obs)
        values = skill_critic.apply({"params": params["skill_critic"]}, skilled(x, batch.extras[NOTE]))[..., 0]
        return values.at[-1].set(value(params, jax.tree.map(lambda x: x[-1:], batch))[0])

    shared = {"gamma": gamma, "lambda_": lambda_, "clip": clip, "entropy": entropy}
    manager_loss = ppo_loss(
        CATEGORICAL, choose, value, policy_weight=2 / (fewest + most), note=f"{NOTE}/log_prob",
        decided=f"{NOTE}_renewed", value_weight=value_weight if skill_baseline else 0.0, **shared,
    )  # fmt: skip
    # without a critic of its own the worker fits the shared one, for both
    worker_loss = ppo_loss(
        GAUSSIAN, act, skill_value if skill_baseline else value, value_weight=value_weight, **shared
    )  # fmt: skip
    choices, reward = acting_on(NOTE), scaled_reward(reward_scale)
    loss = levels(
        {
            "manager": Level(manager_loss, lambda params, batch: choices(batch), reward),
            "worker": Level(worker_loss, reward=reward),
        }
    )

    def acting(sample: bool) -> Policy:
        return hierarchy(
            choosing(CATEGORICAL, choose, "manager", sample),
            choosing(GAUSSIAN, act, "worker", sample),
            uniform_period(fewest, most),
            name=NOTE,
            clock=lambda left: {CLOCK: left / most},
        )

    return Agent(trained(init, loss, ("critic", "manager", "worker"), **optimisation), acting(True), acting(False))

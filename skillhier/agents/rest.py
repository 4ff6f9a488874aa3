"""ReST: skills that learn in turn, each to be where the others have not been (Jiang et al., NeurIPS 2022), by PPO.

Read in order: losses/novelty.py, agents/ppo.py, agents/phases.py, this file. Each of K skills is a policy, a critic,
running statistics and a pair of networks that stands for what it has visited. Parameters are stacked, [K, ...] each:
`encoder`, control/{actor, critic}, novelty/{predictor, target}; beside them turn/batches [K], what each has learned
from, and `chosen`.

A batch belongs to one skill, whose turn lasts `turn` batches. In the phase `skills` it is paid for where the others,
those that have had a turn, are strangers. In the phase `task` the chosen skill learns alone, paid by the world. Batches
are best whole episodes, a row more than a world's limit: then each opens with the skill that learns from it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from skillhier.agents import phases, ppo, running, slow
from skillhier.agents.learner import MAX_CONSECUTIVE_SKIPS, healthy, learner
from skillhier.agents.minibatches import minibatched
from skillhier.agents.optimisers import by_child, every
from skillhier.losses.levels import Level, levels
from skillhier.losses.novelty import apart, distillation_error
from skillhier.nets import encoder
from skillhier.nets.mlp import MLP, Style
from skillhier.types import (
    Agent,
    Array,
    Key,
    Learner,
    LearnerState,
    Metrics,
    Params,
    Policy,
    Scalar,
    Slow,
    Spec,
    Trajectory,
)

LEVEL, NOVELTY, TURN = ppo.LEVEL, "novelty", "turn"
STACKED = ("encoder", LEVEL, NOVELTY)  # parameters of which every skill has its own
DEFAULTS: dict[str, Any] = {
    "phase": phases.SKILLS,  # skills: without the task's reward; task: by the chosen skill, for that reward alone
    "skills": 10,  # each a policy of its own
    "turn": 20,  # batches that a skill learns from before the next one does
    "sees": (),  # entries that all networks see; none: all that are not privileged
    "hidden": (64, 64),  # widths of actors and critics
    "novelty_hidden": (512, 512),  # widths of the pairs of networks that know where a skill has been
    "novelty_size": 5,  # numbers that they compare
    "novelty_scale": 10.0,  # of their error in the reward -log mean_j exp(-scale e_j)
    "init_stddev": 0.6065,  # of actions at first, in units of half their range: exp(-1/2)
    "gamma": 0.99,  # discount of a decision
    "lambda_": 0.95,  # of the advantages: 0 trusts the next value, 1 the rewards alone
    "clip": 0.2,  # how far the ratio of new to old probabilities may be from 1 to be pushed further
    "epochs": 80,  # passes through a batch
    "minibatches": 1,  # of each pass, as many steps of the optimisers; worlds are a multiple
    "delay": 4,  # steps of the critic for one of the actor
    "learning_rate": 1e-3,  # of Adam, for critics
    "actor_learning_rate": 3e-4,  # of Adam, for actors
    "predictor_learning_rate": 1e-3,  # of Adam, for what learns where a skill has been
    "max_grad_norm": 1.0,  # gradients of actor, critic and predictor are clipped at this norm, each for itself
    "value_weight": 0.5,  # of half the squared error of values
    "entropy": 0.01,  # weight of the policy's entropy, in nats
    "reward_scale": 0.1,  # of rewards, so that values are of the size of what networks begin with
    "max_consecutive_skips": 10,  # steps in a row left out for NaN or Inf before the run stops
}


def make(
    spec: Spec,
    *,
    phase: str = phases.SKILLS,
    skills: int = 10,
    turn: int = 20,
    sees: Sequence[str] = (),
    hidden: Sequence[int] = (64, 64),
    novelty_hidden: Sequence[int] = (512, 512),
    novelty_size: int = 5,
    novelty_scale: float = 10.0,
    init_stddev: float = 0.6065,
    gamma: float = 0.99,
    lambda_: float = 0.95,
    clip: float = 0.2,
    epochs: int = 80,
    minibatches: int = 1,
    delay: int = 4,
    learning_rate: float = 1e-3,
    actor_learning_rate: float = 3e-4,
    predictor_learning_rate: float = 1e-3,
    max_grad_norm: float = 1.0,
    value_weight: float = 0.5,
    entropy: float = 0.01,
    reward_scale: float = 0.1,
    max_consecutive_skips: int = MAX_CONSECUTIVE_SKIPS,
    dtype: Any = jnp.float32,
) -> Agent:
    """ReST for worlds of `spec`; settings as in DEFAULTS; dtype: of the products in networks. Raises ValueError."""
    task = phases.is_task(phase, skills)
    for setting, value in {"turn": turn, "delay": delay, "novelty_size": novelty_size}.items():
        if value < 1:
            raise ValueError(f"{setting} must be >= 1, got {value}; set agent.{setting}")
    level = ppo.control(
        spec, sees=sees, hidden=hidden, init_stddev=init_stddev, dtype=dtype, gamma=gamma, lambda_=lambda_, clip=clip,
        value_weight=value_weight, entropy=entropy,
    )  # fmt: skip
    pair = MLP(tuple(novelty_hidden), novelty_size, 1.0, dtype, Style("relu"))

    # --- one skill ---
    def init_skill(key: Key) -> Params:
        control_key, target_key, predictor_key = jax.random.split(key, 3)
        params = level.init(control_key)
        x = level.seen.apply(params["encoder"], encoder.blank(spec.obs, tuple(spec.obs)))
        own = {"target": target_key, "predictor": predictor_key}
        return {**params, NOVELTY: {name: pair.init(k, x)["params"] for name, k in own.items()}}

    def error(novelty: Params, seen: Params, obs: Mapping[str, Array]) -> Array:
        """How unfamiliar rows are to a skill, [T, B]."""
        x = level.seen.apply(seen, obs)
        predicted, target = (pair.apply({"params": novelty[name]}, x) for name in ("predictor", "target"))
        return distillation_error(predicted, target)

    def novelty_loss(params: Params, slow: Slow, batch: Trajectory, key: Key) -> tuple[Scalar, tuple[Slow, Metrics]]:
        visited = jax.tree.map(lambda x: x[:-1], batch.step.obs)  # the last row is the next batch's first
        mean = error({name: params[name] for name in ("predictor", "target")}, params["encoder"], visited).mean()
        return mean, (slow, {"error": mean})

    def clipped(rate: float) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(max_grad_norm), optax.adam(rate))

    rates = {
        "encoder": None,
        f"{LEVEL}/actor": every(delay, clipped(actor_learning_rate)),
        f"{LEVEL}/critic": clipped(learning_rate),
        f"{NOVELTY}/predictor": None if task else clipped(predictor_learning_rate),
        f"{NOVELTY}/target": None,
    }
    parts = {LEVEL: Level(level.loss)} | ({} if task else {NOVELTY: Level(novelty_loss)})
    steps = learner(
        init_skill, levels(parts), by_child(rates), slow.combined({}), max_consecutive_skips=max_consecutive_skips
    )
    one = running.with_running_statistics(minibatched(steps, epochs=epochs, minibatches=minibatches))

    # --- all skills ---
    def at(params: Params) -> Array:
        """The skill whose turn it is, [] int32."""
        if task:
            return phases.chosen(params)
        return (params[TURN]["batches"].sum() // turn).astype(jnp.int32) % skills

    def reward(params: Params, batch: Trajectory) -> Array:
        """What the learning skill is paid, [T, B], on arriving at a row."""
        if task:
            return batch.step.reward
        errors = jax.vmap(error, (0, 0, None))(params[NOVELTY], params["encoder"], batch.step.obs)
        others = (params[TURN]["batches"] > 0) & (jnp.arange(skills) != at(params))
        return apart(errors, others, novelty_scale)

    def update_with(update: Callable, turns: bool) -> Callable:
        def updated(state: LearnerState, batch: Trajectory, key: Key) -> tuple[LearnerState, Metrics]:
            skill, paid = at(state.params), reward(state.params, batch)
            stacked = state._replace(params={name: state.params[name] for name in STACKED})
            whole = (stacked.params, stacked.slow, stacked.opt)
            before = LearnerState(*jax.tree.map(lambda x: x[skill], whole), state.steps, state.health)
            scaled = batch._replace(step=batch.step._replace(reward=reward_scale * paid))
            after, metrics = update(before, scaled, key)
            put = jax.tree.map(lambda x, new: x.at[skill].set(new), whole, (after.params, after.slow, after.opt))
            count = state.params[TURN]["batches"]
            moved = {TURN: {"batches": count.at[skill].add(1.0) if turns else count}}
            metrics |= {"skills/chosen": skill} if task else {"skills/reward": paid[1:].mean(), "skills/turn": skill}
            return LearnerState({**state.params, **put[0], **moved}, *put[1:], after.steps, after.health), metrics

        return updated

    def from_params(params: Params) -> LearnerState:
        each = jax.vmap(one.from_params)({name: params[name] for name in STACKED})
        return LearnerState(params, each.slow, each.opt, jnp.zeros((), jnp.int32), healthy())

    def init(key: Key) -> LearnerState:
        own = {TURN: {"batches": jnp.zeros(skills)}, phases.CHOSEN: phases.first()}
        return from_params({**jax.vmap(init_skill)(jax.random.split(key, skills)), **own})

    def freeze(paths: tuple[str, ...]) -> Callable:
        inside = tuple(path for path in paths if path.split("/")[0] in STACKED)
        return update_with(one.freeze(inside) if inside else one.update, not any(p.startswith(TURN) for p in paths))

    # --- acting ---
    def acting(which: Callable[[Params], Array | int], sample: bool) -> Policy:
        policy = level.act(sample)

        def act(params: Params, carry: Any, step: Any, key: Key):
            skill = which(params)
            own = jax.tree.map(lambda x: x[skill], {name: params[name] for name in ("encoder", LEVEL)})
            return policy.act(own, carry, step, key)

        return Policy(policy.init, act)

    return Agent(
        Learner(init, update_with(one.update, True), from_params, freeze),
        explore=acting(at, True),
        exploit=acting(at, False),
        hold=lambda skill, *, sample=False: acting(lambda params: skill, sample),
        skills=skills,
    )

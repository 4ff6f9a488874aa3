"""DIAYN (Eysenbach et al., 2019): skills that can be told from the states they visit, learned without a reward by TD3.

Read in order: losses/skill_info.py (`told_apart`), losses/td3.py, agents/td3.py, agents/phases.py, this file.
Parameters are control/{actor, critic}, skills/predictor, the frozen `encoder`, and `chosen`.

One of K skills is drawn uniformly and held for `period` rows or to the episode's end. The level `control` acts on what
is seen and the skill; in the phase `skills` it is paid log q(skill | state arrived at) - log p(skill), where the level
`skills` fits q to the same rows. In the phase `task` it is paid by the world, and acts by the chosen skill alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from skillhier.agents import phases, slow, td3
from skillhier.agents.learner import MAX_CONSECUTIVE_SKIPS, learner
from skillhier.agents.optimisers import by_child
from skillhier.losses import skill_info
from skillhier.losses.imitation import average
from skillhier.losses.levels import Level, levels, scope
from skillhier.losses.td3 import td3_loss
from skillhier.nets import encoder, heads
from skillhier.nets.mlp import Style
from skillhier.ops import predictions, returns
from skillhier.policies.flat import flat
from skillhier.policies.hierarchy import hierarchy
from skillhier.types import Agent, Array, Key, Metrics, Params, Policy, Scalar, Slow, Spec, Trajectory

NOTE, LEVEL, SKILLS = "skill", "control", "skills"
SQUARED = 1e6  # errors of critics count squared up to here: all of them
# Those of the unsupervised benchmark (fact sheet on MRS, section 4.4), not the original's 50 skills by SAC.
DEFAULTS: dict[str, Any] = {
    "phase": phases.SKILLS,  # skills: without the task's reward; task: by the chosen skill, for that reward alone
    "skills": 16,  # of which one is drawn
    "period": 50,  # decisions that a skill is held
    "sees": (),  # entries that all networks see; none: all that are not privileged
    "skill_sees": (),  # entries by which skills are told apart; none: those that the networks see
    "hidden": (1024, 1024),  # widths of actor and critic
    "predictor_hidden": (1024, 1024),  # widths of what tells skills apart
    "gamma": 0.99,  # discount of a decision
    "n_step": 3,  # rewards before the value
    "reward_scale": 1.0,  # of rewards, in nats in the first phase
    "learning_rate": 1e-4,  # of Adam, for critics
    "actor_learning_rate": 1e-4,  # of Adam, for the actor
    "predictor_learning_rate": 1e-4,  # of Adam
    "delay": 1,  # updates of a critic for one of its actor and of its target copies
    "tau": 0.01,  # share by which target copies move
    "smoothing_stddev": 0.2,  # noise of the actions that target critics value, in units of half their range
    "smoothing_clip": 0.3,  # where that noise is clipped
    "action_noise": 0.2,  # standard deviation of exploration, in the same units
    "max_consecutive_skips": 10,  # updates in a row left out for NaN or Inf before the run stops
}


def make(
    spec: Spec,
    *,
    phase: str = phases.SKILLS,
    skills: int = 16,
    period: int = 50,
    sees: Sequence[str] = (),
    skill_sees: Sequence[str] = (),
    hidden: Sequence[int] = (1024, 1024),
    predictor_hidden: Sequence[int] = (1024, 1024),
    gamma: float = 0.99,
    n_step: int = 3,
    reward_scale: float = 1.0,
    learning_rate: float = 1e-4,
    actor_learning_rate: float = 1e-4,
    predictor_learning_rate: float = 1e-4,
    delay: int = 1,
    tau: float = 0.01,
    smoothing_stddev: float = 0.2,
    smoothing_clip: float = 0.3,
    action_noise: float = 0.2,
    statistics: Mapping | None = None,
    max_consecutive_skips: int = MAX_CONSECUTIVE_SKIPS,
    dtype: Any = jnp.float32,
) -> Agent:
    """DIAYN for worlds of `spec`; settings as in DEFAULTS. Raises ValueError.

    statistics  entry -> (mean [d], std [d]) by which the networks' inputs are whitened
    dtype       of the products in networks
    """
    task = phases.is_task(phase, skills)
    if delay < 1:
        raise ValueError(f"delay must be >= 1, got {delay}; set agent.delay")
    names = tuple(sees) or spec.visible
    telling = tuple(skill_sees) or names
    seen, told_from = (encoder.whitened(spec.obs, entries, statistics) for entries in (names, telling))
    both = encoder.whitened(spec.obs, (*names, *telling), statistics)
    control = td3.controller(*td3.action_range(spec, "DIAYN"), hidden, dtype)
    predictor = heads.vector(skills, predictions.one_hot(), predictor_hidden, Style("relu"), dtype)

    def init(key: Key) -> Params:
        control_key, predictor_key, encoder_key = jax.random.split(key, 3)
        statistics = both.init(encoder_key)
        blank = encoder.blank(spec.obs, (*names, *telling))
        x = with_skill(seen.apply(statistics, blank), jnp.zeros(1, jnp.int32))
        features = told_from.apply(statistics, blank).shape[-1]
        return {
            "encoder": statistics,
            LEVEL: control.init(control_key, x),
            SKILLS: {"predictor": predictor.init(predictor_key, features)},
            phases.CHOSEN: phases.first(),
        }

    def with_skill(x: Array, skill: Array) -> Array:
        return jnp.concatenate([x, jax.nn.one_hot(skill, skills)], -1)

    # --- acting ---
    def choose(params: Params, obs: Mapping[str, Array], key: Key) -> tuple[Array, dict]:
        worlds = (len(obs[names[0]]),)
        if task:
            return jnp.broadcast_to(phases.chosen(params), worlds), {}
        return jax.random.randint(key, worlds, 0, skills), {}

    def acting(choose, exploring: bool) -> Policy:
        def act(params: Params, obs: Mapping[str, Array], key: Key) -> tuple[Array, dict]:
            own = scope(params, LEVEL)
            action = control.act(own, with_skill(seen.apply(own["encoder"], obs), obs[NOTE]))
            return control.explore(action, action_noise, key) if exploring else action, {}

        return hierarchy(flat(choose), flat(act), period, name=NOTE)

    def hold(skill: int, *, sample: bool = False) -> Policy:
        held = lambda params, obs, key: (jnp.full(len(obs[names[0]]), skill, jnp.int32), {})  # noqa: E731
        return acting(held, sample)

    # --- levels ---
    def see(params: Params, batch: Trajectory) -> tuple[Array, Array]:
        """Rows, and those they lead to with the skill that led there: its last transition bootstraps from itself."""
        x, skill = seen.apply(params["encoder"], batch.step.obs), batch.extras[NOTE][:-1]
        return with_skill(x[:-1], skill), with_skill(x[1:], skill)

    def arrived(params: Params, batch: Trajectory) -> tuple[Array, Array]:
        """What skills are told from, of the rows arrived at, [T - 1, B, F], and the skill that led there."""
        return told_from.apply(params["encoder"], batch.step.obs)[1:], batch.extras[NOTE][:-1]

    def information(params: Params, batch: Trajectory, key: Key) -> Array:
        nats = skill_info.told_apart(predictor.apply, params[SKILLS]["predictor"], *arrived(params, batch), skills)
        return reward_scale * jnp.concatenate([jnp.zeros_like(nats[:1]), nats])

    def predictor_loss(params: Params, slow: Slow, batch: Trajectory, key: Key) -> tuple[Scalar, tuple[Slow, Metrics]]:
        valid, (features, skill) = returns.transitions(batch.step, gamma).valid, arrived(params, batch)
        nats = average(skill_info.told_apart(predictor.apply, params["predictor"], features, skill, skills), valid)
        guess = predictor.apply(params["predictor"], features).mean.argmax(-1)
        metrics = {"information": nats, "accuracy": average((guess == skill).astype(nats.dtype), valid)}
        return -nats, (slow, metrics)

    def tell_chosen(params: Params, slow: Slow, batch: Trajectory, key: Key) -> tuple[Scalar, tuple[Slow, Metrics]]:
        return jnp.zeros(()), (slow, {"chosen": params[phases.CHOSEN]})

    control_loss = td3_loss(
        control.act, control.value, see, low=control.low, high=control.high, gamma=gamma, delta=SQUARED, n_step=n_step,
        smoothing_stddev=smoothing_stddev, smoothing_clip=smoothing_clip, renewed=f"{NOTE}_renewed",
    )  # fmt: skip
    paid = lambda params, batch, key: reward_scale * batch.step.reward  # noqa: E731
    parts = {
        LEVEL: Level(control_loss, reward=paid if task else information),
        SKILLS: Level(tell_chosen if task else predictor_loss),
    }
    learning = {"encoder": None, phases.CHOSEN: None, SKILLS: None if task else optax.adam(predictor_learning_rate)}
    learning |= td3.optimisers(LEVEL, learning_rate=learning_rate, actor_learning_rate=actor_learning_rate, delay=delay)
    targets = slow.combined(td3.targets(LEVEL, tau=tau, delay=delay))
    return Agent(
        learner(init, levels(parts), by_child(learning), targets, max_consecutive_skips=max_consecutive_skips),
        explore=acting(choose, True),
        exploit=acting(choose, False),
        replay_extras={
            NOTE: jax.ShapeDtypeStruct((), jnp.int32),
            f"{NOTE}_renewed": jax.ShapeDtypeStruct((), jnp.bool_),
        },
        hold=hold,
        skills=skills,
    )

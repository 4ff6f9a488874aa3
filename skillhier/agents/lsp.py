"""LSP: skills planned in imagination and told apart by what they do (Xie et al., 2021), on Dreamer's world model.

Read in order: agents/dreamer.py, policies/planner.py, losses/skill_info.py, this file. The level `worker` acts on a
latent and a skill of Z numbers that is held for `period` decisions; its critic does not see the skill. The manager is
the cross-entropy method, or a draw from N(0, I). The level `skills` holds the predictors of skills.

`make` also gives the variants of the paper: planned=False (random_skills), intrinsic=False (no_mi), and both
(rand_skills_init).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from skillhier.agents import imagination, world_model
from skillhier.agents.imagination import LEVEL, TRAINING, pick
from skillhier.agents.learner import stateless
from skillhier.agents.slow import SlowPart
from skillhier.losses import skill_info
from skillhier.losses.levels import Level, levels, scope
from skillhier.nets import heads
from skillhier.ops import predictions, returns, scale
from skillhier.policies import planner
from skillhier.policies.hierarchy import hierarchy
from skillhier.policies.imagine import imagine_rows
from skillhier.types import Agent, Array, Key, Metrics, Params, Policy, Scalar, Slow, SlowLoss, Spec, Trajectory

WORKER, SKILLS = "worker", "skills"
WEIGHTS = 1e-3, 1.0  # bounds of the weight that holds information at its target, as shares of mi_scale
HELD = 8  # skills that `Agent.hold` knows: draws of N(0, I), the same in every run
DEFAULTS: dict[str, Any] = {
    **world_model.DEFAULTS,
    **LEVEL,
    **TRAINING,
    "horizon": 10,  # actions imagined when learning: a multiple of the period
    "skill": 3,  # numbers of a skill
    "period": 10,  # decisions that a skill is held
    "plan_horizon": 10,  # actions imagined when planning; a plan has as many skills as that takes
    "iterations": 4,  # of the cross-entropy method
    "proposals": 16,  # plans drawn in an iteration
    "elites": 4,  # best of them, to which the Gaussian is fitted
    "mean_noise": 0.1,  # standard deviation added to the mean that a search ends with
    "cem_starts": 0,  # of the starts, how many are planned for when learning; others draw from N(0, I). 0: all
    "per_state": True,  # a Gaussian over skills for every start, else one for all
    "plan_action": "sample",  # the worker's actions when planning: sample, mode
    "mi_scale": 1.0,  # weight of the intrinsic reward; with a target the greatest
    "mi_target": 0.0,  # nats that windows should tell of skills: the weight moves down and up to hold it. 0: fixed
    "mi_place": "last",  # it is paid on a window's last row that counts, or on each
    "mi_in_cem": False,  # plans are scored with it too
    "mi_subtract_prior": False,  # less the skill's log-probability under the plan
    "mi_subtract_start": False,  # less what the start alone says of the skill
    "mi_constant": 0.0,  # nats added to each window's reward
    "mi_floor": -1e6,  # nats that a window is paid at least
    "pred_noise": 0.3,  # standard deviation of the noise on the predictor's input
    "predictor_hidden": (256, 256),  # widths
    "predictor_learning_rate": 8e-5,  # of Adam, for predictors of skills
}


def make(spec: Spec, *, planned: bool = True, intrinsic: bool = True, **settings: Any) -> Agent:
    """LSP for worlds of `spec`; settings as in DEFAULTS, which explains them. Raises ValueError.

    planned    skills come from a search in imagination, in learning and in acting; else from N(0, I)
    intrinsic  the worker is paid for skills that can be told from what they do
    """
    settings = {**DEFAULTS, **settings}
    period, size, horizon = settings["period"], settings["skill"], settings["horizon"]
    if horizon % period:
        raise ValueError(f"horizon must be a multiple of the period {period}, got {horizon}; set agent.horizon")
    model = world_model.make(spec, **pick(settings, world_model.DEFAULTS))
    head = imagination.action_head(settings["head"], spec, settings["min_stddev"])
    with_skill = lambda entries: jnp.concatenate([model.feature(entries), entries["skill"]], -1)  # noqa: E731
    parts = imagination.make_level(
        WORKER,
        head,
        settings,
        actor_sees=(with_skill, model.features + size),
        critic_sees=(model.feature, model.features),
    )
    worker, greedy_worker = (imagination.scoped(parts.act(sample), WORKER) for sample in (True, False))
    view = imagination.view(settings["rewards"])

    # --- predictors of skills ---
    predictor = heads.vector(size, predictions.clamped_normal(), settings["predictor_hidden"])
    seen = len(skill_info.rows_seen(period)) * model.features
    seen_as = {"period": period, "noise": settings["pred_noise"]}

    def informs(rows: int, subtract_prior: bool):
        return skill_info.information_reward(
            predictor.apply,
            model.feature,
            **seen_as,
            place=settings["mi_place"],
            last_row=rows - 1 if settings["rewards"] == "leaving" else None,
            subtract_prior=subtract_prior,
            subtract_start=settings["mi_subtract_start"],
            constant=settings["mi_constant"],
            floor=settings["mi_floor"],
        )

    target = settings["mi_target"] if intrinsic else 0.0
    if target and settings["mi_in_cem"]:
        raise ValueError("a weight that moves scores no plans; set agent.mi_target=0 or agent.mi_in_cem=false")
    weights = scale.adaptive_weight(target, low=WEIGHTS[0], high=WEIGHTS[1], velocity=0.01, inverse=True)
    information = informs(horizon, settings["mi_subtract_prior"])
    in_plans = informs(settings["plan_horizon"], False)  # what is searched for has no Gaussian yet
    predictor_loss = skill_info.predictor_loss(predictor.apply, model.feature, **seen_as)

    def init(key: Key) -> Params:
        worker_key, whole_key, start_key = jax.random.split(key, 3)
        params = {WORKER: parts.init(worker_key)}
        if intrinsic:
            params[SKILLS] = {
                "predictor": predictor.init(whole_key, seen),
                "start_predictor": predictor.init(start_key, model.features),
            }
        return params

    # --- managers ---
    def value(params: Params, entries: Mapping[str, Array]) -> Array:
        return parts.value(scope(params, WORKER), entries)

    def score(params: Params, rows: Trajectory) -> Array:
        """The lambda-return of the first row that counts, [N]."""
        if intrinsic and settings["mi_in_cem"]:
            # one noise for all searches: proposals are compared under the same draws
            paid = settings["mi_scale"] * in_plans(params[SKILLS], rows, jax.random.key(0))
            rows = rows._replace(step=rows.step._replace(reward=rows.step.reward + paid))
        step = view(params, rows).step
        moves = returns.transitions(step, settings["gamma"])
        return returns.lambda_returns(moves, step.obs["value"][1:], settings["lambda_"])[0]

    def manager(*, sample: bool, starts: int | None = None, follow: bool = False) -> Policy:
        if not planned:
            return planner.prior(size)
        searching = pick(settings, dict.fromkeys(("proposals", "elites", "iterations", "mean_noise")))
        return planner.plan(
            model.judged({"value": value}),
            worker if settings["plan_action"] == "sample" else greedy_worker,
            score,
            size=size,
            period=period,
            horizon=settings["plan_horizon"],
            sample=sample,
            starts=starts,
            shared=not settings["per_state"],
            follow=follow,
            **searching,
        )

    def acting(chooses: Policy, acts: Policy) -> Policy:
        return hierarchy(chooses, acts, period, initial_choice=lambda worlds: jnp.zeros((worlds, size)))

    imagining = acting(manager(sample=True, starts=settings["cem_starts"] or None, follow=True), worker)

    def imagined(params: Params, begin: Mapping[str, Array], key: Key) -> Trajectory:
        return imagine_rows(model.dream(params, begin), imagining, params, key, horizon)

    # --- levels ---
    def learned(weight: Array | float) -> SlowLoss:
        """All levels, where a nat of information is worth `weight`."""

        def reward(params: Params, batch: Trajectory, key: Key) -> Array:
            return batch.step.reward + weight * information(params[SKILLS], batch, key)

        if not intrinsic:
            return levels({WORKER: Level(parts.loss, view=view)})
        return levels({
            WORKER: Level(parts.loss, view=view, reward=reward), SKILLS: Level(stateless(predictor_loss)),
        })  # fmt: skip

    def behaviour(params: Params, slow: Slow, batch: Trajectory, key: Key) -> tuple[Scalar, tuple[Slow, Metrics]]:
        share = slow[SKILLS]["weight"] if target else 1.0
        value, (slow, metrics) = learned(settings["mi_scale"] * share)(params, slow, batch, key)
        if target:
            slow = {**slow, SKILLS: {"weight": weights.update(share, metrics[f"{SKILLS}/information"])}}
            metrics[f"{SKILLS}/weight"] = settings["mi_scale"] * share
        if planned:
            notes = {name: batch.extras[f"skill/{name}"][0] for name in ("gain", "stddev")}
            searched = settings["cem_starts"] or len(notes["gain"])
            metrics |= {f"{SKILLS}/{name}": note[:searched].mean() for name, note in notes.items()}
        return value, (slow, metrics)

    rates = {f"{WORKER}/actor": settings["actor_learning_rate"], f"{WORKER}/critic": settings["critic_learning_rate"]}
    if intrinsic:
        rates[SKILLS] = settings["predictor_learning_rate"]
    slow_parts = {f"{WORKER}/{part}": slow for part, slow in parts.slow.items()}
    if target:
        slow_parts[f"{SKILLS}/weight"] = SlowPart(lambda params: jnp.ones(()))
    learner = imagination.make_learner(
        model,
        init,
        imagined,
        behaviour,
        slow_parts,
        rates,
        settings,
    )
    held = jax.random.normal(jax.random.key(0), (HELD, size))

    def hold(skill: int, *, sample: bool = False) -> Policy:
        fixed = Policy(lambda worlds: (), lambda params, carry, step, key: (
            carry, jnp.broadcast_to(held[skill], (len(step.first), size)), {}
        ))  # fmt: skip
        return model.believe(acting(fixed, worker if sample else greedy_worker))

    return Agent(
        learner,
        explore=model.believe(acting(manager(sample=True), worker), settings["noise"]),
        exploit=model.believe(acting(manager(sample=False), greedy_worker)),
        hold=hold,
        skills=HELD,
        dream=model.open_loop,
    )

"""Director: a manager sets goals in the memory of a world model, a worker reaches them (Hafner et al., 2022).

Read in order: agents/imagination.py, nets/goal_coder.py, losses/goal_coder.py, this file; then agents/mrs.py, which
gives `assemble` other goals. Letters: D numbers of the memory `deter`, K rows that a goal is held (the period).

The level `manager` sees every K-th row; its action is a code, paid by the task and by novelty, each with a critic. The
goal coder, trained on real rows, decodes it into a goal of D numbers. The level `worker` sees chunks of K rows and is
paid for how near its memory comes to the goal.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from skillhier.agents import dreamer, imagination, world_model
from skillhier.agents.imagination import pick
from skillhier.agents.slow import SlowPart
from skillhier.losses import goal_coder as coder_losses
from skillhier.losses.goal_coder import Coder
from skillhier.losses.levels import Level, levels
from skillhier.nets import goal_coder
from skillhier.nets.mlp import Style
from skillhier.ops import action_heads, goals, latents, scale
from skillhier.ops.action_heads import ActionHead
from skillhier.ops.latents import Kind
from skillhier.ops.temporal import acting_on, coarsen, split
from skillhier.policies.hierarchy import hierarchy
from skillhier.policies.imagine import imagine_rows
from skillhier.types import Agent, Array, Key, Metrics, Params, Policy, Scalar, Slow, SlowLoss, Spec, Trajectory

MANAGER, WORKER, CODER = "manager", "worker", "coder"
INFINITY = "infinity"  # the coder of goals that lie any number of rows ahead
CODE = "goal/code"  # what the hierarchy notes of the manager's action
HELD = 8  # codes that `Agent.hold` knows: uniform draws, the same in every run
DEFAULTS: dict[str, Any] = {
    **dreamer.V3,
    "deter": 1024,
    "hidden": 1024,
    "unimix": 0.0,
    "activation": "elu",
    "encoder": (512,) * 4,
    "decoder": (512,) * 4,
    "vector_transform": "none",
    "picture_depth": 64,
    "picture_dense": False,
    "reward_hidden": (512,) * 4,
    "reward_form": "symlog",
    "continue_hidden": (512,) * 4,
    "kl": "adaptive",
    "free_nats": 0.0,
    "kl_to_prior": 0.8,
    "kl_to_posterior": 0.2,
    "output_scale": 0.1,
    "actor_hidden": (512,) * 4,
    "critic_hidden": (512,) * 4,
    "min_stddev": 0.03,
    "critic_form": "symlog",
    "gamma": 0.99,  # discount of a decision, of the worker and of the manager alike
    "bootstrap": "slow",
    "scale": "moments",
    "advantage_scale": True,
    "entropy": 0.0,
    "entropy_target": 0.5,
    "slow_critic": "copy",
    "slow_weight": 0.0,
    "horizon": 16,  # actions imagined: a multiple of the period
    "learning_rate": 1e-4,
    "actor_learning_rate": 1e-4,
    "critic_learning_rate": 1e-4,
    "adam_epsilon": 1e-6,
    "max_grad_norm": 100.0,
    "behaviour_adam_epsilon": 1e-6,
    "weight_decay": 1e-2,
    # --- its own ---
    "period": 8,  # decisions that a goal is held
    "codes": 8,  # categoricals of a code
    "code_classes": 8,  # of each
    "code_samples": "one_hot",  # of the coder: one_hot, straight through; relaxed, at temperature .5
    "code_unimix": 0.01,  # share of the uniform distribution in the manager's categoricals
    "coder_hidden": (512,) * 4,  # widths
    "coder_learning_rate": 1e-4,  # of Adam
    "coder_kl_target": 10.0,  # nats that the weight of a coder's KL moves it to; 0: its weight is 1
    "task_weight": 1.0,  # of the manager's advantage in what the world pays
    "novelty_weight": 0.1,  # of its advantage in what the coder cannot decode
    "worker_task_weight": 0.0,  # of what the world pays in the worker's advantage; 0: its goals alone
    "chunk_reward": "mean",  # the manager is paid a chunk's mean, or its sum
    "last_goal": "next",  # the last reward of a chunk is for the goal chosen there, next, or for the chunk's own
    "goal_restarts": True,  # an episode opens with a new goal
}


class Goals(NamedTuple):
    """What a manager may ask for, and how goals are learned. Parameters are those of the child `coder`."""

    init: Callable[[Key], Params]
    head: ActionHead  # of the manager
    decode: Callable[[Params, Array, Array], Array]  # (params, deter [..., D], action) -> goal [..., D]
    novelty: Callable[[Params, Array, Key], Array]  # (params, deter [T, B, D], key) -> [T, B]
    loss: SlowLoss  # of real rows, given the level's scope
    slow: Slow  # that the loss moves
    names: tuple[str, ...]  # of the coders
    random: Callable[[Params, Array, Key], dict[str, Array]]
    # ^ (params, deter [..., D], key) -> by coder: the goal [..., D] of a code drawn uniformly
    at_evaluation: Callable[[Array, Key], Array] = lambda action, key: action  # of the manager's action
    held: tuple[Callable[[Array, Key], Array], ...] = ()  # the same, of what `Agent.hold` holds
    measure: Callable[[Array], Metrics] = lambda action: {}  # of the manager's actions [..., A]


def make(spec: Spec, **settings: Any) -> Agent:
    """Director for worlds of `spec`; settings as in DEFAULTS, which explains them. Raises ValueError."""
    settings = {**DEFAULTS, **settings}
    kind, weight = code_kind(settings), coder_weight(settings)
    coders = make_coders((INFINITY,), settings, context=False)
    group = lambda params: params[INFINITY]  # noqa: E731
    coder = coder_of(coders, group)
    own_codes = uniform_codes(jax.random.key(0), (HELD,), settings)

    def novelty(params: Params, deter: Array, key: Key) -> Array:
        return coder_losses.decoding_error(coder, kind, params, deter, deter, key)

    def random(params: Params, deter: Array, key: Key) -> dict[str, Array]:
        return {INFINITY: coder.decode(params, deter, uniform_codes(key, deter.shape[:-1], settings))}

    alone = Goals(
        lambda key: {INFINITY: coders.init(key)},
        manager_head(settings),
        coder.decode,
        novelty,
        coder_losses.coder_loss({INFINITY: coder}, kind, weight),
        coder_losses.init_slow({INFINITY: coder}, weight),
        (INFINITY,),
        random,
        held=tuple(lambda code, key, own=own: jnp.broadcast_to(own, code.shape) for own in own_codes),
    )
    return assemble(spec, settings, alone)


def assemble(spec: Spec, settings: Mapping[str, Any], aims: Goals) -> Agent:
    """Manager and worker for worlds of `spec`, whose goals are those of `aims`."""
    period, horizon = settings["period"], settings["horizon"]
    if horizon % period:
        raise ValueError(f"horizon must be a multiple of the period {period}, got {horizon}; set agent.horizon")
    ways = {"chunk_reward": ("mean", "sum"), "last_goal": ("next", "own")}
    for name, known in ways.items():
        if settings[name] not in known:
            raise ValueError(f"{name} '{settings[name]}' is not known; choose {' or '.join(known)} in agent.{name}")
    model = world_model.make(spec, **pick(settings, world_model.DEFAULTS))
    sees = (model.feature, model.features)
    deter = settings["deter"]
    with_goal = lambda entries: jnp.concatenate([model.feature(entries), entries["goal"]], -1)  # noqa: E731
    sees_goal = (with_goal, model.features + deter)
    worker_head = imagination.action_head(settings["head"], spec, settings["min_stddev"])
    manager = imagination.make_level(
        MANAGER,
        aims.head,
        {**settings, "gradient": "score"},
        actor_sees=sees,
        critic_sees=sees,
        rewards={"task": settings["task_weight"], "novelty": settings["novelty_weight"]},
    )
    task_share = {"task": settings["worker_task_weight"]} if settings["worker_task_weight"] else {}
    worker = imagination.make_level(
        WORKER, worker_head, settings, actor_sees=sees_goal, critic_sees=sees_goal, rewards={"goal": 1.0, **task_share}
    )

    # --- acting ---
    def asking(policy: Policy, change: Callable[[Array, Key], Array] = lambda code, key: code) -> Policy:
        """A manager whose choice is the goal that its action, a code, means; it notes the code."""

        def act(params, carry, step, key):
            code_key, change_key = jax.random.split(key)
            carry, code, notes = policy.act(params, carry, step, code_key)
            code = change(code, change_key)
            goal = aims.decode(params[CODER], step.obs["deter"], code)
            return carry, jax.lax.stop_gradient(goal), {**notes, "code": code}

        return Policy(policy.init, act)

    def acting(chooses: Policy, acts: Policy) -> Policy:
        return hierarchy(
            chooses,
            acts,
            period,
            condition=lambda params, step, goal: {"goal": goal},
            name="goal",
            initial_choice=lambda worlds: jnp.zeros((worlds, deter)),
            restart=settings["goal_restarts"],
        )

    asks = imagination.scoped(manager.act(True), MANAGER)  # sampled, in evaluation too
    does, does_best = (imagination.scoped(worker.act(sample), WORKER) for sample in (True, False))
    imagining = acting(asking(asks), does)

    def imagined(params: Params, begin: Mapping[str, Array], key: Key) -> Trajectory:
        return imagine_rows(model.dream(params, begin), imagining, params, key, horizon, ask_last=True)

    # --- levels ---
    def sought(params: Params, batch: Trajectory, key: Key) -> dict[str, Array]:
        new = aims.novelty(params[CODER], batch.step.obs["deter"], key)
        return {"task": batch.step.reward, "novelty": new}

    def reached(params: Params, batch: Trajectory, key: Key) -> dict[str, Array] | Array:
        goal = jax.lax.stop_gradient(batch.extras["goal"])
        near = goals.nearness(batch.step.obs["deter"], goal, own=settings["last_goal"] == "own")
        return {"goal": near, "task": batch.step.reward} if task_share else near

    every_period = coarsen(period, mean=settings["chunk_reward"] == "mean")
    chunks, codes = split(period, held=("goal",)), acting_on(CODE)
    both = levels({
        MANAGER: Level(manager.loss, lambda params, batch: codes(every_period(batch)), sought),
        WORKER: Level(worker.loss, lambda params, batch: chunks(batch), reached),
    })  # fmt: skip

    def behaviour(params: Params, slow: Slow, batch: Trajectory, key: Key) -> tuple[Scalar, tuple[Slow, Metrics]]:
        value, (slow, metrics) = both(params, slow, batch, key)
        last = goals.cosine_max(batch.step.obs["deter"][-1], batch.extras["goal"][-2])
        chosen = aims.measure(batch.extras[CODE][0])
        metrics |= {f"{MANAGER}/success": (last > 0.7).mean()} | {f"{MANAGER}/{k}": x for k, x in chosen.items()}
        return value, (slow, metrics)

    def init(key: Key) -> Params:
        manager_key, worker_key, coder_key = jax.random.split(key, 3)
        return {
            MANAGER: manager.init(manager_key), WORKER: worker.init(worker_key), CODER: aims.init(coder_key),
        }  # fmt: skip

    rates = {CODER: settings["coder_learning_rate"]}
    slow_parts = {}
    for name, parts, rewards in ((MANAGER, manager, ("task", "novelty")), (WORKER, worker, ("goal", *task_share))):
        rates[f"{name}/actor"] = settings["actor_learning_rate"]
        rates |= {f"{name}/critic/{reward}": settings["critic_learning_rate"] for reward in rewards}
        slow_parts |= {f"{name}/{part}": slow for part, slow in parts.slow.items()}
    slow_parts |= {
        f"{CODER}/{part}": SlowPart(lambda params, state=state: jax.tree.map(jnp.copy, state))
        for part, state in aims.slow.items()
    }
    learner = imagination.make_learner(
        model, init, imagined, behaviour, slow_parts, rates, settings, levels({CODER: Level(aims.loss)})
    )

    def hold(skill: int, *, sample: bool = False) -> Policy:
        return model.believe(acting(asking(asks, aims.held[skill]), does if sample else does_best))

    def propose(params: Params, deter: Array, key: Key) -> dict[str, dict[str, Array]]:
        goal_key, look_key = jax.random.split(key)
        asked = aims.random(params[CODER], deter, goal_key)
        return {name: model.looks(params, goal, look_key) for name, goal in asked.items()}

    return Agent(
        learner,
        explore=model.believe(imagining, settings["noise"]),
        exploit=model.believe(acting(asking(asks, aims.at_evaluation), does_best)),
        hold=hold,
        skills=len(aims.held),
        dream=model.open_loop,
        propose=propose,
        coders=aims.names,
    )


# --- goals, from settings ---
def code_kind(settings: Mapping[str, Any]) -> Kind:
    """The distribution of codes that a coder says."""
    kinds = {"one_hot": latents.categorical, "relaxed": latents.relaxed}
    if settings["code_samples"] not in kinds:
        raise ValueError(
            f"code_samples '{settings['code_samples']}' is not known; choose {' or '.join(kinds)} in agent.code_samples"
        )
    return kinds[settings["code_samples"]](settings["codes"], settings["code_classes"])


def uniform_codes(key: Key, shape: tuple[int, ...], settings: Mapping[str, Any]) -> Array:
    """Codes [*shape, codes * classes] drawn uniformly."""
    draws = jax.random.randint(key, (*shape, settings["codes"]), 0, settings["code_classes"])
    return jax.nn.one_hot(draws, settings["code_classes"]).reshape(*shape, -1)


def manager_head(settings: Mapping[str, Any]) -> ActionHead:
    """One code of the manager."""
    return action_heads.one_hot(settings["codes"], settings["code_classes"], settings["code_unimix"])


def coder_weight(settings: Mapping[str, Any]) -> scale.AdaptiveWeight | None:
    """The weight of a coder's KL."""
    return scale.adaptive_weight(settings["coder_kl_target"]) if settings["coder_kl_target"] else None


def make_coders(names: tuple[str, ...], settings: Mapping[str, Any], *, context: bool) -> goal_coder.GoalCoders:
    """Coders of goals in the memory of a world model."""
    size = settings["codes"] * settings["code_classes"]
    return goal_coder.make(
        names,
        size=settings["deter"],
        code=size,
        outputs=size,
        hidden=settings["coder_hidden"],
        context=context,
        style=Style(settings["activation"], settings["norm"], "glorot"),
        last=settings["output_scale"],
        dtype=jnp.dtype(settings["dtype"]),
    )


def coder_of(coders: goal_coder.GoalCoders, group: Callable[[Params], Params], i: int = 0, offset: int = 0) -> Coder:
    """Coder `i` of `coders`, whose parameters are a group of the child `coder`."""
    return Coder(
        lambda params, context, goal: coders.encode(group(params), context, goal, i),
        lambda params, context, code: coders.decode(group(params), context, code, i),
        offset,
    )

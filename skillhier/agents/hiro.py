"""HIRO (Nachum et al., 2018): a manager sets goals, changes of the state that a worker is to bring about; both by TD3.

Read in order: ops/relative_goals.py (goals), agents/goal_space.py (of which state), losses/td3.py, agents/td3.py,
policies/hierarchy.py. Parameters are manager/{actor, critic}, worker/{actor, critic}, and the frozen `encoders`.

The policy's choice is a goal's target, state + goal at the row of the choice. It is held; what is left of it at a later
row, target - state, is the goal as HIRO moves it from row to row, and is what the worker sees. Batches are windows of
at least period + 1 rows, 2 periods at best: the manager learns from one whole goal of each, the worker from the first
transition. The first rows of a run may be random actions (5 episodes in the released code).
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from skillhier.agents import goal_space, slow, td3
from skillhier.agents.goal_space import GoalSpace
from skillhier.agents.learner import MAX_CONSECUTIVE_SKIPS, learner, loss_every
from skillhier.agents.optimisers import by_child
from skillhier.losses.levels import Level, levels
from skillhier.losses.td3 import td3_loss
from skillhier.nets import encoder
from skillhier.ops import relative_goals, temporal
from skillhier.policies.flat import flat
from skillhier.policies.hierarchy import hierarchy
from skillhier.types import Agent, Array, Key, Params, Policy, Slow, SlowLoss, Spec, Trajectory

NOTE, LEFT = "goal", "goal_left"  # the target of the goal in force, and what is left of it
# The released code's settings; sizes of noise are in units of half the range of goals or actions.
DEFAULTS = {
    "goal": (),  # entries, or slices as "position[:3]", whose changes are goals; none: known robots' own, else all
    "goal_half_range": (),  # largest change, one or one for each entry or number; none: known robots' own, else 1
    "goal_velocity": 1.0,  # largest change of velocities in known robots' own goals, m/s; 5 suits running
    "high": (),  # entries that the manager sees; none: all that are not privileged
    "low": (),  # the same of the worker
    "period": 10,  # control steps of a goal
    "hidden": (300, 300),  # widths of all layers
    "gamma": 0.99,  # discount of a control step for the worker, of a goal for the manager
    "reward_scale": 0.1,  # of the sum of rewards that the manager is paid for a goal
    "learning_rate": 1e-3,  # of Adam, for critics
    "actor_learning_rate": 1e-4,  # of Adam, for actors
    "delay": 2,  # updates of a critic for one of its actor and of its target copies
    "tau": 0.005,  # share by which target copies move
    "manager_every": 10,  # updates of the worker for one of the manager
    "worker_transitions": 1,  # of each window, that the worker learns from; 0: all
    "smoothing_stddev": 0.2,  # noise of the actions that target critics value
    "smoothing_clip": 0.5,  # where that noise is clipped
    "goal_noise": 0.1,  # standard deviation of exploration, of goals
    "action_noise": 0.1,  # the same of actions
    "corrections": 8,  # goals drawn to find the one that explains best what the worker did; 0: goals stay as they were
    "max_consecutive_skips": 10,  # updates in a row left out for NaN or Inf before the run stops
}

Reward = Callable[[Params, Trajectory, Key], Array]  # [T, B], paid on arriving at a row


class Beside(NamedTuple):
    """A level that learns beside manager and worker."""

    init: Callable[[Key], Params]
    level: Level
    learning_rate: float  # of Adam


def make(
    spec: Spec,
    *,
    goal: Sequence[str] = (),
    goal_half_range: float | Sequence[float] = (),
    goal_velocity: float = 1.0,
    worker_reward: Reward | None = None,
    **settings: Any,
) -> Agent:
    """HIRO; the first three as goal_space.make, the rest as `two_levels`. The worker is paid for coming near its goal,
    if no other reward is given.
    """
    space = goal_space.make(spec, goal, goal_half_range, goal_velocity)
    return two_levels(spec, space, worker_reward or goal_reward(space), **settings)


def goal_reward(space: GoalSpace) -> Reward:
    """Minus the distance from a row to the target that was in force at the row before."""

    def reward(params: Params, batch: Trajectory, key: Key) -> Array:
        state = space.read(batch.step.obs)
        paid = relative_goals.distance_reward(batch.extras[NOTE][:-1] - state[1:])
        return jnp.concatenate([jnp.zeros_like(paid[:1]), paid])

    return reward


def two_levels(
    spec: Spec,
    space: GoalSpace,
    worker_reward: Reward,
    *,
    first_row: int = 0,
    beside: Mapping[str, Beside] = MappingProxyType({}),
    high: Sequence[str] = (),
    low: Sequence[str] = (),
    period: int = 10,
    hidden: Sequence[int] = (300, 300),
    gamma: float = 0.99,
    reward_scale: float = 0.1,
    learning_rate: float = 1e-3,
    actor_learning_rate: float = 1e-4,
    delay: int = 2,
    tau: float = 0.005,
    manager_every: int = 10,
    worker_transitions: int = 1,
    smoothing_stddev: float = 0.2,
    smoothing_clip: float = 0.5,
    goal_noise: float = 0.1,
    action_noise: float = 0.1,
    corrections: int = 8,
    statistics: Mapping | None = None,
    max_consecutive_skips: int = MAX_CONSECUTIVE_SKIPS,
    dtype: Any = jnp.float32,
) -> Agent:
    """A manager whose goals lie in `space`, and a worker that is paid `worker_reward`; settings as in DEFAULTS.

    first_row   of a window that the worker learns from: where its reward looks back, rows before it are not paid
    beside      further levels, by name
    statistics  entry -> (mean [d], std [d]) by which the networks' inputs are whitened; goals are not
    dtype       of the products in networks
    """
    counts = {"period": (period, 1), "manager_every": (manager_every, 1), "delay": (delay, 1)}
    for setting, (value, least) in {**counts, "worker_transitions": (worker_transitions, 0)}.items():
        if value < least:
            raise ValueError(f"{setting} must be >= {least}, got {value}; set agent.{setting}")
    names = {"manager": _vectors(spec, high, "high"), "worker": _vectors(spec, low, "low")}
    encoders = {level: encoder.whitened(spec.obs, entries, statistics) for level, entries in names.items()}
    manager = td3.controller(-space.half_range, space.half_range, hidden, dtype)
    worker = td3.controller(*td3.action_range(spec), hidden, dtype)

    def init(key: Key) -> Params:
        manager_key, worker_key, *keys = jax.random.split(key, 2 + len(beside))
        statistics = {level: one.init(key) for level, one in encoders.items()}
        params, blank = {"encoders": statistics}, encoder.blank(spec.obs, tuple(spec.obs))
        seen = manager_sees(params, blank), worker_sees(params, blank, space.read(blank))
        both = {"manager": manager.init(manager_key, seen[0]), "worker": worker.init(worker_key, seen[1])}
        others = {name: one.init(k) for k, (name, one) in zip(keys, beside.items(), strict=True)}
        return {**params, **both, **others}

    def manager_sees(params: Params, obs: Mapping[str, Array]) -> Array:
        return encoders["manager"].apply(params["encoders"]["manager"], obs)

    def worker_sees(params: Params, obs: Mapping[str, Array], left: Array) -> Array:
        """[..., F + G], where `left` [..., G] may have leading axes that the observations have not."""
        x = encoders["worker"].apply(params["encoders"]["worker"], obs)
        return jnp.concatenate([jnp.broadcast_to(x, (*left.shape[:-1], x.shape[-1])), left], -1)

    def acting(exploring: bool) -> Policy:
        def set_goal(params, obs, key):
            goal = manager.act(params["manager"], manager_sees(params, obs))
            goal = manager.explore(goal, goal_noise, key) if exploring else goal
            return space.read(obs) + goal, {}

        def pursue(params, obs, key):
            action = worker.act(params["worker"], worker_sees(params, obs, obs[LEFT]))
            return worker.explore(action, action_noise, key) if exploring else action, {}

        return hierarchy(
            flat(set_goal),
            flat(pursue),
            period,
            condition=lambda params, step, target: {LEFT: target - space.read(step.obs)},
            name=NOTE,
            initial_choice=lambda worlds: jnp.zeros((worlds, len(space.half_range))),
        )

    def goals(params: Params, batch: Trajectory, rows: Array, key: Key) -> Array:
        """The goals from rows[0] to rows[1] [2, B], corrected for what the worker has become: [B, G]."""
        state, passed = space.read(batch.step.obs), rows[0] + jnp.arange(period)[:, None]  # [C, B]
        within = jnp.minimum(passed, len(state) - 1)
        window, state_then = temporal.take_rows(batch, within), temporal.take_rows(state, within)
        goal = window.extras[NOTE][0] - state_then[0]
        if not corrections:
            return goal
        return relative_goals.corrected(
            key,
            lambda left: worker.act(params["worker"], worker_sees(params, window.step.obs, left)),
            goal,
            state_then,
            temporal.take_rows(state, rows[1:])[0],
            window.action,
            passed < rows[1],
            goal_range=space.half_range,
            action_range=0.5 * (worker.high - worker.low),
            draws=corrections,
        )

    def manager_rows(params: Params, batch: Trajectory) -> tuple[Array, Array]:
        x = manager_sees(params, batch.step.obs)
        return x[:-1], x[1:]

    def worker_rows(params: Params, batch: Trajectory) -> tuple[Array, Array]:
        """The goal of a row is in force at the next one too, moved: a goal's last transition bootstraps from itself."""
        state, target = space.read(batch.step.obs), batch.extras[NOTE][:-1]
        before, after = (jax.tree.map(lambda x, cut=cut: x[cut], batch.step.obs) for cut in (slice(-1), slice(1, None)))
        return worker_sees(params, before, target - state[:-1]), worker_sees(params, after, target - state[1:])

    def td3_of(level: td3.Controller, see: Callable) -> SlowLoss:
        noise = {"smoothing_stddev": smoothing_stddev, "smoothing_clip": smoothing_clip}
        return td3_loss(level.act, level.value, see, low=level.low, high=level.high, gamma=gamma, **noise)

    learn_goals = td3_of(manager, manager_rows)

    def manager_loss(params: Params, slow_now: Slow, batch: Trajectory, key: Key):
        if len(batch.step.first) <= period:
            raise ValueError(
                f"windows of {len(batch.step.first)} rows hold no goal of {period}; "
                f"set train.sequence_length to {2 * period} or more"
            )
        goal_key, loss_key = jax.random.split(key)
        segment, rows = temporal.first_segment(batch, NOTE)
        goal = jax.lax.stop_gradient(goals(params, batch, rows, goal_key))
        return learn_goals(params, slow_now, segment._replace(action=jnp.stack([goal, goal])), loss_key)

    def worker_view(params: Params, batch: Trajectory) -> Trajectory:
        end = first_row + worker_transitions + 1 if worker_transitions else None
        return jax.tree.map(lambda x: x[first_row:end], batch)

    loss = levels(
        {
            "manager": Level(
                loss_every(manager_every, manager_loss),
                reward=lambda params, batch, key: reward_scale * batch.step.reward,
            ),
            "worker": Level(td3_of(worker, worker_rows), worker_view, worker_reward),
            **{name: one.level for name, one in beside.items()},
        }
    )
    periods = {"manager": manager_every, "worker": 1}
    rates = {"learning_rate": learning_rate, "actor_learning_rate": actor_learning_rate}
    learning, parts = {"encoders": None}, {"manager/updates": slow.counter()}
    learning |= {name: optax.adam(one.learning_rate) for name, one in beside.items()}
    for level, every in periods.items():
        learning |= td3.optimisers(level, delay=delay, period=every, **rates)
        parts |= td3.targets(level, tau=tau, delay=delay, period=every)
    return Agent(
        learner(init, loss, by_child(learning), slow.combined(parts), max_consecutive_skips=max_consecutive_skips),
        explore=acting(True),
        exploit=acting(False),
        replay_extras={
            NOTE: jax.ShapeDtypeStruct(space.half_range.shape, jnp.float32),
            f"{NOTE}_renewed": jax.ShapeDtypeStruct((), jnp.bool_),
        },
    )


def _vectors(spec: Spec, names: Sequence[str], setting: str) -> tuple[str, ...]:
    """The named entries, or all visible ones. Raises ValueError where one is no vector."""
    names = tuple(names) or spec.visible
    for name in names:
        if name in spec.obs and len(spec.obs[name].shape) != 2:
            shape = list(spec.obs[name].shape[1:])
            raise ValueError(f"hiro learns from vectors, '{name}' has shape {shape}; name others in agent.{setting}")
    return names

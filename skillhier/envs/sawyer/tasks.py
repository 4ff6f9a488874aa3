"""Stacking one object on another, and the pyramid, as tasks of one world.

`make(objects, pair, ...) -> batch.Task`: the public RGB-stacking environment (20 Hz, 400 steps, no end but
the clock), with the action delay and the physics randomisation of HeLMS as settings.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco

from skillhier.envs import batch, limits, physics, unrolled
from skillhier.envs.sawyer import bank as banks
from skillhier.envs.sawyer import controller, objects, observations, posing, rewards, sensing
from skillhier.envs.sawyer import model as scenery
from skillhier.envs.sawyer import randomise as randomisation
from skillhier.types import Array, Bounds, Key

LIMIT = limits.LIMITS["sawyer"]  # control steps
REACH = 10.0  # m, rad: joints turn by less, and objects get further only if thrown by a solver failure
ALL, PYRAMID = "all", "pyramid"  # goals beside a pair
SUCCESS = "task.success"  # the entry of the public success test


class Memory(NamedTuple):
    """The task's memory of one world."""

    pair: Array  # [2] int32 top and bottom object
    ticks: Array  # [] of the fingers, in the last frame
    grasp: Array  # [] reading of the last frame
    finger: observations.Finger  # in the last frame
    opening_load: sensing.Load  # shown in the row that opens the episode


@lru_cache(maxsize=16)
def world(names: tuple, timestep: float, engine: str, worlds: int) -> tuple[physics.Physics, scenery.Layout]:
    """Physics of three objects and the layout of its record; cached, so that all tasks on these objects share it."""
    substeps = round(controller.INTERVAL / timestep)
    if substeps < 1 or abs(substeps * timestep - controller.INTERVAL) > 1e-9:
        raise ValueError(
            f"timestep must divide {controller.INTERVAL} s, got {timestep} s; "
            "set env.timestep to 0.002, 0.0025, 0.005, or 0 for the engine's default"
        )
    model = scenery.build(names, timestep=timestep, cone=scenery.CONES[engine])
    engines = physics.make(model, substeps=substeps, engine=engine, worlds=worlds, reach=REACH)
    return engines, scenery.layout(model)


class Goal(NamedTuple):
    """The rewards and privileged entries of a task, as functions of one scene and its pair."""

    pairs: Array  # [n, 2] int32; world i has pair i mod n
    reward_of: Callable[[rewards.Scene, Array], Array]  # -> []
    privileged: Callable[[rewards.Scene, Array], dict[str, Array]]  # privileged entries
    sizes: dict[str, int]  # their sizes


def stacking(pair: tuple[int, int] | str, reward: str, play: float) -> Goal:
    """Object `pair[0]` on object `pair[1]` (0 red, 1 green, 2 blue)."""
    reward_of = _reward_function(reward, rewards.STACKING)
    if pair != ALL and tuple(pair) not in rewards.PAIRS:
        raise ValueError(f"pair {pair} is not known; choose '{ALL}' or one of {rewards.PAIRS} (red 0, green 1, blue 2)")

    def privileged(scene: rewards.Scene, pair: Array) -> dict[str, Array]:
        top, bottom = pair
        return {
            "task.pair": pair.astype(jnp.float32),
            "task.stack": jnp.stack([rewards.stack(scene, top, bottom, p) for p in (0.0, play)]),
            SUCCESS: rewards.success(scene, top, bottom)[None],
            "task.staged": rewards.sparse_staged(scene, top, bottom, play)[None],
        }

    pairs = jnp.array(rewards.PAIRS if pair == ALL else [pair], jnp.int32)
    sizes = {"task.pair": 2, "task.stack": 2, SUCCESS: 1, "task.staged": 1}
    return Goal(pairs, lambda scene, pair: reward_of(scene, *pair, play), privileged, sizes)


def pyramid(reward: str, constants: rewards.Pyramid) -> Goal:
    """Red beside green, and blue on both."""
    reward_of = _reward_function(reward, rewards.PYRAMID)

    def privileged(scene: rewards.Scene, pair: Array) -> dict[str, Array]:
        return {
            SUCCESS: rewards.pyramid_success(scene, constants)[None],
            "task.staged": rewards.PYRAMID["sparse_staged"](scene, constants)[None],
        }

    pairs = jnp.array([[2, 0]], jnp.int32)  # unused
    return Goal(pairs, lambda scene, pair: reward_of(scene, constants), privileged, {SUCCESS: 1, "task.staged": 1})


def make(
    names: tuple[str, str, str],
    goal: tuple[int, int] | str,
    *,
    reward: str = "dense",
    play: float = rewards.PLAY,
    constants: rewards.Pyramid | None = None,
    timestep: float = 0.0,
    engine: str = "auto",
    worlds: int = 1,
    randomise: bool = False,
    spread: float = randomisation.SPREAD,
    starts: int = 1000,
    bang_bang: bool = True,
) -> batch.Task:
    """A task with the three objects `names` (red, green, blue).

    goal: a pair (top, bottom) of 0 red, 1 green, 2 blue; "all": world i has the i-th pair of six; "pyramid".
    reward: dense, sparse_staged or sparse; for stacking also stack_leave and success.
    play (m) widens the height tolerance of `stack`; 0 is the public rule. constants are the pyramid's.
    timestep (s) of the physics, 0 for the engine's default (model.STEPS); engine auto, native, mjx or warp; worlds
    sizes warp's buffers.
    randomise draws masses, frictions, ... for every episode, within a share `spread` of the model's values.
    starts: rows of the bank of episode starts, computed at first use (some seconds) and cached on disk.
    bang_bang: the fingers open or close at full speed, as in the public environment, not in proportion.

    Privileged entries, whatever the reward: `task.success` [1], the public success test (the pyramid
    stands); `task.staged` [1], the sparse staged reward; for stacking `task.pair` [2] and `task.stack`
    [2], the stack term by the public rule and with `play`.
    """
    if goal == PYRAMID:
        pairs, reward_of, privileged, sizes = pyramid(reward, constants or rewards.Pyramid())
    else:
        pairs, reward_of, privileged, sizes = stacking(goal, reward, play)
    names = tuple(objects.known(name) for name in names)
    engine = physics.resolve(engine)
    engines, layout = world(names, timestep or scenery.STEPS[engine], engine, worlds if engine == "warp" else 1)
    model: mujoco.MjModel = engines.model
    unloaded = sensing.unloaded(model)

    def start(key: Key, index: Array) -> tuple[physics.State, Memory]:
        k_arm, k_objects, k_params = jax.random.split(key, 3)
        bank = starts_of(names, starts)
        arm, rates, targets, load = _random_row(k_arm, bank.arms, bank.rates, bank.targets, bank.loads)
        (poses,) = _random_row(k_objects, bank.objects)
        qpos = jnp.asarray(model.qpos0, jnp.float32).at[layout.arm].set(arm).at[layout.objects].set(poses)
        qvel = jnp.zeros((model.nv,), jnp.float32).at[layout.arm].set(rates)
        act = jnp.zeros((model.na,), jnp.float32).at[layout.arm].set(targets)
        params = randomisation.randomise(model, k_params, spread=spread) if randomise else {}
        state = physics.initial(model, qpos, qvel, act, params)
        return state, opening(layout, state, pairs[index % len(pairs)], load)

    def pose(frame: dict[str, Array], index: Array) -> tuple[physics.State, Memory]:
        state = posing.state(model, layout, frame)
        load = jnp.concatenate([frame[name] for name in ("sawyer.joints.torque", "wrist.force", "wrist.torque")])
        return state, opening(layout, state, pairs[index % len(pairs)], load)

    def fingers(action: Array) -> Array:
        return jnp.where(action[4] > 0, 1.0, -1.0) if bang_bang else action[4]

    def control(data: physics.Data, memory: Memory, action: Array) -> tuple[physics.State, Array]:
        joints, speed = controller.command(
            unrolled.take(data.state.qpos, layout.arm), action.at[4].set(fingers(action))
        )
        return data.state, unrolled.put(model.nu, (layout.arm, joints), (layout.gripper, speed))

    def observe(data: physics.Data, memory: Memory, action: Array) -> tuple[dict[str, Array], Memory]:
        finger = observations.finger(layout, data.state)
        ticks = observations.whole_ticks(finger.angle)
        grasp = observations.grasp_reading(layout, data, controller.FINGER * fingers(action))
        load = unloaded(
            data.xpos, data.xmat, data.site_xpos, data.site_xmat, data.sensordata, before=memory.opening_load
        )
        moved = observations.ticks_moved(memory.finger, finger, controller.INTERVAL)
        shown = observations.frame(layout, data, load, ticks, moved, grasp)
        memory = memory._replace(ticks=ticks, grasp=grasp, finger=finger)
        return shown | privileged(observations.scene(layout, data, ticks, grasp), memory.pair), memory

    def reward_and_discount(data: physics.Data, memory: Memory) -> tuple[Array, Array]:
        scene = observations.scene(layout, data, memory.ticks, memory.grasp)
        return reward_of(scene, memory.pair), jnp.ones(())

    return batch.Task(
        physics=engines,
        obs=observations.shapes(observations.PROPRIO | observations.OBJECTS | sizes),
        action=Bounds((5,), -1.0, 1.0),
        interval=controller.INTERVAL,
        limit=LIMIT,
        start=start,
        control=control,
        observe=observe,
        reward_and_discount=reward_and_discount,
        privileged=tuple(sizes),
        success=SUCCESS,
        pose=pose,
    )


@lru_cache(maxsize=16)
def starts_of(names: tuple, size: int) -> banks.Bank:
    """The bank of starts of three objects; loaded when the first world is traced."""
    with jax.ensure_compile_time_eval():
        return banks.load(names, size)


def opening(layout: scenery.Layout, state: physics.State, pair: Array, load: Array) -> Memory:
    """The memory of a world at `state`, where an episode opens that shows `load` [13]."""
    zero = jnp.zeros(())
    load = sensing.Load(load[:7], load[7:10], load[10:])
    return Memory(pair, zero, zero, observations.finger(layout, state), load)


def _random_row(key: Key, *tables) -> tuple[Array, ...]:
    """The same random row of each table."""
    row = jax.random.randint(key, (), 0, len(tables[0]))
    return tuple(jnp.asarray(table)[row] for table in tables)


def _reward_function(reward: str, kinds: dict):
    if reward not in kinds:
        raise ValueError(f"reward '{reward}' is not known; choose {', '.join(kinds)} in env.reward")
    return kinds[reward]

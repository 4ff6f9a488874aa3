"""Quadruped tasks of the control suite, and those of LSP on top of them, as tasks of one world.

All share one model, one layout of observations and one set of privileged entries (`quadruped_goals.PRIVILEGED`), so a
policy or stored rows of one can serve another. Walk and run pay as the suite does; a robot that merely stands upright
is paid 500 of 1000 there. Source: the LSP fact sheet, section 4; the suite's numbers are the dm_control package's.
"""

from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from skillhier.envs import batch, physics
from skillhier.envs.dmc import quadruped_goals as goals
from skillhier.envs.dmc import quadruped_model as scenery
from skillhier.envs.dmc import suite
from skillhier.types import Array, Bounds, Key

INTERVAL, SUBSTEPS = 0.02, 4  # s of a control step; physics steps of 5 ms in it
PROPRIO = {"egocentric_state": 44, "torso_velocity": 3, "torso_upright": 1, "imu": 6, "force_torque": 24}
LAYOUTS = ("transfer", "suite")


class Memory(NamedTuple):
    """The task's memory of one world."""

    goal: Array  # [] int32, which of the goals
    target: Array  # [3] m, shown or not


@lru_cache(maxsize=16)
def world(profile: str, arena: bool, pillar: tuple[float, float], engine: str, worlds: int):
    """(physics, the robot's indices in its record), cached, so that all tasks share it."""
    model = scenery.build(profile, arena, *pillar)
    return physics.make(model, substeps=SUBSTEPS, engine=engine, worlds=worlds), scenery.robot(model)


def make(
    aims: tuple[goals.Goal, ...],
    *,
    layout: str = "transfer",
    pillar: tuple[float, float] = (0.5, 1.0),
    profile: str = "auto",
    engine: str = "auto",
    worlds: int = 1,
) -> batch.Task:
    """A task in which world i is after `aims[i mod n]`. The settings are those that all tasks below have.

    layout: `transfer` shows target and obstacles, zeros where a task has none, in one model for all tasks; `suite` is
    the suite's own 78 numbers in a model without an arena (for tasks that need none).
    pillar: radius and height of a pillar, m.
    profile: `parity`, the suite's own physics; `fast`, for accelerators (quadruped_model.build); `auto`, parity under
    engine native and fast under the others. engine: auto, native, mjx or warp; worlds sizes warp's buffers.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout '{layout}' is not known; choose {' or '.join(LAYOUTS)} in env.layout")
    engine = physics.resolve(engine)
    if profile == "auto":
        profile = "parity" if engine == "native" else "fast"
    arena = layout == "transfer"
    engines, robot = world(profile, arena, tuple(pillar), engine, worlds if engine == "warp" else 1)
    stretch = suite.stretched(engines.model)
    shown = np.array([aim.shown for aim in aims])

    def start(key: Key, index: Array) -> tuple[physics.State, Memory]:
        k_turn, k_place = jax.random.split(key)
        goal = jnp.asarray(index, jnp.int32) % len(aims)
        pick = lambda *leaves: jnp.stack(leaves)[goal]  # noqa: E731
        turn = pick(*(aim.turn(k_turn) for aim in aims))
        places = jax.tree.map(pick, *(aim.place(k_place) for aim in aims))
        qpos = jnp.asarray(engines.model.qpos0, jnp.float32).at[:2].set(0.0)
        qpos = qpos.at[2].set(scenery.clearance(robot.hull, turn)).at[3:7].set(turn)
        state = physics.initial(engines.model, qpos)
        if arena:
            away = jnp.array([0.0, 0.0, scenery.PARKED])
            target = jnp.where(jnp.asarray(shown)[goal], places.target, away)
            state = state._replace(mocap_pos=jnp.concatenate([places.pillars, target[None]]))
        return state, Memory(goal, places.target)

    def entries(data: physics.Data, memory: Memory) -> dict[str, Array]:
        return {
            "task.torso": data.xpos[robot.torso],
            "task.frame": data.xmat[robot.torso].reshape(9),
            "task.velocity": data.sensordata[robot.velocity],
            "task.target": memory.target,
        }

    def observe(data: physics.Data, memory: Memory, action: Array) -> tuple[dict[str, Array], Memory]:
        privileged = entries(data, memory)
        torso, frame = privileged["task.torso"], privileged["task.frame"]
        state = data.state
        frame_entries = {
            "egocentric_state": jnp.concatenate([state.qpos[robot.hinges], state.qvel[robot.hinges - 1], state.act]),
            "torso_velocity": privileged["task.velocity"],
            "torso_upright": frame[8:],
            "imu": data.sensordata[robot.imu],
            "force_torque": jnp.arcsinh(data.sensordata[robot.feelers]),
        }
        if arena:
            target = goals.toward(torso, frame, memory.target)
            frame_entries["target_position"] = jnp.where(jnp.asarray(shown)[memory.goal], target, 0.0)
            frame_entries["obstacle_positions"] = goals.around(torso, frame, state.mocap_pos[: scenery.SLOTS])
        return frame_entries | privileged, memory

    def reward_and_discount(data: physics.Data, memory: Memory) -> tuple[Array, Array]:
        privileged = entries(data, memory)
        return jnp.stack([aim.reward(privileged) for aim in aims])[memory.goal], jnp.ones(())

    sizes = PROPRIO | (goals.TRANSFER_ENTRIES if arena else {}) | goals.PRIVILEGED
    return batch.Task(
        physics=engines,
        obs={name: jax.ShapeDtypeStruct((size,), jnp.float32) for name, size in sizes.items()},
        action=Bounds((engines.model.nu,), -1.0, 1.0),
        interval=INTERVAL,
        limit=suite.LIMIT,
        start=start,
        control=lambda data, memory, action: (data.state, stretch(action)),
        observe=observe,
        reward_and_discount=reward_and_discount,
        privileged=tuple(goals.PRIVILEGED),
        relabel=partial(goals.relabel, aims[0]) if len(aims) == 1 else None,
    )


def move(
    *,
    speed: float = goals.WALK,
    start: str = "random",
    yaw: float = 180.0,
    layout: str = "transfer",
    profile: str = "auto",
    engine: str = "auto",
    worlds: int = 1,
) -> batch.Task:
    """The suite's walk (`speed` 0.5 m/s) and run (5 m/s): upright times forward speed.

    start: `random`, any orientation, as in the suite; `upright`, turned by at most `yaw` degrees. The rest: `make`.
    """
    goal = goals.Goal(
        goals.turned(start, yaw), goals.free(), False, partial(goals.moving, speed=positive("speed", speed))
    )
    return make((goal,), layout=layout, profile=profile, engine=engine, worlds=worlds)


def reach(
    *,
    near: float = 3.0,
    far: float = 6.0,
    radius: float = 0.4,
    slack: float = 0.0,
    sparse: bool = False,
    start: str = "random",
    yaw: float = 180.0,
    profile: str = "auto",
    engine: str = "auto",
    worlds: int = 1,
) -> batch.Task:
    """Upright times closeness to a target drawn between `near` and `far` m away.

    Paid in full within `radius` m, nothing from `slack` m beyond the distance at the start; `sparse`: 1 within
    `radius`, else 0. start, yaw: `move`. The rest: `make`.
    """
    _check_radius(radius, near)
    goal = goals.Goal(goals.turned(start, yaw), goals.free(near, far), True, _reach_reward(sparse, radius, slack))
    return make((goal,), profile=profile, engine=engine, worlds=worlds)


def obstacles_random(
    *,
    pillars: int = scenery.SLOTS,
    field: float = 8.0,
    clear: float = 2.0,
    speed: float = goals.WALK,
    start: str = "upright",
    yaw: float = 180.0,
    pillar: tuple[float, float] = (0.5, 1.0),
    profile: str = "auto",
    engine: str = "auto",
    worlds: int = 1,
) -> batch.Task:
    """Walking among `pillars` that stand anywhere within `field` m but not within `clear` m of the start.

    Paid as `move` is, at `speed` (m/s). start, yaw: `move`. The rest: `make`.
    """
    pay = partial(goals.moving, speed=positive("speed", speed))
    goal = goals.Goal(goals.turned(start, yaw), goals.scattered(pillars, field, clear), False, pay)
    return make((goal,), pillar=pillar, profile=profile, engine=engine, worlds=worlds)


def obstacles_line(
    *,
    pillars: int = 5,
    ahead: float = 3.0,
    spacing: float = 1.0,
    shift: float = 1.0,
    goal: float = 6.0,
    radius: float = 0.4,
    slack: float = 0.0,
    sparse: bool = False,
    start: str = "upright",
    yaw: float = 30.0,
    pillar: tuple[float, float] = (0.5, 1.0),
    profile: str = "auto",
    engine: str = "auto",
    worlds: int = 1,
) -> batch.Task:
    """A target `goal` m before the start behind a wall of `pillars`, `ahead` m before the start, `spacing` m apart.

    The wall's middle is drawn within `shift` m to either side. Paid as `reach` is. start, yaw: `move`. Rest: `make`.
    """
    _check_radius(radius, goal)
    place = goals.line(pillars, ahead, spacing, shift, goal)
    reward = _reach_reward(sparse, radius, slack)
    aim = goals.Goal(goals.turned(start, yaw), place, True, reward, goals.ahead_of(goal))
    return make((aim,), pillar=pillar, profile=profile, engine=engine, worlds=worlds)


def obstacles_cove(
    *,
    pillars: int = 7,
    ahead: float = 2.5,
    bend: float = 2.0,
    goal: float = 6.0,
    radius: float = 1.0,
    slack: float = 0.0,
    sparse: bool = True,
    start: str = "upright",
    yaw: float = 30.0,
    pillar: tuple[float, float] = (0.5, 1.0),
    profile: str = "auto",
    engine: str = "auto",
    worlds: int = 1,
) -> batch.Task:
    """A target `goal` m before the start behind a half circle of `pillars` that opens towards the start.

    Its centre is `ahead` m before the start, its radius `bend` m. 1 within `radius` m of the target, else 0; not
    `sparse`: paid as `reach` is. start, yaw: `move`. The rest: `make`.
    """
    _check_radius(radius, goal)
    place = goals.cove(pillars, ahead, bend, goal)
    reward = _reach_reward(sparse, radius, slack)
    aim = goals.Goal(goals.turned(start, yaw), place, True, reward, goals.ahead_of(goal))
    return make((aim,), pillar=pillar, profile=profile, engine=engine, worlds=worlds)


# world -> the constructor of its task
TASKS = {
    "dmc.quadruped_walk": move,
    "dmc.quadruped_walk_upright": partial(move, start="upright"),
    "dmc.quadruped_run": partial(move, speed=goals.RUN),
    "dmc.quadruped_reach": reach,
    "dmc.quadruped_reach_upright": partial(reach, start="upright"),
    "dmc.quadruped_obstacles_random": obstacles_random,
    "dmc.quadruped_obstacles_line": obstacles_line,
    "dmc.quadruped_obstacles_cove": obstacles_cove,
}


def positive(name: str, value: float) -> float:
    """`value`, or an error that names the setting."""
    if value <= 0:
        raise ValueError(f"{name} must be positive, got {value}; set env.{name}")
    return value


def _check_radius(radius: float, near: float) -> None:
    if not 0 < radius < near:
        raise ValueError(f"radius {radius} m is not within 0 and {near} m, where the nearest target is; set env.radius")


def _reach_reward(sparse: bool, radius: float, slack: float):
    return partial(goals.arriving, radius=radius) if sparse else partial(goals.reaching, radius=radius, slack=slack)

"""A scripted stacker as a Policy: pure, batched, from the agent's own observations.

`make(object_set)` knows the three solids of a set and reads from `task.pair` which goes on which. Each
world runs a small state machine whose transitions are decided by what is seen, never by time alone: a
lost grasp, a fallen object or a miss sends it back to the beginning. Each episode, and each attempt in
it, draws its own manner: speed, heights, margins, place of the grasp, pauses, noise.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.envs.sawyer import expert_geometry as geometry
from skillhier.envs.sawyer import objects
from skillhier.envs.sawyer.expert_geometry import FLOOR
from skillhier.types import Array, Key, Policy, TimeStep

REACH, DESCEND, CLOSE, LIFT, CARRY, LOWER, RELEASE, RETREAT, REST, BESIDE, SINK, ROLL = range(12)
STACK, ASIDE, TURN = range(3)  # what is done with the object in work
LOWEST = 0.0705  # m, the hand's workspace ends just below
NEAR, FAR = (0.474, -0.126), (0.726, 0.126)  # m, and sideways
SPEED = 12.75  # ticks that the finger command moves in a control step
LINEAR, GAIN = 0.07, 5.0  # m/s at an action of 1; 1/s from a distance to a velocity
LEVEL = 0.975  # cosine of the tilt up to which a face carries a load
POSES = ("rgb30_red.abs_pose", "rgb30_green.abs_pose", "rgb30_blue.abs_pose")


class Manner(NamedTuple):
    """How one attempt is made; drawn anew for each."""

    speed: Array  # [] share of full speed
    noise: Array  # [] standard deviation added to the arm's action
    margin: Array  # [] m of play around the object between the open fingers
    hover: Array  # [] m above an object before going down on it
    height: Array  # [] m, pinch above the object's centre when grasping
    clear: Array  # [] m between what is carried and what it passes over
    shift: Array  # [2] m off the planned place of the grasp
    rest: Array  # [] m above the stack where the hand waits
    pause: Array  # [] control steps of waiting between two moves


class Memory(NamedTuple):
    """One world's state of mind."""

    phase: Array  # [] int32
    clock: Array  # [] int32 control steps in this phase
    work: Array  # [] int32 the object in work
    aim: Array  # [] int32 what is done with it
    choice: Array  # [] int32 row of geometry.Options
    spot: Array  # [2] m, where it goes if not on the bottom object, or where a push begins
    way: Array  # [2] direction of a push
    length: Array  # [] m of a push
    grip: Array  # [3] m, its centre in the hand when it was grasped
    ticks: Array  # [] finger reading then
    height: Array  # [] m, pinch height one step ago
    sinking: Array  # [] m a step, vertical motion averaged over some steps
    wound: Array  # [] ticks that the finger command has been driven to
    blame: Array  # [3, OPTIONS] of grasps that failed
    fixes: Array  # [] int32 attempts at putting other things right
    manner: Manner
    wander: Array  # [4] slow noise on the arm's action


class Seen(NamedTuple):
    """What one world shows, as the expert reads it."""

    poses: Array  # [3, 7]
    pinch: Array  # [7]
    ticks: Array  # []
    moved: Array  # [] ticks since the last frame
    wrist: Array  # [] rad, minus the last joint
    pair: Array  # [2] int32: top, bottom


def make(object_set: int) -> Policy:
    """The expert for one object set (1 to 5). Its extras note the phase."""
    if object_set not in objects.OBJECT_SETS:
        raise ValueError(f"object set {object_set} is not known; choose {', '.join(map(str, objects.OBJECT_SETS))}")
    table = geometry.tables(objects.OBJECT_SETS[object_set])

    def init(worlds: int) -> Memory:
        return jax.vmap(_fresh)(jax.random.split(jax.random.key(0), worlds))

    def act(params, carry: Memory, step: TimeStep, key: Key):
        seen = _read(step.obs)
        keys = jax.random.split(key, step.first.shape[0])
        carry, action = jax.vmap(lambda *x: _decide(table, *x))(carry, seen, step.first, keys)
        return carry, action, {"phase": carry.phase, "aim": carry.aim, "work": carry.work, "choice": carry.choice, "spot": carry.spot, "way": carry.way}

    return Policy(init, act)


def _read(obs: dict[str, Array]) -> Seen:
    newest = {k: v[:, 0] for k, v in obs.items()}
    return Seen(
        jnp.stack([newest[name] for name in POSES], 1), newest["sawyer.pinch.pose"],
        newest["gripper.joints.angle"][:, 0], newest["gripper.joints.velocity"][:, 0], -newest["sawyer.joints.angle"][:, 6],
        jnp.round(newest["task.pair"]).astype(jnp.int32),
    )  # fmt: skip


def _manner(key: Key) -> Manner:
    k = jax.random.split(key, 9)
    draw = lambda i, low, high, shape=(): jax.random.uniform(k[i], shape, minval=low, maxval=high)  # noqa: E731
    return Manner(
        speed=draw(0, 0.88, 1.0), noise=draw(1, 0.02, 0.12), margin=draw(2, 0.014, 0.026), hover=draw(3, 0.006, 0.02),
        height=draw(4, 0.0, 0.008), clear=draw(5, 0.008, 0.02), shift=draw(6, -0.003, 0.003, (2,)),
        rest=draw(7, 0.05, 0.1), pause=draw(8, 0.0, 3.0),
    )  # fmt: skip


def _fresh(key: Key) -> Memory:
    zero, nought = jnp.zeros((), jnp.int32), jnp.zeros(())
    return Memory(
        zero + REACH, zero, zero, zero, zero, jnp.array([0.6, 0.0]), jnp.zeros(2), nought, jnp.zeros(3), nought, nought, nought, nought,
        jnp.zeros((3, geometry.OPTIONS)), zero, _manner(key), jnp.zeros(4),
    )  # fmt: skip


def _decide(table: geometry.Tables, memory: Memory, seen: Seen, first: Array, key: Key) -> tuple[Memory, Array]:
    """One world, one step."""
    k_fresh, k_manner, k_wander, k_white, k_choice = jax.random.split(key, 5)
    m = jax.tree.map(lambda a, b: jnp.where(first, a, b), _fresh(k_fresh), memory)
    there = geometry.bodies(table, seen.poses)
    top, bottom = seen.pair[0], seen.pair[1]
    third = 3 - top - bottom
    pinch, hand = seen.pinch[:3], geometry.rotation(seen.pinch[3:])

    # --- what is to be done --------------------------------------------------------------------------
    between = seen.poses[top, :3] - seen.poses[bottom, :3]
    stacked = (jnp.linalg.norm(between[:2]) < 0.045) & (between[2] > 0.022) & (there.low[top] > FLOOR + 0.012)
    begin = (m.phase == REACH) & (m.clock == 0)
    over = jnp.linalg.norm(there.com[third, :2] - there.seat[bottom, :2]) < 0.06
    covered = over & (there.low[third] > FLOOR + 0.012)
    crooked = (there.level[bottom] < LEVEL) | ~there.seats[bottom]
    fixes = (m.fixes < 4) & begin
    lies = there.normals[bottom, :, 2].min() < -0.98
    roll = geometry.push(table, there, bottom)
    aside, turn = fixes & covered, fixes & crooked & ~covered
    rolls = turn & lies & (roll.cost < 1.0)
    work = jnp.where(begin, jnp.where(aside, third, jnp.where(turn, bottom, top)), m.work)
    aim = jnp.where(begin, jnp.where(rolls, TURN, jnp.where(aside | turn, ASIDE, STACK)), m.aim)
    spot = jnp.where(begin, jnp.where(rolls, roll.start, _free_spot(there, work)), m.spot)
    way = jnp.where(begin, roll.way, m.way)
    length = jnp.where(begin, roll.length, m.length)
    m = m._replace(phase=jnp.where(rolls, BESIDE, m.phase))
    manner = jax.tree.map(lambda a, b: jnp.where(begin, a, b), _manner(k_manner), m.manner)

    # --- how to hold it ------------------------------------------------------------------------------
    ways = geometry.options(table, there, work, hand[:, 1], seen.wrist, manner.margin)
    cost = ways.cost + m.blame[work]
    noisy = cost + jnp.where(begin, 0.15, 0.0) * jax.random.normal(k_choice, cost.shape)
    change = begin | ((m.phase == REACH) & (cost[m.choice] > cost.min() + 0.5))
    choice = jnp.where(change, noisy.argmin(), m.choice)
    gap = ways.gap[choice]
    room = jnp.minimum(gap + manner.margin, geometry.WIDEST)
    place = jnp.clip(ways.point[choice][:2] + manner.shift, jnp.array(NEAR), jnp.array(FAR))
    depth = geometry.drop(seen.ticks)
    closed_depth = geometry.drop(geometry.ticks_at(gap))
    grasp_height = jnp.maximum(
        jnp.maximum(there.com[work, 2] + manner.height, FLOOR + closed_depth + 0.003),
        jnp.maximum(LOWEST, there.high[work] - 0.045),
    )

    # --- where the hand should be --------------------------------------------------------------------
    is_ = lambda *phases: jnp.isin(m.phase, jnp.array(phases))  # noqa: E731
    low, com = there.low[work], there.com[work]
    seat = jnp.where(aim == STACK, there.seat[bottom, :2], spot)
    support = jnp.where(aim == STACK, there.high[bottom], FLOOR)
    off = seat - com[:2]  # what is carried goes by its own place, not by the hand's
    above = low - support
    ahead = jnp.where(is_(CARRY, LOWER), pinch[:2] + off, jnp.where(is_(BESIDE, SINK), spot, place))
    passing = _passing(there, pinch[:2], ahead, work)
    hover = jnp.maximum(there.high[work], passing) + depth + manner.hover
    low_enough = jnp.maximum(roll.height + depth, LOWEST)
    carry_height = pinch[2] - low + jnp.maximum(support, jnp.maximum(passing, FLOOR + 0.02)) + manner.clear
    level = jnp.where(is_(REACH, BESIDE), hover, jnp.where(is_(CARRY), carry_height, pinch[2]))
    sideways = jnp.where(is_(CARRY, LOWER), off, jnp.where(is_(REACH, DESCEND, BESIDE, SINK), ahead - pinch[:2], 0.0))
    distance = jnp.linalg.norm(sideways)
    pushed = (pinch[:2] - spot) @ way
    sideways = jnp.where(is_(ROLL), spot + way * (pushed + 0.03) - pinch[:2], sideways)

    upward = jnp.select(
        [is_(REACH, CARRY, BESIDE), is_(DESCEND), is_(LIFT), is_(LOWER), is_(RETREAT), is_(SINK)],
        [
            level - pinch[2], grasp_height - pinch[2], 0.03,
            jnp.where(distance < 0.008, -jnp.clip(above + 0.002, 0.004, 0.014), 0.0),
            0.03, low_enough - pinch[2],
        ],
        0.0,
    )  # fmt: skip
    slow = jnp.clip(1.0 - (level - pinch[2] - 0.006) / 0.03, 0.0, 1.0)  # rise before moving sideways
    sideways = sideways * jnp.where(is_(REACH, CARRY, BESIDE), slow, 1.0)
    spin = jnp.where(is_(REACH, DESCEND), ways.turn[choice], 0.0)

    # --- what comes next -----------------------------------------------------------------------------
    sinking = 0.75 * m.sinking + 0.25 * (pinch[2] - m.height)
    stalled = (sinking > -0.0006) & (m.clock > 3)
    grip = hand.T @ (com - pinch)
    lost = is_(LIFT, CARRY, LOWER) & (jnp.linalg.norm(grip - m.grip) > 0.025)
    patient = m.clock >= manner.pause.astype(jnp.int32)
    steady = jnp.abs(seen.ticks - m.ticks) < 2.5
    on_place = (distance < 0.007) & (jnp.abs(ways.turn[choice]) < 0.12)
    at_grasp = (pinch[2] < grasp_height + 0.003) & (distance < 0.006)
    blocked = stalled & (m.clock > 6) & ~at_grasp
    near_grasp = pinch[2] < there.high[work] - 0.012 + depth
    risen = m.clock > 14
    missed = risen & (low < FLOOR + 0.008)
    arrived = (distance < 0.008) & (jnp.abs(level - pinch[2]) < 0.01)
    landed = (above < 0.003) | (stalled & (m.clock > 6) & (above < 0.02) & (distance < 0.008))
    free = seen.ticks < jnp.maximum(m.ticks - 30, 3.0)
    high_enough = pinch[2] > there.high.max() + depth + 0.01 + 0 * manner.rest
    following = jnp.select(
        [
            is_(REACH) & on_place & (pinch[2] < hover + 0.012) & patient,
            is_(DESCEND) & (at_grasp | (blocked & near_grasp)),
            is_(DESCEND) & ((blocked & ~near_grasp) | (m.clock > 60)),
            is_(CLOSE) & (((m.clock > 5) & steady) | (m.clock > 24)),
            lost | (is_(LIFT) & missed),
            is_(LIFT) & ((low > FLOOR + 0.02) | risen),
            is_(CARRY) & arrived & patient,
            is_(CARRY) & (m.clock > 150),
            is_(LOWER) & landed,
            is_(LOWER) & ((distance > 0.03) | (m.clock > 60)),
            is_(RELEASE) & (free | (m.clock > 16)),
            is_(RETREAT) & (aim != STACK) & (m.clock > 5),
            is_(RETREAT) & (high_enough | (m.clock > 40)),
            is_(REST) & ~stacked & (m.clock > 4),
            is_(BESIDE) & (distance < 0.006) & (pinch[2] < hover + 0.02),
            is_(BESIDE) & (m.clock > 120),
            is_(SINK) & ((pinch[2] < low_enough + 0.004) | (stalled & (m.clock > 6))),
            is_(ROLL) & (~crooked | (pushed > length) | (m.clock > 50)),
        ],
        [DESCEND, CLOSE, REACH, LIFT, REACH, CARRY, LOWER, RELEASE, RELEASE, CARRY, RETREAT, REACH, REST, REACH, SINK, REST, ROLL, RETREAT],
        m.phase,
    )
    failed = (lost & ~is_(LOWER)) | (is_(LIFT) & missed) | (is_(DESCEND) & (following == REACH))
    blame = m.blame.at[work, choice].add(jnp.where(failed, 1.2, 0.0))
    fixed = is_(RELEASE, ROLL) & (following == RETREAT) & (aim != STACK)

    # --- the action ----------------------------------------------------------------------------------
    velocity = GAIN * jnp.concatenate([sideways, upward[None]])
    velocity = velocity * jnp.minimum(1.0, LINEAR / (jnp.linalg.norm(velocity) + 1e-9)) / LINEAR
    arm = manner.speed * jnp.concatenate([velocity, jnp.clip(4.0 * spin, -1.0, 1.0)[None]])
    careful = is_(DESCEND, CLOSE, LOWER, RELEASE, SINK)
    wander = 0.8 * m.wander + 0.6 * jax.random.normal(k_wander, (4,))
    noise = 0.7 * wander + 0.7 * jax.random.normal(k_white, (4,))
    arm = arm + noise * manner.noise * jnp.where(careful, 0.4, 1.0)
    wanted = jnp.where(is_(REACH, DESCEND), geometry.ticks_at(room) - 10.0, 0.0)
    firm = is_(LIFT, CARRY, LOWER) & (m.wound < seen.ticks + 30.0)  # full force; further, and opening takes longer
    close = firm | is_(CLOSE, BESIDE, SINK, ROLL) | (is_(REACH, DESCEND) & (seen.ticks + 3 * seen.moved < wanted))
    action = jnp.clip(jnp.concatenate([arm, jnp.where(close, 1.0, -1.0)[None]]), -1.0, 1.0)

    wound = jnp.clip(m.wound + jnp.where(close, SPEED, -SPEED), 0.0, 255.0)
    moved = following != m.phase
    holding = is_(CLOSE) | (is_(LOWER, CARRY) & (following == RELEASE))
    memory = Memory(
        phase=following.astype(jnp.int32), clock=jnp.where(moved, 0, m.clock + 1), work=work, aim=aim, choice=choice,
        spot=spot, way=way, length=length, grip=jnp.where(is_(CLOSE), grip, m.grip), ticks=jnp.where(holding, seen.ticks, m.ticks),
        height=pinch[2], sinking=jnp.where(moved, -0.003, sinking), wound=wound, blame=blame, fixes=m.fixes + fixed,
        manner=manner, wander=wander,
    )  # fmt: skip
    return memory, action


def _passing(there: geometry.Bodies, start: Array, end: Array, work: Array) -> Array:
    """Height of the tallest other object near the straight way between two places [2] of the hand."""
    way = end - start
    share = jnp.clip(((there.com[:, :2] - start) @ way) / (way @ way + 1e-9), 0.0, 1.0)
    nearest = start + share[:, None] * way
    wide = jnp.linalg.norm(there.vertices[..., :2] - there.com[:, None, :2], axis=-1).max(-1)
    inside = jnp.linalg.norm(there.com[:, :2] - nearest, axis=-1) < wide + 0.05
    return jnp.where(inside & (jnp.arange(3) != work), there.high, 0.0).max()


def _free_spot(there: geometry.Bodies, work: Array) -> Array:
    """A place [2] on the flat floor far from the other objects and not far from this one."""
    x, y = jnp.meshgrid(jnp.linspace(0.51, 0.69, 5), jnp.linspace(-0.09, 0.09, 5))
    spots = jnp.stack([x.ravel(), y.ravel()], -1)
    away = jnp.linalg.norm(spots[:, None] - there.com[None, :, :2], axis=-1)  # [25, 3]
    others = jnp.where(jnp.arange(3) == work, 1.0, away).min(-1)
    score = jnp.minimum(others, 0.1) - 0.2 * away[:, work]
    return spots[score.argmax()]

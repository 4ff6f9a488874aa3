"""A scripted stacker as a Policy: pure, batched, from the agent's own observations.

`make(object_set)` knows the three solids of a set and reads from `task.pair` which goes on which. Each
world runs a small state machine whose transitions depend on observations, never on time alone: a lost
grasp, a fallen object or a miss restarts it. Each episode, and each attempt within it, draws its own
manner: speed, heights, margins, place of the grasp, pauses, noise.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.envs.sawyer import expert_geometry as geometry
from skillhier.envs.sawyer import objects
from skillhier.envs.sawyer.expert_geometry import FLOOR, Bodies
from skillhier.types import Array, Key, Policy, TimeStep

REACH, DESCEND, CLOSE, LIFT, CARRY, LOWER, RELEASE, RETREAT, REST, BESIDE, SINK, ROLL = range(12)
STACK, ASIDE, TURN = range(3)  # what is done with the object in work
LOWEST = 0.0705  # m, the hand's workspace ends just below
NEAR, FAR = (0.474, -0.126), (0.726, 0.126)  # m, and sideways
LINEAR, GAIN = 0.07, 5.0  # m/s at an action of 1; 1/s from a distance to a velocity
FIXES = 4  # attempts at most in an episode at putting other things right
PALM = 0.045  # m that the palm keeps above an object's highest point, measured from the pinch
JAMMED = 1.6  # cost of the best grasp above which another object is moved out of the way first
LEVEL = 0.99  # cosine of the tilt up to which a face carries a load
POSES = ("rgb30_red.abs_pose", "rgb30_green.abs_pose", "rgb30_blue.abs_pose")


class Manner(NamedTuple):
    """Parameters of one attempt, drawn for each."""

    speed: Array  # [] share of full speed
    noise: Array  # [] standard deviation added to the arm's action
    margin: Array  # [] m of play around the object between the open fingers
    hover: Array  # [] m above an object before going down on it
    height: Array  # [] m, pinch above the object's centre when grasping
    clear: Array  # [] m between what is carried and what it passes over
    shift: Array  # [2] m off the planned place of the grasp
    pause: Array  # [] control steps of waiting between two moves


class Memory(NamedTuple):
    """The expert's memory of one world."""

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
    blame: Array  # [3, OPTIONS] of grasps that failed
    fixes: Array  # [] int32 attempts at putting other things right
    manner: Manner
    wander: Array  # [4] slow noise on the arm's action


class Observation(NamedTuple):
    """One world's observation, as the expert reads it."""

    poses: Array  # [3, 7]
    pinch: Array  # [7]
    ticks: Array  # []
    moved: Array  # [] ticks in observations.WINDOW
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
        obs = _read(step.obs)
        keys = jax.random.split(key, step.first.shape[0])
        carry, action = jax.vmap(lambda *x: _decide(table, *x))(carry, obs, step.first, keys)
        return carry, action, {"phase": carry.phase, "aim": carry.aim, "work": carry.work}

    return Policy(init, act)


def _read(obs: dict[str, Array]) -> Observation:
    newest = {k: v[:, 0] for k, v in obs.items()}
    return Observation(
        poses=jnp.stack([newest[name] for name in POSES], 1),
        pinch=newest["sawyer.pinch.pose"],
        ticks=newest["gripper.joints.angle"][:, 0],
        moved=newest["gripper.joints.velocity"][:, 0],
        wrist=-newest["sawyer.joints.angle"][:, 6],
        pair=jnp.round(newest["task.pair"]).astype(jnp.int32),
    )


def _manner(key: Key) -> Manner:
    k = jax.random.split(key, 9)
    draw = lambda i, low, high, shape=(): jax.random.uniform(k[i], shape, minval=low, maxval=high)  # noqa: E731
    return Manner(
        speed=draw(0, 0.88, 1.0), noise=draw(1, 0.02, 0.12), margin=draw(2, 0.012, 0.024), hover=draw(3, 0.006, 0.02),
        height=draw(4, 0.0, 0.008), clear=draw(5, 0.008, 0.02), shift=draw(6, -0.003, 0.003, (2,)),
        pause=draw(8, 0.0, 3.0),
    )  # fmt: skip


def _fresh(key: Key) -> Memory:
    zero, nought = jnp.zeros((), jnp.int32), jnp.zeros(())
    return Memory(
        phase=zero + REACH, clock=zero, work=zero, aim=zero, choice=zero, spot=jnp.array([0.6, 0.0]), way=jnp.zeros(2),
        length=nought, grip=jnp.zeros(3), ticks=nought, height=nought, sinking=nought,
        blame=jnp.zeros((3, geometry.OPTIONS)), fixes=zero, manner=_manner(key), wander=jnp.zeros(4),
    )  # fmt: skip


class View(NamedTuple):
    """Quantities derived from observation and plan, on which transitions and action depend."""

    hand: Array  # [3, 3] columns are the hand's axes
    turn: Array  # [] rad to the chosen grasp
    gap: Array  # [] m between the sides to be held
    crooked: Array  # [] bool: the bottom object has no level side up
    stacked: Array  # [] bool
    low: Array  # [] m, lowest point of the object in work
    above: Array  # [] m from there to what it shall stand on
    grip: Array  # [3] m, its centre in the hand
    sideways: Array  # [2] m to where the hand, or what it holds, should be
    distance: Array  # [] m, the same
    level: Array  # [] m, height from which the hand may move sideways
    hover: Array  # [] m, height above everything near
    grasp_height: Array  # [] m
    near_grasp: Array  # [] bool: low enough to close with some hope
    clear_of_all: Array  # [] bool: the fingertips are above all objects
    push_height: Array  # [] m
    pushed: Array  # [] m along the push


def _decide(table: geometry.Tables, memory: Memory, obs: Observation, first: Array, key: Key) -> tuple[Memory, Array]:
    """One step of one world: plan if an attempt begins, act, and make the transitions."""
    k_fresh, k_manner, k_wander, k_white, k_choice = jax.random.split(key, 5)
    memory = jax.tree.map(lambda a, b: jnp.where(first, a, b), _fresh(k_fresh), memory)
    there = geometry.bodies(table, obs.poses)
    memory, view = _plan(table, memory, obs, there, _manner(k_manner), k_choice)
    wander = 0.8 * memory.wander + 0.6 * jax.random.normal(k_wander, (4,))
    noise = 0.7 * wander + 0.7 * jax.random.normal(k_white, (4,))
    action = _action(memory, view, obs, noise)
    memory = _after(memory, view, obs)
    return memory._replace(wander=wander, height=obs.pinch[2]), action


def _plan(
    table: geometry.Tables, memory: Memory, obs: Observation, there: Bodies, manner: Manner, key: Key
) -> tuple[Memory, View]:
    """At the start of an attempt: which object, for what, in which manner. At every step: the grasp and the view."""
    top, bottom = obs.pair[0], obs.pair[1]
    third = 3 - top - bottom
    hand = geometry.rotation(obs.pinch[3:])
    begin = (memory.phase == REACH) & (memory.clock == 0)
    manner = jax.tree.map(lambda new, old: jnp.where(begin, new, old), manner, memory.manner)
    ways = jax.vmap(lambda i: geometry.options(table, there, i, hand[:, 1], obs.wrist, manner.margin))(jnp.arange(3))
    costs = ways.cost + memory.blame

    over = jnp.linalg.norm(there.com[third, :2] - there.seat[bottom, :2]) < 0.06
    covered = over & (there.low[third] > FLOOR + 0.012)
    ease = costs.min(-1)
    apart = jnp.linalg.norm(there.com[:, :2] - there.com[top, :2], axis=-1)
    other = jnp.where(apart[third] < apart[bottom], third, bottom)
    jammed = (ease[top] > JAMMED) & (ease[other] + 0.5 < ease[top]) & (apart[other] < 0.1) & (memory.fixes < 2)
    crooked = (there.level[bottom] < LEVEL) | ~there.seats[bottom]
    fixes = begin & (memory.fixes < FIXES)
    aside = fixes & (covered | jammed)
    turn = fixes & crooked & ~aside
    roll = geometry.push(table, there, bottom)
    lies = there.normals[bottom, :, 2].min() < -0.992
    rolls = turn & lies & (roll.cost < 1.0 + 0.3 * memory.fixes)  # else it is first carried to a better place
    work = jnp.where(aside, jnp.where(covered, third, other), jnp.where(turn, bottom, top))
    work = jnp.where(begin, work, memory.work)
    aim = jnp.where(rolls, TURN, jnp.where(aside | turn, ASIDE, STACK))
    spot = jnp.where(rolls, roll.start, _free_spot(there, work))

    cost = costs[work]
    phase = jnp.where(rolls, BESIDE, memory.phase)
    change = begin | ((phase == REACH) & (cost[memory.choice] > cost.min() + 0.5))
    noisy = cost + jnp.where(begin, 0.15, 0.0) * jax.random.normal(key, cost.shape)
    memory = memory._replace(
        phase=phase, work=work, aim=jnp.where(begin, aim, memory.aim), spot=jnp.where(begin, spot, memory.spot),
        way=jnp.where(begin, roll.way, memory.way), length=jnp.where(begin, roll.length, memory.length),
        choice=jnp.where(change, noisy.argmin(), memory.choice), manner=manner,
    )  # fmt: skip
    chosen = jax.tree.map(lambda rows: rows[work, memory.choice], ways)
    return memory, _view(memory, obs, there, hand, chosen, crooked, roll.height)


def _view(memory, obs, there: Bodies, hand, chosen: geometry.Options, crooked, push_height) -> View:
    """`chosen` is one row of the options; `push_height` [] of the fingertips."""
    top, bottom = obs.pair[0], obs.pair[1]
    work, manner, pinch, now = memory.work, memory.manner, obs.pinch[:3], _now(memory)
    between = obs.poses[top, :3] - obs.poses[bottom, :3]
    stacked = (jnp.linalg.norm(between[:2]) < 0.049) & (between[2] > 0.0205) & (there.low[top] > FLOOR + 0.012)
    low, high, com = there.low[work], there.high[work], there.com[work]
    place = jnp.clip(chosen.point[:2] + manner.shift, jnp.array(NEAR), jnp.array(FAR))
    depth, closed = geometry.drop(obs.ticks), geometry.drop(geometry.ticks_at(chosen.gap))
    grasp_height = jnp.maximum(
        jnp.maximum(com[2] + manner.height, FLOOR + closed + 0.003), jnp.maximum(LOWEST, high - PALM)
    )

    stacks = memory.aim == STACK
    support = jnp.where(stacks, there.high[bottom], FLOOR)
    off = jnp.where(stacks, there.seat[bottom, :2], memory.spot) - com[:2]  # it goes by its own place, not the hand's
    goal = jnp.where(now(CARRY, LOWER), pinch[:2] + off, jnp.where(now(BESIDE, SINK), memory.spot, place))
    passing = _passing(there, pinch[:2], goal, work)
    hover = jnp.maximum(high, passing) + depth + manner.hover
    carrying = pinch[2] - low + jnp.maximum(support, jnp.maximum(passing, FLOOR + 0.02)) + manner.clear
    sideways = jnp.where(now(REACH, DESCEND, CARRY, LOWER, BESIDE, SINK), goal - pinch[:2], 0.0)
    return View(
        hand=hand, turn=chosen.turn, gap=chosen.gap, crooked=crooked, stacked=stacked, low=low, above=low - support,
        grip=hand.T @ (com - pinch), sideways=sideways, distance=jnp.linalg.norm(sideways),
        level=jnp.where(now(REACH, BESIDE), hover, jnp.where(now(CARRY), carrying, pinch[2])), hover=hover,
        grasp_height=grasp_height, near_grasp=pinch[2] < high - 0.012 + depth,
        clear_of_all=pinch[2] > there.high.max() + depth + 0.01,
        push_height=jnp.maximum(push_height + depth, LOWEST), pushed=(pinch[:2] - memory.spot) @ memory.way,
    )  # fmt: skip


def _action(memory: Memory, view: View, obs: Observation, noise: Array) -> Array:
    """The action: [5]."""
    manner, pinch, now = memory.manner, obs.pinch[:3], _now(memory)
    upward = jnp.select(
        [now(REACH, CARRY, BESIDE), now(DESCEND), now(LIFT, RETREAT), now(LOWER), now(SINK)],
        [
            view.level - pinch[2], view.grasp_height - pinch[2], 0.03,
            jnp.where(view.distance < 0.008, -jnp.clip(view.above + 0.002, 0.004, 0.014), 0.0),
            view.push_height - pinch[2],
        ],
        0.0,
    )  # fmt: skip
    ahead = memory.spot + memory.way * (view.pushed + 0.03) - pinch[:2]
    slow = jnp.clip(1.0 - (view.level - pinch[2] - 0.006) / 0.03, 0.0, 1.0)  # rise before moving sideways
    sideways = jnp.where(now(ROLL), ahead, view.sideways * jnp.where(now(REACH, CARRY, BESIDE), slow, 1.0))
    velocity = GAIN * jnp.concatenate([sideways, upward[None]])
    velocity = velocity * jnp.minimum(1.0, LINEAR / (jnp.linalg.norm(velocity) + 1e-9)) / LINEAR
    spin = jnp.where(now(REACH, DESCEND), jnp.clip(4.0 * view.turn, -1.0, 1.0), 0.0)
    careful = now(DESCEND, CLOSE, LOWER, RELEASE, SINK)
    arm = manner.speed * jnp.concatenate([velocity, spin[None]]) + noise * manner.noise * jnp.where(careful, 0.4, 1.0)

    wanted = geometry.ticks_at(jnp.minimum(view.gap + manner.margin, geometry.WIDEST)) - 10.0
    over = pinch[2] > view.hover - 0.015  # lower, closing could take hold of what was just let go
    preshape = (now(DESCEND) | (now(REACH) & over)) & (obs.ticks + 12 * obs.moved < wanted)
    firm = now(LIFT, CARRY, LOWER)  # constant: a clone cannot observe when to ease off, and would open half the time
    close = firm | preshape | now(CLOSE, SINK, ROLL) | (now(BESIDE) & over)
    return jnp.clip(jnp.concatenate([arm, jnp.where(close, 1.0, -1.0)[None]]), -1.0, 1.0)


def _after(memory: Memory, view: View, obs: Observation) -> Memory:
    """The memory after the transitions; the first rule that applies wins."""
    pinch, clock, now = obs.pinch[:3], memory.clock, _now(memory)
    sinking = 0.75 * memory.sinking + 0.25 * (pinch[2] - memory.height)
    stalled = (sinking > -0.0006) & (clock > 3)
    stuck = stalled & (clock > 6)
    patient = clock >= memory.manner.pause.astype(jnp.int32)
    steady = jnp.abs(obs.ticks - memory.ticks) < 2.5
    at_grasp = (pinch[2] < view.grasp_height + 0.003) & (view.distance < 0.006)
    blocked = stuck & ~at_grasp
    lost = now(LIFT, CARRY, LOWER) & (jnp.linalg.norm(view.grip - memory.grip) > 0.025)
    missed = now(LIFT) & (clock > 14) & (view.low < FLOOR + 0.008)
    on_place = (view.distance < 0.007) & (jnp.abs(view.turn) < 0.12) & (pinch[2] < view.hover + 0.012)
    arrived = (view.distance < 0.008) & (jnp.abs(view.level - pinch[2]) < 0.01)
    landed = (view.above < 0.003) | (stuck & (view.above < 0.02) & (view.distance < 0.008))
    free = obs.ticks < jnp.maximum(memory.ticks - 30, 3.0)
    rules = (
        (now(REACH) & on_place & patient, DESCEND),
        (now(DESCEND) & (at_grasp | (blocked & view.near_grasp)), CLOSE),
        (now(DESCEND) & (blocked | (clock > 60)), REACH),
        (now(CLOSE) & (((clock > 5) & steady) | (clock > 24)), LIFT),
        (lost | missed, REACH),
        (now(LIFT) & ((view.low > FLOOR + 0.02) | (clock > 14)), CARRY),
        (now(CARRY) & arrived & patient, LOWER),
        (now(CARRY) & (clock > 150), RELEASE),
        (now(LOWER) & landed, RELEASE),
        (now(LOWER) & ((view.distance > 0.03) | (clock > 60)), CARRY),
        (now(RELEASE) & (free | (clock > 16)), RETREAT),
        (now(RETREAT) & (memory.aim != STACK) & (clock > 5), REACH),
        (now(RETREAT) & (view.clear_of_all | (clock > 40)), REST),
        (now(REST) & ~view.stacked & (clock > 4), REACH),
        (now(BESIDE) & (view.distance < 0.006) & (pinch[2] < view.hover + 0.02), SINK),
        (now(BESIDE) & (clock > 120), REST),
        (now(SINK) & ((pinch[2] < view.push_height + 0.004) | stuck), ROLL),
        (now(ROLL) & (~view.crooked | (view.pushed > memory.length) | (clock > 50)), RETREAT),
    )
    conditions, phases = zip(*rules, strict=True)
    phase = jnp.select(list(conditions), list(phases), memory.phase).astype(jnp.int32)
    moved = phase != memory.phase
    failed = (lost & ~now(LOWER)) | missed | (now(DESCEND) & (phase == REACH))
    fixed = now(RELEASE, ROLL) & (phase == RETREAT) & (memory.aim != STACK)
    holding = now(CLOSE) | (now(LOWER, CARRY) & (phase == RELEASE))
    return memory._replace(
        phase=phase, clock=jnp.where(moved, 0, clock + 1), grip=jnp.where(now(CLOSE), view.grip, memory.grip),
        ticks=jnp.where(holding, obs.ticks, memory.ticks), sinking=jnp.where(moved, -0.003, sinking),
        blame=memory.blame.at[memory.work, memory.choice].add(jnp.where(failed, 1.2, 0.0)), fixes=memory.fixes + fixed,
    )  # fmt: skip


def _now(memory: Memory):
    """A function that says whether the memory is in one of some phases."""
    return lambda *phases: jnp.isin(memory.phase, jnp.array(phases))


def _passing(there: Bodies, start: Array, end: Array, work: Array) -> Array:
    """Height of the tallest other object near the straight way between two places [2] of the hand."""
    way = end - start
    share = jnp.clip(((there.com[:, :2] - start) @ way) / (way @ way + 1e-9), 0.0, 1.0)
    nearest = start + share[:, None] * way
    wide = jnp.linalg.norm(there.vertices[..., :2] - there.com[:, None, :2], axis=-1).max(-1)
    inside = jnp.linalg.norm(there.com[:, :2] - nearest, axis=-1) < wide + 0.05
    return jnp.where(inside & (jnp.arange(3) != work), there.high, 0.0).max()


def _free_spot(there: Bodies, work: Array) -> Array:
    """A place [2] on the flat floor far from the other objects and not far from this one."""
    x, y = jnp.meshgrid(jnp.linspace(0.54, 0.66, 5), jnp.linspace(-0.06, 0.06, 5))
    spots = jnp.stack([x.ravel(), y.ravel()], -1)
    away = jnp.linalg.norm(spots[:, None] - there.com[None, :, :2], axis=-1)  # [25, 3]
    others = jnp.where(jnp.arange(3) == work, 1.0, away).min(-1)
    score = jnp.minimum(others, 0.1) - 0.2 * away[:, work]
    return spots[score.argmax()]

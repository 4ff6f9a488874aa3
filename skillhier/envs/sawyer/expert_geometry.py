"""What a scripted stacker must know of three solids: how they rest, where to hold them, where to load them.

Tables are made once in numpy from the solids; the rest are pure JAX functions of one world. A two-finger
hand pointing down closes along a horizontal line, so a grasp is a pair of opposite sides whose common
axis is near horizontal. Lengths in m, angles in rad, quaternions w x y z.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from skillhier.envs.sawyer import objects, robot
from skillhier.envs.sawyer.model import BASKET
from skillhier.types import Array

FLOOR = BASKET[2]
OPPOSITE = 0.75  # minus the cosine between two sides that may be held: wedges up to 41 degrees
VERTICES, FACES, PAIRS, CORNERS = 20, 12, 6, 12  # the decagonal prism needs the most of each
SLIDES = (0.0, 1.0, -1.0)  # places along a pair of sides where it may be held
OPTIONS = PAIRS * len(SLIDES)
WIDEST = 0.083  # fingers fully open, less a little play
TIP_WIDTH = robot.TIP_BASE[1] / 2  # half the width of a fingertip across its motion, where it is widest


class Tables(NamedTuple):
    """Three solids (red, green, blue) in their own frames, padded by repetition."""

    vertices: Array  # [3, VERTICES, 3]
    normals: Array  # [3, FACES, 3]
    seat: Array  # [3, FACES, 3] where a load on this face is carried by the face opposite
    seats: Array  # [3, FACES] bool: there is a face opposite
    com: Array  # [3, 3]
    axis: Array  # [3, PAIRS, 3] unit vector through two opposite sides
    width: Array  # [3, PAIRS] between them
    centre: Array  # [3, PAIRS, 3] where both sides are met by the fingers
    overlap: Array  # [3, PAIRS, CORNERS, 3] what the two sides share, seen along the axis
    wedge: Array  # [3, PAIRS] sine of half the angle between the sides; 0 where they are parallel
    exists: Array  # [3, PAIRS] bool


def tables(names: tuple[str, str, str]) -> Tables:
    """Tables of the objects `names` (red, green, blue)."""
    rows = [_table(objects.solid(name)) for name in names]
    return Tables(*(jnp.asarray(np.stack(column)) for column in zip(*rows, strict=True)))


def _table(solid: objects.Solid) -> tuple:
    pad = lambda rows, size: np.stack([*rows, *[rows[0]] * (size - len(rows))]).astype(np.float32)  # noqa: E731
    faces = solid.faces
    pairs, seats = [], [None] * len(faces)
    cosine = np.array([[a.normal @ b.normal for b in faces] for a in faces])
    single = cosine.min(1) > -1 + 1e-6  # has no parallel partner
    for i, a in enumerate(faces):
        for j, b in enumerate(faces):
            if cosine[i, j] < -1 + 1e-6 or (single[i] and single[j] and cosine[i, j] < -OPPOSITE):
                shared = _shared(a.corners, b.corners, a.normal - b.normal)
                if shared is None:
                    continue
                axis = (a.normal - b.normal) / np.linalg.norm(a.normal - b.normal)
                wedge = np.sqrt(max(0.0, (1 + cosine[i, j]) / 2))
                middle = _middle(shared)
                height = lambda f, p, axis=axis: ((f.corners[0] - p) @ f.normal) / (axis @ f.normal)  # noqa: E731
                up, down = height(a, middle), height(b, middle)
                centre = middle + axis * (up + down) / 2
                if i < j:
                    flat = shared - middle
                    pairs.append((axis, up - down, centre, pad(list(flat + centre), CORNERS), wedge))
                if wedge < 1e-3:
                    seats[i] = middle + axis * up
    columns = zip(*pairs, strict=True)
    axis, width, centre, overlap, wedge = (pad([np.asarray(x) for x in column], PAIRS) for column in columns)
    middle = [f.corners.mean(0) if s is None else s for f, s in zip(faces, seats, strict=True)]
    return (
        pad(list(solid.vertices), VERTICES), pad([f.normal for f in faces], FACES), pad(middle, FACES),
        np.array([s is not None for s in seats] + [False] * (FACES - len(faces))), solid.com.astype(np.float32),
        axis, width, centre, overlap, wedge, np.arange(PAIRS) < len(pairs),
    )  # fmt: skip


def _shared(a: np.ndarray, b: np.ndarray, along: np.ndarray) -> np.ndarray | None:
    """Corners of the common part of two polygons seen along a direction: [c, 3], its part along taken off."""
    along = along / np.linalg.norm(along)
    flat = lambda p: p - np.outer(p @ along, along)  # noqa: E731
    a, b = flat(a), flat(b)[::-1]  # opposite sides wind in opposite senses
    points = list(a)
    for start, end in zip(b, np.roll(b, -1, 0), strict=True):
        inward = np.cross(along, end - start)
        side = [(p - start) @ inward for p in points]
        clipped = []
        for k, p in enumerate(points):
            q, here, there = points[k - 1], side[k], side[k - 1]
            if here * there < 0:
                clipped.append(q + (p - q) * there / (there - here))
            if here >= 0:
                clipped.append(p)
        points = clipped
        if not points:
            return None
    unique = [p for k, p in enumerate(points) if np.linalg.norm(p - points[k - 1]) > 1e-6]
    return np.array(unique) if len(unique) >= 3 else None


def _middle(corners: np.ndarray) -> np.ndarray:
    """Centre of area of a convex polygon."""
    fans = np.array([[corners[0], corners[i], corners[i + 1]] for i in range(1, len(corners) - 1)])
    areas = np.linalg.norm(np.cross(fans[:, 1] - fans[:, 0], fans[:, 2] - fans[:, 0]), axis=1)
    return (fans.mean(1) * areas[:, None]).sum(0) / areas.sum()


class Bodies(NamedTuple):
    """The three objects where they are now, in world axes."""

    axes: Array  # [3, 3, 3] columns are each object's axes
    vertices: Array  # [3, VERTICES, 3]
    normals: Array  # [3, FACES, 3]
    com: Array  # [3, 3]
    low: Array  # [3] height of the lowest point
    high: Array  # [3]
    up: Array  # [3] int32: the face that looks up most
    level: Array  # [3] cosine of that face's tilt
    seat: Array  # [3, 3] where to put a load
    seats: Array  # [3] bool: that face carries a load


def rotation(quat: Array) -> Array:
    """Matrix [3, 3] of a quaternion [4], whose columns are the turned axes."""
    w, x, y, z = quat / jnp.linalg.norm(quat)
    return jnp.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def bodies(table: Tables, poses: Array) -> Bodies:
    """The objects at `poses` [3, 7]."""
    axes = jax.vmap(rotation)(poses[:, 3:])
    turn = lambda points: (axes[:, None] * points[:, :, None]).sum(-1)  # noqa: E731
    place = lambda points: turn(points) + poses[:, None, :3]  # noqa: E731
    vertices, normals = place(table.vertices), turn(table.normals)
    up = normals[..., 2].argmax(-1)
    pick = lambda rows: jnp.take_along_axis(rows, up.reshape(3, *[1] * (rows.ndim - 1)), 1)[:, 0]  # noqa: E731
    return Bodies(
        axes, vertices, normals, place(table.com[:, None])[:, 0], vertices[..., 2].min(-1), vertices[..., 2].max(-1),
        up, pick(normals)[:, 2], pick(place(table.seat)), pick(table.seats),
    )  # fmt: skip


def opening(ticks: Array) -> Array:
    """Gap between the fingertips at a finger reading, without load."""
    angle = ticks * (robot.DRIVER_RANGE / robot.TICKS)
    y, z = robot.REACH
    hinge = 0.0306011 + y * jnp.cos(angle) - z * jnp.sin(angle)
    return 2 * (hinge + robot.PAD)


def drop(ticks: Array) -> Array:
    """How far the fingertips reach below the pinch point."""
    angle = ticks * (robot.DRIVER_RANGE / robot.TICKS)
    y, z = robot.REACH
    return 0.054904 + z * jnp.cos(angle) + y * jnp.sin(angle) + robot.TIP_END[0] - 0.1489


_TICKS = np.linspace(0, robot.TICKS, 52)
_GAPS = np.asarray(
    2 * (0.0306011 + robot.REACH[0] * np.cos(_TICKS * robot.DRIVER_RANGE / robot.TICKS)
    - robot.REACH[1] * np.sin(_TICKS * robot.DRIVER_RANGE / robot.TICKS) + robot.PAD)
)  # fmt: skip


def ticks_at(gap: Array) -> Array:
    """Finger reading at which the gap is `gap`."""
    return jnp.interp(-gap, -_GAPS, _TICKS)


class Options(NamedTuple):
    """Ways to hold one object; [OPTIONS] each."""

    point: Array  # [OPTIONS, 3] where the line between the fingertips should pass
    turn: Array  # [OPTIONS] rad from the hand's present heading, within the wrist's range
    gap: Array  # [OPTIONS] room that the fingers need between them
    cost: Array  # [OPTIONS]


def options(table: Tables, bodies: Bodies, which: Array, hand: Array, wrist: Array, margin: Array) -> Options:
    """Ways to hold object `which` []; `hand` [3] is the fingers' line, `wrist` [] the turned angle -q6 (rad)."""
    row = Tables(*(column[which] for column in table))
    axes, vertices = bodies.axes[which], bodies.vertices[which]
    origin = bodies.com[which] - (axes * row.com).sum(-1)
    turn = lambda points: (axes * points[..., None, :]).sum(-1)  # noqa: E731
    axis = turn(row.axis)  # [P, 3]
    flat = jnp.stack([axis[:, 0], axis[:, 1], jnp.zeros(PAIRS)], -1)
    flat = flat / (jnp.linalg.norm(flat, axis=-1, keepdims=True) + 1e-6)
    side = jnp.stack([-flat[:, 1], flat[:, 0], jnp.zeros(PAIRS)], -1)
    centre = origin + turn(row.centre)
    spread = ((turn(row.overlap) - turn(row.centre)[:, None]) * side[:, None]).sum(-1)  # [P, CORNERS]
    reach = jnp.clip(0.5 * (jnp.minimum(spread.max(-1), -spread.min(-1)) - TIP_WIDTH), 0.0, 0.03)
    slide = jnp.array(SLIDES)
    point = centre[:, None] + side[:, None] * (reach[:, None] * slide)[..., None]  # [P, slides, 3]
    along = (vertices @ flat.T).T  # [P, V]
    gap = along.max(-1) - along.min(-1)
    heading = jnp.arctan2(hand[0] * flat[:, 1] - hand[1] * flat[:, 0], hand[0] * flat[:, 0] + hand[1] * flat[:, 1])
    turns = heading[:, None] + jnp.pi * jnp.array([-1.0, 0.0, 1.0])  # [P, 3]
    effort = jnp.abs(turns) + 10.0 * jax.nn.relu(jnp.abs(wrist + turns) - 1.56)
    best = effort.argmin(-1, keepdims=True)
    turns = jnp.take_along_axis(turns, best, 1)[:, 0]
    room = jnp.minimum(gap + margin, WIDEST)
    cost = 0.25 * effort.min(-1) + 6 * axis[:, 2] ** 2 + 100 * jax.nn.relu(jnp.abs(axis[:, 2]) - 0.45)
    cost += 60 * jax.nn.relu(gap - 0.066) + 1000 * jax.nn.relu(gap - 0.081)
    cost += 4 * row.wedge + jnp.where(row.exists, 0.0, 1e3)
    bottom = jnp.maximum(centre[:, 2] - 0.015, FLOOR + 0.005)
    near = lambda p, f, s, r, z: _clearance(bodies, which, p, f, s, r, z)  # noqa: E731
    near = jax.vmap(jax.vmap(near, (0, None, None, None, None)))(point, flat, side, room, bottom)
    cost = cost[:, None] + 0.4 * jnp.abs(slide) + jnp.where(reach[:, None] + (slide == 0) > 0, 0.0, 1e3)
    cost = cost + 250 * jax.nn.relu(0.003 - near) + 30 * _outside(point)
    spreadout = lambda x: jnp.broadcast_to(x[:, None], (PAIRS, len(SLIDES))).reshape(-1)  # noqa: E731
    return Options(point.reshape(-1, 3), spreadout(turns), spreadout(gap), cost.reshape(-1))


class Push(NamedTuple):
    """How to roll an object onto a side from which another side faces up."""

    way: Array  # [2] unit vector
    start: Array  # [2] where the fingertips go down
    length: Array  # [] from there to where the object tips by itself
    height: Array  # [] of the fingertips' lower ends
    cost: Array  # [] above 1: it cannot be done here


def push(table: Tables, bodies: Bodies, which: Array) -> Push:
    """The easiest roll of object `which` [] onto a side with a seat opposite."""
    normals, vertices, com = bodies.normals[which], bodies.vertices[which], bodies.com[which]
    seats, low, high = table.seats[which], bodies.low[which], bodies.high[which]
    flat = normals[:, :2] / (jnp.linalg.norm(normals[:, :2], axis=-1, keepdims=True) + 1e-6)  # [F, 2]
    reach = (vertices[:, :2] - com[:2]) @ flat.T  # [V, F]
    grounded = vertices[:, 2] < low + 0.004
    edge = jnp.where(grounded[:, None], reach, -1.0).max(0)  # from the centre of mass to the edge it rolls over
    back = -reach.min(0)
    rise = jnp.arctan2(edge, com[2] - low)
    start = com[:2] - flat * (back + 0.026)[:, None]
    end = com[:2] + flat * edge[:, None]
    others = jnp.arange(3) != which
    block = jnp.array([[i, j] for i in (-0.018, 0.018) for j in (-0.018, 0.018)])

    def near(place):
        """Gap between the closed fingertips at `place` [2] and the nearest other object."""
        box = place + block  # [4, 2]
        directions = jnp.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
        own = (bodies.vertices[..., :2] @ directions.T).min(1) - (box @ directions.T).max(0)  # [3, 4]
        level = -bodies.normals[..., :2]  # sides that lean count by their horizontal part, at the object's foot
        theirs = (bodies.vertices[..., :2][:, :, None] * level[:, None]).sum(-1).min(1) - (
            box[None, :, None] * level[:, None]
        ).sum(-1).max(1)
        theirs = jnp.where(jnp.linalg.norm(level, axis=-1) > 0.9, theirs, -1.0)
        return jnp.where(others, jnp.maximum(own.max(-1), theirs.max(-1)), 1.0).min()

    crowd = jax.nn.relu(0.004 - jax.vmap(near)(start))
    land = jnp.maximum(jnp.abs(end[:, 0] - 0.6), jnp.abs(end[:, 1]))  # it needs flat floor to fall on
    beyond = _outside(start) + 0.2 * jax.nn.relu(land - 0.075)
    onto = bodies.com[:, None, :2] - (com[:2] + flat * 0.07)[None]  # an object where this one would fall
    onto = jnp.where(others[:, None], jax.nn.relu(0.07 - jnp.linalg.norm(onto, axis=-1)), 0.0).max(0)
    cost = rise + 100 * crowd + 200 * beyond + 4 * onto
    possible = seats & (normals[:, 2] < 0.3) & (normals[:, 2] > -0.9)
    cost = jnp.where(possible, cost, 1e3)
    best = cost.argmin()
    return Push(flat[best], start[best], back[best] + edge[best] + 0.035, low + 0.84 * (high - low), cost[best] / 1.1)


def _outside(point: Array) -> Array:
    """How far a point lies outside what the hand may reach (horizontally)."""
    return jax.nn.relu(jnp.abs(point[..., 0] - 0.6) - 0.125) + jax.nn.relu(jnp.abs(point[..., 1]) - 0.125)


def _clearance(bodies: Bodies, which: Array, point: Array, flat: Array, side: Array, room: Array, bottom: Array):
    """Smallest gap between the open fingertips at `point` and the other objects, by separating axes: [] m.

    `flat` and `side` [3] are the fingers' line and its normal, `room` [] their gap, `bottom` [] their lower
    ends' height. Negative where they meet.
    """
    (low, *end), (high, *base) = robot.TIP_END, robot.TIP_BASE
    length, taper = low - high, base[1] - end[1]
    corners = jnp.array([
        (x * width / 2, y * thickness, z)  # from the middle of the pad's lower end: sideways, away from the pad, up
        for z, (width, thickness) in ((0.0, end), (length, base), (0.09, base)) for x in (-1, 1) for y in (0, 1)
    ])  # fmt: skip
    foot, up = jnp.array([point[0], point[1], bottom]), jnp.array([0.0, 0.0, 1.0])

    def gap(finger, other):
        outward = finger * flat
        tip = foot + outward * room / 2 + corners @ jnp.stack([side, outward, up])
        back = (length * outward - taper * up) / np.hypot(length, taper)  # normal of the side behind the pad
        directions = jnp.concatenate([jnp.stack([flat, -flat, side, -side, back]), -bodies.normals[other]])
        gaps = (bodies.vertices[other] @ directions.T).min(0) - (tip @ directions.T).max(0)
        return jnp.where(other == which, 1.0, gaps.max())

    return jax.vmap(lambda f: jax.vmap(lambda o: gap(f, o))(jnp.arange(3)))(jnp.array([-1.0, 1.0])).min()

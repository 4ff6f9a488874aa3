"""Intersections of rays from one point with simple solids, and the surface normals there.

All rays of a picture start at one point (the camera, its mirror image, or a light), so what depends only on the solid
and that point is computed once (`prepare`), and a pixel costs some dozens of multiplications. Directions are not unit
vectors: distances `t` are in units of a ray's direction.

Letters beside those of types.py: P rays, G solids of one kind.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.types import Array

FAR = 1e10  # the distance where nothing is hit
Ray = tuple[Array, Array, Array]  # x, y and z of directions, each [P]


class Solids(NamedTuple):
    """Solids of one kind, placed in the world."""

    centre: Array  # [G, 3] m
    axes: Array  # [G, 3, 3], columns are the solid's own axes
    size: Array  # [G, 3] m, as MuJoCo's geom_size
    faces: Array  # [G, F, 4] a hull's half-spaces in its own axes: outward normal, offset (m)
    number: Array  # [G] int32 the solid's number in the picture


class Hit(NamedTuple):
    """The first hit of each ray."""

    t: Array  # [P], FAR where nothing
    normal: Ray  # unit, outward
    number: Array  # [P] int32, -1 where nothing


def nothing(like: Array) -> Hit:
    """Rays [P] without a hit."""
    zero = jnp.zeros_like(like)
    return Hit(zero + FAR, (zero, zero, zero), jnp.full_like(like, -1, jnp.int32))


def nearest(hit: Hit, kind: str, solids: Solids, origin: Array, ray: Ray, near: Array | float) -> Hit:
    """`hit`, or what rays from `origin` [3] meet before it, beyond `near` [P].

    One solid at a time (a scan): unrolled, XLA would recompute earlier solids for each later one.
    """
    prepare, meet = KINDS[kind]
    square = _dot(ray, ray)

    def one(hit: Hit, solid: tuple[Array, Array]) -> tuple[Hit, None]:
        numbers, number = solid
        t, normal = meet(numbers, ray, square)
        closer = (t > near) & (t < hit.t)
        pick = lambda new, old: jnp.where(closer, new, old)  # noqa: E731
        return Hit(pick(t, hit.t), tuple(map(pick, normal, hit.normal)), pick(number, hit.number)), None

    return jax.lax.scan(one, hit, (prepare(solids, origin), solids.number))[0]


def blocked(dark: Array, kind: str, solids: Solids, origin: Array, ray: Ray, short: Array) -> Array:
    """`dark` [P] bool, or whether a ray from `origin` [3] meets a solid before it has gone the share `short` [P]."""
    prepare, meet = KINDS[kind]
    square = _dot(ray, ray)

    def one(dark: Array, numbers: Array) -> tuple[Array, None]:
        t, _ = meet(numbers, ray, square)
        return dark | ((t > 0) & (t < short)), None

    return jax.lax.scan(one, dark, prepare(solids, origin))[0]


def _dot(a: Ray | Array, b: Ray) -> Array:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _root(x: Array) -> Array:
    return jnp.sqrt(jnp.maximum(x, 0.0))


def _lengthwise(solids: Solids, origin: Array) -> tuple[Array, Array, Array, Array]:
    """Axis [G, 3]; origin from the centre [G, 3], its part along the axis [G], what is left of it squared [G]."""
    axis, away = solids.axes[:, :, 2], origin - solids.centre
    along = (axis * away).sum(-1)
    return axis, away, along, ((away - along[:, None] * axis) ** 2).sum(-1)


def _spheres(solids: Solids, origin: Array) -> Array:
    away, radius = origin - solids.centre, solids.size[:, 0]
    return jnp.stack([*away.T, (away**2).sum(-1) - radius**2, 1 / radius], -1)


def _sphere(p: Array, ray: Ray, square: Array) -> tuple[Array, Ray]:
    slope = _dot(p, ray)
    inside = slope * slope - square * p[3]
    t = jnp.where(inside > 0, (-slope - _root(inside)) / square, FAR)
    return t, tuple((p[i] + t * ray[i]) * p[4] for i in range(3))


def _capsules(solids: Solids, origin: Array) -> Array:
    axis, away, along, rest = _lengthwise(solids, origin)
    radius, half = solids.size[:, 0], solids.size[:, 1]
    ends = [((away + sign * half[:, None] * axis) ** 2).sum(-1) - radius**2 for sign in (1, -1)]
    return jnp.stack([*axis.T, *away.T, along, rest - radius**2, half, *ends, 1 / radius], -1)


def _capsule(p: Array, ray: Ray, square: Array) -> tuple[Array, Ray]:
    axis, away, along, rest, half = p[:3], p[3:6], p[6], p[7], p[8]
    climb, slope = _dot(axis, ray), _dot(away, ray)
    a, b = jnp.maximum(square - climb * climb, 1e-12), slope - along * climb
    inside = b * b - a * rest
    side = (-b - _root(inside)) / a
    height = along + side * climb
    low = height < 0
    on_side = jnp.abs(height) <= half
    # beyond an end of the tube only that end's ball can be met
    b = slope - jnp.where(low, -half, half) * climb
    ball = b * b - square * jnp.where(low, p[9], p[10])
    t = jnp.where(on_side, side, (-b - _root(ball)) / square)
    t = jnp.where((inside > 0) & (on_side | (ball > 0)), t, FAR)
    height = jnp.clip(along + t * climb, -half, half)
    return t, tuple((away[i] + t * ray[i] - height * axis[i]) * p[11] for i in range(3))


def _cylinders(solids: Solids, origin: Array) -> Array:
    axis, away, along, rest = _lengthwise(solids, origin)
    radius, half = solids.size[:, 0], solids.size[:, 1]
    return jnp.stack([*axis.T, *away.T, along, rest - radius**2, half, rest, 1 / radius], -1)


def _cylinder(p: Array, ray: Ray, square: Array) -> tuple[Array, Ray]:
    axis, away, along, rest, half = p[:3], p[3:6], p[6], p[7], p[8]
    climb, slope = _dot(axis, ray), _dot(away, ray)
    a, b = jnp.maximum(square - climb * climb, 1e-12), slope - along * climb
    inside = b * b - a * rest
    side = (-b - _root(inside)) / a
    on_side = jnp.abs(along + side * climb) <= half
    top = jnp.where(climb > 0, -half, half)  # the face that looks against the ray
    face = (top - along) / jnp.where(jnp.abs(climb) < 1e-9, 1e-9, climb)
    on_face = p[9] + face * (2 * b + face * a) <= p[9] - rest  # the distance from the axis there, squared
    on_side = on_side & (inside > 0)
    t = jnp.where(on_side, side, jnp.where(on_face, face, FAR))
    height = along + t * climb
    round_ = tuple((away[i] + t * ray[i] - height * axis[i]) * p[10] for i in range(3))
    return t, tuple(jnp.where(on_side, round_[i], jnp.sign(top) * axis[i]) for i in range(3))


def _ellipsoids(solids: Solids, origin: Array) -> Array:
    scaled = solids.axes / solids.size[:, None, :]  # to axes in which it is the unit ball
    away = jnp.einsum("gij,gi->gj", scaled, origin - solids.centre)
    return jnp.concatenate([scaled.reshape(-1, 9), away, (away**2).sum(-1, keepdims=True) - 1], -1)


def _ellipsoid(p: Array, ray: Ray, square: Array) -> tuple[Array, Ray]:
    inward = tuple(p[j] * ray[0] + p[3 + j] * ray[1] + p[6 + j] * ray[2] for j in range(3))
    a, b = _dot(inward, inward), _dot(p[9:12], inward)
    inside = b * b - a * p[12]
    t = jnp.where(inside > 0, (-b - _root(inside)) / a, FAR)
    point = tuple(p[9 + j] + t * inward[j] for j in range(3))
    normal = tuple(_dot(p[3 * i : 3 * i + 3], point) for i in range(3))
    unit = jax.lax.rsqrt(_dot(normal, normal))
    return t, tuple(n * unit for n in normal)


def _boxes(solids: Solids, origin: Array) -> Array:
    away = jnp.einsum("gij,gi->gj", solids.axes, origin - solids.centre)
    return jnp.concatenate([solids.axes.reshape(-1, 9), away, solids.size], -1)


def _box(p: Array, ray: Ray, square: Array) -> tuple[Array, Ray]:
    enters, leaves, normal = -FAR, FAR, (jnp.zeros_like(square),) * 3
    for j in range(3):
        slope = p[j] * ray[0] + p[3 + j] * ray[1] + p[6 + j] * ray[2]
        slope = jnp.where(jnp.abs(slope) < 1e-9, 1e-9, slope)
        inverse, sign = 1 / slope, jnp.sign(slope)
        late = (-p[9 + j] - sign * p[12 + j]) * inverse
        leaves = jnp.minimum(leaves, (-p[9 + j] + sign * p[12 + j]) * inverse)
        normal = tuple(jnp.where(late > enters, -sign * p[3 * i + j], normal[i]) for i in range(3))
        enters = jnp.maximum(enters, late)
    return jnp.where(enters < leaves, enters, FAR), normal


def _hulls(solids: Solids, origin: Array) -> Array:
    normal = jnp.einsum("gij,gfj->gfi", solids.axes, solids.faces[..., :3])
    height = ((origin - solids.centre)[:, None] * normal).sum(-1) - solids.faces[..., 3]
    return jnp.concatenate([normal, height[..., None]], -1)


def _hull(p: Array, ray: Ray, square: Array) -> tuple[Array, Ray]:
    zero = jnp.zeros_like(square)

    def cut(state, face: Array):
        enters, leaves, normal = state
        slope = _dot(face, ray)
        t = -face[3] / jnp.where(jnp.abs(slope) < 1e-9, 1e-9, slope)
        facing = slope < 0
        later = facing & (t > enters)
        normal = tuple(jnp.where(later, face[i], normal[i]) for i in range(3))
        return (jnp.where(later, t, enters), jnp.where(facing, leaves, jnp.minimum(leaves, t)), normal), None

    (enters, leaves, normal), _ = jax.lax.scan(cut, (zero - FAR, zero + FAR, (zero, zero, zero)), p)
    return jnp.where(enters < leaves, enters, FAR), normal


def _planes(solids: Solids, origin: Array) -> Array:
    away = jnp.einsum("gij,gi->gj", solids.axes, origin - solids.centre)
    size = jnp.where(solids.size > 0, solids.size, FAR)
    return jnp.concatenate([solids.axes.reshape(-1, 9), away, size[:, :2]], -1)


def _plane(p: Array, ray: Ray, square: Array) -> tuple[Array, Ray]:
    across = [p[j] * ray[0] + p[3 + j] * ray[1] + p[6 + j] * ray[2] for j in range(3)]
    t = -p[11] / jnp.where(jnp.abs(across[2]) < 1e-9, 1e-9, across[2])
    within = (jnp.abs(p[9] + t * across[0]) <= p[12]) & (jnp.abs(p[10] + t * across[1]) <= p[13])
    side = jnp.sign(p[11])  # both sides are seen, and lit on the side that is looked at
    return jnp.where(within, t, FAR), tuple(jnp.broadcast_to(side * p[3 * i + 2], t.shape) for i in range(3))


KINDS: dict[str, tuple[Callable, Callable]] = {  # of each: solids and a point -> numbers [G, ...]; numbers, rays -> hit
    "plane": (_planes, _plane),
    "sphere": (_spheres, _sphere),
    "capsule": (_capsules, _capsule),
    "ellipsoid": (_ellipsoids, _ellipsoid),
    "cylinder": (_cylinders, _cylinder),
    "box": (_boxes, _box),
    "hull": (_hulls, _hull),
}

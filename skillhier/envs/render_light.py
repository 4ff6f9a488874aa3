"""The colour of what a ray has met: OpenGL's lighting (ambient, diffuse, Blinn's highlight) times the texture, or the sky.

Every pixel is lit for itself, where MuJoCo lights the corners of triangles and blends between them.
"""

import jax
import jax.numpy as jnp
import numpy as np

from skillhier.envs.render_colours import Checker
from skillhier.envs.render_scene import Scene
from skillhier.envs.render_shapes import Hit, Ray
from skillhier.envs.render_view import View, plane_of
from skillhier.types import Array


def surface(
    scene: Scene, view: View, eye: Array, ray: Ray, hit: Hit, pitch: float, lit: Array | None = None
) -> tuple[Array, ...]:
    """Red, green and blue [P] of 0 to 1 of what was met from `eye` [3]; nothing is black.

    pitch: the height of a pixel at distance 1; lit: [L, P] the share of each light that arrives, all of it if None.
    """
    look = _looked_up(scene, hit.number)
    red, green, blue, emission, specular, shininess = (look(k) for k in (0, 1, 2, 4, 5, 6))
    away = 1 / _length(ray)
    back = tuple(-d * away for d in ray)
    place = tuple(eye[i] + hit.t * ray[i] for i in range(3))
    uniform = _shared(128 * scene.palette[:, 6]), _shared(scene.lights.cone[~scene.lights.directional, 4])
    rows = (
        view.light, view.beam, jnp.asarray(scene.lights.directional), jnp.asarray(scene.lights.colours, jnp.float32),
        jnp.asarray(scene.lights.cone, jnp.float32), jnp.ones((len(view.light), 1)) if lit is None else lit,
    )  # fmt: skip

    def one(total: tuple[Array, ...], light):
        source, beam, directional, colours, cone, arrives = light
        toward = tuple(jnp.where(directional, -beam[i], source[i] - place[i]) for i in range(3))
        far = _length(toward)
        toward = tuple(x / far for x in toward)
        facing = jnp.maximum(_dot(toward, hit.normal), 0.0)
        half = tuple(x + y for x, y in zip(toward, back, strict=True))
        shine = jnp.maximum(_dot(half, hit.normal), 0.0) / jnp.maximum(_length(half), 1e-9)
        shine = jnp.where(facing > 0, _power(shine, uniform[0], 128 * shininess), 0.0) * specular
        along = -_dot(toward, tuple(beam))
        fade = jnp.where(along >= cone[3], _power(along, uniform[1], cone[4]), 0.0)
        fade = fade / (cone[0] + far * (cone[1] + far * cone[2]))
        share = jnp.where(directional, 1.0, fade) * arrives
        told = zip(total, (red, green, blue), colours[:3], colours[3:6], colours[6:], strict=True)
        return tuple(t + share * (own * (a + d * facing) + s * shine) for t, own, a, d, s in told), None

    start = 0.0 if len(scene.lights.ids) else 0.3  # MuJoCo's light where there is none
    total = tuple((emission + start) * own for own in (red, green, blue))
    total, _ = jax.lax.scan(one, total, rows)
    total = tuple(jnp.clip(x, 0.0, 1.0) for x in total)
    for number, pattern in scene.checkers:
        wears = hit.number == number
        dyes = checkered(pattern, plane_of(scene, view, number), eye, ray, hit.t, view.gaze, pitch)
        total = tuple(jnp.where(wears, x * dye, x) for x, dye in zip(total, dyes, strict=True))
    return tuple(jnp.where(hit.number >= 0, x, 0.0) for x in total)


def backdrop(scene: Scene, ray: Ray) -> tuple[Array, ...]:
    """Red, green and blue [P] of the sky."""
    if scene.sky is None:
        return (jnp.zeros_like(ray[0]),) * 3
    sine = ray[2] / _length(ray)
    colours = []
    for channel in scene.sky.T:
        value = jnp.zeros_like(sine)
        for weight in channel[::-1]:
            value = value * sine + float(weight)
        colours.append(value)
    return tuple(colours)


def checkered(
    pattern: Checker, plane: tuple[Array, Array], eye: Array, ray: Ray, t: Array, gaze: Array, pitch: float
) -> tuple[Array, ...]:
    """The pattern's colours [P] where rays meet its plane, as the mean over what a pixel covers."""
    centre, axes = plane
    local = (eye - centre) @ axes
    climb = _dot(tuple(axes[:, 2]), ray)
    climb = jnp.where(jnp.abs(climb) < 1e-6, 1e-6, climb)
    sides, edges = jnp.ones_like(t), jnp.ones_like(t)
    for k in (0, 1):
        axis = tuple(axes[:, k])
        run = _dot(axis, ray)
        spread = jnp.zeros_like(t)  # how far the meeting point moves along this axis from one pixel to the next
        for step in (gaze[:, 0], gaze[:, 1]):
            spread += jnp.abs(_dot(axis, tuple(step)) - run * (_dot(tuple(axes[:, 2]), tuple(step)) / climb))
        repeat = float(pattern.repeat[k])
        at = repeat * (local[k] + t * run) + float(pattern.shift[k])
        wide = jnp.maximum(jnp.abs(repeat) * spread * t * pitch, 1e-6)
        sides = sides * (_ramp(2 * at + wide) - _ramp(2 * at - wide)) / (2 * wide)
        off = jnp.abs(at - jnp.round(at))
        covered = jnp.clip((pattern.edge + wide) / 2 - off, 0.0, jnp.minimum(wide, pattern.edge)) / wide
        edges = edges * (1 - covered)
    even, odd, mark = pattern.even, pattern.odd, pattern.mark
    mixed = [o + (e - o) * 0.5 * (1 + sides) for e, o in zip(even, odd, strict=True)]
    return tuple(m + (x - m) * edges for x, m in zip(mixed, mark, strict=True))


def _ramp(u: Array) -> Array:
    """The integral of a wave that is 1 on [0, 1) and -1 on [1, 2)."""
    return 1 - jnp.abs(u - 2 * jnp.floor(0.5 * u) - 1)


def _looked_up(scene: Scene, number: Array):
    """k -> column k of the palette for each pixel: numbers of one look follow each other, so no table is read."""

    def column(k: int) -> Array | float:
        values = scene.palette[:, k]
        if len(set(values.tolist())) == 1:
            return float(values[0])
        found = jnp.full(number.shape, float(values[0]))
        for first, value, before in zip(scene.looks[1:], values[1:], values, strict=False):
            if value != before:
                found = jnp.where(number >= first, float(value), found)
        return found

    return column


def _shared(values: np.ndarray) -> int | None:
    """The whole number that all of them are, if they are one and it is cheap to raise to."""
    some = set(values.tolist())
    return int(min(some)) if len(some) == 1 and min(some) == int(min(some)) and 0 < min(some) <= 256 else None


def _power(x: Array, exponent: int | None, general: Array | float) -> Array:
    if exponent is None:
        return jnp.exp(general * jnp.log(jnp.maximum(x, 1e-12)))
    return jax.lax.integer_pow(x, exponent)


def _dot(a, b) -> Array:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _length(a) -> Array:
    return jnp.sqrt(_dot(a, a))

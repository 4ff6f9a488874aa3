"""The colour of what a ray has hit: OpenGL's lighting (ambient, diffuse, Blinn's highlight) times the texture; sky.

Every pixel is lit for itself, where MuJoCo lights the corners of triangles and blends between them.
"""

import jax
import jax.numpy as jnp
import numpy as np

from skillhier.envs.render.colours import Checker
from skillhier.envs.render.scene import Scene
from skillhier.envs.render.shapes import Hit, Ray
from skillhier.envs.render.view import View, plane_of
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
    # MuJoCo adds lights with shadows in passes of their own, of which none gives more than 1
    alone = scene.lights.shadows if lit is not None else np.zeros_like(scene.lights.shadows)
    rows = (
        view.light, view.beam, jnp.asarray(scene.lights.directional), jnp.asarray(alone),
        jnp.asarray(scene.lights.colours, jnp.float32),
        jnp.asarray(scene.lights.cone, jnp.float32), jnp.ones((len(view.light), 1)) if lit is None else lit,
    )  # fmt: skip

    def one(total: tuple, light):
        source, beam, directional, alone, colours, cone, arrives = light
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
        channels = zip((red, green, blue), colours[:3], colours[3:6], colours[6:], strict=True)
        added = tuple(share * (own * (a + d * facing) + s * shine) for own, a, d, s in channels)
        base = tuple(x + jnp.where(alone, 0.0, y) for x, y in zip(total[0], added, strict=True))
        rest = tuple(x + jnp.where(alone, jnp.minimum(y, 1.0), 0.0) for x, y in zip(total[1], added, strict=True))
        return (base, rest), None

    start = 0.0 if len(scene.lights.ids) else 0.3  # MuJoCo's light where there is none
    dark = jnp.zeros_like(hit.t)
    base = tuple(dark + (emission + start) * own for own in (red, green, blue))
    (base, rest), _ = jax.lax.scan(one, (base, (dark,) * 3), rows)
    total = tuple(jnp.minimum(x, 1.0) + y for x, y in zip(base, rest, strict=True))
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
    across = axes.T @ gaze[:, :2]  # [3, 2] the steps from one pixel to the next, in the plane's axes
    steep = -t / local[2]  # one over a ray's part along the plane's normal
    repeat, shift = (jnp.asarray(x, jnp.float32) for x in (pattern.repeat, pattern.shift))

    def one(shares: tuple[Array, Array], numbers) -> tuple[tuple[Array, Array], None]:
        axis, start, steps, repeat, shift = numbers
        run = _dot(axis, ray)
        spread = sum(jnp.abs(steps[i] - run * (across[2, i] * steep)) for i in (0, 1))
        at = repeat * (start + t * run) + shift
        wide = jnp.maximum(jnp.abs(repeat) * pitch * spread * t, 1e-6)
        each = 1 / wide
        squares = 0.5 * (_ramp(2 * at + wide) - _ramp(2 * at - wide)) * each
        off = jnp.abs(at - jnp.floor(at + 0.5))
        line = jnp.clip((pattern.edge + wide) / 2 - off, 0.0, jnp.minimum(wide, pattern.edge)) * each
        return (shares[0] * squares, shares[1] * (1 - line)), None

    rows = (axes.T[:2], local[:2], across[:2], repeat, shift)
    (squares, edges), _ = jax.lax.scan(one, (jnp.ones_like(t), jnp.ones_like(t)), rows)
    even, odd, mark = pattern.even, pattern.odd, pattern.mark
    mixed = [o + (e - o) * 0.5 * (1 + squares) for e, o in zip(even, odd, strict=True)]
    return tuple(m + (x - m) * edges for x, m in zip(mixed, mark, strict=True))


def _ramp(u: Array) -> Array:
    """The integral of a wave that is 1 on [0, 1) and -1 on [1, 2)."""
    return 1 - jnp.abs(u - 2 * jnp.floor(0.5 * u) - 1)


def _looked_up(scene: Scene, number: Array):
    """k -> column k of the palette for each pixel: numbers of one look follow each other, so no table is read."""

    def look_up(k: int) -> Array | float:
        values = scene.palette[:, k]
        if len(set(values.tolist())) == 1:
            return float(values[0])
        column = jnp.full(number.shape, float(values[0]))
        for first, value, before in zip(scene.looks[1:], values[1:], values, strict=False):
            if value != before:
                column = jnp.where(number >= first, float(value), column)
        return column

    return look_up


def _shared(values: np.ndarray) -> int | None:
    """The integer that all values equal, if there is one and it is cheap as an exponent."""
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

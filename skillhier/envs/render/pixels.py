"""Pixel observations: every world NAME has a variant NAME@pixels with camera pictures in place of its entries."""

import inspect
from collections.abc import Callable, Sequence

import jax.numpy as jnp

from skillhier.envs import physics
from skillhier.types import Array

SUFFIX = "@pixels"
ENTRY = "pixels"
CAMERA = {"dmc.quadruped": 2, "antmaze": 4}  # default camera of a family of worlds; 0 for others
SAMPLES = {"fetch": 2}  # default rays a pixel and axis; 1 for others, but a single ray may miss Fetch's goal
RENDERERS = ("rays", "warp")


def drawing(
    engine: physics.Physics,
    name: str,
    worlds: int,
    *,
    camera: int | str | Sequence[int | str] | None = None,
    size: int = 64,
    shadows: bool = False,
    reflections: bool = False,
    samples: int | None = None,
    renderer: str = "rays",
) -> Callable[[physics.Data], dict[str, Array]]:
    """The argument `draw` of `batch.make` for the world `name`: data -> {"pixels": [size, size, 3] uint8}.

    camera: number or name, by default that of the literature (2 for the quadruped, 4 for ants, 0 for others); with
    several of them, the pictures' colours follow each other, [size, size, 3 * cameras]. shadows, reflections, samples
    (default 2 for Fetch, 1 for others): see rays.renderer; renderer: `rays` (JAX, any device) or `warp` (MJX's own, see
    warp.py).
    """
    if camera is None:
        camera = camera_of(name)
    if samples is None:
        samples = _of_family(SAMPLES, name, 1)
    if renderer not in RENDERERS:
        raise ValueError(f"renderer '{renderer}' is not known; choose {' or '.join(RENDERERS)} in env.renderer")
    if size < 1:
        raise ValueError(f"size must be >= 1 pixel, got {size}; set env.size")
    cameras = [camera] if isinstance(camera, int | str) else list(camera)
    if not cameras:
        raise ValueError("env.camera names no camera; give one or more, by number or name")

    def drawn_by(one: int | str) -> Callable[[physics.Data], dict[str, Array]]:
        if renderer == "warp":
            from skillhier.envs.render import warp  # checks for its extra when used

            return warp.renderer(engine, one, size, size, worlds, shadows=shadows)
        from skillhier.envs.render import rays

        finer = {"shadows": shadows, "reflections": reflections, "samples": samples}
        return rays.renderer(engine.model, one, size, size, **finer)

    draws = [drawn_by(one) for one in cameras]
    return lambda data: {ENTRY: jnp.concatenate([draw(data)["rgb"] for draw in draws], -1)}


def camera_of(name: str) -> int:
    """The default camera of the world `name`."""
    return _of_family(CAMERA, name, 0)


def _of_family(values: dict[str, int], name: str, otherwise: int) -> int:
    """The value of the family that the world `name` is of."""
    return next((v for family, v in values.items() if name.replace("/", ".", 1).startswith(family)), otherwise)


SETTINGS = tuple(p.name for p in inspect.signature(drawing).parameters.values() if p.kind == p.KEYWORD_ONLY)

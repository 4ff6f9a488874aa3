"""Worlds seen through a camera: every world NAME has a variant NAME@pixels with pictures in place of its entries."""

import inspect
from collections.abc import Callable

from skillhier.envs import physics
from skillhier.types import Array

SUFFIX = "@pixels"
ENTRY = "pixels"
CAMERA = {"dmc.quadruped": 2}  # the camera that a family of worlds is seen by; elsewhere the model's first
RENDERERS = ("rays", "warp")


def drawing(
    engine: physics.Physics,
    name: str,
    worlds: int,
    *,
    camera: int | str | None = None,
    size: int = 64,
    shadows: bool = False,
    reflections: bool = False,
    samples: int = 1,
    renderer: str = "rays",
) -> Callable[[physics.Data], dict[str, Array]]:
    """What `batch.make` draws of one world called `name`: {"pixels": [size, size, 3] uint8}.

    camera: number or name, by default the one that the literature uses (2 of the quadruped, 0 of others); shadows,
    reflections, samples: see render.renderer; renderer: `rays` in JAX anywhere, or `warp`, MJX's own (render_warp).
    """
    if camera is None:
        camera = camera_of(name)
    if renderer not in RENDERERS:
        raise ValueError(f"renderer '{renderer}' is not known; choose {' or '.join(RENDERERS)} in env.renderer")
    if size < 1:
        raise ValueError(f"pictures of {size} pixels a side show nothing; set env.size")
    if renderer == "warp":
        from skillhier.envs.render import warp  # it speaks of missing extras when imported

        draw = warp.renderer(engine, camera, size, size, worlds, shadows=shadows)
    else:
        from skillhier.envs.render import rays

        finer = {"shadows": shadows, "reflections": reflections, "samples": samples}
        draw = rays.renderer(engine.model, camera, size, size, **finer)
    return lambda data: {ENTRY: draw(data)["rgb"]}


def camera_of(name: str) -> int:
    """The camera that the world `name` is seen by unless another is asked for."""
    return next((number for family, number in CAMERA.items() if name.replace("/", ".", 1).startswith(family)), 0)


SETTINGS = tuple(p.name for p in inspect.signature(drawing).parameters.values() if p.kind == p.KEYWORD_ONLY)

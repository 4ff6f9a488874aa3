"""Pictures of a world by casting rays in JAX: no OpenGL, any device, under jit and vmap.

`renderer(model, camera=0)` gives a function from the record of one world (physics.Data) to its pictures. Each pixel
sends one ray (`samples` squared of them, if edges are to be smooth) to every solid. Lights, materials, checkers and
skies are MuJoCo's (see render_light). What its own renderer does and this one does not: textures other than checkers
(drawn in their mean), stars before a camera that turns, haze, height fields, tendons, skins, meshes with hollows.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jax.custom_batching import custom_vmap

from skillhier.envs.physics import Data
from skillhier.envs.render import shapes
from skillhier.envs.render.colours import sky_seen
from skillhier.envs.render.light import backdrop, surface
from skillhier.envs.render.scene import Scene, bake
from skillhier.envs.render.shapes import Hit, Ray, Solids
from skillhier.envs.render.view import View, look, plane_of, steady
from skillhier.types import Array

OUTPUTS = ("rgb", "depth", "segmentation")
TOGETHER = 16  # pictures that a CPU works on at a time: more would leave its cache
_SKIN = 1e-3  # a surface throws no shadow on itself: share of a ray's length


def renderer(
    model: mujoco.MjModel,
    camera: int | str = 0,
    height: int = 64,
    width: int = 64,
    outputs: Sequence[str] = ("rgb",),
    *,
    shadows: bool = False,
    reflections: bool = False,
    samples: int = 1,
) -> Callable[[Data], dict[str, Array]]:
    """A function from one world's record to its pictures as `camera` (number or name) of the model takes them.

    rgb [height, width, 3] uint8. depth [height, width] float32: m along the camera's axis, the far plane where there is
    sky. segmentation [height, width] int32: the geom's id, the number of geoms plus
    the id for a site, -1 for sky. What is see-through counts like all else in both.
    shadows: solids keep a light's share from what lies behind them; reflections: in the first plane that reflects;
    samples: rays a pixel and axis, of which the mean is shown (depth and segmentation show the first).
    """
    unknown = [name for name in outputs if name not in OUTPUTS]
    if unknown:
        raise ValueError(f"output '{unknown[0]}' is not known; choose of {', '.join(OUTPUTS)}")
    for name, value in (("height", height), ("width", width), ("samples", samples)):
        if value < 1:
            raise ValueError(f"{name} {value} is less than 1")
    scene = bake(model, camera)
    pitch = 2 * np.tan(np.radians(model.cam_fovy[scene.camera]) / 2) / height
    turned = steady(model, scene.camera)
    still = None if turned is None else sky_seen(model, turned, pitch / samples, height * samples, width * samples)
    near, far = (float(v * model.stat.extent) for v in (model.vis.map.znear, model.vis.map.zfar))

    def rays(view: View, fine: int) -> Ray:
        across = (np.arange(width * fine) + 0.5) / fine - width / 2
        up = height / 2 - (np.arange(height * fine) + 0.5) / fine
        across, up = (jnp.asarray(pitch * x.ravel(), jnp.float32) for x in np.meshgrid(across, up))
        return tuple(view.gaze[i, 0] * across + view.gaze[i, 1] * up - view.gaze[i, 2] for i in range(3))

    def one(view: View) -> dict[str, Array]:
        images = {}
        if "rgb" in outputs:
            ray = rays(view, samples)
            hit = first(scene.solid, view.solid, view.eye, ray, near, far)
            sky = backdrop(scene, ray) if still is None else tuple(jnp.asarray(still.T, jnp.float32))
            colours = coloured(scene, view, ray, hit, sky, pitch / samples, far, shadows, reflections)
            images["rgb"] = picture(colours, height, width, samples)
        if {"depth", "segmentation"} & {*outputs}:
            ray = rays(view, 1)
            hit = first(scene.solid, view.solid, view.eye, ray, near, far)
            for group, solids in zip(scene.clear, view.clear, strict=True):
                hit = shapes.nearest(hit, group.kind, solids, view.eye, ray, near)
            images["depth"] = jnp.where(hit.number >= 0, hit.t, far).reshape(height, width)
            ids = jnp.asarray(np.append(scene.ids, -1))  # number -1 is the last
            images["segmentation"] = ids[hit.number].reshape(height, width)
        return {name: images[name] for name in outputs}

    draw = in_turns(one)
    return lambda data: draw(look(scene, data))


def in_turns(one: Callable) -> Callable:
    """`one`, of which a vmap runs a few at a time on a CPU and all at once elsewhere."""
    call = custom_vmap(one)

    @call.def_vmap
    def many(count: int, batched, *arguments):
        spread = lambda x, there: x if there else jnp.broadcast_to(x, (count, *x.shape))  # noqa: E731
        arguments = jax.tree.map(spread, arguments, tuple(batched))
        if count <= TOGETHER:
            out = jax.vmap(one)(*arguments)
        else:
            out = jax.lax.platform_dependent(
                *arguments,
                cpu=lambda *a: jax.lax.map(lambda x: one(*x), a, batch_size=TOGETHER),
                default=jax.vmap(one),
            )
        return out, jax.tree.map(lambda _: True, out)

    return call


def first(groups, placed: tuple[Solids, ...], eye: Array, ray: Ray, near: Array | float, far: float) -> Hit:
    """The nearest hit of rays from `eye` over all solids."""
    hit = shapes.nothing(ray[0])
    hit = hit._replace(t=jnp.full_like(hit.t, far))
    for group, solids in zip(groups, placed, strict=True):
        hit = shapes.nearest(hit, group.kind, solids, eye, ray, near)
    return hit


def coloured(
    scene: Scene, view: View, ray: Ray, hit: Hit, sky: Ray, pitch: float, far: float, shadows: bool, mirrors: bool
) -> tuple[Array, ...]:
    """Red, green and blue [P] of 0 to 1 of each ray; `sky` is its colour where it hits nothing."""
    lit = arriving(scene, view, ray, hit) if shadows and scene.lights.shadows.any() else None
    shown = surface(scene, view, view.eye, ray, hit, pitch, lit)
    if mirrors and scene.mirror is not None:
        shown = tuple(x + y for x, y in zip(shown, mirrored(scene, view, ray, hit, pitch, far), strict=True))
    shown = tuple(jnp.where(hit.number >= 0, jnp.minimum(x, 1.0), y) for x, y in zip(shown, sky, strict=True))
    for group, solids in zip(scene.clear, view.clear, strict=True):
        veil = shapes.nearest(
            hit._replace(number=jnp.full_like(hit.number, -1)), group.kind, solids, view.eye, ray, 0.0
        )
        own = surface(scene, view, view.eye, ray, veil, pitch)
        number = int(group.number[0])
        alpha = scene.palette[np.searchsorted(scene.looks, number, "right") - 1, 3]
        cover = 1 - (1 - float(alpha)) ** 2  # MuJoCo blends front to back, and once more back to front
        cover = jnp.where(veil.number >= 0, cover, 0.0)
        shown = tuple(x + cover * (y - x) for x, y in zip(shown, own, strict=True))
    return shown


def arriving(scene: Scene, view: View, ray: Ray, hit: Hit) -> Array:
    """[L, P] 0 where something is between a shadow-casting light and the hit, else 1.

    A directional light shines from where MuJoCo has it; solids behind it throw shadows as well.
    """
    shares = []
    for k, throws in enumerate(scene.lights.shadows):
        if not throws:
            shares.append(jnp.ones_like(hit.t))
            continue
        place = tuple(view.eye[i] + hit.t * ray[i] for i in range(3))
        far = 10.0 * float(scene.model.stat.extent)
        source = view.eye - far * view.beam[k] if scene.lights.directional[k] else view.light[k]
        toward = tuple(place[i] - source[i] for i in range(3))
        dark = jnp.zeros(hit.t.shape, bool)
        for group, solids in zip(scene.solid, view.solid, strict=True):
            dark = shapes.blocked(dark, group.kind, solids, source, toward, jnp.full_like(hit.t, 1 - _SKIN))
        shares.append(jnp.where(dark, 0.0, 1.0))
    return jnp.stack(shares)


def mirrored(scene: Scene, view: View, ray: Ray, hit: Hit, pitch: float, far: float) -> tuple[Array, ...]:
    """What the reflecting plane adds: the scene as the camera's mirror image sees it, beyond the plane."""
    number, share = scene.mirror
    centre, axes = plane_of(scene, view, number)
    up = axes[:, 2]
    above = (view.eye - centre) @ up
    eye = view.eye - 2 * above * up
    climb = up[0] * ray[0] + up[1] * ray[1] + up[2] * ray[2]
    bent = tuple(ray[i] - 2 * climb * up[i] for i in range(3))
    other = shapes.nothing(ray[0])._replace(t=jnp.full_like(ray[0], far))
    for group, solids in zip(scene.solid, view.solid, strict=True):
        others = np.flatnonzero(group.number != number)
        if len(others):
            rest = jax.tree.map(lambda x, others=others: x[others], solids)
            other = shapes.nearest(other, group.kind, rest, eye, bent, hit.t)
    reflected = surface(scene, view, eye, bent, other, pitch)
    here = (hit.number == number) & (above > 0)
    return tuple(jnp.where(here, share * x, 0.0) for x in reflected)


def picture(colours: tuple[Array, ...], height: int, width: int, samples: int) -> Array:
    """[height, width, 3] uint8."""
    small = [x.reshape(height, samples, width, samples).mean((1, 3)) if samples > 1 else x for x in colours]
    bytes_ = [jnp.round(255 * jnp.clip(x, 0.0, 1.0)).astype(jnp.uint8) for x in small]
    return jnp.stack([x.reshape(height, width) for x in bytes_], -1)

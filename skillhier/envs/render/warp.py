"""MJX's batch renderer on NVIDIA GPUs, for worlds of engine warp. Not yet run on a GPU: written after MJX's own tests.

The number of worlds is fixed in advance, and one call draws all of them; shadows are MJX's.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from mujoco import mjx

from skillhier.envs import physics
from skillhier.envs.render.scene import camera_number
from skillhier.types import Array


def renderer(
    engine: physics.Physics, camera: int | str, height: int, width: int, worlds: int, *, shadows: bool = False
) -> Callable[[physics.Data], dict[str, Array]]:
    """A function from one world's record to {"rgb": [height, width, 3] uint8}, made for a vmap over `worlds` worlds.

    Raises ValueError where it cannot run: another engine, no warp-lang, no NVIDIA GPU.
    """
    if engine.engine != "warp":
        raise ValueError(f"renderer 'warp' draws worlds of engine warp, not {engine.engine}; set env.renderer to rays")
    try:
        import warp

        there = warp.is_cuda_available()
    except ImportError:
        there = False
    if not there:
        raise ValueError("renderer 'warp' needs warp-lang and an NVIDIA GPU; set env.renderer to rays")
    number = camera_number(engine.model, camera)
    with jax.ensure_compile_time_eval():
        nominal = mjx.put_model(engine.model, impl="warp")
        blank = mjx.make_data(engine.model, impl="warp", naconmax=64 * worlds, njmax=512)
    context = mjx.create_render_context(
        mjm=engine.model, nworld=worlds, cam_res=(width, height), render_rgb=True,
        enabled_geom_groups=[0, 1, 2], use_shadows=shadows,
    )  # fmt: skip

    def placed(state: physics.State) -> mjx.Data:
        moved = dict(qpos=state.qpos, mocap_pos=state.mocap_pos, mocap_quat=state.mocap_quat)
        return mjx.forward(nominal, blank.replace(**moved))

    @custom_vmap
    def draw(state: physics.State) -> Array:
        if worlds != 1:
            raise ValueError(f"renderer 'warp' draws {worlds} worlds at once, got one")
        return many(jax.tree.map(lambda x: x[None], state))[0]

    @draw.def_vmap
    def _(count: int, batched, state: physics.State):
        if count != worlds:
            raise ValueError(f"renderer 'warp' draws {worlds} worlds at once, got {count}")
        return many(state), True

    def many(state: physics.State) -> Array:
        data = mjx.refit_bvh(nominal, jax.vmap(placed)(state), context.pytree())
        packed, _, _ = mjx.render(nominal, data, context.pytree())
        return jnp.round(255 * mjx.get_rgb(context.pytree(), number, packed)).astype(jnp.uint8)

    return lambda data: {"rgb": draw(data.state._replace(params={}))}

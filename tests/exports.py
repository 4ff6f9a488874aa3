"""Worlds lowered for accelerators that this machine need not have."""

import jax
import jax.numpy as jnp

from skillhier.types import Env

PLATFORMS = ("cuda", "tpu")


def check_exports(env: Env) -> None:
    """A reset and three steps of `env` lower for `PLATFORMS`, and nothing of them comes back to the host."""

    def program(key, actions):
        state, first = env.reset(key)
        return first, jax.lax.scan(env.step, state, actions)

    shape = jax.ShapeDtypeStruct((3, env.spec.worlds, *env.spec.action.shape), jnp.float32)
    out = jax.export.export(jax.jit(program), platforms=PLATFORMS)(jax.random.key(0), shape)
    text = out.mlir_module()
    assert out.platforms == PLATFORMS and "callback" not in text and "skillhier_" not in text

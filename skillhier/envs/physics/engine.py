"""One interface to both engines.

A task does not depend on which engine filled the record. Both engines are pure functions of one world, made
for `vmap`: `native` gathers all worlds of a vmap into one call of C MuJoCo, `mjx` is JAX throughout.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import mujoco

from skillhier.envs.physics.record import POSITION_LIMIT, Data, State
from skillhier.types import Array


class Physics(NamedTuple):
    """A model and its engine."""

    model: mujoco.MjModel | None  # None: a world without bodies, which says itself how it moves
    engine: str  # native, mjx or warp; jax where there is no model
    substeps: int  # physics steps per control step
    reset: Callable[[State], Data]  # the record at a given state
    step: Callable[[State, Array, Array, State], Data]  # see `make`


def resolve(engine: str) -> str:
    """The engine that `auto` means on this machine: native on a CPU, mjx elsewhere."""
    if engine == "auto":
        return "native" if jax.default_backend() == "cpu" else "mjx"
    if engine not in ("native", "mjx", "warp"):
        raise ValueError(f"engine '{engine}' is not known; choose auto, native, mjx or warp")
    return engine


def make(
    model: mujoco.MjModel,
    *,
    substeps: int,
    engine: str = "auto",
    worlds: int = 1,
    contacts: int = 64,
    reach: float = POSITION_LIMIT,
) -> Physics:
    """Physics of `model` under `engine`, advancing `substeps` physics steps at a time.

    `reset(state) -> Data` computes the record at a state.
    `step(state, ctrl, renew, start) -> Data` advances one world under constant `ctrl` [nu]; where
    `renew` [] bool it opens the world at `start` instead; where the world diverges in the step (see `diverged`, with
    `reach`) it does the same and sets `broken`. Opening inside the step makes resets almost free: nothing is computed
    for worlds that continue. Other worlds of a vmap are not affected.
    `worlds` and `contacts` (a world, at most) size the buffers of engine warp; the others ignore them.
    """
    engine = resolve(engine)
    if engine == "native":
        from skillhier.envs.physics import native

        reset, step = native.functions(model, substeps, reach)
    else:
        from skillhier.envs.physics import mjx

        reset, step = mjx.functions(model, substeps, reach, {"mjx": "jax"}.get(engine, engine), worlds, contacts)
    return Physics(model, engine, substeps, reset, step)

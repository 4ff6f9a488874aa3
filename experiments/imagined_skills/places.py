"""Where a robot is, in worlds of many kinds: what distances between the ends of episodes are measured in."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from skillhier.envs.render import viewer
from skillhier.types import Array, Spec, Trajectory

STILL = 1e-3  # m: an axis along which no robot ever moves further is no axis


class Places(NamedTuple):
    """Where robots are, row by row."""

    values: np.ndarray  # [..., D]
    unit: str  # m, or nothing
    what: str  # in words


def select(spec: Spec, model: mujoco.MjModel | None) -> Callable[[Trajectory], Array]:
    """A function from rows [T, B, ...] to the place of the robot's first body, or without a model to what is seen."""
    if model is None:
        return lambda rows: jnp.concatenate([_flat(rows.step.obs[name]) for name in spec.visible], -1)
    body = next(iter(viewer.moving(model)), 0)
    return lambda rows: rows.step.obs[viewer.RECORD].xpos[..., body, :]


def read(values: np.ndarray, model: mujoco.MjModel | None, valid: np.ndarray) -> Places:
    """Places from what `select` gave, [..., D]; over ground where robots move over ground, else in their plane.

    What is seen is divided by its spread over the `valid` rows [...].
    """
    if model is None:
        spread = values[valid].std(0)
        return Places(values / np.where(spread > 0, spread, 1.0), "", "what is seen, each number over its spread")
    body = next(iter(viewer.moving(model)), 0)
    axes = [0, 1] if np.ptp(values[valid][:, 1]) > STILL else [0, 2]
    return Places(values[..., axes], "m", f"x{'xyz'[axes[1]]} of the {model.body(body).name}")


def _flat(entry: Any) -> Array:
    return jax.tree.leaves(entry)[0].reshape(*entry.shape[:2], -1).astype(jnp.float32)

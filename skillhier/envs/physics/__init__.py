"""Rigid-body physics of many worlds: `make` returns a model with its engine.

record.py  State and Data of one world, and the limits beyond which it has diverged
engine.py  Physics: the choice of an engine
native.py  C MuJoCo, all worlds in one call of a callback (callback.py); the default on a CPU
mjx.py     MJX, in JAX or in Warp kernels; the default on an accelerator
"""

import mujoco

from skillhier.envs.physics.engine import Physics, make, resolve
from skillhier.envs.physics.record import (
    PARAMETERS,
    POSITION_LIMIT,
    VELOCITY_LIMIT,
    Data,
    State,
    diverged,
    in_bounds,
    initial,
)

__all__ = [
    "PARAMETERS",
    "POSITION_LIMIT",
    "VELOCITY_LIMIT",
    "Data",
    "Physics",
    "State",
    "diverged",
    "in_bounds",
    "initial",
    "make",
    "resolve",
]


def _leave_no_log_file() -> None:
    """MuJoCo would write its warnings to MUJOCO_LOG.TXT in whatever folder it is in; they stay on standard error."""
    config = mujoco.MjLogConfig.get()
    config.logto_file = False
    config.set()


_leave_no_log_file()

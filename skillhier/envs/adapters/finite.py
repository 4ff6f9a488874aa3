"""Which worlds of another library are still finite: the law by which an adapter takes a world for broken.

A world whose observation, reward or state is NaN or infinite is cut there, as one of ours is that diverges: the row
shows the first observation of its next episode, with reward 0, `first` set and no `last` before it.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
import mujoco
import numpy as np

# MuJoCo answers such a state by resetting the world to its default pose, and only counts that it did.
BAD_STATE = (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC)


def rows_are_finite(obs: Mapping[str, np.ndarray], reward: np.ndarray) -> np.ndarray:
    """Per world [B] whether all entries [B, ...] and the reward [B] are finite."""
    finite = np.isfinite(reward)
    for entry in obs.values():
        if entry.dtype.kind == "f":
            finite = finite & np.isfinite(entry.reshape(len(entry), -1)).all(-1)
    return finite


def state_is_finite(env: gymnasium.Env) -> bool:
    """Whether the state of one gymnasium environment is finite, as far as it shows one.

    That is `state` if it holds numbers (classic control), and `data` if it is MuJoCo's.
    """
    inner = env.unwrapped
    data = getattr(inner, "data", None)
    parts = [getattr(inner, "state", None), getattr(data, "qpos", None), getattr(data, "qvel", None)]
    warnings = getattr(data, "warning", None)
    if warnings is not None and any(warnings[int(kind)].number for kind in BAD_STATE):
        return False
    return all(_is_finite(part) for part in parts if part is not None)


def _is_finite(part: Any) -> bool:
    try:
        array = np.asarray(part)
    except ValueError:  # ragged: not a vector of numbers
        return True
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())

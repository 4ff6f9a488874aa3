"""Episodes with each skill held fixed in a world of any kind: what was seen, done and earned.

Letters: those of shared/lanes.py. A lane covers the same initial states `REPEATS` times: episode e starts where
episode e + E/2 does, and where episode e of every other lane does. Two lanes therefore differ by their skill and by
chance, the two halves of one lane by chance alone.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from experiments.shared.lanes import ACT, PRIOR, collect_lanes, validity
from skillhier.types import Env, Key, Params, Trajectory

REPEATS = 2


class FixedSkills(NamedTuple):
    """Episodes of all lanes; row t of an episode is meaningful where valid."""

    skill: np.ndarray  # [L] int, PRIOR for the lane that follows the prior
    seen: dict[str, np.ndarray]  # entry -> [L, E, T, D], its newest frame
    reward: np.ndarray  # [L, E, T]
    action: np.ndarray  # [L, E, T, A]; meaningless in an episode's last row
    chosen: np.ndarray  # [L, E, T] int: the active skill, PRIOR where the policy does not report it
    valid: np.ndarray  # [L, E, T] bool: from the start to the true end, or to the row before the world broke
    broken: np.ndarray  # [L] episodes that a broken world cut short
    interval: float  # s between rows


def collect(
    env: Env,
    act: ACT,
    params: Params,
    skills: int,
    key: Key,
    *,
    rows: int | None = None,
    extra: Callable[[Trajectory], Any] | None = None,
) -> tuple[FixedSkills, Any]:
    """An episode of each of `skills` skills, REPEATS times in every world of `env`, and as many that follow the prior.

    skills = 0 is for a system without skills and gives the lane of the prior alone.
    rows: control steps of an episode, the env's limit by default
    extra: selects more from the same rows [T, B, ...]; the second result, with leaves [L, E, T, ...], or None
    """
    # of entries that agents see and that are no pictures
    names = [name for name in env.spec.visible if env.spec.obs[name].dtype != jnp.uint8]

    def select(rows: Trajectory) -> dict[str, Any]:
        newest = {name: rows.step.obs[name][:, :, 0] for name in names}
        flat = {name: values.reshape(*values.shape[:2], -1).astype(jnp.float32) for name, values in newest.items()}
        more = {} if extra is None else {"extra": extra(rows)}
        return {"seen": flat, "reward": rows.step.reward, "action": rows.action, **more}

    lanes = list(range(PRIOR, skills))
    arrays = collect_lanes(env, act, params, lanes, key, select, has_skills=skills > 0, repeats=REPEATS, rows=rows)
    valid, broken = validity(arrays["first"], arrays["last"])
    selected = {name: arrays[name] for name in ("seen", "reward", "action", "chosen")}
    held = FixedSkills(
        np.array(lanes), **selected, valid=valid, broken=broken.sum(-1), interval=float(env.spec.interval)
    )
    return held, arrays.get("extra")

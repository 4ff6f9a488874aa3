"""What agents share that learn skills without a reward first, and a task by one of them after: DIAYN, ReST.

The setting `phase` says which of the two a run is; parameters are the same in both, so that the second begins with
those of the first. Among them is `chosen`, a number that no gradient moves: the skill by which alone the second acts.
"""

import jax.numpy as jnp

from skillhier.types import Array, Params

SKILLS, TASK = "skills", "task"
CHOSEN = "chosen"


def is_task(phase: str, skills: int) -> bool:
    """Whether the phase is the second one. Raises ValueError where there is none of that name, or no skill."""
    if phase not in (SKILLS, TASK):
        raise ValueError(f"phase '{phase}' is not known; choose {SKILLS} or {TASK} in agent.phase")
    if skills < 1:
        raise ValueError(f"skills must be >= 1, got {skills}; set agent.skills")
    return phase == TASK


def chosen(params: Params) -> Array:
    """The skill of the second phase, [] int32."""
    return params[CHOSEN].astype(jnp.int32)


def first() -> Array:
    """The parameter `chosen` of an agent that has not tried its skills."""
    return jnp.zeros(())

"""Many worlds of one task: `make(task, worlds=...)` gives an Env. (being written)"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from skillhier.envs import physics
from skillhier.types import Array, Bounds, Key

Memory = Any  # what a task carries beside the physics: any tree of arrays, never None leaves


class Task(NamedTuple):
    """One world's task: pure functions on one world (no batch axis), made for vmap."""

    physics: physics.Physics
    obs: dict[str, jax.ShapeDtypeStruct]  # one frame, before stacking
    action: Bounds
    interval: float  # s
    limit: int  # control steps
    start: Callable[[Key, Array], tuple[physics.State, Memory]]  # key, world index [] -> where an episode opens
    control: Callable[[physics.Data, Memory, Array], Array]  # action [A] -> ctrl [nu]
    observe: Callable[[physics.Data, Memory, Array], tuple[dict[str, Array], Memory]]
    # ^ after a step, with the action that led here (zeros where an episode opens): one frame, new memory
    judge: Callable[[physics.Data, Memory], tuple[Array, Array]]  # -> reward [], discount [] (0 at a true end)
    privileged: tuple[str, ...] = ()

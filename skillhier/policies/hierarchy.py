"""A policy made of policies: a manager chooses, a worker acts on what it is shown of the choice."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.branch import any_unbatched
from skillhier.types import Action, Array, Carry, Params, Policy, TimeStep


class HierarchyState(NamedTuple):
    """What a hierarchy carries from row to row."""

    manager: Carry
    worker: Carry
    choice: Action  # [B, ...] the choice in force
    age: Array  # [B] int32 rows it has been in force


def where_rows(flags: Array, chosen, other):
    """Leaf by leaf: rows of `chosen` where `flags` [B], else of `other`."""
    return jax.tree.map(lambda x, y: jnp.where(flags.reshape(-1, *[1] * (x.ndim - 1)), x, y), chosen, other)


def condition_on_choice(params: Params, step: TimeStep, choice: Action) -> dict[str, Array]:
    """Shows the worker the choice itself, as the entry 'skill'."""
    return {"skill": choice}


def hierarchy(
    manager: Policy,
    worker: Policy,
    period: int = 1,
    show: Callable[[Params, TimeStep, Action], dict[str, Array]] = condition_on_choice,
    name: str = "skill",
    blank: Callable[[int], Action] = lambda worlds: jnp.zeros(worlds, jnp.int32),
) -> Policy:
    """Holds the manager's choice for `period` rows and lets the worker act on `{**obs, **show(params, step, choice)}`.

    The choice is renewed at an episode's first row and after `period` rows. The manager is asked only at rows where
    some world renews; its memory moves only in those worlds. `blank(worlds)` has the shape and type of its choices.
    Notes: both policies' own (the manager's are zero where it was not asked), what was shown, the choice under
    `name`, and `name`_renewed [B].
    """
    if period < 1:
        raise ValueError(f"period {period} of '{name}' is not allowed; it is a number of rows, 1 or more")

    def init(worlds: int) -> HierarchyState:
        return HierarchyState(manager.init(worlds), worker.init(worlds), blank(worlds), jnp.zeros(worlds, jnp.int32))

    def act(params, held, step, key):
        manager_key, worker_key = jax.random.split(key)
        renewed = step.first | (held.age >= period)

        def ask(held):
            carry, choice, notes = manager.act(params, held.manager, step, manager_key)
            fresh = where_rows(renewed, (carry, choice), (held.manager, held.choice))
            return fresh, where_rows(renewed, notes, jax.tree.map(jnp.zeros_like, notes))

        def keep(held):
            _, notes = jax.eval_shape(ask, held)
            return (held.manager, held.choice), jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), notes)

        (carry, choice), notes = jax.lax.cond(any_unbatched(renewed), ask, keep, held)
        age = jnp.where(renewed, 1, held.age + 1)
        shown = show(params, step, choice)
        below = step._replace(obs={**step.obs, **shown})
        worker_carry, action, worker_notes = worker.act(params, held.worker, below, worker_key)
        notes = {**notes, **worker_notes, **shown, name: choice, f"{name}_renewed": renewed}
        return HierarchyState(carry, worker_carry, choice, age), action, notes

    return Policy(init, act)

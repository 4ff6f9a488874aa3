"""A policy made of policies: a manager chooses, and a worker acts conditioned on the choice.

`hierarchy` gives back a Policy, so a hierarchy may be the worker (or the manager) of another one.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.branch import any_unbatched
from skillhier.types import Action, Array, Carry, Key, Params, Policy, TimeStep

DrawPeriod = Callable[[Key, int], Array]  # (key, worlds) -> rows that each world's next choice lasts, [B] int32 >= 1


class HierarchyState(NamedTuple):
    """What a hierarchy carries from row to row."""

    manager: Carry
    worker: Carry
    choice: Action  # [B, ...] the choice in force
    age: Array  # [B] int32 rows it has been in force
    period: Array  # [B] int32 rows it will be in force; 0 before the first choice


def where_rows(flags: Array, chosen, other):
    """Leaf by leaf: rows of `chosen` where `flags` [B], else of `other`."""
    return jax.tree.map(lambda x, y: jnp.where(flags.reshape(-1, *[1] * (x.ndim - 1)), x, y), chosen, other)


def condition_on_choice(params: Params, step: TimeStep, choice: Action) -> dict[str, Array]:
    """Shows the worker the choice itself, as the entry 'skill'."""
    return {"skill": choice}


def uniform_period(low: int, high: int) -> DrawPeriod:
    """Periods uniform over low, low + 1, ..., high rows: the randomised period of HiPPO (Li et al., ICLR 2020)."""
    if not 1 <= low <= high:
        raise ValueError(f"a range of periods must satisfy 1 <= low <= high, got low={low}, high={high}")
    return lambda key, worlds: jax.random.randint(key, (worlds,), low, high + 1)


def hierarchy(
    manager: Policy,
    worker: Policy,
    period: int | DrawPeriod = 1,
    condition: Callable[[Params, TimeStep, Action], dict[str, Array]] = condition_on_choice,
    name: str = "skill",
    initial_choice: Callable[[int], Action] = lambda worlds: jnp.zeros(worlds, jnp.int32),
    clock: Callable[[Array], dict[str, Array]] = lambda left: {},
    restart: bool = True,
) -> Policy:
    """Holds the manager's choice for `period` rows; the worker acts on `{**obs, **condition(params, step, choice)}`.

    The choice is renewed at the first row that a new carry sees, at an episode's first row, and when its period is
    over. A callable `period` is drawn anew with every choice; a draw below 1 lasts one row. The manager is called only
    at rows where some world renews, and its carry moves only in those worlds. `initial_choice(worlds)` has the shape
    and dtype of its choices. Manager and worker also see `clock(left)`, of the rows [B] int32 that the choice in force
    has left, this one included: the manager, at the row where it chooses, those of its new choice. Without `restart` an
    episode's first row renews nothing: a choice is held on into the next episode.

    Notes, none of which replaces another (ValueError where two would have one name):

    name, name_renewed [B]     the choice in force, and whether it was made at this row
    name/period [B]            the period in force, if it is drawn
    name/NOTE                  the manager's notes, zero where it did not choose
    entries of `condition`     what the worker was shown
    entries of `clock`         what both were shown
    NOTE                       the worker's notes
    """
    if callable(period):
        draw_period = period
    elif period >= 1:
        draw_period = lambda key, worlds: jnp.full(worlds, period, jnp.int32)  # noqa: E731
    else:
        raise ValueError(f"the period of hierarchy '{name}' must be >= 1, got {period}")

    def init(worlds: int) -> HierarchyState:
        zeros = jnp.zeros(worlds, jnp.int32)
        return HierarchyState(manager.init(worlds), worker.init(worlds), initial_choice(worlds), zeros, zeros)

    def act(params, state, step, key):
        manager_key, worker_key, period_key = jax.random.split(key, 3)
        renewed = state.age >= state.period
        renewed = step.first | renewed if restart else renewed

        def choose(state):
            rows = draw_period(period_key, len(renewed))
            if (rows.shape, rows.dtype) != (renewed.shape, jnp.int32):
                raise ValueError(
                    f"the period of hierarchy '{name}' must be int32{list(renewed.shape)}, "
                    f"got {rows.dtype}{list(rows.shape)}"
                )
            timed = step._replace(obs={**step.obs, **clock(jnp.maximum(rows, 1))})
            carry, choice, notes = manager.act(params, state.manager, timed, manager_key)
            decision = where_rows(renewed, (carry, choice, rows), (state.manager, state.choice, state.period))
            return decision, where_rows(renewed, notes, jax.tree.map(jnp.zeros_like, notes))

        def hold(state):
            _, notes = jax.eval_shape(choose, state)
            return (state.manager, state.choice, state.period), jax.tree.map(
                lambda x: jnp.zeros(x.shape, x.dtype), notes
            )

        (carry, choice, rows), manager_notes = jax.lax.cond(any_unbatched(renewed), choose, hold, state)
        age = jnp.where(renewed, 1, state.age + 1)
        shown, time = condition(params, step, choice), clock(jnp.maximum(rows - age + 1, 1))
        conditioned = step._replace(obs={**step.obs, **shown, **time})
        worker_carry, action, worker_notes = worker.act(params, state.worker, conditioned, worker_key)
        drawn = {f"{name}/period": rows} if callable(period) else {}
        notes = _merge(
            f"hierarchy '{name}'",
            {
                "choice": {name: choice, f"{name}_renewed": renewed, **drawn},
                "manager": {f"{name}/{note}": value for note, value in manager_notes.items()},
                "condition": {k: value for k, value in shown.items() if not (k == name and value is choice)},
                "clock": time,
                "worker": worker_notes,
            },
        )
        return HierarchyState(carry, worker_carry, choice, age, rows), action, notes

    return Policy(init, act)


def _merge(where: str, notes: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
    """All notes in one dictionary, from owner -> note -> value. Raises ValueError if two owners use one name."""
    merged: dict[str, Array] = {}
    owner: dict[str, str] = {}
    for source, values in notes.items():
        for note in values:
            if note in owner:
                raise ValueError(f"{where}: the {owner[note]} and the {source} both note '{note}'; rename one of them")
            owner[note] = source
        merged |= values
    return merged

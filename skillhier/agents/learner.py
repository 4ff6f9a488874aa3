"""A loss, an optimiser and parameters with named children make a Learner. Freezing a child is a label."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from skillhier.branch import any_unbatched
from skillhier.distributed import sharding
from skillhier.types import Array, Health, Key, Learner, LearnerState, Loss, Params, Policy, Slow, SlowLoss, Trajectory

PATIENCE = 10  # updates in a row left out for bad numbers before a learner stands still


class Skills(NamedTuple):
    """What an offline system gives back: it learns from windows, is measured on windows, and acts."""

    learner: Learner
    assess: Callable[[Params, Trajectory, Key], dict[str, Array]]
    act: Callable[..., Policy]  # act(skill=None, *, sample=False)


class Control(NamedTuple):
    """What an online system gives back: it learns from what it does, and acts in two ways."""

    learner: Learner
    explore: Policy  # draws; collects data
    exploit: Policy  # takes what is likeliest; is evaluated
    kept: dict[str, jax.ShapeDtypeStruct]  # the notes of `explore` that its replay must keep


def stateless(loss: Loss) -> SlowLoss:
    """Lifts a loss that has no slow state."""

    def lifted(params, slow, batch, key):
        value, metrics = loss(params, batch, key)
        return value, (slow, metrics)

    return lifted


Rates = dict[str, "optax.ScalarOrSchedule | Rates | None"]


def adam(rates: Rates, *, max_grad_norm: float = 40.0, decay_updates: int = 0) -> optax.GradientTransformation:
    """Adam (0.9, 0.999, 1e-8) with a rate for every named child of the parameters; None freezes that child, and a
    dict has rates for the child's own children.

    The gradient's norm over all children that learn is cut at `clip`. A rate may be a function of the
    updates so far. Over `decay` updates all rates, then numbers, fall to zero along a cosine; with 0 they stay.
    """
    falling = lambda rate: optax.cosine_decay_schedule(rate, decay_updates) if decay_updates else rate  # noqa: E731
    flat = traverse_util.flatten_dict(rates, sep="/")
    frozen = {path: "learns" if rate is not None else "frozen" for path, rate in flat.items()}

    def only(chosen: dict[str, str]):
        def labels(params, rates=rates, above=""):
            unnamed = [above + name for name in sorted(params.keys() - rates.keys())]
            absent = [above + name for name in sorted(rates.keys() - params.keys())]
            if unnamed or absent:
                raise ValueError(
                    f"parameters {unnamed} have no learning rate, rates {absent} no parameters; name each once"
                )
            return {
                name: labels(params[name], rate, f"{above}{name}/")
                if isinstance(rate, dict)
                else jax.tree.map(lambda _, path=above + name: chosen[path], params[name])
                for name, rate in rates.items()
            }

        return labels

    return optax.chain(
        optax.multi_transform({"learns": optax.identity(), "frozen": optax.set_to_zero()}, only(frozen)),
        optax.clip_by_global_norm(max_grad_norm),
        optax.multi_transform(
            {path: optax.set_to_zero() if rate is None else optax.adam(falling(rate)) for path, rate in flat.items()},
            only({path: path for path in flat}),
        ),
    )


def with_duals(
    tx: optax.GradientTransformation,
    project: Callable[[Params], Params],
    *,
    rate: optax.ScalarOrSchedule = 1e-2,
    max_grad_norm: float = 40.0,
) -> optax.GradientTransformation:
    """`tx` for all children but `duals`, which get an Adam and a clipping of their own and are then put through
    `project`. For `tx` they are frozen: their rate is None.
    """

    def labels(params: Params) -> Params:
        return {name: jax.tree.map(lambda _, name=name: name == "duals", params[name]) for name in params}

    own = optax.chain(optax.clip_by_global_norm(max_grad_norm), optax.adam(rate))

    def update(gradient, state, params):
        change, state = own.update(gradient, state, params)
        return jax.tree.map(jnp.subtract, project(optax.apply_updates(params, change)), params), state

    return optax.multi_transform({False: tx, True: optax.GradientTransformation(own.init, update)}, labels)


def targets(
    periods: Mapping[str, int],
) -> tuple[Callable[[Params], Slow], Callable[[Slow, Params, Array], Slow]]:
    """(init_slow, follow) of target copies of the named children, each made anew every so many updates."""

    def init_slow(params: Params) -> Slow:
        return {"target": {name: jax.tree.map(jnp.copy, params[name]) for name in periods}}

    def follow(slow: Slow, params: Params, steps: Array) -> Slow:
        def renewed(name: str, period: int) -> Params:
            # a branch under vmapped seeds too, for they take their steps together
            return jax.lax.cond(any_unbatched(steps % period == 0), lambda: params[name], lambda: slow["target"][name])

        return {"target": {name: renewed(name, period) for name, period in periods.items()}}

    return init_slow, follow


def num_microbatches(rows: int, batch: int, limit: int = 1000) -> int:
    """Pieces small enough (`limit` rows) for a layer to stay in a CPU's cache; one piece on an accelerator."""
    if jax.default_backend() != "cpu":
        return 1
    return next(
        count for count in range(1, batch + 1) if batch % count == 0 and rows * batch <= limit * count or count == batch
    )


def accumulate_gradients(gradients: Callable, count: int) -> Callable:
    """`gradients(params, slow, batch, key) -> (slow, means)` for a batch taken in `count` pieces, one after the other.

    Slow state goes from piece to piece; what is returned is the mean over them.
    """
    if count == 1:
        return gradients

    def whole(params: Params, slow: Slow, batch: Trajectory, key: Key):
        cut = jax.tree.map(lambda x: x.reshape(len(x), count, -1, *x.shape[2:]).swapaxes(0, 1), batch)
        cut = sharding.shard(cut, 2)  # else a piece would be the business of few devices
        keys = jax.random.split(key, count)

        def add(carry, piece):
            slow, total = carry
            slow, means = gradients(params, slow, *piece)
            return (slow, jax.tree.map(jnp.add, total, means)), None

        _, shapes = jax.eval_shape(gradients, params, slow, jax.tree.map(lambda x: x[0], cut), keys[0])
        blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        (slow, total), _ = jax.lax.scan(add, (slow, blank), (cut, keys))
        return slow, jax.tree.map(lambda x: x / count, total)

    return whole


def healthy() -> Health:
    """The health of a learner that has met no bad numbers."""
    return Health(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32), jnp.zeros((), bool))


def merge_params(here: Params, there: Params, name: str = "") -> Params:
    """`here` with the arrays that `there` has in their place; `name` is what it is called in errors.

    Raises ValueError, one line: a name or shape that `here` does not have.
    """
    if not isinstance(there, dict):
        if isinstance(here, dict) or jnp.shape(here) != jnp.shape(there):
            wanted = f"the parts {', '.join(here)}" if isinstance(here, dict) else f"shape {list(jnp.shape(here))}"
            raise ValueError(f"{name} has shape {list(jnp.shape(there))}, the learner needs {wanted}")
        return jnp.asarray(there, jnp.result_type(here))
    strange = sorted(there.keys() - (here.keys() if isinstance(here, dict) else set()))
    if strange:
        known = f"it has {', '.join(here)}" if isinstance(here, dict) else "it is an array"
        raise ValueError(f"{'/'.join(filter(None, [name, strange[0]]))} is no part of the learner; {known}")
    found = {part: merge_params(here[part], inner, f"{name}/{part}".strip("/")) for part, inner in there.items()}
    return {**here, **found}


def params_from(fresh: Params, source: Params | None, name: str) -> Params:
    """`fresh`, every named child of it as `source` has it; as it is where `source` is None. Raises ValueError."""
    if source is None:
        return fresh
    missing = sorted(fresh.keys() - source.keys())
    if missing:
        raise ValueError(f"{name} need the part {missing[0]}; what is given has {', '.join(sorted(source)) or 'none'}")
    return merge_params(fresh, {part: source[part] for part in fresh}, name)


def with_init_params(made: Learner, found: Params) -> Learner:
    """`made`, whose first parameters are those `found`, nested dictionaries of arrays that may hold just some of them.

    Raises ValueError, one line: a name or shape that the parameters do not have, or slow state, which is made from
    the first parameters and would not know.
    """

    def init(key: Key) -> LearnerState:
        state = made.init(key)
        if jax.tree.leaves(state.slow):
            raise ValueError("this learner has slow state, which must be made from the parameters it begins with")
        return state._replace(params=merge_params(state.params, found))

    return made._replace(init=init)


def apply_if_finite(sound: Array, new, old, health: Health, max_consecutive_skips: int) -> tuple[Any, Health]:
    """`new` where the update was sound [] bool and the learner is not stuck, else `old`; and the health after it."""
    taken = sound & ~health.stuck
    streak = jnp.where(taken, 0, health.streak + 1)
    skipped = health.skipped + (~taken).astype(jnp.int32)
    kept = jax.tree.map(lambda a, b: jnp.where(taken, a, b), new, old)
    return kept, Health(skipped, streak, health.stuck | (streak >= max_consecutive_skips))


def learner(
    init_params: Callable[[Key], Params],
    loss: SlowLoss,
    tx: optax.GradientTransformation,
    init_slow: Callable[[Params], Slow] = lambda params: (),
    follow: Callable[[Slow, Params, Array], Slow] = lambda slow, params, steps: slow,
    pieces: Callable[[int, int], int] = lambda rows, batch: 1,
    max_consecutive_skips: int = PATIENCE,
) -> Learner:
    """A Learner that takes one step of `tx` down the gradient of `loss` for every batch.

    `follow(slow, params, steps)` moves target copies after the step. `pieces(rows, batch)` says in how many pieces
    the sequences of a batch are taken: less memory, and with `cached` less time. Metrics gain `learner/loss` and
    `learner/gradient_norm` (before clipping, over all children).

    Where the loss or the gradient is not finite the update is left out: all but the counters stays as it was. After
    `patience` of them in a row the learner stands still, so that what led there can be looked at.
    """

    def init(key: Key) -> LearnerState:
        params = init_params(key)
        return LearnerState(params, init_slow(params), tx.init(params), jnp.zeros((), jnp.int32), healthy())

    def gradients(params: Params, slow: Slow, batch: Trajectory, key: Key):
        (value, (slow, metrics)), gradient = jax.value_and_grad(loss, has_aux=True)(params, slow, batch, key)
        return slow, (gradient, metrics | {"learner/loss": value})

    def update(state: LearnerState, batch: Trajectory, key: Key):
        count = pieces(*batch.step.first.shape)
        slow, (gradient, metrics) = accumulate_gradients(gradients, count)(state.params, state.slow, batch, key)
        change, opt = tx.update(gradient, state.opt, state.params)
        params = optax.apply_updates(state.params, change)
        steps = state.steps + 1
        metrics = metrics | {"learner/gradient_norm": optax.tree.norm(gradient)}
        moved = (params, follow(slow, params, steps), opt)
        sound = jnp.isfinite(metrics["learner/loss"]) & jnp.isfinite(metrics["learner/gradient_norm"])
        kept, health = apply_if_finite(
            sound, moved, (state.params, state.slow, state.opt), state.health, max_consecutive_skips
        )
        return LearnerState(*kept, steps, health), metrics

    return Learner(init, update)

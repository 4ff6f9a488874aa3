"""A loss, an optimiser and slow state make a Learner.

Read with it: optimisers.py (a transformation for every named child), slow.py (target copies, moving averages).
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from skillhier.agents import paths as by_path
from skillhier.agents import slow as slow_state
from skillhier.agents.optimisers import frozen
from skillhier.agents.slow import SlowPart
from skillhier.branch import any_unbatched
from skillhier.distributed import seeds, sharding
from skillhier.types import Array, Health, Key, Learner, LearnerState, Loss, Params, Slow, SlowLoss, Trajectory

MAX_CONSECUTIVE_SKIPS = 10  # updates left out in a row for NaN or Inf before a learner stops


def stateless(loss: Loss) -> SlowLoss:
    """Lifts a loss that has no slow state."""

    def lifted(params, slow, batch, key):
        value, metrics = loss(params, batch, key)
        return value, (slow, metrics)

    return lifted


def loss_every(period: int, loss: SlowLoss) -> SlowLoss:
    """`loss` at every period-th update; at others it is 0 at no cost, and its metrics are NaN, which is not measured.

    Its slow state holds the child `updates` (slow.counter). What it moves needs optimisers.every(period, ...) as well:
    Adam does not stand still where gradients are 0.
    """
    if period < 1:
        raise ValueError(f"the period of a loss must be >= 1, got {period}")
    if period == 1:
        return loss

    def gated(params, slow, batch, key):
        def compute():
            return loss(params, slow, batch, key)

        def skip():
            value, (_, metrics) = jax.eval_shape(compute)
            return jnp.zeros((), value.dtype), (slow, jax.tree.map(lambda x: jnp.full(x.shape, jnp.nan), metrics))

        return jax.lax.cond(any_unbatched(slow["updates"] % period == period - 1), compute, skip)

    return gated


def num_microbatches(rows: int, batch: int, limit: int = 1000) -> int:
    """How many microbatches keep a layer's rows (`limit` at most) in a CPU's cache; one on an accelerator."""
    if jax.default_backend() != "cpu":
        return 1
    return next(
        count for count in range(1, batch + 1) if batch % count == 0 and rows * batch <= limit * count or count == batch
    )


def accumulate_gradients(gradients: Callable, count: int) -> Callable:
    """`gradients(params, slow, batch, key) -> (slow, means)` of a batch taken in `count` microbatches, in sequence.

    Slow state is passed from one to the next; what is returned is the mean over them.
    """
    if count == 1:
        return gradients

    def accumulate(params: Params, slow: Slow, batch: Trajectory, key: Key):
        microbatches = jax.tree.map(lambda x: x.reshape(len(x), count, -1, *x.shape[2:]).swapaxes(0, 1), batch)
        microbatches = sharding.shard(microbatches, 2)  # every device works on a share of each
        keys = jax.random.split(key, count)

        def add(carry, microbatch):
            slow, total = carry
            slow, means = gradients(params, slow, *microbatch)
            return (slow, jax.tree.map(jnp.add, total, means)), None

        one = jax.tree.map(lambda x: x[0], microbatches)
        _, shapes = jax.eval_shape(gradients, params, slow, one, keys[0])
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        (slow, total), _ = jax.lax.scan(add, (slow, zeros), (microbatches, keys))
        return slow, jax.tree.map(lambda x: x / count, total)

    return accumulate


def healthy() -> Health:
    """The health of a learner that has met no bad numbers."""
    return Health(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32), jnp.zeros((), bool))


def merge_params(params: Params, replacement: Params, name: str = "") -> Params:
    """`params` with the arrays of `replacement`, which may hold some of them only; `name` is for errors.

    Raises ValueError, one line: a name or shape that `params` does not have.
    """
    if not isinstance(replacement, dict):
        if isinstance(params, dict) or jnp.shape(params) != jnp.shape(replacement):
            needed = (
                f"the parts {', '.join(params)}" if isinstance(params, dict) else f"shape {list(jnp.shape(params))}"
            )
            raise ValueError(f"{name} has shape {list(jnp.shape(replacement))}, the learner needs {needed}")
        return jnp.asarray(replacement, jnp.result_type(params))
    unknown = sorted(replacement.keys() - (params.keys() if isinstance(params, dict) else set()))
    if unknown:
        known = f"it has {', '.join(params)}" if isinstance(params, dict) else "it is an array"
        raise ValueError(f"{'/'.join(filter(None, [name, unknown[0]]))} is no part of the learner; {known}")
    return {
        **params,
        **{part: merge_params(params[part], x, f"{name}/{part}".strip("/")) for part, x in replacement.items()},
    }


def params_from(fresh: Params, source: Params | None, name: str) -> Params:
    """`fresh`, every named child of it as `source` has it; as it is where `source` is None. Raises ValueError."""
    if source is None:
        return fresh
    missing = sorted(fresh.keys() - source.keys())
    if missing:
        raise ValueError(f"{name} need the part {missing[0]}; the source has {', '.join(sorted(source)) or 'none'}")
    return merge_params(fresh, {part: source[part] for part in fresh}, name)


def with_init_params(learner: Learner, *init_params: Params) -> Learner:
    """`learner`, whose first parameters are `init_params`, nested dictionaries that may hold some of them only.

    They are given once for all seeds of a program, or for each seed. Slow state and the optimiser's are made from the
    parameters that result. Raises ValueError, one line, when it is initialised: a name or shape that the parameters do
    not have.
    """
    if learner.from_params is None:
        raise ValueError("this learner cannot begin with other parameters; make it with agents.learner.learner")

    def init(key: Key) -> LearnerState:
        return learner.from_params(merge_params(learner.init(key).params, seeds.pick(init_params)))

    return learner._replace(init=init)


def with_opt_state(learner: Learner, *stored: Mapping[str, Array], anew: tuple[str, ...] = ()) -> Learner:
    """`learner`, whose optimiser begins in the state of another one, but for the parameters below the paths `anew`.

    stored: the state's leaves by their paths ('0/mu/critic/w'), once for all seeds of a program, or for each seed.
    Raises ValueError, one line, when it is initialised, where the other optimiser is not of the same form.
    """

    def init(key: Key) -> LearnerState:
        state = learner.init(key)
        fresh = by_path.belonging(state.opt, state.params, anew)
        given = seeds.pick(stored)

        def leaf(at: tuple, new: Array, keep: bool) -> Array:
            name = jax.tree_util.keystr(at, simple=True, separator="/")
            if keep or not new.size:
                return new
            if name not in given or given[name].shape != new.shape:
                there = f"has shape {list(given[name].shape)}" if name in given else "is absent"
                raise ValueError(f"of the optimiser's state {name} {there}, the learner needs shape {list(new.shape)}")
            return jnp.asarray(given[name], new.dtype)

        return state._replace(opt=jax.tree_util.tree_map_with_path(leaf, state.opt, fresh))

    return learner._replace(init=init)


def with_frozen(learner: Learner, paths: tuple[str, ...]) -> Learner:
    """`learner`, whose parameters below `paths` do not learn; their optimiser's state stays as it is, too.

    Raises ValueError, one line with the paths that there are.
    """
    if learner.freeze is None:
        raise ValueError("no part of this learner can be frozen; make it with agents.learner.learner")
    by_path.check(jax.eval_shape(learner.init, jax.random.key(0)).params, paths)
    return learner._replace(update=learner.freeze(tuple(paths)))


def apply_if_finite(finite: Array, new, old, health: Health, max_consecutive_skips: int) -> tuple[Any, Health]:
    """`new` where the update is finite [] bool and the learner has not stopped, else `old`; and the health after it."""
    applied = finite & ~health.stuck
    streak = jnp.where(applied, 0, health.streak + 1)
    skipped = health.skipped + (~applied).astype(jnp.int32)
    state = jax.tree.map(lambda a, b: jnp.where(applied, a, b), new, old)
    return state, Health(skipped, streak, health.stuck | (streak >= max_consecutive_skips))


def learner(
    init_params: Callable[[Key], Params],
    loss: SlowLoss,
    tx: optax.GradientTransformation,
    slow: SlowPart = slow_state.NONE,
    microbatches: Callable[[int, int], int] = lambda rows, batch: 1,
    max_consecutive_skips: int = MAX_CONSECUTIVE_SKIPS,
) -> Learner:
    """A Learner that takes one step of `tx` down the gradient of `loss` for every batch.

    slow          parts of the slow state: made from the first parameters, and moved after every step
    microbatches  (rows, sequences) -> in how many microbatches a batch is taken; see `num_microbatches`

    Metrics gain `learner/loss` and `learner/gradient_norm` (before clipping, over all children).

    Where the loss or the gradient is not finite the update is left out: everything but the counters stays as it was.
    After `max_consecutive_skips` of them in a row the learner stops for good, so that the cause can be examined.
    """

    def from_params(params: Params) -> LearnerState:
        return LearnerState(params, slow.init(params), tx.init(params), jnp.zeros((), jnp.int32), healthy())

    def updating(held: tuple[str, ...]) -> Callable:
        """`update` that leaves the parameters below `held` alone."""
        step = frozen(tx, held) if held else tx

        def still(params: Params) -> Params:
            return jax.tree.map(
                lambda held, x: jax.lax.stop_gradient(x) if held else x, by_path.mask(params, held), params
            )

        def held_loss(params: Params, slow_now: Slow, batch: Trajectory, key: Key):
            return loss(still(params) if held else params, slow_now, batch, key)

        def gradients(params: Params, slow_now: Slow, batch: Trajectory, key: Key):
            (value, (slow_now, metrics)), gradient = jax.value_and_grad(held_loss, has_aux=True)(
                params, slow_now, batch, key
            )
            return slow_now, (gradient, metrics | {"learner/loss": value})

        def update(state: LearnerState, batch: Trajectory, key: Key):
            count = microbatches(*batch.step.first.shape)
            slow_now, (gradient, metrics) = accumulate_gradients(gradients, count)(state.params, state.slow, batch, key)
            change, opt = step.update(gradient, state.opt, state.params)
            params = optax.apply_updates(state.params, change)
            steps = state.steps + 1
            metrics = metrics | {"learner/gradient_norm": optax.tree.norm(gradient)}
            new = (params, slow.follow(slow_now, params, steps), opt)
            finite = jnp.isfinite(metrics["learner/loss"]) & jnp.isfinite(metrics["learner/gradient_norm"])
            old = (state.params, state.slow, state.opt)
            state_now, health = apply_if_finite(finite, new, old, state.health, max_consecutive_skips)
            return LearnerState(*state_now, steps, health), metrics

        return update

    return Learner(lambda key: from_params(init_params(key)), updating(()), from_params, updating)

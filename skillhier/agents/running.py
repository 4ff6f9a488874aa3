"""Running statistics of what networks see, for agents that learn from what they have just done.

They are parameters, for acting needs them, that no gradient moves: what nets.encoder.whitened reads, {entry: {"mean",
"std"}}, and beside them the number of `rows` they are of. They move after a batch has been learned from, so that until
then networks see what they saw when they acted, and the ratio of new to old probabilities begins at 1.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from skillhier.nets.encoder import FLOOR
from skillhier.types import Array, Key, Learner, LearnerState, Metrics, Params, Trajectory


def begun(statistics: Params) -> Params:
    """`statistics` of entries, of no rows yet: the first batch replaces them."""
    return {entry: {**one, "rows": jnp.zeros(())} for entry, one in statistics.items()}


def merged(one: Mapping[str, Array], values: Array) -> dict[str, Array]:
    """The statistics of an entry after `values` [..., d] more: mean and variance of all rows (Chan et al., 1979)."""
    values = values.reshape(-1, values.shape[-1])
    rows = one["rows"] + len(values)
    share, mean = len(values) / rows, values.mean(0)
    apart = mean - one["mean"]
    variance = (1 - share) * jnp.square(one["std"]) + share * values.var(0) + share * (1 - share) * jnp.square(apart)
    return {
        "mean": one["mean"] + share * apart,
        "std": jnp.maximum(jnp.sqrt(variance), FLOOR),
        "rows": rows,
    }


def with_running_statistics(learner: Learner, child: str = "encoder") -> Learner:
    """`learner`, the statistics params[child] of which move with the rows of every batch but its last, bootstrap row.

    They stay where a part of the update was left out for bad numbers, and where `child` is frozen.
    """

    def moving(update):
        def after(state: LearnerState, batch: Trajectory, key: Key) -> tuple[LearnerState, Metrics]:
            new, metrics = update(state, batch, key)
            old = new.params[child]
            moved = {entry: merged(one, batch.step.obs[entry][:-1]) for entry, one in old.items()}
            sound = new.health.skipped == state.health.skipped
            kept = jax.tree.map(lambda a, b: jnp.where(sound, a, b), moved, old)
            return new._replace(params={**new.params, child: kept}), metrics

        return after

    def freeze(paths: tuple[str, ...]):
        update = learner.freeze(paths)
        return update if child in paths else moving(update)

    return learner._replace(update=moving(learner.update), freeze=None if learner.freeze is None else freeze)

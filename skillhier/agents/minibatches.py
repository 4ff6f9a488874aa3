"""Several updates on one batch: a Learner that goes through shuffled minibatches of it for some epochs."""

import jax
import jax.numpy as jnp

from skillhier.distributed import sharding
from skillhier.types import Key, Learner, LearnerState, Metrics, Trajectory

SEQUENCES = 1  # the axis of a batch that counts them


def minibatched(learner: Learner, *, epochs: int, minibatches: int) -> Learner:
    """`learner`, which updates on every minibatch of a batch in turn, for `epochs` epochs.

    In each epoch the sequences [T, B, ...] of the batch are shuffled anew and cut into `minibatches` equal parts, so
    that each is used once. The whole counts as one step: `LearnerState.steps` grows by one and every minibatch sees the
    same number. Health counts minibatches: if bad numbers made one be left out, `health.skipped` grows, and the others
    are taken. Metrics are means over all minibatches. With one epoch and one minibatch it is `learner` itself.

    Raises ValueError: a count below 1; when traced, B that is no multiple of `minibatches`.
    """
    for setting, value in {"epochs": epochs, "minibatches": minibatches}.items():
        if value < 1:
            raise ValueError(f"{setting} must be >= 1, got {value}; set agent.{setting}")
    if epochs == minibatches == 1:
        return learner

    def update(state: LearnerState, batch: Trajectory, key: Key) -> tuple[LearnerState, Metrics]:
        sequences = batch.step.first.shape[SEQUENCES]
        if sequences % minibatches:
            raise ValueError(
                f"{sequences} sequences are no multiple of {minibatches} minibatches; set agent.minibatches"
            )

        def minibatch(before: LearnerState, xs: tuple[jax.Array, Key]) -> tuple[LearnerState, Metrics]:
            chosen, key = xs
            part = sharding.shard(jax.tree.map(lambda x: jnp.take(x, chosen, SEQUENCES), batch), SEQUENCES)
            after, metrics = learner.update(before, part, key)
            return after._replace(steps=before.steps), metrics

        def epoch(before: LearnerState, key: Key) -> tuple[LearnerState, Metrics]:
            k_order, k_updates = jax.random.split(key)
            order = jax.random.permutation(k_order, sequences).reshape(minibatches, -1)
            return jax.lax.scan(minibatch, before, (order, jax.random.split(k_updates, minibatches)))

        after, metrics = jax.lax.scan(epoch, state, jax.random.split(key, epochs))
        return after._replace(steps=state.steps + 1), jax.tree.map(jnp.mean, metrics)

    def freeze(paths: tuple[str, ...]):
        still = learner._replace(update=learner.freeze(paths))
        return minibatched(still, epochs=epochs, minibatches=minibatches).update

    return learner._replace(update=update, freeze=None if learner.freeze is None else freeze)

"""Frames: control steps of all worlds, counted beside decisions where an action is held for several of them."""

from skillhier.train.metrics import ENV_STEPS, FRAMES
from skillhier.types import Key, Metrics, Params, Source, SourceState, Trajectory


def counted(source: Source, repeat: int) -> Source:
    """`source`, which also reports `total/frames`: its environment steps, each `repeat` control steps long."""

    def next_(state: SourceState, params: Params, key: Key) -> tuple[SourceState, Trajectory, Metrics]:
        state, batch, metrics = source.next(state, params, key)
        return state, batch, metrics | {FRAMES: metrics[ENV_STEPS] * repeat}

    return source._replace(next=next_)

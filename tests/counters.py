"""Worlds that count their rows, with true stacks of frames: every row of a replay says where it is from."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.types import Bounds, Env, Policy, Spec, TimeStep

STACK = 3


class State(NamedTuple):
    row: jax.Array  # [B] rows shown so far, less one
    episode: jax.Array  # [B]
    steps: jax.Array  # [B] of this episode
    frames: jax.Array  # [B, S, 2] newest first
    last: jax.Array  # [B] bool


def counters(
    lengths: tuple[int, ...],
    *,
    breaks: tuple[tuple[int, int], ...] = (),
    ends: int = -1,
    flops: int = 0,
    traced: list | None = None,
) -> Env:
    """World w has episodes of lengths[w] steps and pays 1 + step + w / 8 for each.

    breaks: (world, row) at which a world breaks and shows an opening row; ends: the world whose episodes end truly;
    flops: a step also multiplies two matrices of this size, so that stepping takes time.
    The entry `count` holds (row, world), stacked; the privileged `told` holds whether the episode's number is odd.
    """
    worlds = len(lengths)
    own = jnp.arange(worlds)

    def show(state: State, first) -> TimeStep:
        reward = jnp.where(first, 0.0, state.steps + own / 8)
        obs = {"count": state.frames, "told": (state.episode % 2).astype(jnp.float32)[:, None, None]}
        return TimeStep(obs, reward, jnp.where(state.last & (own == ends), 0.0, 1.0), first, state.last)

    def frame(row):
        return jnp.stack([row, own], -1).astype(jnp.float32)

    def reset(key):
        zero = jnp.zeros(worlds, jnp.int32)
        frames = jnp.broadcast_to(frame(zero)[:, None], (worlds, STACK, 2))
        state = State(zero, zero, zero, frames, zero > 0)
        return state, show(state, zero == 0)

    def step(state: State, action):
        if traced is not None:
            traced.append(1)
        row = state.row + 1
        broke = jnp.zeros(worlds, bool)
        for world, at in breaks:
            broke = broke | ((own == world) & (row == at))
        if flops:
            matrix = jnp.full((flops, flops), action.sum())
            broke = broke | (jnp.sum(matrix @ matrix) == -1.0)  # never, but it must be computed
        first = state.last | broke
        steps = jnp.where(first, 0, state.steps + 1)
        newest = frame(row)[:, None]
        older = jnp.concatenate([newest, state.frames[:, :-1]], 1)
        frames = jnp.where(first[:, None, None], jnp.broadcast_to(newest, older.shape), older)
        state = State(row, state.episode + first, steps, frames, ~first & (steps >= jnp.asarray(lengths)))
        return state, show(state, first)

    shapes = {"count": jax.ShapeDtypeStruct((STACK, 2), jnp.float32), "told": jax.ShapeDtypeStruct((1, 1), jnp.float32)}
    return Env(reset, step, Spec(shapes, Bounds((1,), -1.0, 1.0), worlds, 0.05, max(lengths), ("told",), "told"))


def act(params, carry, step: TimeStep, key):
    """Noise; the notes say how many rows this policy has seen, and what need not be kept."""
    noise = jax.random.uniform(key, (*step.first.shape, 1), minval=-1.0)
    return carry + 1, noise, {"seen": carry, "junk": step.reward}


NOISE = Policy(lambda worlds: jnp.zeros(worlds, jnp.int32), act)
SEEN = {"seen": jax.ShapeDtypeStruct((), jnp.int32)}

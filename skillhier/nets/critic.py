"""Critics of one level: what they make of an observation, and the value of actions there (HeLMS, Table 5)."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from skillhier.distributed import sharding
from skillhier.nets.mlp import MLP, DType, Joined, Normaliser, elu
from skillhier.types import Array


class CriticTorso(nn.Module):
    """Features [T, B, F] of observations [T, B, D], before any action is joined.

    recurrent: a GRU remembers the rows before, from nothing at a window's first row and anew where `first` [T, B].
    """

    size: int = 256
    recurrent: bool = False
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Array, first: Array) -> Array:
        seen = Normaliser(self.size, self.dtype)(x)
        if not self.recurrent:
            return seen

        def row(cell: nn.GRUCell, memory: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
            seen, first = now
            return cell(jnp.where(first[..., None], 0.0, memory), seen)

        through = nn.scan(row, variable_broadcast="params", split_rngs={"params": False})
        return through(nn.GRUCell(self.size), jnp.zeros_like(seen[0]), (seen, first))[1]


class ActionValue(nn.Module):
    """Q of actions [N, ..., A] beside features [..., F]: [N, ...]. The features are multiplied once, not N times.

    Unrolled over actions, as skills are in nets/skills.py: the rows of one stay in a CPU's cache.
    """

    hidden: Sequence[int] = (256, 256, 256)
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, features: Array, action: Array) -> Array:
        first, *rest = self.hidden
        rest = MLP(rest, 1, dtype=self.dtype)
        rows = Joined(first, self.dtype)(sharding.flatten_rows(features), sharding.flatten_rows(action, keep=1))
        return jnp.stack([rest(elu(row)) for row in rows]).reshape(action.shape[:-1])

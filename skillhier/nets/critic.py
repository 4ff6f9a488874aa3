"""Critics of one level: what they make of an observation, and the value of actions there (HeLMS, Table 5; HIRO)."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from skillhier.distributed import sharding
from skillhier.nets.encoder import Seen
from skillhier.nets.mlp import MLP, UNIFORM_FAN_IN, DType, Joined, elu, near_zero
from skillhier.nets.vision import Shape, represented
from skillhier.types import Array


class CriticTorso(nn.Module):
    """Features [T, B, F] of observations [T, B, D], before any action is joined.

    recurrent: a GRU remembers the rows before, from nothing at a window's first row and anew where `first` [T, B].
    """

    size: int = 256
    recurrent: bool = False
    pictures: Shape = Shape()  # of the network that sees them, if there are any
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Array | Seen, first: Array) -> Array:
        seen = represented(x, self.size, self.pictures, self.dtype)
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


class TwinCritic(nn.Module):
    """Two independent Q of an action beside features, [2, ...] from [..., F] and [..., A], as HIRO has them.

    The action is an input of the first layer and again of the second.
    """

    hidden: Sequence[int] = (300, 300)
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, features: Array, action: Array) -> Array:
        def one(name: str) -> Array:
            x = features
            for i, width in enumerate(self.hidden):
                x = jnp.concatenate([x, action], -1) if i < 2 else x
                layer = nn.Dense(width, kernel_init=UNIFORM_FAN_IN, dtype=self.dtype, name=f"{name}_{i}")
                x = nn.relu(layer(x))
            return nn.Dense(1, kernel_init=near_zero, name=f"{name}_value")(x)[..., 0]

        return jnp.stack([one("first"), one("second")])

"""Goal coders: a state and a later one to a distribution of codes, and back; one for each resolution, or one alone.

Several coders share all but the encoder's last layer and the decoder's first one. With a context, what is encoded is
how to get from it to the goal; a single coder without one is Director's goal autoencoder (fact sheet mrs.md 1.4, 2.3).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from skillhier.distributed import sharding
from skillhier.nets.mlp import GLOROT, MLP, DType, Style
from skillhier.types import Array, Key, Params


class GoalCoders(NamedTuple):
    """The functions of N coders. A context is [..., D]; it is not looked at where coders have none."""

    init: Callable[[Key], Params]
    encode: Callable[[Params, Array, Array, int], Array]  # (params, context, goal [..., D], coder) -> outputs [..., C]
    encode_all: Callable[[Params, Array, Array], Array]  # the same goal by all coders: [..., N, C]
    decode: Callable[[Params, Array, Array, int], Array]  # (params, context, code [..., Z], coder) -> goal [..., D]
    decode_all: Callable[[Params, Array, Array], Array]  # of codes [..., N, Z]: goals [..., N, D]


def make(
    names: Sequence[str],
    *,
    size: int,
    code: int,
    outputs: int,
    hidden: Sequence[int],
    context: bool,
    style: Style = GLOROT,
    last: float = 1.0,
    dtype: DType = jnp.float32,
) -> GoalCoders:
    """Coders of those names, in their order.

    size           D, numbers of a state
    code, outputs  Z, numbers of a code, and C, numbers that say its distribution
    hidden         widths of the layers of the encoder and of the decoder, at least one
    last           variance of the last layers' weights, as a share of the others'
    """
    seen = size if context else 0
    trunk = MLP(hidden, 0, dtype=dtype, style=style)
    heads = [nn.Dense(outputs, kernel_init=style.kernel_init(last), dtype=dtype) for _ in names]
    firsts = [MLP(hidden[:1], 0, dtype=dtype, style=style) for _ in names]
    rest = MLP(hidden[1:], size, last, dtype, style)

    def init(key: Key) -> Params:
        keys = iter(jax.random.split(key, 2 + 2 * len(names)))
        blank = lambda width: jnp.zeros((1, width))  # noqa: E731
        named = lambda nets: zip(names, nets, strict=True)  # noqa: E731
        return {
            "trunk": trunk.init(next(keys), blank(seen + size))["params"],
            "heads": {name: net.init(next(keys), blank(hidden[-1]))["params"] for name, net in named(heads)},
            "firsts": {name: net.init(next(keys), blank(seen + code))["params"] for name, net in named(firsts)},
            "rest": rest.init(next(keys), blank(hidden[0]))["params"],
        }

    def joined(start: Array, x: Array) -> Array:
        return jnp.concatenate([start, x], -1) if context else x

    def features(params: Params, start: Array, goal: Array) -> Array:
        return trunk.apply({"params": params["trunk"]}, joined(start, goal))

    def head(params: Params, x: Array, i: int) -> Array:
        rows = sharding.flatten_rows(x)
        said = heads[i].apply({"params": params["heads"][names[i]]}, rows)
        return said.reshape(*x.shape[:-1], outputs).astype(jnp.float32)

    def encode(params: Params, start: Array, goal: Array, i: int = 0) -> Array:
        return head(params, features(params, start, goal), i)

    def encode_all(params: Params, start: Array, goal: Array) -> Array:
        x = features(params, start, goal)
        return jnp.stack([head(params, x, i) for i in range(len(names))], -2)

    def first(params: Params, start: Array, z: Array, i: int) -> Array:
        return firsts[i].apply({"params": params["firsts"][names[i]]}, joined(start, z))

    def decode(params: Params, start: Array, z: Array, i: int = 0) -> Array:
        return rest.apply({"params": params["rest"]}, first(params, start, z, i))

    def decode_all(params: Params, start: Array, z: Array) -> Array:
        x = jnp.stack([first(params, start, z[..., i, :], i) for i in range(len(names))], -2)
        return rest.apply({"params": params["rest"]}, x)

    return GoalCoders(init, encode, encode_all, decode, decode_all)

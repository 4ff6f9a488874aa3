"""Heads: features to a prediction of a scalar, a vector or a picture. A head is a pair (init, apply)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp

from skillhier.nets.mlp import GLOROT, MLP, DType, Style
from skillhier.nets.pictures import PictureDecoder
from skillhier.ops.predictions import Form, Prediction
from skillhier.types import Array, Key, Params


class Head(NamedTuple):
    """Parameters from a key and the number of features; a prediction from features [..., F]."""

    init: Callable[[Key, int], Params]
    apply: Callable[[Params, Array], Prediction]


def scalar(form: Form, hidden: Sequence[int], style: Style = GLOROT, last: float = 1.0, dtype: DType = jnp.float32):
    """A head for one number a row: its predictions and values are [...].

    last: variance of the last layer's weights; 0 makes an untrained head say the same of everything.
    """
    net = MLP(hidden, form.outputs, last, dtype, style)

    def apply(params: Params, features: Array) -> Prediction:
        prediction = form.read(net.apply({"params": params}, features), 1)
        return Prediction(prediction.mean[..., 0], lambda x: prediction.log_prob(x[..., None]))

    return Head(_init(net), apply)


def vector(size: int, form: Form, hidden: Sequence[int], style: Style = GLOROT, dtype: DType = jnp.float32) -> Head:
    """A head for a vector [..., size]; log-probabilities are summed over it."""
    net = MLP(hidden, form.outputs * size, 1.0, dtype, style)
    return Head(_init(net), lambda params, features: form.read(net.apply({"params": params}, features), 1))


def picture(
    shape: Sequence[int], form: Form, depth: int, style: Style, *, dense: bool = True, dtype: DType = jnp.float32
) -> Head:
    """A head for stacks of pictures [..., S, H, W, C], in the numbers that PictureDecoder makes of them."""
    net = PictureDecoder(tuple(shape), depth, style, dense, dtype)
    return Head(_init(net), lambda params, features: form.read(net.apply({"params": params}, features), 4))


def _init(net) -> Callable[[Key, int], Params]:
    return lambda key, features: net.init(key, jnp.zeros((1, features)))["params"]

"""What a window of states says of the skill that made it: the intrinsic reward of LSP, and its predictor's own loss.

The mutual information of skill and states given the start state is at least E[log q(z | states, start)] plus the
entropy of skills given the start (Barber and Agakov, 2003; LSP, section 3.2). A window is the `period` rows that a
skill was held for, and the row where it was chosen. Gaussian noise on the predictor's input keeps a policy from
signalling the skill in a tiny subspace of the state.

DIAYN is the same of one of K skills and a window of one row, `told_apart`.
"""

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from skillhier.ops.families import gaussian_log_prob
from skillhier.ops.predictions import Prediction
from skillhier.ops.temporal import split
from skillhier.types import Array, Key, Loss, Metrics, Params, Scalar, Trajectory

STATES = 10  # of a window, at most, that the predictor sees: its input does not grow with the period
PLACES = ("last", "each")
Predict = Callable[[Params, Array], Prediction]  # parameters, [M, D] -> of the skill [M, Z]
Features = Callable[[Mapping[str, Array]], Array]  # entries of rows -> [..., F]


def rows_seen(period: int) -> list[int]:
    """The rows of a window that the predictor sees: the start, then all, or STATES equally spaced ones.

    A period beyond STATES must be a multiple of it, so that weights survive a change of the period.
    """
    if period > STATES and period % STATES:
        raise ValueError(f"period must be at most {STATES} or a multiple of it, got {period}; set agent.period")
    step = max(period // STATES, 1)
    return [0, *range(step, period + 1, step)]


def windows(batch: Trajectory, period: int, features: Features) -> tuple[Array, Array, dict[str, Array]]:
    """(the rows seen of every window [W, M, F], its skill [M, Z], the notes of its first row); window j of world b is
    b n + j, as in ops.temporal.split.
    """
    chunks = split(period)(batch)
    rows = features({name: x[jnp.array(rows_seen(period))] for name, x in chunks.step.obs.items()})
    notes = jax.tree.map(lambda x: x[0], chunks.extras)
    return rows, notes["skill"], notes


def windows_of_replay(batch: Trajectory, period: int, features: Array, note: str) -> tuple[Array, Array, Array]:
    """Of real rows [T, B], the window from row e - period to row e for each e = period .. T - 1.

    (the rows seen of it [W, R, B, F] from features [T, B, F], the skill of its first row [W, B, Z], whether one skill
    was chosen there and held throughout, within one episode [W, B]). Raises ValueError where T holds no window.
    """
    step, count = batch.step, len(batch.step.first) - period
    if count < 1:
        raise ValueError(f"{period + count} rows hold no skill of {period}; set train.sequence_length to more")
    begin = jnp.arange(count)[:, None]
    within = begin + jnp.arange(1, period + 1)  # rows after a window's first one
    renewed = batch.extras[f"{note}_renewed"]
    before_last = within[:, :-1]
    cut = renewed[before_last].any(1) | step.first[within].any(1) | step.last[before_last].any(1)
    rows = features[begin + jnp.array(rows_seen(period))]
    return rows, batch.extras[note][:count], renewed[:count] & ~step.last[:count] & ~cut


def log_q(predict: Predict, params: Params, rows: Array, skill: Array, noise: float, key: Key) -> Array:
    """log q(skill | rows) in nats, [M], of rows [W, M, F] with noise on all of them."""
    rows = rows + noise * jax.random.normal(key, rows.shape, rows.dtype)
    flat = rows.swapaxes(0, 1).reshape(rows.shape[1], -1)
    return predict(params, flat).log_prob(skill)


def told_apart(predict: Predict, params: Params, features: Array, skill: Array, skills: int) -> Array:
    """log q(skill | row) - log p(skill) in nats, [T, B], of rows [T, B, F] and one of `skills` each, int32 [T, B].

    Skills are drawn uniformly, p = 1 / skills: 0 where the predictor knows nothing, log(skills) where it is sure and
    right (Eysenbach et al., 2019, equation 3). A row is a window of its own.
    """
    code = jax.nn.one_hot(skill.reshape(-1), skills)
    info = log_q(predict, params, features.reshape(1, -1, features.shape[-1]), code, 0.0, jax.random.key(0))
    return info.reshape(skill.shape) + math.log(skills)


def information_reward(
    predict: Predict,
    features: Features,
    *,
    period: int,
    noise: float = 0.3,
    place: str = "last",
    last_row: int | None = None,
    subtract_prior: bool = False,
    subtract_start: bool = False,
    constant: float = 0.0,
    floor: float | None = None,
) -> Callable[[Params, Trajectory, Key], Array]:
    """(params, batch [nK + 1, B], key) -> log q(z | window) as a reward [nK + 1, B]; params: see `predictor_loss`.

    place           last: on the last row of the window; each: a K-th on each of its rows
    last_row        the last row whose reward counts: what falls beyond it is paid there
    subtract_prior  less log N(z; mean, stddev) of the planner's notes
    subtract_start  less log q(z | start) of the predictor that sees the start alone
    constant        nats added to each window
    floor           nats that a window is paid at least: a predictor that is sure and wrong says any number below zero
    """
    if place not in PLACES:
        raise ValueError(f"mi_place '{place}' is not known; choose {' or '.join(PLACES)} in agent.mi_place")

    def reward(params: Params, batch: Trajectory, key: Key) -> Array:
        window_key, start_key = jax.random.split(key)
        rows, skill, notes = windows(batch, period, features)
        info = log_q(predict, params["predictor"], rows, skill, noise, window_key) + constant
        if subtract_start:
            info = info - log_q(predict, params["start_predictor"], rows[:1], skill, noise, start_key)
        if subtract_prior:
            info = info - gaussian_log_prob(notes["skill/mean"], notes["skill/stddev"], skill)
        if floor is not None:
            info = jnp.maximum(info, floor)
        worlds = batch.step.first.shape[1]
        info = info.reshape(worlds, -1).T  # [n, B]
        paid = jnp.zeros(batch.step.first.shape)
        paying = jnp.arange(1, len(paid)) if place == "each" else period * (1 + jnp.arange(len(info)))
        if last_row is not None:
            paying = jnp.minimum(paying, last_row)
        return paid.at[paying].add(jnp.repeat(info / period, period, axis=0) if place == "each" else info)

    return reward


def predictor_loss(predict: Predict, features: Features, *, period: int, noise: float = 0.3) -> Loss:
    """Maximum likelihood of the skill from its window, params["predictor"], and from its start alone,
    params["start_predictor"]; rows get no gradient.

    `information` is the difference of the two, in nats: what a window says of its skill beyond what its start says.
    """

    def loss(params: Params, batch: Trajectory, key: Key) -> tuple[Scalar, Metrics]:
        window_key, start_key = jax.random.split(key)
        rows, skill, _ = jax.lax.stop_gradient(windows(batch, period, features))
        whole = log_q(predict, params["predictor"], rows, skill, noise, window_key).mean()
        start = log_q(predict, params["start_predictor"], rows[:1], skill, noise, start_key).mean()
        return -(whole + start), {"log_q": whole, "log_q_start": start, "information": whole - start}

    return loss

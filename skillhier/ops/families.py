"""Action families: distributions over actions, and the named parts of them that MPO constrains one by one.

A distribution is a record of arrays; a family is a record of functions on it. Leading axes [...] are rows, usually
[T, B]. MPO (losses/mpo.py) uses families through this interface only: Gaussian for plain MPO and NPMP, hybrid for MPO
with a binary gripper, categorical for HeLMS-cat, mixture for HeLMS-mix.

Parts are decoupled (Abdolmaleki et al., 2018, "Relative Entropy Regularized Policy Iteration"; for mixtures RHPO,
Wulfmeier et al., 2020): the likelihood of a part takes that part from the online policy and the rest from the target.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from skillhier.ops import divergence
from skillhier.types import Action, Array, Key

HALF_LOG_2PI = 0.9189385332046727  # log(2 pi) / 2

Distribution = Any  # Gaussian, Categorical, Hybrid or Mixture


class Gaussian(NamedTuple):
    """Diagonal, [..., A] each."""

    mean: Array
    scale: Array  # standard deviation, above 0


class Categorical(NamedTuple):
    """One of K."""

    logits: Array  # [..., K], normalised or not


class Hybrid(NamedTuple):
    """A diagonal Gaussian and an independent last dimension that is -1 or 1: actions [..., A]."""

    mean: Array  # [..., A - 1]
    scale: Array  # [..., A - 1]
    logits: Array  # [..., 2] of the values -1 and 1, normalised or not


class Mixture(NamedTuple):
    """A mixture of K diagonal Gaussians; the component axis leads, as in nets.skills.Components."""

    logits: Array  # [..., K], normalised or not
    mean: Array  # [K, ..., A]
    scale: Array  # [K, ..., A]


class Choices(NamedTuple):
    """Weighted actions that represent a policy: sum_n exp(log_prior[n]) f(action[n]) estimates E[f]."""

    action: Action  # [N, ..., A] samples, or [K, ...] int32: every action there is
    log_prior: Array  # [N, ...] -log N for samples, the log-probabilities where all actions are listed


class Part(NamedTuple):
    """One part of a policy, with the other parts taken from the target policy."""

    log_prob: Array  # [N, ...] of the choices, where only this part is the online policy's
    kl: Array  # [..., *axes] KL(target || online) in nats; the family says which axes


class Family(NamedTuple):
    """Pure functions that sample from distributions of one kind and compare two of them."""

    sample: Callable[[Distribution, Key], Action]  # one action per row
    mode: Callable[[Distribution], Action]
    log_prob: Callable[[Distribution, Action], Array]  # [..., rows]; an action may have axes before its rows
    choices: Callable[[Distribution, Key, int], Choices]  # `int` samples, or every action there is
    parts: Callable[[Distribution, Distribution, Action], dict[str, Part]]  # of (target, online, actions of choices)
    names: tuple[str, ...]  # of the parts
    entropy: Callable[[Distribution], Array] | None = None  # in nats, [...]; None: it has no closed form


def gaussian(*, decoupled: bool = True) -> Family:
    """Parts `mean` and `stddev`; KL of each per dimension, [..., A].

    decoupled: False gives every part an equal share of the whole online policy's log-probability.
    """

    def sample(policy: Gaussian, key: Key, count: tuple[int, ...] = ()) -> Array:
        noise = jax.random.normal(key, (*count, *policy.mean.shape), policy.mean.dtype)
        return policy.mean + policy.scale * noise

    def parts(target: Gaussian, online: Gaussian, action: Array) -> dict[str, Part]:
        new_mean, new_stddev = Gaussian(online.mean, target.scale), Gaussian(target.mean, online.scale)
        policies = [new_mean, new_stddev] if decoupled else [online, online]
        share = 1.0 if decoupled else 0.5
        return {
            name: Part(share * gaussian_log_prob(*which, action), divergence.gaussian_each(*target, *other))
            for name, which, other in zip(("mean", "stddev"), policies, (new_mean, new_stddev), strict=True)
        }

    return Family(
        sample,
        lambda policy: policy.mean,
        lambda policy, action: gaussian_log_prob(*policy, action),
        lambda policy, key, count: _sampled(sample(policy, key, (count,)), policy.mean.ndim - 1),
        parts,
        ("mean", "stddev"),
        lambda policy: (jnp.log(policy.scale) + HALF_LOG_2PI + 0.5).sum(-1),
    )


def categorical() -> Family:
    """Part `category`, KL [...]. `choices` lists all K actions and ignores the key and the count."""

    def choices(policy: Categorical, key: Key, count: int) -> Choices:
        log_p = jnp.moveaxis(jax.nn.log_softmax(policy.logits), -1, 0)  # [K, ...]
        index = jnp.arange(len(log_p), dtype=jnp.int32).reshape(-1, *[1] * (log_p.ndim - 1))
        return Choices(jnp.broadcast_to(index, log_p.shape), log_p)

    def parts(target: Categorical, online: Categorical, action: Array) -> dict[str, Part]:
        return {"category": Part(log_prob(online, action), _category_kl(target.logits, online.logits))}

    def log_prob(policy: Categorical, action: Array) -> Array:
        # A product with a one-hot, not an index: the gradient of indexing is a scatter.
        one_hot = jax.nn.one_hot(action, policy.logits.shape[-1], dtype=policy.logits.dtype)
        return (one_hot * jax.nn.log_softmax(policy.logits)).sum(-1)

    return Family(
        lambda policy, key: jax.random.categorical(key, policy.logits).astype(jnp.int32),
        lambda policy: policy.logits.argmax(-1).astype(jnp.int32),
        log_prob,
        choices,
        parts,
        ("category",),
        lambda policy: divergence.entropy(jax.nn.softmax(policy.logits)),
    )


def hybrid(*, decoupled: bool = True) -> Family:
    """Parts `mean` and `stddev`, KL per dimension [..., A - 1], and `category`, KL [...].

    Hybrid MPO (Neunert et al., 2019, "Continuous-Discrete Reinforcement Learning for Hybrid Control in Robotics"): the
    policy is a product of independent parts, so their KLs add up. decoupled: as in `gaussian`.
    """
    choice = categorical()

    def side(action: Array) -> Array:
        return (action[..., -1] > 0).astype(jnp.int32)

    def joined(gaussian: Array, side: Array) -> Array:
        return jnp.concatenate([gaussian, jnp.where(side > 0, 1.0, -1.0).astype(gaussian.dtype)[..., None]], -1)

    def sample(policy: Hybrid, key: Key, count: tuple[int, ...] = ()) -> Array:
        noise_key, side_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, (*count, *policy.mean.shape), policy.mean.dtype)
        which = jax.random.categorical(side_key, policy.logits, shape=(*count, *policy.logits.shape[:-1]))
        return joined(policy.mean + policy.scale * noise, which)

    def log_prob(policy: Hybrid, action: Array) -> Array:
        rest = gaussian_log_prob(policy.mean, policy.scale, action[..., :-1])
        return rest + choice.log_prob(Categorical(policy.logits), side(action))

    def parts(target: Hybrid, online: Hybrid, action: Array) -> dict[str, Part]:
        one_moved = _one_moved(target, online)
        kl = {name: divergence.gaussian_each(*target[:2], *one_moved[name][:2]) for name in ("mean", "stddev")}
        kl["category"] = _category_kl(target.logits, online.logits)
        return _parts(log_prob, online, one_moved, action, kl, decoupled)

    return Family(
        sample,
        lambda policy: joined(policy.mean, policy.logits.argmax(-1)),
        log_prob,
        lambda policy, key, count: _sampled(sample(policy, key, (count,)), policy.mean.ndim - 1),
        parts,
        ("mean", "stddev", "category"),
    )


def mixture(*, decoupled: bool = True) -> Family:
    """Parts `mean` and `stddev`, KL per component and dimension [..., K, A], and `category`, KL [...].

    `mode` is the mean of the most likely component. decoupled: as in `gaussian`.
    """

    def sample(policy: Mixture, key: Key, count: tuple[int, ...] = ()) -> Array:
        which_key, noise_key = jax.random.split(key)
        rows = policy.logits.shape[:-1]
        which = jax.random.categorical(which_key, policy.logits, shape=(*count, *rows))
        noise = jax.random.normal(noise_key, (*count, *policy.mean.shape[1:]), policy.mean.dtype)
        return component(policy.mean, which) + component(policy.scale, which) * noise

    def log_prob(policy: Mixture, action: Array) -> Array:
        lead = action.ndim - policy.mean.ndim + 1  # axes of the action before its rows
        shape = (len(policy.mean), *[1] * lead, *policy.mean.shape[1:])
        each = gaussian_log_prob(policy.mean.reshape(shape), policy.scale.reshape(shape), action)  # [K, ...]
        log_p = jnp.moveaxis(jax.nn.log_softmax(policy.logits), -1, 0)
        return jax.nn.logsumexp(each + log_p.reshape(each.shape[:1] + (1,) * lead + log_p.shape[1:]), 0)

    def parts(target: Mixture, online: Mixture, action: Array) -> dict[str, Part]:
        one_moved = _one_moved(target, online)
        kl = {
            name: jnp.moveaxis(divergence.gaussian_each(*target[1:], *one_moved[name][1:]), 0, -2)
            for name in ("mean", "stddev")
        } | {"category": _category_kl(target.logits, online.logits)}
        return _parts(log_prob, online, one_moved, action, kl, decoupled)

    return Family(
        sample,
        lambda policy: component(policy.mean, policy.logits.argmax(-1)),
        log_prob,
        lambda policy, key, count: _sampled(sample(policy, key, (count,)), policy.logits.ndim - 1),
        parts,
        ("mean", "stddev", "category"),
    )


def _one_moved(target: Distribution, online: Distribution) -> dict[str, Distribution]:
    """The target policy with one part (mean, stddev or category) replaced by that of the online policy, by part."""
    return {
        "mean": target._replace(mean=online.mean),
        "stddev": target._replace(scale=online.scale),
        "category": target._replace(logits=online.logits),
    }


def _parts(
    log_prob: Callable[[Distribution, Action], Array],
    online: Distribution,
    one_moved: dict[str, Distribution],
    action: Action,
    kl: dict[str, Array],
    decoupled: bool,
) -> dict[str, Part]:
    """Each part with its KL and its log-probability: decoupled, or an equal share of the online policy's."""
    if decoupled:
        return {name: Part(log_prob(which, action), kl[name]) for name, which in one_moved.items()}
    whole = log_prob(online, action) / len(kl)
    return {name: Part(whole, kl[name]) for name in kl}


def gaussian_log_prob(mean: Array, scale: Array, action: Array) -> Array:
    """log N(action; mean, diag scale^2) in nats, [...] from [..., A]."""
    error = (action - mean) * (1.0 / scale)
    return -(0.5 * jnp.square(error) + jnp.log(scale) + HALF_LOG_2PI).sum(-1)


def draw(mean: Array, scale: Array | float, key: Key | None) -> Array:
    """A sample of N(mean, diag scale^2), [..., A]; its mean without a key."""
    return mean if key is None else mean + scale * jax.random.normal(key, mean.shape, mean.dtype)


def component(values: Array, which: Array) -> Array:
    """The values of component `which` [N..., rows]: [N..., rows, A] from [K, rows, A]."""
    lead = which.ndim - values.ndim + 2
    values = jnp.moveaxis(values, 0, -2).reshape(
        (1,) * lead + values.shape[1:-1] + values.shape[:1] + values.shape[-1:]
    )
    return jnp.take_along_axis(values, which[..., None, None], -2)[..., 0, :]


def _sampled(action: Array, rows: int) -> Choices:
    return Choices(action, jnp.full(action.shape[: rows + 1], -jnp.log(len(action))))


def _category_kl(target: Array, online: Array) -> Array:
    return divergence.categorical(jax.nn.log_softmax(target), jax.nn.log_softmax(online))

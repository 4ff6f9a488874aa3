"""Action families: against distrax and tensorflow_probability's rule of mixtures, and the laws of their parts."""

from typing import NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.ops import divergence, families
from skillhier.ops.families import Categorical, Gaussian, Hybrid, Mixture

ROWS, N, K, A = (3, 2), 6, 4, 3  # rows [T, B]
KINDS = {
    "gaussian": families.gaussian(),
    "categorical": families.categorical(),
    "hybrid": families.hybrid(),
    "mixture": families.mixture(),
}
PARTS = {kind: jax.jit(family.parts) for kind, family in KINDS.items()}


def spread(key, shape):
    return 0.3 + jax.random.uniform(key, shape)


def make(kind: str, seed: int):
    keys = jax.random.split(jax.random.key(seed), 3)
    logits = jax.random.normal(keys[0], (*ROWS, K))
    if kind == "gaussian":
        return Gaussian(jax.random.normal(keys[1], (*ROWS, A)), spread(keys[2], (*ROWS, A)))
    if kind == "categorical":
        return Categorical(logits)
    if kind == "hybrid":
        return Hybrid(jax.random.normal(keys[1], (*ROWS, A - 1)), spread(keys[2], (*ROWS, A - 1)), logits[..., :2])
    return Mixture(logits, jax.random.normal(keys[1], (K, *ROWS, A)), spread(keys[2], (K, *ROWS, A)))


class Product(NamedTuple):
    """Independent parts, the last dimension standing for an index."""

    rest: distrax.Distribution
    last: distrax.Distribution

    def log_prob(self, action):
        return self.rest.log_prob(action[..., :-1]) + self.last.log_prob(((action[..., -1] + 1) / 2).astype(int))


def reference(policy):
    if isinstance(policy, Gaussian):
        return distrax.MultivariateNormalDiag(*policy)
    if isinstance(policy, Categorical):
        return distrax.Categorical(policy.logits)
    if isinstance(policy, Hybrid):
        return Product(distrax.MultivariateNormalDiag(policy.mean, policy.scale), distrax.Categorical(policy.logits))
    components = distrax.MultivariateNormalDiag(jnp.moveaxis(policy.mean, 0, -2), jnp.moveaxis(policy.scale, 0, -2))
    return distrax.MixtureSameFamily(distrax.Categorical(policy.logits), components)


def draws(kind, policy, count):
    """[count, rows, A], each by a key of its own."""
    keys = jax.random.split(jax.random.key(1), count)
    return jax.jit(jax.vmap(lambda key: KINDS[kind].sample(policy, key)))(keys)


@pytest.mark.parametrize("kind", ["gaussian", "categorical"])
def test_entropy_is_that_of_distrax(kind):
    policy = make(kind, 0)
    np.testing.assert_allclose(KINDS[kind].entropy(policy), reference(policy).entropy(), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_log_prob_and_its_gradient_are_distrax(kind):
    family, policy = KINDS[kind], make(kind, 0)
    action = family.choices(make(kind, 1), jax.random.key(2), N).action

    def ours(policy):
        return family.log_prob(policy, action).sum()

    def theirs(policy):
        return reference(policy).log_prob(action).sum()

    def values(policy):
        return (
            family.log_prob(policy, action),
            family.log_prob(policy, action[0]),
            reference(policy).log_prob(action),
        )

    many, one, expected = jax.jit(values)(policy)
    assert many.shape == action.shape[:3]
    np.testing.assert_allclose(many, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(one, expected[0], rtol=1e-4, atol=1e-5)

    np.testing.assert_allclose(
        family.log_prob(policy, action), reference(policy).log_prob(action), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(family.log_prob(policy, action[0]), family.log_prob(policy, action)[0], rtol=1e-5)
    assert family.log_prob(policy, action).shape == action.shape[:3]
    found, expected = jax.grad(ours)(policy), jax.grad(theirs)(policy)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4), found, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_the_moments_of_their_policy(kind):
    """20,000 draws in one row: means within 4 standard errors."""
    policy = make(kind, 0)
    many = draws(kind, policy, 20_000)
    if kind == "categorical":
        assert many.dtype == jnp.int32
        share = jax.nn.one_hot(many, K).mean(0)
        np.testing.assert_allclose(share, jax.nn.softmax(policy.logits), atol=4 * 0.5 / 20_000**0.5)
        return
    weight = jax.nn.softmax(policy.logits)[..., None] if kind == "mixture" else 1.0
    mean, square = policy.mean, policy.scale**2 + policy.mean**2
    if kind == "mixture":
        mean, square = (jnp.sum(weight * jnp.moveaxis(x, 0, -2), -2) for x in (mean, square))
    if kind == "hybrid":
        mean = jnp.concatenate([mean, 2 * jax.nn.softmax(policy.logits)[..., 1:] - 1], -1)
        square = jnp.concatenate([square, jnp.ones((*ROWS, 1))], -1)  # of -1 and of 1
    error = 4 * jnp.sqrt(square - mean**2) / 20_000**0.5
    assert (jnp.abs(many.mean(0) - mean) < error).all()
    np.testing.assert_allclose(many.var(0), square - mean**2, rtol=0.08)


def test_choices_are_draws_of_the_policy_or_all_there_is():
    for kind in ("gaussian", "hybrid", "mixture"):
        policy = make(kind, 0)
        choices = KINDS[kind].choices(policy, jax.random.key(0), 5000)
        assert choices.action.shape == (5000, *ROWS, A) and choices.log_prior.shape == (5000, *ROWS)
        np.testing.assert_allclose(jnp.exp(choices.log_prior), 1 / 5000, rtol=1e-5)
        lone = draws(kind, policy, 5000)
        np.testing.assert_allclose(choices.action.mean(0), lone.mean(0), atol=0.12)
        np.testing.assert_allclose(choices.action.std(0), lone.std(0), rtol=0.1)
    policy = make("categorical", 0)
    choices = KINDS["categorical"].choices(policy, jax.random.key(0), 5000)
    assert choices.action.shape == choices.log_prior.shape == (K, *ROWS)
    np.testing.assert_array_equal(choices.action[:, 0, 0], jnp.arange(K))
    np.testing.assert_allclose(jnp.exp(choices.log_prior).sum(0), 1.0, rtol=1e-6)
    np.testing.assert_allclose(choices.log_prior, KINDS["categorical"].log_prob(policy, choices.action), rtol=1e-5)


def test_modes():
    policy = make("mixture", 0)
    best = policy.logits.argmax(-1)
    by_hand = [[policy.mean[best[t, b], t, b] for b in range(ROWS[1])] for t in range(ROWS[0])]
    np.testing.assert_array_equal(KINDS["mixture"].mode(policy), jnp.array(by_hand))
    gaussian, categorical = make("gaussian", 0), make("categorical", 0)
    np.testing.assert_array_equal(KINDS["gaussian"].mode(gaussian), gaussian.mean)
    np.testing.assert_array_equal(KINDS["categorical"].mode(categorical), categorical.logits.argmax(-1))


def test_parts_by_hand():
    """One row, one dimension: from N(1, 2^2) to N(3, 1^2), actions 1 and 5."""
    target = Gaussian(jnp.array([[[1.0]]]), jnp.array([[[2.0]]]))
    online = Gaussian(jnp.array([[[3.0]]]), jnp.array([[[1.0]]]))
    parts = PARTS["gaussian"](target, online, jnp.array([1.0, 5.0]).reshape(2, 1, 1, 1))
    half = 0.5 * np.log(2 * np.pi)
    # the mean alone moves: N(3, 2^2), one scale from either action; (3 - 1)^2 / (2 4) nats
    np.testing.assert_allclose(parts["mean"].log_prob[:, 0, 0], [-0.5 - np.log(2) - half] * 2, rtol=1e-6)
    np.testing.assert_allclose(parts["mean"].kl[0, 0], [0.5], rtol=1e-6)
    # the spread alone: N(1, 1), no and four scales; ln(1/2) + 4/2 - 1/2
    np.testing.assert_allclose(parts["stddev"].log_prob[:, 0, 0], [-half, -8 - half], rtol=1e-6)
    np.testing.assert_allclose(parts["stddev"].kl[0, 0], [1.5 - np.log(2)], rtol=1e-6)
    # from (1/2, 1/2) to (1/4, 3/4): ln(2/sqrt(3)); the other way it would be another number
    ours = Categorical(jnp.log(jnp.array([[[0.5, 0.5]]]))), Categorical(jnp.log(jnp.array([[[1.0, 3.0]]])))
    kl = PARTS["categorical"](*ours, jnp.zeros((1, 1, 1), jnp.int32))["category"].kl
    np.testing.assert_allclose(kl, [[0.5 * np.log(4 / 3)]], rtol=1e-5)


def test_parts_of_a_mixture_are_the_papers():
    """C_mu, C_Sigma and C_cat as HeLMS B.2 prints them, old to new, and likelihoods that move one part each."""
    target, online = make("mixture", 0), make("mixture", 1)
    action = KINDS["mixture"].choices(target, jax.random.key(2), N).action
    parts = PARTS["mixture"](target, online, action)
    assert parts.keys() == set(KINDS["mixture"].names)
    mean = 0.5 * (((online.mean - target.mean) / target.scale) ** 2).sum((0, -1))
    ratio = target.scale / online.scale
    stddev = (-jnp.log(ratio) + 0.5 * ratio**2 - 0.5).sum((0, -1))
    category = distrax.Categorical(target.logits).kl_divergence(distrax.Categorical(online.logits))
    np.testing.assert_allclose(parts["mean"].kl.sum((-2, -1)), mean, rtol=1e-5)
    np.testing.assert_allclose(parts["stddev"].kl.sum((-2, -1)), stddev, rtol=1e-4)
    np.testing.assert_allclose(parts["category"].kl, category, rtol=1e-4)
    assert parts["mean"].kl.shape == (*ROWS, K, A)
    np.testing.assert_allclose(
        parts["mean"].kl[..., 2, 1], 0.5 * ((online.mean - target.mean) / target.scale)[2, ..., 1] ** 2, rtol=1e-5
    )
    moved = {
        "mean": Mixture(target.logits, online.mean, target.scale),
        "stddev": Mixture(target.logits, target.mean, online.scale),
        "category": Mixture(online.logits, target.mean, target.scale),
    }
    for name, policy in moved.items():
        np.testing.assert_allclose(parts[name].log_prob, reference(policy).log_prob(action), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_no_part_has_moved_at_the_target_and_each_moves_alone(kind):
    family, target = KINDS[kind], make(kind, 0)
    action = family.choices(target, jax.random.key(2), N).action

    def total(online):
        return sum(part.kl.sum() for part in PARTS[kind](target, online, action).values())

    np.testing.assert_allclose(total(target), 0.0, atol=1e-5)
    slopes = jax.tree.leaves(jax.jit(jax.grad(total))(target))
    assert all(np.abs(slope).max() < 1e-5 for slope in slopes)
    other = make(kind, 1)
    fields = {"mean": "mean", "stddev": "scale", "category": "logits"}
    for name in family.names:
        one = target._replace(**{fields[name]: getattr(other, fields[name])})
        for part, found in PARTS[kind](target, one, action).items():
            distance = np.abs(found.kl).max()
            assert distance > 0.01 if part == name else distance < 1e-5, (name, part)


@pytest.mark.parametrize("kind", KINDS)
def test_each_part_has_a_gradient_in_its_own_arrays_only(kind):
    family, target, online = KINDS[kind], make(kind, 0), make(kind, 1)
    action = family.choices(target, jax.random.key(2), N).action
    fields = {"mean": "mean", "stddev": "scale", "category": "logits"}
    for name in family.names:
        gradient = jax.grad(lambda p, name=name: PARTS[kind](target, p, action)[name].log_prob.sum())(online)
        for field, slope in gradient._asdict().items():
            assert (np.abs(slope).max() > 0.01) == (field == fields[name]), (name, field)


def one_component(policy: Gaussian) -> Mixture:
    return Mixture(jnp.full((*ROWS, 1), 0.7), policy.mean[None], policy.scale[None])


def test_a_mixture_of_one_is_the_gaussian():
    target, online = make("gaussian", 0), make("gaussian", 1)
    action = KINDS["gaussian"].choices(target, jax.random.key(2), N).action
    lone = PARTS["gaussian"](target, online, action)
    mixed = PARTS["mixture"](one_component(target), one_component(online), action)
    for name in ("mean", "stddev"):
        np.testing.assert_allclose(mixed[name].log_prob, lone[name].log_prob, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(mixed[name].kl[..., 0, :], lone[name].kl, rtol=1e-5)
    np.testing.assert_allclose(mixed["category"].kl, 0.0, atol=1e-7)
    np.testing.assert_array_equal(KINDS["mixture"].mode(one_component(online)), online.mean)


def test_equal_components_are_one_gaussian_whatever_their_weights():
    policy = make("gaussian", 0)
    copies = Mixture(make("mixture", 3).logits, *(jnp.broadcast_to(x, (K, *x.shape)) for x in policy))
    action = KINDS["gaussian"].choices(policy, jax.random.key(2), N).action
    np.testing.assert_allclose(
        KINDS["mixture"].log_prob(copies, action), KINDS["gaussian"].log_prob(policy, action), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    "family, kind", [(families.gaussian, "gaussian"), (families.hybrid, "hybrid"), (families.mixture, "mixture")]
)
def test_not_decoupled_is_the_likelihood_as_a_whole(family, kind):
    target, online = make(kind, 0), make(kind, 1)
    action = KINDS[kind].choices(target, jax.random.key(2), N).action
    whole, apart = (family(decoupled=flag).parts(target, online, action) for flag in (False, True))
    np.testing.assert_allclose(
        sum(part.log_prob for part in whole.values()), reference(online).log_prob(action), rtol=1e-4, atol=1e-5
    )
    for name in apart:
        np.testing.assert_array_equal(whole[name].kl, apart[name].kl)


def test_the_chosen_component():
    values = jnp.arange(24.0).reshape(4, 3, 2, 1)  # [K, rows, A]: 6 k + 2 t + b
    which = jnp.array([[[0, 3], [1, 2], [2, 0]], [[3, 3], [0, 0], [1, 1]]])  # [N, rows]
    expected = [[[0, 19], [8, 15], [16, 5]], [[18, 19], [2, 3], [10, 11]]]
    np.testing.assert_array_equal(families.component(values, which)[..., 0], jnp.array(expected))
    np.testing.assert_array_equal(families.component(values, which[0])[..., 0], jnp.array(expected[0]))


def test_divergences_by_dimension_and_to_the_uniform():
    one, other = make("gaussian", 0), make("gaussian", 1)
    each = divergence.gaussian_each(*one, *other)
    expected = distrax.Normal(*one).kl_divergence(distrax.Normal(*other))
    np.testing.assert_allclose(each, expected, rtol=1e-4, atol=1e-6)
    log_p = jnp.log(jnp.array([[0.5, 0.25, 0.25, 0.0]]))
    np.testing.assert_allclose(divergence.uniform(log_p), [np.log(4) - 1.5 * np.log(2)], rtol=1e-5)
    np.testing.assert_allclose(divergence.uniform(jax.nn.log_softmax(jnp.zeros((2, 5)))), 0.0, atol=1e-6)

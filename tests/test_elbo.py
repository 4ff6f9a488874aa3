"""The bound against a sum over every skill sequence, and its one-component case written out again."""

import itertools

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.losses import elbo, imitation
from skillhier.ops import divergence, messages
from skillhier.types import TimeStep, Trajectory

K, T, B, Z, A = 3, 5, 2, 4, 2


def window(length=T, batch=B, last=()):
    keys = jax.random.split(jax.random.key(3), 2)
    zeros = jnp.zeros((length, batch))
    ends = zeros.astype(bool).at[jnp.array(last, int)].set(True) if last else zeros.astype(bool)
    obs = {"x": jax.random.normal(keys[0], (length, batch, 1, 3))}
    action = jax.random.uniform(keys[1], (length, batch, A), minval=-1.0)
    return Trajectory(TimeStep(obs, zeros, zeros + 1, zeros.astype(bool), ends), action, {})


def parts(seed=0):
    """Logits of Q and P, log-likelihoods and latent divergences, as a network might give them."""
    keys = jax.random.split(jax.random.key(seed), 4)
    return {
        "high": 2.0 * jax.random.normal(keys[0], (T, B, K, K)),
        "prior": jax.random.normal(keys[1], (K, K)),
        "latent": jax.random.normal(keys[2], (K, T, B, Z)),
        "kl": jnp.exp(jax.random.normal(keys[3], (K, T, B))),
    }


def infer(params, batch, key):
    return elbo.Posterior(jax.nn.log_softmax(params["high"]), params["latent"], params["kl"])


def decode(params, batch, latent):
    return jnp.tanh(latent[..., :A] + 0.3 * batch.step.obs["x"][:T, :, 0, :A])


def prior(params):
    return jax.nn.log_softmax(params["prior"])


def enumerated(params, batch, beta_y, beta_z, scale=0.1):
    """The same bound as a sum over all K^(T + 1) sequences y_0 .. y_T."""
    log_q, log_p = jax.nn.log_softmax(params["high"]), prior(params)
    likelihood = distrax.MultivariateNormalDiag(decode(params, batch, params["latent"]), jnp.full(A, scale))
    gain = likelihood.log_prob(batch.action[:T]) - beta_z * params["kl"]  # [K, T, B]
    y = jnp.array(list(itertools.product(range(K), repeat=T + 1)))  # [K^(T + 1), T + 1]
    log_chance, value = -jnp.log(K), 0.0
    for t in range(T):
        before, now = y[:, t], y[:, t + 1]
        step = log_q[t][:, before, now]  # [B, K^(T + 1)]
        log_chance = log_chance + step
        value = value + gain[now, t].T - beta_y * (step - log_p[before, now])
    return (jnp.exp(log_chance) * value).sum(-1).mean() / T


def test_the_bound_counts_every_sequence():
    params, batch = parts(), window()
    loss = elbo.elbo(infer, decode, prior, beta_y=0.7, beta_z=0.3)
    (value, _), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params, batch, jax.random.key(0))
    expected, slope = jax.jit(jax.value_and_grad(lambda p: -enumerated(p, batch, 0.7, 0.3)))(params)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for name in params:
        np.testing.assert_allclose(gradient[name], slope[name], rtol=1e-3, atol=1e-4, err_msg=name)
        assert np.abs(slope[name]).max() > 1e-3


def test_one_component_is_the_continuous_bound():
    """J = E log p(a | z) - beta KL(q(z) || N(0, I)): no skill is left in it, whatever beta_y."""
    keys = jax.random.split(jax.random.key(1), 2)
    params = {
        "mean": jax.random.normal(keys[0], (1, T, B, Z)),
        "scale": jnp.exp(jax.random.normal(keys[1], (1, T, B, Z)) - 1),
    }
    batch = window()

    def infer_one(params, batch, key):
        z = params["mean"] + params["scale"] * jax.random.normal(key, params["mean"].shape)
        kl = divergence.standard(params["mean"], params["scale"])
        return elbo.Posterior(jnp.zeros((T, B, 1, 1)), z, kl)

    def continuous(params, key):
        z = params["mean"] + params["scale"] * jax.random.normal(key, params["mean"].shape)
        q = distrax.MultivariateNormalDiag(params["mean"][0], params["scale"][0])
        p = distrax.MultivariateNormalDiag(jnp.zeros(Z), jnp.ones(Z))
        likelihood = distrax.MultivariateNormalDiag(decode(params, batch, z)[0], jnp.full(A, 0.1))
        return (likelihood.log_prob(batch.action) - 0.2 * q.kl_divergence(p)).mean()

    key = jax.random.key(5)
    loss = elbo.elbo(infer_one, decode, lambda params: jnp.zeros((1, 1)), beta_y=3.0, beta_z=0.2)
    value, gradient = jax.jit(jax.value_and_grad(lambda p: loss(p, batch, key)[0]))(params)
    expected, slope = jax.jit(jax.value_and_grad(lambda p: -continuous(p, key)))(params)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4), gradient, slope)


def test_no_skill_term_where_posterior_and_prior_agree():
    params = parts()
    params["high"] = jnp.broadcast_to(params["prior"], (T, B, K, K))
    posterior = infer(params, window(), None)
    weights = messages.forward(jnp.exp(posterior.transition))
    found = elbo.terms(weights, posterior, prior(params), jnp.zeros((K, T, B)))
    np.testing.assert_allclose(found.skill_kl, 0.0, atol=1e-6)


def test_balance_is_beside_the_bound_and_zero_for_equal_use():
    def loss(params, balance):
        return elbo.elbo(infer, decode, prior, beta_y=1.0, beta_z=0.1, usage_weight=balance)(
            params, window(), jax.random.key(0)
        )

    params = parts()
    (plain, metrics), (pushed, same) = loss(params, 0.0), loss(params, 2.0)
    share = messages.forward(jax.nn.softmax(params["high"]))[1:].mean((0, 1))
    np.testing.assert_allclose(pushed - plain, 2 * (share * jnp.log(share * K)).sum(), rtol=1e-3)
    np.testing.assert_allclose(-plain, metrics["elbo/bound"], rtol=1e-6)
    np.testing.assert_array_equal(metrics["elbo/bound"], same["elbo/bound"])
    params["high"] = jnp.zeros_like(params["high"])
    np.testing.assert_allclose(loss(params, 2.0)[0], loss(params, 0.0)[0], rtol=1e-6)


def test_certainty_is_beside_the_bound_and_counts_the_doubt_of_a_row():
    def loss(certainty):
        return elbo.elbo(infer, decode, prior, beta_y=1.0, beta_z=0.1, entropy_weight=certainty)(
            parts(), window(), jax.random.key(0)
        )

    (plain, metrics), (pushed, same) = loss(0.0), loss(2.0)
    weights = messages.forward(jax.nn.softmax(parts()["high"]))[1:]
    doubt = -(weights * jnp.log(weights)).sum(-1).mean()
    np.testing.assert_allclose(pushed - plain, 2 * doubt, rtol=1e-3)
    np.testing.assert_allclose(metrics["elbo/skill_entropy"], doubt, rtol=1e-5)
    np.testing.assert_array_equal(metrics["elbo/bound"], same["elbo/bound"])


def test_rows_after_the_end_teach_nothing():
    loss = elbo.elbo(infer, decode, prior, beta_y=1.0, beta_z=0.1)
    batch, other = window(last=[T - 1]), window(last=[T - 1])
    other = other._replace(action=other.action.at[T - 1].add(5.0))
    value, same = (loss(parts(), b, jax.random.key(0))[0] for b in (batch, other))
    np.testing.assert_array_equal(value, same)
    whole, changed = (loss(parts(), b._replace(step=window().step), jax.random.key(0))[0] for b in (batch, other))
    assert abs(whole - changed) > 1


def test_the_measure_weighs_every_skill_with_its_latent_at_the_mean():
    params, batch = parts(), window()
    loss = elbo.elbo(infer, decode, prior, beta_y=1.0, beta_z=0.1)
    found = elbo.assess(infer, decode, prior, loss)(params, batch, jax.random.key(0))
    weights = messages.forward(jax.nn.softmax(params["high"]))[1:]
    mean = decode(params, batch, params["latent"])
    expected = sum(weights[..., k, None] * mean[k] for k in range(K))
    np.testing.assert_allclose(found["heldout_action_mse"], jnp.square(expected - batch.action).mean(), rtol=1e-5)
    usage = [(weights.argmax(-1) == k).mean() for k in range(K)]
    np.testing.assert_allclose(found["skill_usage"], usage, rtol=1e-6)
    np.testing.assert_allclose(found["skill_joint"].sum(), 1.0, rtol=1e-5)
    np.testing.assert_allclose(found["transition"].sum(-1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("scale", [0.1, 0.5])
def test_log_likelihood_of_actions(scale):
    mean, action = jax.random.normal(jax.random.key(0), (2, 7, 5))
    expected = distrax.MultivariateNormalDiag(mean, jnp.full(5, scale)).log_prob(action)
    np.testing.assert_allclose(imitation.log_prob(mean, action, scale), expected, rtol=1e-4)
    if scale == 0.1:  # HeLMS with five actions: -50 |a - m|^2 + 5 ln 10 - 2.5 ln 2 pi
        by_hand = -50 * jnp.square(action - mean).sum(-1) + 5 * np.log(10) - 2.5 * np.log(2 * np.pi)
        np.testing.assert_allclose(imitation.log_prob(mean, action, scale), by_hand, rtol=1e-4)


def test_every_dimension_of_an_action_may_have_a_deviation_of_its_own():
    mean, action, scale = jnp.array([0.2, -0.5]), jnp.array([0.1, 1.0]), jnp.array([0.1, 0.4])
    wanted = distrax.MultivariateNormalDiag(mean, scale).log_prob(action)
    assert float(imitation.log_prob(mean, action, scale)) == pytest.approx(float(wanted), rel=1e-6)
    one = imitation.log_prob(mean, action, 0.1)
    assert float(one) == pytest.approx(float(imitation.log_prob(mean, action, jnp.full(2, 0.1))), rel=1e-6)

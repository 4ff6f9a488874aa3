"""The forward recursion against hand-made numbers, its laws, and a sum over all sequences."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from skillhier.ops import messages


def transitions(skills, length, batch=4, seed=0):
    logits = 2.0 * jax.random.normal(jax.random.key(seed), (length, batch, skills, skills))
    return jax.nn.softmax(logits)


def test_two_skills_by_hand():
    q = jnp.array([[[0.9, 0.1], [0.4, 0.6]], [[0.5, 0.5], [0.0, 1.0]]])[:, None]  # [2, 1, 2, 2]
    weights = messages.forward(q)[:, 0]
    # .5*.9 + .5*.4 = .65, then .65*.5 + .35*0 = .325
    np.testing.assert_allclose(weights, [[0.5, 0.5], [0.65, 0.35], [0.325, 0.675]], atol=1e-6)


def test_weights_sum_to_one_and_start_uniform():
    weights = messages.forward(transitions(5, 25))
    assert weights.shape == (26, 4, 5)
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(weights[0], np.float32(0.2))


def test_transitions_blind_to_the_previous_skill_are_the_weights():
    q = transitions(4, 6)[:, :, :1]
    weights = messages.forward(jnp.broadcast_to(q, (6, 4, 4, 4)))
    np.testing.assert_allclose(weights[1:], q[:, :, 0], atol=1e-6)


def test_marginals_of_every_sequence():
    skills, length = 3, 5
    q = np.asarray(transitions(skills, length, batch=1)[:, 0], np.float64)
    marginal = np.zeros((length + 1, skills))
    for y in itertools.product(range(skills), repeat=length + 1):
        chance = np.prod([q[t, y[t], y[t + 1]] for t in range(length)]) / skills
        for t in range(length + 1):
            marginal[t, y[t]] += chance
    np.testing.assert_allclose(messages.forward(jnp.asarray(q, jnp.float32)[:, None])[:, 0], marginal, atol=1e-6)


def test_gradient_reaches_the_first_transition():
    def last(q):
        return messages.forward(q)[-1, 0, 0]

    q = transitions(3, 5, batch=1)
    direction = np.asarray(jax.random.normal(jax.random.key(1), q.shape))
    step = 1e-2
    finite = (last(q + step * direction) - last(q - step * direction)) / (2 * step)
    np.testing.assert_allclose((jax.grad(last)(q) * direction).sum(), finite, rtol=2e-2)
    assert np.abs(jax.grad(last)(q)[0]).max() > 0

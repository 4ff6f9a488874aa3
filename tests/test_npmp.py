"""NPMP offline: the AR(1) prior, what the encoder sees, and what it shares with the bound of one component."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from specs import spec_of

from skillhier.agents import npmp
from skillhier.types import TimeStep, Trajectory

OBS = {"arm": jax.ShapeDtypeStruct((2, 4), jnp.float32), "block": jax.ShapeDtypeStruct((2, 3), jnp.float32)}
SPEC = spec_of(OBS, 2)
SMALL = {"low": ["arm"], "mid": ["arm", "block"], "latent": 3, "hidden": (16, 16), "lookahead": 2}
T, B = 6, 4


def window(seed=0):
    keys = jax.random.split(jax.random.key(seed), 3)
    obs = {name: jax.random.normal(key, (T + 2, B, *OBS[name].shape)) for name, key in zip(OBS, keys, strict=False)}
    zeros = jnp.zeros((T + 2, B))
    action = jax.random.uniform(keys[2], (T + 2, B, 2), minval=-1.0)
    return Trajectory(TimeStep(obs, zeros, zeros + 1, zeros > 0, zeros > 0), action, {})


def flat_gaussian(params, *inputs):
    """The encoder or the actor written out: dense stacks with ELU on inputs side by side."""
    x = jnp.concatenate(inputs, -1)
    x = jax.nn.elu(x @ params["first"]["kernel"] + params["first"]["bias"])
    for i in range(2):
        layer = params["rest"][f"Dense_{i}"]
        x = x @ layer["kernel"] + layer["bias"]
        x = jax.nn.elu(x) if i == 0 else x
    return x


def whitened(obs, names):
    return jnp.clip(jnp.concatenate([obs[name] for name in names], -1), -10, 10)


@pytest.mark.parametrize("memory", [0.95, 0.0])
def test_the_bound_written_out(memory):
    """Row by row with distrax: the encoder's inputs, the latents at their means, the KL where it depends on no draw."""
    made = npmp.make(SPEC, **SMALL, ar_coefficient=memory, beta_z=0.3)
    params = jax.jit(made.learner.init)(jax.random.key(0)).params
    seen = window()
    newest = whitened({name: x[:, :, 0] for name, x in seen.step.obs.items()}, SMALL["mid"])
    stack = whitened(seen.step.obs, SMALL["low"]).reshape(T + 2, B, -1)
    actor = {"first": params["low"]["Joined_0"], "rest": params["low"]["MLP_0"]}
    z, bound, error = jnp.zeros((B, 3)), 0.0, 0.0
    for t in range(T):
        ahead = jnp.concatenate([newest[t + i] for i in range(3)], -1)
        raw = flat_gaussian(params["high"], *([ahead, z] if memory else [ahead]))
        q = distrax.MultivariateNormalDiag(raw[:, :3], 0.01 + 0.99 * jax.nn.sigmoid(raw[:, 3:]))
        centre, width = (memory * z, np.sqrt(1 - memory**2)) if t else (jnp.zeros_like(z), 1.0)
        p = distrax.MultivariateNormalDiag(centre, jnp.full(3, width))
        z = q.mean()
        mean = jnp.tanh(flat_gaussian(actor, stack[t], z))
        error += jnp.square(mean - seen.action[t]).mean() / T
        bound += (-0.3 * q.kl_divergence(p)).mean() / T
    found = jax.jit(made.assess)(params, seen, jax.random.key(0))
    np.testing.assert_allclose(found["heldout_action_mse"], error, rtol=1e-4)
    if memory == 0:  # the KL does not depend on the draw
        np.testing.assert_allclose(-0.3 * found["elbo/latent_kl"], bound, rtol=1e-4)
    assert found["elbo/skill_kl"] == 0


def test_the_first_row_and_the_memory_of_the_prior():
    """With an encoder that ignores all and says N(0, 0.5^2), each row's KL is known: from N(0, 1), then from AR(1)."""
    made = npmp.make(SPEC, **SMALL, ar_coefficient=0.95, beta_z=1.0)
    params = jax.jit(made.learner.init)(jax.random.key(0)).params
    zero = jax.tree.map(jnp.zeros_like, params["high"])
    last = zero["rest"]["Dense_1"]["bias"].at[3:].set(jax.scipy.special.logit(0.49 / 0.99))
    zero["rest"]["Dense_1"]["bias"] = last
    params = {**params, "high": zero}
    first = 3 * 0.5 * (0.25 - 1 - np.log(0.25))
    variance = 1 - 0.95**2

    def later(before):  # before ~ N(0, 0.25)
        return 0.5 * (0.25 / variance + (0.95 * before) ** 2 / variance - 1 - np.log(0.25 / variance))

    draws = 0.5 * np.random.default_rng(0).standard_normal(100_000)
    expected = (first + (T - 1) * 3 * later(draws).mean()) / T
    draw = jax.jit(jax.vmap(lambda key: made.assess(params, window(), key)["elbo/latent_kl"]))
    np.testing.assert_allclose(draw(jax.random.split(jax.random.key(0), 200)).mean(), expected, rtol=0.03)


def test_without_memory_the_encoder_has_no_previous_latent():
    seen = 3 * 7
    for memory, size in ((0.95, seen + 3), (0.0, seen)):
        made = npmp.make(SPEC, **SMALL, ar_coefficient=memory)
        state = jax.eval_shape(made.learner.init, jax.random.key(0))
        assert state.params["high"]["first"]["kernel"].shape == (size, 16)


@pytest.mark.parametrize("memory", [0.95, 0.0])
def test_it_learns_and_keeps_what_is_frozen(memory):
    made = npmp.make(SPEC, **SMALL, ar_coefficient=memory, learning_rate=3e-3, frozen=("low",), beta_z=0.0)
    state = first = jax.jit(made.learner.init)(jax.random.key(0))
    update = jax.jit(made.learner.update)
    bounds = []
    for i in range(60):
        state, metrics = update(state, window(), jax.random.key(i))
        bounds.append(metrics["elbo/bound"])
    assert np.mean(bounds[-10:]) > np.mean(bounds[:10]) + 1
    jax.tree.map(np.testing.assert_array_equal, first.params["low"], state.params["low"])
    jax.tree.map(np.testing.assert_array_equal, first.params["encoder"], state.params["encoder"])


def test_acting_follows_the_prior():
    made = npmp.make(SPEC, **SMALL, ar_coefficient=0.95)
    params = jax.jit(made.learner.init)(jax.random.key(0)).params
    step = jax.tree.map(lambda x: x[0], window().step)._replace(first=jnp.ones(B, bool))
    policy = made.exploit
    act = jax.jit(policy.act)
    carry, action, notes = act(params, policy.init(B), step, jax.random.key(1))
    _, _, after = act(params, carry, step._replace(first=jnp.zeros(B, bool)), jax.random.key(2))
    assert action.shape == (B, 2)
    assert np.corrcoef(notes["latent"].ravel(), after["latent"].ravel())[0, 1] > 0.7
    assert made.hold is None and made.skills == 0

"""Behaviour cloning, flat and hierarchical."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from specs import spec_of

from skillhier.agents import bc
from skillhier.types import TimeStep, Trajectory

OBS = {"arm": jax.ShapeDtypeStruct((2, 3), jnp.float32), "block": jax.ShapeDtypeStruct((2, 2), jnp.float32)}
SPEC = spec_of(OBS, 2)
SMALL = {"low": ["arm"], "mid": ["arm", "block"], "hidden": (16, 16), "lookahead": 2, "learning_rate": 5e-3}


def window(seed=0):
    """Demonstrations of a function of the observation, so that a clone can be perfect."""
    keys = jax.random.split(jax.random.key(seed), 2)
    obs = {name: jax.random.normal(key, (10, 16, *OBS[name].shape)) for name, key in zip(OBS, keys, strict=True)}
    zeros = jnp.zeros((10, 16))
    action = jnp.stack([jnp.tanh(obs["arm"][..., 0, 0]), 0.5 * jnp.tanh(obs["block"][..., 1, 1])], -1)
    return Trajectory(TimeStep(obs, zeros, zeros + 1, zeros > 0, zeros > 0), action, {})


@pytest.mark.parametrize("make", [bc.make, bc.hierarchical])
def test_it_clones(make):
    made = make(SPEC, **SMALL)
    state = jax.jit(made.learner.init)(jax.random.key(0))
    before = jax.jit(made.assess)(state.params, window(1), jax.random.key(0))["heldout_action_mse"]

    @jax.jit
    def run(state, keys):
        return jax.lax.scan(lambda s, k: made.learner.update(s, window_of(k), k), state, keys)[0]

    def window_of(key):
        return window(jax.random.bits(key))

    after = run(state, jax.random.split(jax.random.key(1), 400))
    found = jax.jit(made.assess)(after.params, window(1), jax.random.key(0))["heldout_action_mse"]
    assert found < 0.2 * before
    jax.tree.map(np.testing.assert_array_equal, state.params["encoder"], after.params["encoder"])


def test_the_policy_is_the_clone_that_was_measured():
    made = bc.make(SPEC, **SMALL)
    params = jax.jit(made.learner.init)(jax.random.key(0)).params
    seen = window()
    policy = made.exploit
    act = jax.jit(jax.vmap(lambda step: policy.act(params, (), step, jax.random.key(0))[1]))
    actions = act(jax.tree.map(lambda x: x[:8], seen.step))
    found = jax.jit(made.assess)(params, seen, jax.random.key(0))
    np.testing.assert_allclose(found["heldout_action_mse"], jnp.square(actions - seen.action[:8]).mean(), rtol=1e-5)
    sampled = made.explore.act(params, (), jax.tree.map(lambda x: x[0], seen.step), jax.random.key(0))[1]
    assert 0.02 < jnp.std(sampled - actions[0]) < 0.2
    assert made.hold is None and made.skills == 0


def test_the_hierarchical_clone_has_no_kl_and_one_latent():
    made = bc.hierarchical(SPEC, **SMALL)
    state = jax.jit(made.learner.init)(jax.random.key(0))
    found = jax.jit(made.assess)(state.params, window(), jax.random.key(0))
    assert found["elbo/bound"] == found["elbo/log_likelihood"]
    assert list(state.params["mid"]) == ["skill_0"]
    assert found["elbo/latent_kl"] > 0

"""Agents that see pictures: the residual network, what actor and critic see, and HeLMS with a new mid level."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from leftovers import same
from specs import spec_of

from skillhier.agents import registry
from skillhier.nets import encoder, vision
from skillhier.nets.encoder import Seen
from skillhier.nets.skills import Components
from skillhier.nets.vision import ResNet, Shape, Sight
from skillhier.types import TimeStep, Trajectory

OBS = {
    "arm": jax.ShapeDtypeStruct((3, 4), jnp.float32),
    "things": jax.ShapeDtypeStruct((3, 2), jnp.float32),
    "pixels": jax.ShapeDtypeStruct((3, 8, 8, 6), jnp.uint8),
}
SPEC = spec_of(OBS, 2)
T, B = 4, 3
SMALL = {"hidden": (16, 16), "samples": 4, "picture_channels": (4,), "picture_blocks": 1}


def shown(key):
    keys = jax.random.split(key, 4)
    obs = {
        "arm": jax.random.normal(keys[0], (T, B, 3, 4)),
        "things": jax.random.normal(keys[1], (T, B, 3, 2)),
        "pixels": jax.random.randint(keys[2], (T, B, 3, 8, 8, 6), 0, 256).astype(jnp.uint8),
    }
    no = jnp.zeros((T, B), bool)
    return TimeStep(obs, jax.random.uniform(keys[3], (T, B)), jnp.ones((T, B)), no, no)


@functools.cache
def skills():
    agent = registry.make("helms", SPEC, low=("arm",), mid=("arm", "things"), hidden=(16, 16), latent=3, skills=2)
    return jax.jit(agent.learner.init)(jax.random.key(7)).params


def agent_of(name, **settings):
    own = {"high": ("arm", "pixels"), "critic": ("arm", "things")}
    if name != "mpo":
        own |= {"low": ("arm",), "mid": ("arm", "things"), "latent": 3, "skills": 2, "skill_hidden": (16, 16)}
        own["source"] = skills()
    if name == "helms_mix":
        own["new_mid"] = True
    return registry.make(name, SPEC, **SMALL | own | settings)


def done(agent, params, steps, policy=None):
    policy = policy or agent.explore

    def row(carry, seen):
        carry, action, notes = policy.act(params, carry, *seen)
        return carry, (action, notes)

    _, (action, notes) = jax.lax.scan(row, policy.init(B), (steps, jax.random.split(jax.random.key(2), T)))
    return Trajectory(steps, action, {name: notes[name] for name in agent.replay_extras}), notes


@functools.cache
def learned(name, **settings):
    """(the first parameters, those after three updates, metrics, the batch)."""
    agent = agent_of(name, target_period=2, **settings)
    state = first = jax.jit(agent.learner.init)(jax.random.key(0))
    batch, _ = jax.jit(lambda params, steps: done(agent, params, steps))(first.params, shown(jax.random.key(1)))
    update = jax.jit(agent.learner.update)
    for i in range(3):
        state, metrics = update(state, batch, jax.random.key(i))
    assert state.health.skipped == 0 and all(np.isfinite(value) for value in metrics.values())
    return first.params, state.params, metrics, batch


def moved(before, after):
    return [bool((a != b).any()) for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True)]


# --- the networks ---


def test_a_stage_halves_as_a_pooling_window_does():
    for size in (8, 7):
        x = jax.random.normal(jax.random.key(0), (2, size, size, 3))
        np.testing.assert_array_equal(vision.halved(x), nn.max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)),
                                      constant_values=-np.inf), (3, 3), (2, 2)))  # fmt: skip


def test_shapes_and_parameters_of_the_papers_network():
    pictures = jax.ShapeDtypeStruct((5, 64, 64, 3), jnp.uint8)
    features, params = jax.eval_shape(ResNet().init_with_output, jax.random.key(0), pictures)
    assert features.shape == (5, 8 * 8 * 128) and features.dtype == jnp.float32
    by_hand = 0
    for before, now in ((3, 32), (32, 64), (64, 128)):
        by_hand += 9 * before * now + now + 4 * (9 * now * now + now)  # one convolution, and two blocks of two
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == by_hand


def test_a_block_that_adds_nothing_leaves_what_came():
    """With the blocks' last convolutions at zero only each stage's own is left."""
    net, x = ResNet(Shape((4,), 1)), jax.random.randint(jax.random.key(0), (2, 8, 8, 3), 0, 256).astype(jnp.uint8)
    params = net.init(jax.random.key(1), x)["params"]
    params["Conv_2"] = jax.tree.map(jnp.zeros_like, params["Conv_2"])
    alone = nn.Conv(4, (3, 3)).apply({"params": params["Conv_0"]}, x / 255 - 0.5)
    np.testing.assert_allclose(
        net.apply({"params": params}, x), nn.relu(vision.halved(alone)).reshape(2, -1), atol=1e-6
    )


def test_what_is_seen_is_vectors_of_all_frames_and_the_newest_picture():
    see = encoder.beside_pictures(encoder.whitened, OBS, ("pixels", "arm"), None)
    obs = shown(jax.random.key(0)).obs
    seen = see.apply(see.init(jax.random.key(0)), obs)
    np.testing.assert_allclose(seen.vectors, obs["arm"].reshape(T, B, -1))
    np.testing.assert_array_equal(seen.pictures, obs["pixels"][:, :, 0])
    alone = encoder.beside_pictures(encoder.whitened, OBS, ("pixels",), None)
    assert alone.apply(alone.init(jax.random.key(0)), obs).vectors.shape == (T, B, 0)


def test_pictures_of_several_sizes_are_not_seen_together():
    obs = OBS | {"hand": jax.ShapeDtypeStruct((1, 4, 4, 3), jnp.uint8)}
    with pytest.raises(ValueError, match="pictures pixels, hand differ in size"):
        encoder.beside_pictures(encoder.whitened, obs, ("pixels", "hand"), None)


def test_vectors_and_pictures_lie_side_by_side():
    sight = Sight(16, Shape((4,), 1))
    seen = Seen(jnp.ones((2, 5)), jnp.zeros((2, 8, 8, 3), jnp.uint8))
    params = sight.init(jax.random.key(0), seen)
    both = sight.apply(params, seen)
    assert both.shape == (2, 32)
    darker = sight.apply(params, seen._replace(pictures=seen.pictures + 99))
    np.testing.assert_array_equal(both[:, :16], darker[:, :16])
    assert (both[:, 16:] != darker[:, 16:]).any()
    assert sight.init_with_output(jax.random.key(0), seen._replace(vectors=seen.vectors[:, :0]))[0].shape == (2, 16)


# --- the agents ---


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("mpo", {}),
        ("mpo", {"critic": ("arm", "pixels")}),
        ("mpo", {"high": ("pixels",), "critic": ("pixels",), "recurrent_critic": True, "gripper": True}),
        ("helms_mix", {}),
        ("helms_mix", {"backup": "retrace"}),
    ],
)
def test_agents_learn_from_pictures(name, settings):
    before, after, *_ = learned(name, **settings)
    for part in ("actor", "critic"):
        assert all(moved(before["control"][part], after["control"][part])), part
    for part in before.keys() & {"encoders", "skills"}:
        assert same(before[part], after[part]), part


def test_an_asymmetric_critic_sees_states_and_its_actor_pictures():
    agent = agent_of("mpo")
    params, _, _, batch = learned("mpo")
    update, state = jax.jit(agent.learner.update), jax.jit(agent.learner.init)(jax.random.key(0))
    assert "Conv_0" in str(params["control"]["actor"]) and "Conv_0" not in str(params["control"]["critic"])

    def acts_and_values(changed):
        steps = batch.step._replace(obs={**batch.step.obs, changed: batch.step.obs[changed] * 0})
        metrics = update(state, batch._replace(step=steps), jax.random.key(0))[1]
        return done(agent, params, steps, agent.exploit)[0].action, metrics["control/q"]

    (_, seen_q), (without_states, blind_q) = acts_and_values("pixels"), acts_and_values("things")
    np.testing.assert_array_equal(done(agent, params, batch.step, agent.exploit)[0].action, without_states)
    assert (acts_and_values("pixels")[0] != without_states).any() and seen_q != blind_q


def test_a_new_mid_level_is_held_near_the_one_of_states():
    """At first it is another one; its divergence is that to what the offline level says of states, by hand."""
    params, after, metrics, batch = learned("helms_mix", eta_z=0.0)
    assert set(params["control"]["actor"]) == {"sight", "high", "mid"} and same(params["skills"], after["skills"])

    def components(params):
        actor = params["control"]["actor"]
        see = encoder.beside_pictures(encoder.whitened, OBS, ("arm", "pixels"), None)
        sight = Sight(16, Shape((4,), 1))
        seen = sight.apply({"params": actor["sight"]}, see.apply(params["encoders"]["actor"], batch.step.obs))
        states = encoder.whitened(OBS, ("arm", "things"))
        x = states.apply(params["skills"]["encoder"]["mid"], batch.step.obs)
        return (Components(2, 3, (16, 16)).apply({"params": level}, of) for level, of in
                ((actor["mid"], seen), (params["skills"]["mid"], x)))  # fmt: skip

    agent = agent_of("helms_mix", eta_z=0.0)
    state = jax.jit(agent.learner.init)(jax.random.key(0))
    _, first = jax.jit(agent.learner.update)(state, batch, jax.random.key(0))
    new, old = components(params)
    by_hand = sum(
        np.log(s_old / s_new) + (s_new**2 + (m_new - m_old) ** 2) / (2 * s_old**2) - 0.5
        for m_new, s_new, m_old, s_old in [(*map(np.asarray, new), *map(np.asarray, old))]
    )
    np.testing.assert_allclose(first["control/prior_components"], by_hand.sum((0, -1)).mean(), rtol=1e-4)


def test_its_weight_draws_a_new_mid_level_to_the_one_of_states():
    def divergence(eta):
        agent = agent_of("helms_mix", eta_z=eta, epsilon_mean=1e3, epsilon_stddev=1e3)
        state = jax.jit(agent.learner.init)(jax.random.key(0))
        batch, update = learned("helms_mix")[3], jax.jit(agent.learner.update)
        values = []
        for i in range(25):
            state, metrics = update(state, batch, jax.random.key(i))
            values.append(float(metrics["control/prior_components"]))
        return values[0], values[-1]

    (begun, near), (same_begin, free) = divergence(10.0), divergence(0.0)
    assert begun == pytest.approx(same_begin) and near < 0.9 * begun and near < free


def test_skills_act_by_the_new_mid_level():
    """Its latents are what the frozen low level gets: another mid level, other actions; the offline one has no say."""
    agent, (params, *_, batch) = agent_of("helms_mix"), learned("helms_mix")
    action = done(agent, params, batch.step, agent.exploit)[0].action

    def without(path):
        blank = jax.tree.map(jnp.zeros_like, params)
        changed = jax.tree_util.tree_map_with_path(
            lambda at, x, zero: zero if jax.tree_util.keystr(at, simple=True, separator="/").startswith(path) else x,
            params, blank)  # fmt: skip
        return done(agent, changed, batch.step, agent.exploit)[0].action

    np.testing.assert_array_equal(action, without("skills/mid"))
    for part in ("control/actor/mid", "control/actor/sight", "skills/low"):
        assert (action != without(part)).any(), part


def test_a_frozen_mid_level_cannot_be_new():
    with pytest.raises(ValueError, match="choose agent=helms_mix for agent.new_mid=true"):
        agent_of("helms_cat", new_mid=True)


def test_a_mixture_may_choose_by_pictures_among_skills_of_states():
    agent = agent_of("helms_mix", new_mid=False)
    params = jax.jit(agent.learner.init)(jax.random.key(0)).params
    assert set(params["control"]["actor"]) == {"high", "mid"}
    assert same(params["control"]["actor"]["mid"], params["skills"]["mid"])

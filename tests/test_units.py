"""Actions in any range, and quaternions of either sign: what agents learn is the same, and acting undoes it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import helms_offline
from skillhier.agents import registry, units
from skillhier.agents.learner import with_init_params
from skillhier.data import dataset, sources, toy
from skillhier.data import units as data_units
from skillhier.data.faults import DataFault
from skillhier.types import Bounds, TimeStep

SMALL = {"low": ("arm",), "mid": ("arm", "object"), "hidden": (16, 16), "lookahead": 2, "learning_rate": 3e-3}
WINDOW = {"sequence_length": 10, "lookahead": 2, "stack": 1}


def data(scale=1.0, offset=0.0):
    demonstrations = toy.demonstrations({"arm": 7, "object": 4}, action=3, episodes=6, steps=40)
    return demonstrations._replace(
        action=(demonstrations.action * np.float32(scale) + np.float32(offset)).astype(np.float32)
    )


def learned(demonstrations, name="helms", updates=60, units=None, **settings):
    """(agent, parameters, held-out figures) after some updates."""
    settings = SMALL | ({"skills": 2, "latent": 3} if name == "helms" else {}) | settings
    train, held_out = dataset.split(demonstrations, 0.2)
    agent = registry.make(name, dataset.spec(train), statistics=dataset.statistics(train), units=units, **settings)
    source = sources.offline(train, batch_size=8, **WINDOW)

    def run(key):
        def update(carry, key):
            state, rows = carry
            rows, batch, _ = source.next(rows, (), key)
            return (agent.learner.update(state, batch, key)[0], rows), None

        keys = jax.random.split(key, updates)
        return jax.lax.scan(update, (agent.learner.init(key), source.init(key)), keys)[0][0]

    state = jax.jit(run)(jax.random.key(0))
    windows = list(sources.windows(held_out, batch_size=8, **WINDOW))
    measure = helms_offline.held_out_evaluation(agent.assess, windows, 1, 0, units).measure
    return agent, state.params, measure(state, None)


def seen(demonstrations, rows=5) -> TimeStep:
    obs = {name: jnp.asarray(entry[:rows, None]) for name, entry in demonstrations.obs.items()}
    flags = jnp.arange(rows) == 0
    return TimeStep(obs, jnp.zeros(rows), jnp.ones(rows), flags | True, flags & False)


def act(agent, params, step) -> np.ndarray:
    return np.asarray(agent.exploit.act(params, agent.exploit.init(len(step.reward)), step, jax.random.key(1))[1])


# --- what is measured ---


def test_ordinary_actions_are_left_alone():
    assert data_units.measure(data()) is None and data_units.measure(data(0.3)) is None
    rows = np.array([[-1.0, 0.2], [1.0, 0.4], [0.5, -0.9]])
    assert data_units.action_scale(rows) is None


def test_small_large_and_shifted_actions_are_normalised_by_their_range():
    rows = np.array([[0.0, -3.0, 5.0], [0.01, 1.0, 5.0], [0.02, 5.0, 5.0], [0.0, 2.0, 5.0]])
    scale = data_units.action_scale(rows)
    np.testing.assert_allclose(scale["offset"], [0.01, 1.0, 5.0])
    np.testing.assert_allclose(scale["scale"], [0.01, 4.0, 0.0])  # the last is constant
    own = {"action": {name: jnp.asarray(value) for name, value in scale.items()}}
    np.testing.assert_allclose(units.normalised(own, rows[:3]), [[-1, -1, 0], [0, 0, 0], [1, 1, 0]], atol=1e-6)
    np.testing.assert_allclose(units.undone(own, units.normalised(own, rows)), rows, atol=1e-6)


def test_outliers_are_for_the_deviation():
    rows = np.concatenate([np.random.default_rng(0).normal(0, 0.01, (2000, 1)), [[50.0]]])
    scale = data_units.action_scale(rows)
    assert scale["scale"][0] == pytest.approx(3 * rows.std())
    assert data_units.action_scale(rows, "range")["scale"][0] == pytest.approx((50 - rows.min()) / 2)
    one_small = np.random.default_rng(0).uniform(-1, 1, (100, 2)) * [1, 0.01]  # a gripper beside metres
    assert data_units.action_scale(one_small)["scale"] == pytest.approx([1, 0.01], rel=0.1)
    hardly = np.random.default_rng(0).uniform(-1, 1, (100, 2)) * [1, 1e-4]
    assert data_units.action_scale(hardly) is None  # noise alone is no reason
    assert data_units.nearly_constant(hardly).tolist() == [False, True]
    with pytest.raises(DataFault, match="found actions from .* to 50, needs -1 to 1; set data.actions=auto, range or"):
        data_units.action_scale(rows, "none")
    with pytest.raises(ValueError, match="actions 'rnage' is not known; choose auto, none, range, deviation"):
        data_units.action_scale(rows, "rnage")


def test_two_valued_actions_have_two_values():
    rows = np.array([[1.0, 0.5, 3.0, 1.0], [-1.0, 0.2, 3.0, 0.0], [1.0, 0.5, 3.0, 0.5]])
    assert data_units.two_valued(rows).tolist() == [True, True, False, False]


def test_the_last_rows_of_episodes_do_not_count():
    large = data(1.0, 100.0)
    large.action[large.start + large.length] = 0
    np.testing.assert_allclose(data_units.measure(large)["action"]["offset"], 100, atol=0.1)


# --- what is learned ---


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("helms", "npmp")]


@pytest.mark.parametrize("name", [*SLOW, "bc"])
def test_the_same_is_learned_of_actions_of_another_scale(name):
    """Ranges are [-1, 1] in this data, so that actions times 0.008 become what they were, but for rounding."""
    plain, small = data(), data(0.008)
    assert small.action.std() < 0.004
    measured = data_units.measure(small)
    np.testing.assert_allclose(measured["action"]["scale"], 0.008, rtol=1e-5)
    agent, params, figures = learned(plain, name)
    scaled, own, scaled_figures = learned(small, name, units=measured)
    assert set(own) == {*params, units.PART}
    assert figures["explained_variance"] > 0.2  # something is learned
    assert scaled_figures["explained_variance"] == pytest.approx(figures["explained_variance"], abs=0.02)
    assert scaled_figures["action_mse"] == pytest.approx(figures["action_mse"], rel=0.1)
    step = seen(plain)
    np.testing.assert_allclose(act(scaled, own, step), 0.008 * act(agent, params, step), atol=0.008 * 0.05)


def test_ordinary_actions_give_the_same_bits_as_without_units():
    """auto measures nothing, and then the agent is the very one that it was."""
    scaled = registry.make("bc", dataset.spec(data()), units=data_units.measure(data()), **SMALL)
    plain = registry.entry("bc").make(dataset.spec(data()), **SMALL)
    shapes = [jax.eval_shape(agent.learner.init, jax.random.key(0)).params for agent in (scaled, plain)]
    assert jax.tree.structure(shapes[0]) == jax.tree.structure(shapes[1])


def test_units_are_handed_on_to_what_begins_with_the_skills():
    """A clone that is fine-tuned acts as the clone did, in units of the world, from whatever run it was read."""
    small = data(0.008, 3.0)
    measured = data_units.measure(small)
    agent, params, _ = learned(small, "bc", updates=5, units=measured)
    spec = dataset.spec(small)._replace(action=Bounds((3,), 2.9, 3.1))  # the world's own range
    shared = registry.entry("bc_finetuned").settings_of(SMALL)
    tuned = registry.make("bc_finetuned", spec, source=params, **shared)
    begun = jax.jit(tuned.learner.init)(jax.random.key(0)).params
    step = seen(small)
    np.testing.assert_allclose(act(tuned, begun, step), act(agent, params, step), atol=1e-6)
    np.testing.assert_array_equal(begun[units.PART]["action"]["scale"], params[units.PART]["action"]["scale"])
    again = with_init_params(agent.learner, {"units": {"action": {"scale": np.full(3, 2, np.float32)}}})
    assert again.init(jax.random.key(0)).params["units"]["action"]["scale"].tolist() == [2, 2, 2]


@pytest.mark.parametrize(("name", "online"), [("helms", "helms_mix"), ("helms", "helms_cat"), ("npmp", "npmp_kl")])
def test_new_levels_over_skills_act_in_the_units_of_the_world(name, online):
    """Whatever they choose, the low level's actions lie in the range that the data have: 0.1 to 0.116."""
    small = data(0.008, 0.108)
    settings = SMALL | {"latent": 3} | ({"skills": 2} if name == "helms" else {})
    offline = registry.make(name, dataset.spec(small), units=data_units.measure(small), **settings)
    source = offline.learner.init(jax.random.key(0)).params
    shared = registry.entry(online).settings_of({"name": name, "action_stddev": 0.1, **settings})
    agent = registry.make(online, dataset.spec(small), source=source, **shared)
    params = agent.learner.init(jax.random.key(1)).params
    actions = act(agent, params, seen(small))
    assert actions.min() > 0.1 - 1e-6 and actions.max() < 0.116 + 1e-6


def test_a_held_skill_and_frozen_parts():
    small = data(0.008)
    measured = data_units.measure(small)
    agent = registry.make("helms", dataset.spec(small), units=measured, skills=2, latent=3, **SMALL)
    params = agent.learner.init(jax.random.key(0)).params
    policy, step = agent.hold(1), seen(small)
    action = policy.act(params, policy.init(5), step, jax.random.key(0))[1]
    assert np.abs(action).max() <= 0.008 * (1 + 1e-5) and np.abs(action).max() > 0
    assert agent.learner.freeze(("units",)) and agent.learner.freeze(("low", "units"))


# --- quaternions ---


def turning(flips: bool):
    """A data set with a rotation about z by up to 100 degrees to both sides; with `flips`, of either sign."""
    demonstrations = data()
    rng = np.random.default_rng(3)
    angle = np.cumsum(rng.normal(0, 0.1, len(demonstrations.reward))).clip(-1.7, 1.7) / 2
    pose = np.stack([np.cos(angle), 0 * angle, 0 * angle, np.sin(angle)], -1)
    if flips:
        pose *= np.where(rng.random(len(pose)) < 0.5, -1, 1)[:, None]
    arm = np.concatenate([demonstrations.obs["arm"][:, :3], pose], -1).astype(np.float32)
    return demonstrations._replace(obs={**demonstrations.obs, "arm": arm})


def test_quaternions_whose_sign_flips_are_seen_as_if_it_did_not():
    steady, flipping = turning(False), turning(True)
    assert data_units.sign_flips(steady, "arm") == [(3, 0)]
    ((first, flips),) = data_units.sign_flips(flipping, "arm")
    assert first == 3 and flips > 80
    own = data_units.measure(flipping, quaternions=("arm:3",))
    kept = data_units.continuous(flipping, own)
    assert data_units.sign_flips(kept, "arm") == [(3, 0)]
    same = np.sign(own["quaternions"]["arm"]["axis"][0, 0])
    np.testing.assert_allclose(kept.obs["arm"][:, 3:], same * steady.obs["arm"][:, 3:], atol=1e-6)
    np.testing.assert_array_equal(kept.obs["arm"][:, :3], flipping.obs["arm"][:, :3])
    one = jax.tree.map(jnp.asarray, own)
    for shape in ((-1, 1, 7), (7, -1, 1, 7)):  # a stack of frames; rows of windows
        converted = units.seen(one, {"arm": jnp.asarray(flipping.obs["arm"][:245].reshape(shape))})
        np.testing.assert_array_equal(converted["arm"], kept.obs["arm"][:245].reshape(shape))
    assert units.seen(one, {"object": 1}) == {"object": 1}  # an agent that sees something else


def test_agents_act_alike_on_either_sign():
    flipping = turning(True)
    own = data_units.measure(flipping, quaternions=("arm:3",))
    agent, params, _ = learned(flipping, "bc", updates=3, units=own)
    step = seen(flipping)
    mirrored = step.obs["arm"].at[..., 3:].multiply(-1)
    np.testing.assert_array_equal(
        act(agent, params, step), act(agent, params, step._replace(obs={**step.obs, "arm": mirrored}))
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pose", "data.quaternions names pose, needs one of arm, object"),
        ("arm:4", r"data.quaternions=arm:4: found shape \(7,\), needs columns 4 to 7"),
    ],
)
def test_what_is_no_quaternion_is_refused(name, said):
    with pytest.raises(DataFault, match=said):
        data_units.measure(data(), quaternions=(name,))

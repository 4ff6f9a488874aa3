"""HeLMS offline: what its parts are, what freezing and variants do, and that skills come out of data that have them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from specs import spec_of

from skillhier.agents import helms
from skillhier.nets import encoder
from skillhier.nets.mlp import MLP, Joined, elu
from skillhier.nets.skills import Components, GatedHigh, LatentActor, TransitionPrior
from skillhier.types import TimeStep, Trajectory

OBS = {"arm": jax.ShapeDtypeStruct((2, 4), jnp.float32), "block": jax.ShapeDtypeStruct((2, 3), jnp.float32)}
SPEC = spec_of(OBS, 2)
SMALL = {"low": ["arm"], "mid": ["arm", "block"], "skills": 3, "latent": 2, "hidden": (16, 16), "lookahead": 3}


def window(rows=8, batch=5, seed=0):
    keys = jax.random.split(jax.random.key(seed), 3)
    obs = {name: jax.random.normal(key, (rows, batch, *OBS[name].shape)) for name, key in zip(OBS, keys, strict=False)}
    zeros = jnp.zeros((rows, batch))
    action = jax.random.uniform(keys[2], (rows, batch, 2), minval=-1.0)
    return Trajectory(TimeStep(obs, zeros, zeros + 1, zeros > 0, zeros > 0), action, {})


def changed(before, after):
    """Names of the parameters' children of which any leaf moved."""
    return {
        name
        for name in before
        if any((x != y).any() for x, y in zip(*map(jax.tree.leaves, (before[name], after[name])), strict=True))
    }


def updated(made, updates=2):
    state = first = jax.jit(made.learner.init)(jax.random.key(0))
    update = jax.jit(made.learner.update)
    for i in range(updates):
        state, metrics = update(state, window(), jax.random.key(i))
    return first.params, state.params, metrics


@pytest.mark.parametrize(
    ("frozen", "moved"),
    [((), {"high", "mid", "low", "prior"}), (("low", "mid"), {"high", "prior"}), (("prior",), {"high", "mid", "low"})],
)
def test_frozen_parts_and_statistics_stay_bit_identical(frozen, moved):
    statistics = {name: (np.full(x.shape[-1], 0.5), np.full(x.shape[-1], 2.0)) for name, x in OBS.items()}
    before, after, _ = updated(helms.make(SPEC, **SMALL, statistics=statistics, frozen=frozen))
    assert changed(before, after) == moved
    np.testing.assert_array_equal(after["encoder"]["low"]["arm"]["std"], 2.0)


def test_two_valued_actions_weigh_as_their_deviation_says_and_are_sampled_as_before():
    """A gripper's error of 1 costs 50 nats at a deviation of .1 and 1/.32 at .4; an arm's as ever."""
    one = {**SMALL, "skills": 1}
    narrow, wide = helms.make(SPEC, **one), helms.make(SPEC, **one, binary_stddev=0.4, binary=(False, True))
    params, batch = narrow.learner.init(jax.random.key(0)).params, window()
    likelihood = lambda agent, row: float(agent.assess(params, row, jax.random.key(1))["elbo/log_likelihood"])  # noqa: E731
    gain = []
    for dimension in (0, 1):
        worse = batch._replace(action=batch.action.at[..., dimension].add(1.0))
        gain.append([likelihood(agent, batch) - likelihood(agent, worse) for agent in (narrow, wide)])
    arm, gripper = gain
    assert arm[0] == pytest.approx(arm[1], rel=1e-4) and gripper[0] == pytest.approx(16 * gripper[1], rel=1e-4)
    unset = helms.make(SPEC, **one, binary=(False, True))
    assert likelihood(unset, batch) == likelihood(narrow, batch)


def test_the_prior_has_a_learning_rate_of_its_own():
    before, after, _ = updated(helms.make(SPEC, **SMALL, learning_rate=1e-4, prior_learning_rate=1e-2), updates=1)
    assert jnp.abs(after["prior"]["rows"] - before["prior"]["rows"]).max() > 5e-3
    move = jax.tree.map(lambda x, y: jnp.abs(x - y).max(), before["mid"], after["mid"])
    assert max(jax.tree.leaves(move)) < 2e-4


def test_one_trace_and_one_program_for_all_updates():
    made = helms.make(SPEC, **SMALL)
    traces = []

    def update(state, batch, key):
        traces.append(1)
        return made.learner.update(state, batch, key)

    update = jax.jit(update, donate_argnums=0)
    state = jax.jit(made.learner.init)(jax.random.key(0))
    for i in range(3):
        state, _ = update(state, window(seed=i), jax.random.key(i))
    assert len(traces) == 1


def test_discrete_only_has_no_noise():
    def losses(**settings):
        made = helms.make(SPEC, **SMALL, beta_z=0.1, **settings)
        state = jax.jit(made.learner.init)(jax.random.key(0))
        update = jax.jit(made.learner.update)
        return [update(state, window(), jax.random.key(i))[1]["learner/loss"] for i in range(2)]

    one, other = losses(discrete=True)
    assert one == other
    one, other = losses(discrete=False)
    assert one != other


def test_the_high_level_alone_looks_ahead():
    """An observation after the taught rows moves the weights of skills, and no skill's action."""
    seen = window()
    later = seen._replace(step=seen.step._replace(obs={name: x.at[-1].add(1.0) for name, x in seen.step.obs.items()}))

    def measured(skills):
        made = helms.make(SPEC, **{**SMALL, "skills": skills})
        params = jax.jit(made.learner.init)(jax.random.key(0)).params
        assess = jax.jit(made.assess)
        return assess(params, seen, jax.random.key(0)), assess(params, later, jax.random.key(0))

    one, other = measured(3)
    assert one["elbo/skill_kl"] != other["elbo/skill_kl"]
    assert one["elbo/latent_kl"] != other["elbo/latent_kl"]  # through the weights
    one, other = measured(1)
    assert one["elbo/bound"] == other["elbo/bound"]


def test_a_fixed_skill_acts_as_it_was_learned():
    """The policy's mean action is the one that the measure weighs, so with one skill its error is the measure's."""
    made = helms.make(SPEC, **{**SMALL, "skills": 1})
    params = jax.jit(made.learner.init)(jax.random.key(0)).params
    seen = window()
    policy = made.hold(0)
    rows = 5
    steps = jax.tree.map(lambda x: x[:rows], seen.step)
    act = jax.jit(jax.vmap(lambda step: policy.act(params, policy.init(5), step, jax.random.key(0))[1]))
    error = jnp.square(act(steps) - seen.action[:rows]).mean()
    found = jax.jit(made.assess)(params, seen, jax.random.key(0))["heldout_action_mse"]
    np.testing.assert_allclose(error, found, rtol=1e-5)


def test_acting():
    made = helms.make(SPEC, **SMALL)
    params = jax.jit(made.learner.init)(jax.random.key(0)).params
    step = jax.tree.map(lambda x: x[0], window().step)._replace(first=jnp.ones(5, bool))

    def act(skill, seed=0, **how):
        policy = made.exploit if skill is None else made.hold(skill, **how)
        return policy.act(params, policy.init(5), step, jax.random.key(seed))[1:]

    action, notes = act(2)
    assert action.shape == (5, 2)
    assert notes["latent"].shape == (5, 2)
    np.testing.assert_array_equal(notes["skill"], 2)
    np.testing.assert_array_equal(action, act(2, seed=1)[0])  # means need no key
    assert (action != act(1)[0]).any()
    assert (act(2, sample=True)[0] != act(2, seed=1, sample=True)[0]).mean() > 0.7  # those at the bound are equal
    assert set(np.unique(act(None, seed=3)[1]["skill"])) <= {0, 1, 2}
    traced = jax.vmap(lambda skill: act(skill)[0])(jnp.arange(3))
    np.testing.assert_allclose(traced[2], action, rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="skill 3 is not known; choose 0 to 2"):
        made.hold(3)


def test_faults_are_named():
    with pytest.raises(ValueError, match="observation 'wrist' is not known; choose of arm, block"):
        helms.make(SPEC, **{**SMALL, "low": ["wrist"]}).learner.init(jax.random.key(0))
    made = helms.make(SPEC, **SMALL)
    state = jax.jit(made.learner.init)(jax.random.key(0))
    with pytest.raises(ValueError, match="a window of 3 rows is too short for a look-ahead of 3"):
        made.learner.update(state, window(rows=3), jax.random.key(0))


def test_features_are_whitened_and_clipped():
    obs = {"arm": jnp.array([[[1.0, 2.0], [3.0, 1e9]]])}  # [1, S, d]
    spec = spec_of({"arm": (2, 2)})
    own = encoder.whitened(spec.obs, ["arm"], {"arm": (np.array([1.0, 2.0]), np.array([2.0, 0.0]))})
    np.testing.assert_allclose(own.apply(own.init(jax.random.key(0)), obs), [[0.0, 0.0, 1.0, 10.0]])


def test_encoders_stand_side_by_side_and_learn_if_one_of_them_does():
    """A learned encoder beside a whitened one: the features of both, and a gradient for the learned one alone."""
    spec = spec_of({"arm": (2, 3), "block": (2, 2)})
    own = encoder.Encoder(
        lambda key: {"w": jax.random.normal(key, (4, 5))},
        lambda params, obs: obs["block"].reshape(*obs["block"].shape[:-2], -1) @ params["w"],
        trainable=True,
    )
    both = encoder.concatenated({"arm": encoder.whitened(spec.obs, ["arm"]), "block": own})
    params = both.init(jax.random.key(0))
    obs = {"arm": jnp.ones((7, 2, 3)), "block": jnp.ones((7, 2, 2))}
    assert both.trainable and not encoder.concatenated({"arm": encoder.whitened(spec.obs, ["arm"])}).trainable
    features = both.apply(params, obs)
    np.testing.assert_allclose(features[:, 6:], jnp.ones((7, 4)) @ params["block"]["w"], rtol=1e-6)
    assert features.shape == (7, 11)
    slopes = jax.grad(lambda params: both.apply(params, obs).sum())(params)
    assert not any(jnp.any(leaf) for leaf in jax.tree.leaves(slopes["arm"]))
    np.testing.assert_allclose(slopes["block"]["w"], 7.0)


def test_only_vectors_are_whitened():
    with pytest.raises(ValueError, match=r"'pixels' has shape \[64, 64, 3\], and only vectors are whitened"):
        encoder.whitened(spec_of({"pixels": (1, 64, 64, 3)}).obs, ["pixels"])


def test_an_agent_sees_all_that_is_not_privileged():
    spec = spec_of({"arm": (2, 4), "secret": (1, 3)}, privileged=("secret",))
    params = helms.make(spec, hidden=(8,), lookahead=1).learner.init(jax.random.key(0)).params
    assert set(params["encoder"]["mid"]) == set(params["encoder"]["low"]) == {"arm"}
    named = helms.make(spec, hidden=(8,), lookahead=1, mid=("arm", "secret")).learner.init(jax.random.key(0)).params
    assert set(named["encoder"]["mid"]) == {"arm", "secret"}


def test_networks_compute_in_the_type_they_are_told():
    """Products in bfloat16, parameters and losses in float32, figures near those in float32."""
    measured = {}
    for dtype in (jnp.float32, jnp.bfloat16):
        agent = helms.make(SPEC, **SMALL, dtype=dtype)
        params = jax.jit(agent.learner.init)(jax.random.key(0)).params
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
        measured[dtype] = jax.jit(agent.assess)(params, window(), jax.random.key(0))
        program = str(jax.make_jaxpr(agent.assess)(params, window(), jax.random.key(0)))
        assert ("bf16" in program) == (dtype == jnp.bfloat16)
    one, other = (values["elbo/log_likelihood"] for values in measured.values())
    assert one != other and one.dtype == other.dtype == jnp.float32
    np.testing.assert_allclose(one, other, rtol=0.05)


def test_the_look_ahead_is_the_newest_frames_of_the_next_rows():
    rows = (
        jnp.arange(6.0)[:, None, None, None] * jnp.ones((1, 1, 2, 1)) - jnp.array([0.0, 1.0])[:, None]
    )  # frame s is row t - s
    own = encoder.whitened(spec_of({"x": (2, 1)}).obs, ["x"])
    features = own.apply(own.init(jax.random.key(0)), encoder.newest({"x": rows}, ["x"]))
    np.testing.assert_array_equal(encoder.lookahead(features, 2)[:, 0], [[t, t + 1, t + 2] for t in range(4)])


def test_elu_is_the_exponential_linear_unit_with_its_slope():
    x = jnp.array([-30.0, -2.0, -1e-3, 0.0, 1e-3, 3.0])
    np.testing.assert_allclose(elu(x), jax.nn.elu(x), atol=2e-7)
    np.testing.assert_allclose(jax.vmap(jax.grad(elu))(x), jax.vmap(jax.grad(jax.nn.elu))(x), atol=2e-7)


def test_joined_is_a_dense_layer_on_both():
    x, z = jax.random.normal(jax.random.key(0), (7, 4)), jax.random.normal(jax.random.key(1), (3, 7, 2))
    layer = Joined(5)
    params = layer.init(jax.random.key(2), x, z)["params"]
    params["bias"] += 1.0
    for k, row in enumerate(layer.apply({"params": params}, x, z)):
        np.testing.assert_allclose(row, jnp.concatenate([x, z[k]], -1) @ params["kernel"] + params["bias"], atol=1e-5)


def test_components_share_nothing():
    x = jax.random.normal(jax.random.key(0), (4, 3, 6))
    net = Components(3, 2, (16, 16))
    params = net.init(jax.random.key(1), x)["params"]
    mean, scale = net.apply({"params": params}, x)
    assert mean.shape == scale.shape == (3, 4, 3, 2)
    raw = MLP((16, 16), 4).apply({"params": params["skill_1"]}, x)
    np.testing.assert_allclose(mean[1], raw[..., :2], atol=1e-5)
    np.testing.assert_allclose(scale[1], 0.01 + 0.99 * jax.nn.sigmoid(raw[..., 2:]), atol=1e-5)
    gradient = jax.grad(lambda p: net.apply({"params": p}, x)[0][1].sum())(params)
    assert not any(jnp.any(leaf) for leaf in jax.tree.leaves((gradient["skill_0"], gradient["skill_2"])))


def test_paper_sizes():
    """Table 5 of HeLMS: parameters of the levels at 129, 255 and 510 inputs."""

    def count(net, *shapes):
        made = jax.eval_shape(net.init, jax.random.key(0), *(jnp.zeros(s) for s in shapes))
        return sum(np.prod(x.shape) for x in jax.tree.leaves(made))

    def dense(*sizes):
        return sum((a + 1) * b for a, b in zip(sizes, sizes[1:], strict=False))

    assert count(GatedHigh(5), (1, 510)) == dense(510, 256, 256, 25)
    assert count(Components(5), (1, 255)) == 5 * dense(255, 256, 256, 16)
    assert count(LatentActor(5), (1, 129), (5, 1, 8)) == dense(137, 256, 256, 5)
    assert count(TransitionPrior(5)) == 5 * 5 + 5


def modes(key, rows, batch):
    """Three ways to move a point in the plane; one lasts 20 rows on average. Nothing but the motion tells which."""
    where_key, mode_key, switch_key = jax.random.split(key, 3)
    aims = jnp.array([[0.8, 0.0], [-0.4, 0.7], [-0.4, -0.7]])

    def row(carry, keys):
        x, mode = carry
        switch = jax.random.uniform(keys[0], (batch,)) < 0.05
        mode = jnp.where(switch, jax.random.randint(keys[1], (batch,), 0, 3), mode)
        action = aims[mode] * (1 - 0.3 * jnp.tanh(x))
        return (x + 0.3 * action, mode), (x, action)

    keys = jnp.stack([jax.random.split(switch_key, rows), jax.random.split(mode_key, rows)], 1)
    start = (jax.random.normal(where_key, (batch, 2)), jax.random.randint(mode_key, (batch,), 0, 3))
    _, (x, action) = jax.lax.scan(row, start, keys)
    zeros = jnp.zeros((rows, batch))
    step = TimeStep({"x": x[:, :, None]}, zeros, zeros + 1, zeros > 0, zeros > 0)
    return Trajectory(step, action, {})


def test_skills_come_out_of_data_that_have_them():
    obs = {"x": jax.ShapeDtypeStruct((1, 2), jnp.float32)}

    def learned(skills):
        made = helms.make(
            spec_of(obs),
            low=["x"],
            mid=["x"],
            skills=skills,
            latent=2,
            hidden=(32, 32),
            lookahead=2,
            beta_z=0.01,
            init_stay_logit=3.0,
            usage_weight=5.0,
            learning_rate=3e-3,
            prior_learning_rate=2e-2,
        )

        @jax.jit
        def run(key):
            def update(state, key):
                data_key, noise_key = jax.random.split(key)
                return made.learner.update(state, modes(data_key, 14, 32), noise_key)

            first_key, key = jax.random.split(key)
            state, metrics = jax.lax.scan(update, made.learner.init(first_key), jax.random.split(key, 400))
            return made.assess(state.params, modes(jax.random.key(99), 42, 64), key), metrics["elbo/bound"]

        return run(jax.random.key(0))

    found, bound = learned(3)
    alone, _ = learned(1)
    assert bound[-20:].mean() > bound[:20].mean() + 10
    assert found["heldout_action_mse"] < 0.2 * alone["heldout_action_mse"]
    assert found["skill_usage"].min() > 0.2
    assert found["transition_diagonal"] > 0.8

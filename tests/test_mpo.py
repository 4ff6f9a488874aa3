"""The steps of MPO against rlax and brute force, the laws of its temperature, and optima that are known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import rlax
import scipy.optimize

from skillhier.losses.imitation import average
from skillhier.losses.mpo import improvement
from skillhier.ops import families, mpo, priors
from skillhier.ops.families import Categorical, Gaussian, Mixture
from skillhier.ops.mpo import Bound

ROWS, N, K, A = (4, 3), 6, 4, 2
COUNTED = jnp.ones(ROWS, bool).at[1, 2].set(False).at[3, 0].set(False)


def problem(seed=0):
    """A Gaussian that has moved from its target, samples of the target, and Q values."""
    keys = jax.random.split(jax.random.key(seed), 6)
    target = Gaussian(jax.random.normal(keys[0], (*ROWS, A)), 0.3 + jax.random.uniform(keys[1], (*ROWS, A)))
    online = Gaussian(
        target.mean + 0.3 * jax.random.normal(keys[2], (*ROWS, A)), target.scale * (0.8 + jax.random.uniform(keys[3]))
    )
    choices = families.gaussian().choices(target, keys[4], N)
    return target, online, choices, 3.0 * jax.random.normal(keys[5], (N, *ROWS))


def by_rlax(bounds, duals, target, online, choices, q, counted):
    """The same loss from rlax's pieces, for sampled Gaussians with whole or per-dimension bounds."""

    def at(mean, scale):
        return jax.scipy.stats.norm.logpdf(choices.action, mean, scale).sum(-1)

    def kl(mean, scale):  # old to new, by dimension
        ratio = target.scale / scale
        return -jnp.log(ratio) + 0.5 * (ratio**2 + ((target.mean - mean) / scale) ** 2 - 1)

    log_prob = at(online.mean, target.scale) + at(target.mean, online.scale)
    constraints = []
    for name, moved in {"mean": (online.mean, target.scale), "stddev": (target.mean, online.scale)}.items():
        apart = bounds[name].shape == (A,)
        distance = kl(*moved) if apart else kl(*moved).sum(-1)
        constraints.append((distance, rlax.LagrangePenalty(duals[name], jnp.float32(bounds[name].epsilon), apart)))
    temperature = rlax.LagrangePenalty(duals["temperature"], jnp.float32(bounds["temperature"].epsilon))
    value, _ = rlax.mpo_loss(log_prob, q, temperature, constraints, lambda raw: jax.nn.softplus(raw) + 1e-8)
    if "penalty" in bounds:  # MO-MPO: the same again for the other objective, without its constraints
        beyond = jnp.maximum(jnp.abs(choices.action) - 1.0, 0.0)
        costs = -jnp.sqrt((beyond**2).sum(-1))
        dual = rlax.LagrangePenalty(duals["penalty"], jnp.float32(bounds["penalty"].epsilon))
        more, _ = rlax.mpo_loss(
            log_prob,
            costs,
            dual,
            [(jnp.zeros(ROWS), rlax.LagrangePenalty(jnp.float32(0.0), jnp.float32(0.0)))],
            lambda raw: jax.nn.softplus(raw) + 1e-8,
        )
        value = value + more
    return (value * counted).sum() / counted.sum()


@pytest.mark.parametrize("shape", [(), (A,)])
@pytest.mark.parametrize("penalised", [False, True])
def test_gaussian_improvement_is_rlax(shape, penalised):
    """Value and the gradients of policy and multipliers; each dimension bounded by itself, or all as one."""
    bounds = {"temperature": Bound(0.1, 1.0), "mean": Bound(0.01, 0.5, shape), "stddev": Bound(1e-3, 2.0, shape)}
    bounds |= {"penalty": Bound(1e-3, -0.5)} if penalised else {}
    target, online, choices, q = problem()
    assert (jnp.abs(choices.action) > 1).any()

    def ours(duals, online):
        return improvement(families.gaussian(), bounds, duals, target, online, choices, q, COUNTED)[0]

    def theirs(duals, online):
        return by_rlax(bounds, duals, target, online, choices, q, COUNTED)

    duals = mpo.init_duals(bounds)
    assert {name: raw.shape for name, raw in duals.items()} == {name: bound.shape for name, bound in bounds.items()}
    value, found = jax.jit(jax.value_and_grad(ours, (0, 1)))(duals, online)
    wanted, expected = jax.jit(jax.value_and_grad(theirs, (0, 1)))(duals, online)
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), found, expected)
    assert all(np.abs(slope).max() > 1e-5 for slope in jax.tree.leaves(found))


def test_temperature_and_weights_are_rlax():
    _, _, choices, q = problem()
    raw = jnp.float32(0.3)

    def ours(raw):
        return mpo.e_step(q, choices.log_prior, raw, 0.2).loss.sum()

    def theirs(raw):
        penalty = rlax.LagrangePenalty(raw, jnp.float32(0.2))
        loss, weights, _ = rlax.mpo_compute_weights_and_temperature_loss(q, penalty, mpo.multiplier)
        return loss.sum(), weights

    found, expected = jax.jit(jax.value_and_grad(ours))(raw), jax.jit(jax.value_and_grad(theirs, has_aux=True))(raw)
    np.testing.assert_allclose(found[0], expected[0][0], rtol=1e-5)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-4)
    np.testing.assert_allclose(mpo.e_step(q, choices.log_prior, raw, 0.2).weights, expected[0][1], rtol=1e-4, atol=1e-7)


def test_bounds_over_counted_rows_are_those_of_v_mpo():
    """rlax's V-MPO loss leaves rows out by weights; without advantages and log-probabilities its bounds are left."""
    kl = jnp.exp(jax.random.normal(jax.random.key(0), (*ROWS, A)))
    weight = COUNTED.astype(jnp.float32)
    zeros = jnp.zeros(ROWS)

    def ours(raw, kl):
        found = mpo.penalty(kl, raw, 0.3, 2)
        return average(found.loss + found.dual_loss, COUNTED)

    def theirs(raw, kl):
        bound = rlax.LagrangePenalty(mpo.multiplier(raw), jnp.float32(0.3), True)
        warm = rlax.LagrangePenalty(jnp.float32(1.0), jnp.float32(0.0))
        args = dict(restarting_weights=weight, top_k_fraction=1.0, projection_operator=lambda x: x)
        loss, _ = rlax.vmpo_loss(zeros, zeros, warm, [(kl, bound)], **args)
        return (loss * weight).sum() / weight.sum()

    raw = jnp.array([0.5, -1.0])
    value, found = jax.jit(jax.value_and_grad(ours, (0, 1)))(raw, kl)
    wanted, expected = jax.jit(jax.value_and_grad(theirs, (0, 1)))(raw, kl)
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), found, expected)


def test_categorical_improvement_is_acmes_formula():
    """Written out again: q = pi' exp(Q / T) normalised over all K, cross-entropy, KL(old || new), two multipliers."""
    keys = jax.random.split(jax.random.key(0), 3)
    target, online = (Categorical(jax.random.normal(key, (*ROWS, K))) for key in keys[:2])
    q = 2.0 * jax.random.normal(keys[2], (K, *ROWS))
    bounds = {"temperature": Bound(0.1, 3.0), "category": Bound(0.5, 3.0)}
    family = families.categorical()

    def ours(duals, online):
        choices = family.choices(target, jax.random.key(9), 20)
        return improvement(family, bounds, duals, target, online, choices, q, COUNTED)[0]

    def theirs(duals, online):
        temperature, alpha = (jax.nn.softplus(duals[name]) + 1e-8 for name in ("temperature", "category"))
        log_old, log_new = jax.nn.log_softmax(target.logits), jax.nn.log_softmax(online.logits)
        every = jnp.moveaxis(q, 0, -1)
        weights = jax.lax.stop_gradient(jax.nn.softmax(every / temperature + log_old))
        dual = temperature * (0.1 + jax.nn.logsumexp(every / temperature + log_old, -1))
        fit = -(weights * log_new).sum(-1)
        kl = (jnp.exp(log_old) * (log_old - log_new)).sum(-1)
        stop = jax.lax.stop_gradient
        rows = fit + dual + stop(alpha) * kl + alpha * (0.5 - stop(kl))
        return rows[COUNTED].mean()

    duals = mpo.init_duals(bounds)
    value, found = jax.jit(jax.value_and_grad(ours, (0, 1)))(duals, online)
    wanted, expected = jax.jit(jax.value_and_grad(theirs, (0, 1)))(duals, online)
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), found, expected)


@pytest.mark.parametrize("prior", [[0.25] * 4, [0.7, 0.1, 0.1, 0.1]])
def test_listed_weights_are_those_of_brute_force(prior):
    """The best distribution within epsilon of the prior, found by a solver that knows nothing of temperatures."""
    prior, q, epsilon = np.array(prior), np.array([0.0, 1.0, 3.0, -1.0]), 0.2
    best = scipy.optimize.minimize(
        lambda p: -p @ q,
        prior,
        bounds=[(1e-9, 1)] * 4,
        constraints=[
            {"type": "eq", "fun": lambda p: p.sum() - 1},
            {"type": "ineq", "fun": lambda p: epsilon - (p * np.log(p / prior)).sum()},
        ],
        options={"ftol": 1e-12},
    )
    raw = optimal_temperature(jnp.array(q)[:, None], jnp.log(jnp.array(prior))[:, None], epsilon)
    found = mpo.e_step(jnp.array(q)[:, None], jnp.log(jnp.array(prior))[:, None], raw, epsilon)
    np.testing.assert_allclose(found.weights[:, 0], best.x, atol=2e-3)


def optimal_temperature(q, log_prior, epsilon):
    """Raw multiplier at the least mean dual, by a solver on the line."""
    dual = jax.jit(lambda raw: mpo.e_step(q, log_prior, raw, epsilon).loss.mean())
    best = scipy.optimize.minimize_scalar(lambda raw: float(dual(raw)), bounds=(-10, 40), method="bounded")
    return jnp.float32(best.x)


@pytest.mark.parametrize("epsilon", [0.02, 0.1, 0.5])
def test_at_the_best_temperature_the_bound_is_met(epsilon):
    _, _, choices, q = problem()
    step = mpo.e_step(q, choices.log_prior, optimal_temperature(q, choices.log_prior, epsilon), epsilon)
    np.testing.assert_allclose(step.kl.mean(), epsilon, rtol=0.02)
    np.testing.assert_allclose(step.weights.sum(0), 1.0, rtol=1e-5)
    by_hand = (step.weights * (jnp.log(step.weights) - choices.log_prior)).sum(0)
    np.testing.assert_allclose(step.kl, by_hand, rtol=1e-3, atol=1e-5)


def test_hot_weights_are_the_prior_cold_ones_the_best_choice():
    q = jnp.array([[1.0], [2.0], [1.5]])
    log_prior = jnp.log(jnp.array([[0.6], [0.1], [0.3]]))
    hot, cold = (mpo.e_step(q, log_prior, jnp.float32(raw), 0.1) for raw in (1e5, mpo.FLOOR))
    np.testing.assert_allclose(hot.weights, jnp.exp(log_prior), rtol=1e-4)
    np.testing.assert_allclose(cold.weights[:, 0], [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(cold.kl, [np.log(10)], rtol=1e-3)
    assert np.isfinite(cold.loss).all()
    temperatures = jnp.log(jnp.expm1(jnp.linspace(0.05, 3.0, 40)))  # equal steps of T, so its dual must be convex
    duals = jax.vmap(lambda raw: mpo.e_step(q, log_prior, raw, 0.1).loss[0])(temperatures)
    assert (jnp.diff(duals, 2) > -1e-5).all()


def test_a_choice_that_is_impossible_stays_so():
    step = mpo.e_step(jnp.array([[0.0], [9.0]]), jnp.array([[0.0], [-jnp.inf]]), jnp.float32(1.0), 0.1)
    np.testing.assert_array_equal(step.weights[:, 0], [1.0, 0.0])
    np.testing.assert_allclose(step.kl, [0.0], atol=1e-5)


def test_sampled_and_listed_weights_agree():
    """A category sampled 40,000 times and listed once: mean of Q under the weights, dual and KL."""
    logits, q = jnp.array([0.5, -1.0, 1.0, 0.0]), jnp.array([1.0, 4.0, 0.0, 2.0])
    draws = jax.random.categorical(jax.random.key(0), logits, shape=(40_000, 1))
    sampled = mpo.e_step(q[draws], jnp.full(draws.shape, -jnp.log(len(draws))), jnp.float32(1.0), 0.1)
    listed = mpo.e_step(q[:, None], jax.nn.log_softmax(logits)[:, None], jnp.float32(1.0), 0.1)
    share = (jax.nn.one_hot(draws, 4) * sampled.weights[..., None]).sum((0, 1))
    np.testing.assert_allclose(share, listed.weights[:, 0], atol=0.01)
    np.testing.assert_allclose(sampled.loss, listed.loss, rtol=0.01)
    np.testing.assert_allclose(sampled.kl, listed.kl, rtol=0.03)


def test_multipliers_by_hand():
    """alpha = softplus(0) = ln 2, KL .3 and .1, epsilon .25."""
    kl = jnp.array([[0.3], [0.1]])
    found = mpo.penalty(kl, jnp.zeros(1), 0.25, 1)
    np.testing.assert_allclose(found.loss, [0.3 * np.log(2), 0.1 * np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(found.dual_loss, [-0.05 * np.log(2), 0.15 * np.log(2)], rtol=1e-5)
    # a part beyond its bound pushes its multiplier up (down the loss), one within lets it fall
    slopes = jax.jacobian(lambda raw: mpo.penalty(kl, raw, 0.25, 1).dual_loss)(jnp.zeros(1))[:, 0]
    np.testing.assert_allclose(slopes, [-0.025, 0.075], rtol=1e-5)
    assert jax.grad(lambda raw: mpo.penalty(kl, raw, 0.25, 1).loss.sum())(jnp.zeros(1)) == 0.0
    assert (jax.grad(lambda kl: mpo.penalty(kl, jnp.zeros(1), 0.25, 1).dual_loss.sum())(kl) == 0.0).all()


def test_what_the_shape_of_a_bound_keeps_apart():
    kl = jnp.arange(12.0).reshape(1, 2, 2, 3)  # rows [1, 2], components 2, dimensions 3
    np.testing.assert_array_equal(mpo.sum_to_shape(kl, 2, ()), [[15, 51]])
    np.testing.assert_array_equal(mpo.sum_to_shape(kl, 2, (3,)), [[[3, 5, 7], [15, 17, 19]]])
    np.testing.assert_array_equal(mpo.sum_to_shape(kl, 2, (2, 1)), [[[[3], [12]], [[21], [30]]]])
    np.testing.assert_array_equal(mpo.sum_to_shape(kl, 2, (2, 3)), kl)
    with pytest.raises(ValueError, match=r"a bound of shape \[2\] does not fit a divergence of axes \[2, 3\]"):
        mpo.sum_to_shape(kl, 2, (2,))


def floored(tx):
    """`tx`, after which multipliers are lifted to their floor."""

    def update(gradient, state, params):
        change, state = tx.update(gradient, state, params)
        lifted = mpo.clip_duals(optax.apply_updates(params, change))
        return jax.tree.map(jnp.subtract, lifted, params), state

    return optax.GradientTransformation(tx.init, update)


def test_multipliers_fall_to_their_floor_and_come_back():
    """Steps of 8 down a slope, as long as the divergence is within its bound, then a divergence far beyond it."""
    tx = floored(optax.sgd(8.0))

    def step(raw, state, kl):
        slope = jax.grad(lambda raw: mpo.penalty(kl, raw["mean"], 0.5, 1).dual_loss.mean())(raw)
        slope = jax.tree.map(jnp.sign, slope)
        change, state = tx.update(slope, state, raw)
        return optax.apply_updates(raw, change), state

    raw = {"mean": jnp.float32(3.0)}
    state, seen = tx.init(raw), []
    for kl in (0.1, 0.1, 0.1, 0.1, 2.0, 2.0):
        raw, state = step(raw, state, jnp.array([kl]))
        seen.append(float(raw["mean"]))
    np.testing.assert_allclose(seen, [-5, -13, -18, -18, -10, -2])
    assert mpo.multiplier(jnp.float32(mpo.FLOOR)) > 1e-8
    np.testing.assert_array_equal(mpo.clip_duals({"a": jnp.array([-30.0, 2.0])})["a"], [mpo.FLOOR, 2.0])


def test_out_of_bounds_by_hand():
    actions = jnp.array([[0.5, -1.0], [1.3, 0.0], [4.0, -5.0]])
    np.testing.assert_allclose(mpo.out_of_bounds(actions), [0.0, -0.3, -5.0], rtol=1e-5)


def test_priors_by_hand():
    first = jnp.array([[False, True], [False, False], [True, False]])  # [T, B]
    logits = jnp.log(jnp.array([0.5, 0.5])) * jnp.ones((3, 2, 1))
    policy = Categorical(logits)
    np.testing.assert_allclose(priors.uniform(policy), 0.0, atol=1e-6)
    table = jnp.log(jnp.array([[0.8, 0.2], [0.5, 0.5]]))
    skill = jnp.array([[0, 1], [1, 0], [0, 0]])
    stay, opening = 0.5 * np.log(0.25 / 0.16), 0.5 * np.log(0.25 / (0.65 * 0.35))
    # unknown before a window that begins in the middle; then skill 0 before, then an opening; beside it other rows
    expected = [[0.0, opening], [stay, 0.0], [opening, stay]]
    np.testing.assert_allclose(priors.transition(policy, table, skill, first), expected, atol=1e-6)
    z = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])[..., None]
    latent = Gaussian(0.6 * jnp.ones((3, 2, 1)), 0.8 * jnp.ones((3, 2, 1)))  # memory .6 leaves a spread of .8
    opening = 0.5 * (0.64 + 0.36 - 1 - np.log(0.64))
    expected = [[0.0, opening], [0.0, 0.5 * (0.6 / 0.8) ** 2], [opening, 0.5 * (1.8 / 0.8) ** 2]]
    np.testing.assert_allclose(priors.drift(latent, 0.6, z, first), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(priors.standard(latent), opening, rtol=1e-5)
    mean, scale = jnp.zeros((2, 3, 2, 1)), jnp.ones((2, 3, 2, 1))
    near = priors.components(Mixture(logits, mean, scale), mean, scale)
    np.testing.assert_allclose(near, 0.0, atol=1e-6)
    far = priors.components(Mixture(logits, mean.at[1].set(2.0), scale), mean, scale)
    np.testing.assert_allclose(far, 2.0, rtol=1e-6)
    lopsided = Categorical(jnp.log(jnp.array([0.75, 0.25])))
    np.testing.assert_allclose(
        priors.uniform(lopsided), np.log(2) + 0.75 * np.log(0.75) + 0.25 * np.log(0.25), rtol=1e-5
    )


# Known optima: the policy is an array in place of a network, the target follows every `period` steps.


def improve(family, begin, q_of, bounds, *, steps=1500, period=25, rate=0.02, samples=20, rows=(1, 16)):
    """What `steps` of improvement make of the policy begin["policy"] (arrays -> distribution at all rows)."""
    policy_of, raw = begin
    params = {"actor": raw, "duals": mpo.init_duals(bounds)}
    label = {"actor": "actor", "duals": "duals"}
    tx = optax.multi_transform({"actor": optax.adam(rate), "duals": floored(optax.adam(0.05))}, label)
    counted = jnp.ones(rows, bool)

    def loss(params, old, key):
        target = jax.tree.map(lambda x: jax.lax.stop_gradient(x), policy_of(old, rows))
        choices = family.choices(target, key, samples)
        args = (target, policy_of(params["actor"], rows), choices, q_of(choices.action), counted)
        return improvement(family, bounds, params["duals"], *args)

    def step(carry, now):
        params, old, state = carry
        key, count = now
        slopes, metrics = jax.grad(loss, has_aux=True)(params, old, key)
        change, state = tx.update(slopes, state, params)
        params = optax.apply_updates(params, change)
        old = jax.tree.map(lambda new, old: jnp.where(count % period == 0, new, old), params["actor"], old)
        return (params, old, state), metrics

    keys = jax.random.split(jax.random.key(0), steps)
    scan = jax.jit(lambda carry: jax.lax.scan(step, carry, (keys, jnp.arange(steps))))
    (params, _, _), metrics = scan((params, raw, tx.init(params)))
    return params, metrics


def everywhere(x, rows):
    return jnp.broadcast_to(x, (*rows, *x.shape))


def test_a_gaussian_finds_the_top_of_a_parabola():
    top = jnp.array([0.7, -0.4])
    raw = {"mean": jnp.array([-1.0, 1.0]), "scale": jnp.zeros(2)}

    def policy_of(raw, rows):
        return Gaussian(everywhere(raw["mean"], rows), everywhere(jax.nn.softplus(raw["scale"]), rows))

    bounds = {"temperature": Bound(0.1, 1.0), "mean": Bound(0.01, 1.0), "stddev": Bound(0.005, 1.0)}
    params, metrics = improve(
        families.gaussian(), (policy_of, raw), lambda a: -jnp.square(a - top).sum(-1), bounds, steps=1500
    )
    np.testing.assert_allclose(params["actor"]["mean"], top, atol=0.05)
    assert (jax.nn.softplus(params["actor"]["scale"]) < 0.2).all()
    # on the way every part moves as far as its bound lets it
    np.testing.assert_allclose(metrics["kl_mean"][300:700].mean(), 0.01, rtol=0.2)
    np.testing.assert_allclose(metrics["kl_stddev"][800:].mean(), 0.005, rtol=0.1)


def test_a_category_finds_the_best_of_a_table():
    table = jnp.array([0.1, 0.9, 1.0, 0.0, -2.0])
    bounds = {"temperature": Bound(0.1, 1.0), "category": Bound(0.1, 1.0)}
    params, metrics = improve(
        families.categorical(),
        (lambda raw, rows: Categorical(everywhere(raw, rows)), jnp.zeros(5)),
        lambda index: table[index],
        bounds,
    )
    assert jax.nn.softmax(params["actor"])[2] > 0.95


def test_a_prior_holds_a_category_where_it_says():
    """With the KL to the uniform added, weight eta: what is best is not the best skill alone."""
    table, eta = jnp.array([0.0, 1.0]), 10.0
    bounds = {"temperature": Bound(0.1, 1.0), "category": Bound(1.0, 1.0)}
    family, counted = families.categorical(), jnp.ones((1, 1), bool)
    params, tx = {"actor": jnp.zeros(2), "duals": mpo.init_duals(bounds)}, optax.adam(0.02)

    def loss(params, old):
        target, online = (Categorical(everywhere(raw, (1, 1))) for raw in (old, params["actor"]))
        choices = family.choices(target, None, 0)
        value, _ = improvement(family, bounds, params["duals"], target, online, choices, table[choices.action], counted)
        return value + eta * priors.uniform(online).mean()

    def step(carry, count):
        params, old, state = carry
        change, state = tx.update(jax.grad(loss)(params, old), state)
        params = optax.apply_updates(params, change)
        return (params, jnp.where(count % 25 == 0, params["actor"], old), state), None

    scan = jax.jit(lambda carry: jax.lax.scan(step, carry, jnp.arange(1500)))
    (params, _, _), _ = scan((params, params["actor"], tx.init(params)))

    # where it rests pi' = pi = p, the weights w are .1 nats from it, and on the logit of the better skill the M-step
    # pulls by w - p, the prior by eta p (1 - p) log(p / (1 - p))
    def pull(p):
        w = scipy.optimize.brentq(lambda w: w * np.log(w / p) + (1 - w) * np.log((1 - w) / (1 - p)) - 0.1, p, 1 - 1e-9)
        return w - p - eta * p * (1 - p) * np.log(p / (1 - p))

    expected = scipy.optimize.brentq(pull, 0.5, 0.85)
    assert 0.51 < expected < 0.8
    np.testing.assert_allclose(jax.nn.softmax(params["actor"])[1], expected, atol=0.005)


def test_a_mixture_keeps_a_component_on_each_of_two_bumps():
    """Bumps at -1 (lower) and 1 (higher), components begin on either side: both are climbed, the higher is used."""

    def q_of(action):
        x = action[..., 0]
        return 0.8 * jnp.exp(-8 * (x + 1) ** 2) + jnp.exp(-8 * (x - 1) ** 2)

    raw = {"logits": jnp.zeros(2), "mean": jnp.array([[-0.5], [0.5]]), "scale": jnp.full((2, 1), -0.5)}

    def policy_of(raw, rows):
        mean, scale = (jnp.broadcast_to(x[:, None, None], (2, *rows, 1)) for x in (raw["mean"], raw["scale"]))
        return Mixture(everywhere(raw["logits"], rows), mean, jax.nn.softplus(scale))

    bounds = {"temperature": Bound(0.1, 1.0), "mean": Bound(0.01, 1.0), "stddev": Bound(0.005, 1.0)}
    bounds["category"] = Bound(1e-4, 1.0)
    run = functools.partial(improve, families.mixture(), (policy_of, raw), q_of)
    params, _ = run(bounds, steps=800)
    np.testing.assert_allclose(params["actor"]["mean"][:, 0], [-1.0, 1.0], atol=0.15)
    assert jax.nn.softmax(params["actor"]["logits"])[1] > 0.5
    params, _ = run(bounds | {"category": Bound(0.1, 1.0)}, steps=1500)
    assert jax.nn.softmax(params["actor"]["logits"])[1] > 0.95
    np.testing.assert_allclose(params["actor"]["mean"][1, 0], 1.0, atol=0.1)


def test_an_improvement_of_one_component_is_the_gaussians():
    """Fact sheet, law 4: value but for the category's own multiplier, and every gradient."""
    target, online, choices, q = problem()
    bounds = {"temperature": Bound(0.1, 1.0), "mean": Bound(0.01, 0.5), "stddev": Bound(1e-3, 2.0)}

    def mixed(policy):
        return Mixture(jnp.zeros((*ROWS, 1)), policy.mean[None], policy.scale[None])

    def one(online):
        return improvement(families.gaussian(), bounds, mpo.init_duals(bounds), target, online, choices, q, COUNTED)[0]

    more = bounds | {"category": Bound(1.0, 0.0)}

    def many(online):
        args = (mixed(target), mixed(online), choices, q, COUNTED)
        return improvement(families.mixture(), more, mpo.init_duals(more), *args)[0]

    value, slope = jax.jit(jax.value_and_grad(one))(online)
    other, other_slope = jax.jit(jax.value_and_grad(many))(online)
    # the category's likelihood is that of the target, its divergence 0, its dual ln 2 times 1
    log_prob = families.gaussian().log_prob(target, choices.action)
    weights = mpo.e_step(q, choices.log_prior, jnp.float32(1.0), 0.1).weights
    constant = np.log(2) - (weights * log_prob).sum(0)[COUNTED].mean()
    np.testing.assert_allclose(other - value, constant, rtol=1e-4)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), slope, other_slope)


def test_rows_that_do_not_count_change_nothing():
    target, online, choices, q = problem()
    bounds = {"temperature": Bound(0.1, 1.0), "mean": Bound(0.01, 0.5), "stddev": Bound(1e-3, 2.0)}

    def both(q, online):
        return improvement(families.gaussian(), bounds, mpo.init_duals(bounds), target, online, choices, q, COUNTED)

    run = jax.jit(jax.value_and_grad(both, 1, has_aux=True))
    found = run(q, online)
    nonsense = online._replace(mean=jnp.where(COUNTED[..., None], online.mean, 1e3))
    other = run(jnp.where(COUNTED, q, 1e4), nonsense)
    jax.tree.map(np.testing.assert_array_equal, found[0], other[0])
    np.testing.assert_array_equal(np.where(COUNTED[..., None], found[1].mean, 0.0), other[1].mean)

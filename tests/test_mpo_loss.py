"""MPO's whole loss with networks of a few lines: by hand, by its gradients, and learning what is known.

The world shows a side x in {-1, 1} drawn anew at every row and pays 1 - (a - 0.6 x)^2 for an action. With gamma = 1/2
the best action is 0.6 x, and being worth 2 from then on, Q(x, a) = 2 - (a - 0.6 x)^2.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from skillhier.agents.learner import learner
from skillhier.agents.optimisers import by_child, projected
from skillhier.agents.slow import combined, hard_copies
from skillhier.losses import mpo as losses
from skillhier.ops import families, mpo, priors
from skillhier.ops.families import Categorical, Gaussian, Mixture
from skillhier.ops.mpo import Bound
from skillhier.types import TimeStep, Trajectory

T, B, GAMMA, BEST = 6, 32, 0.5, 0.6
GRID = jnp.array([-1.2, -0.6, 0.0, 0.6, 1.2])  # the actions of the category


def uniform_actions(key):
    return jax.random.uniform(key, (T, B, 1), minval=-1.5, maxval=1.5), -jnp.log(3.0)


def uniform_indices(key):
    return jax.random.randint(key, (T, B), 0, len(GRID)), -jnp.log(5.0)


def batch_of(draw=uniform_actions, act=lambda action: action[..., 0], seed=0):
    side_key, action_key = jax.random.split(jax.random.key(seed))
    x = jnp.where(jax.random.bernoulli(side_key, 0.5, (T, B)), 1.0, -1.0)
    action, log_prob = draw(action_key)
    paid = 1 - (act(action) - BEST * x) ** 2
    reward = jnp.concatenate([jnp.zeros((1, B)), paid[:-1]])
    step = TimeStep({"x": x}, reward, jnp.ones((T, B)), jnp.zeros((T, B), bool), jnp.zeros((T, B), bool))
    return Trajectory(step, action, {"log_prob": jnp.full((T, B), log_prob)})


def sides(values, x):
    """values[0] where x = -1, values[1] where x = 1, [*rows, ...]."""
    return values[(x > 0).astype(jnp.int32)]


def represent(params, batch):
    return sides(params["critic"], batch.step.obs["x"])  # three numbers of a parabola


def value(params, seen, action):
    a = action[..., 0]
    return seen[..., 0] + seen[..., 1] * a + seen[..., 2] * a**2


def gaussian_actor(params, batch, key):
    mean, scale = (sides(params["actor"][name], batch.step.obs["x"]) for name in ("mean", "scale"))
    return Gaussian(mean, jax.nn.softplus(scale))


def category_actor(params, batch, key):
    return Categorical(sides(params["actor"]["logits"], batch.step.obs["x"]))


def mixture_actor(params, batch, key):
    x, actor = batch.step.obs["x"], params["actor"]
    spread = [jnp.moveaxis(sides(actor[name], x), -2, 0) for name in ("mean", "scale")]  # [K, T, B, 1]
    return Mixture(sides(actor["logits"], x), spread[0], jax.nn.softplus(spread[1]))


def value_of_all(params, seen, action):
    """A critic of K outputs."""
    return jnp.take_along_axis(seen[None], action[..., None], -1)[..., 0]


BOUNDS = {"temperature": Bound(0.1, 1.0), "mean": Bound(0.02, 1.0), "stddev": Bound(0.01, 1.0)}
CATEGORY = {"temperature": Bound(0.1, 1.0), "category": Bound(0.1, 1.0)}
SETTINGS = {
    "gaussian": (families.gaussian(), gaussian_actor, represent, value, BOUNDS),
    "category": (families.categorical(), category_actor, represent, value_of_all, CATEGORY),
    "mixture": (families.mixture(), mixture_actor, represent, value, BOUNDS | CATEGORY),
}
BEGIN = {
    "gaussian": {"mean": jnp.zeros((2, 1)), "scale": jnp.zeros((2, 1))},
    "category": {"logits": jnp.zeros((2, 5))},
    "mixture": {
        "logits": jnp.zeros((2, 2)),
        "mean": jnp.array([[[-0.3], [0.3]]] * 2),
        "scale": jnp.zeros((2, 2, 1)),
    },
}
BATCHES = {
    "gaussian": batch_of(),
    "category": batch_of(uniform_indices, lambda index: GRID[index]),
    "mixture": batch_of(),
}


def begin(kind):
    """First parameters and the slow state that goes with them; target copies differ, as they do in the middle."""
    size = len(GRID) if kind == "category" else 3
    params = {"actor": BEGIN[kind], "critic": jnp.zeros((2, size)), "duals": mpo.init_duals(SETTINGS[kind][-1])}
    return params, {"target": {name: params[name] for name in ("actor", "critic")}}


def moved(kind):
    params, slow = begin(kind)
    keys = iter(jax.random.split(jax.random.key(5), 20))
    params = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(next(keys), x.shape), params)
    return params, jax.tree.map(lambda x: x + 0.3 * jax.random.normal(next(keys), x.shape), slow)


def loss_of(kind, **settings):
    family, actor, represent, value, bounds = SETTINGS[kind]
    return losses.mpo_loss(family, actor, represent, value, **{"bounds": bounds, "gamma": GAMMA} | settings)


def test_the_critic_by_hand():
    """Three rows, two skills. Target: pi' = (1/4, 3/4), Q'(1) = (4, 8), Q'(2) = (2, 0), rewards 1 and 3, gamma 1/2."""
    obs, flags = {"x": jnp.arange(3)[:, None]}, jnp.zeros((3, 1), bool)
    step = TimeStep(obs, jnp.array([[0.0], [1.0], [3.0]]), jnp.ones((3, 1)), flags, flags)
    batch = Trajectory(step, jnp.array([[0], [1], [0]]), {})
    params = {
        "actor": jnp.zeros(2),
        "critic": jnp.array([[5.0, 0.0], [0.0, 3.0], [9.0, 9.0]]),
        "duals": mpo.init_duals(CATEGORY),
    }
    slow = {"target": {"actor": jnp.log(jnp.array([1.0, 3.0])), "critic": jnp.array([[0.0, 0], [4, 8], [2, 0]])}}
    loss = losses.mpo_loss(
        families.categorical(),
        lambda params, batch, key: Categorical(jnp.broadcast_to(params["actor"], (*batch.step.obs["x"].shape, 2))),
        lambda params, batch: params["critic"][batch.step.obs["x"]],
        value_of_all,
        bounds=CATEGORY,
        gamma=0.5,
    )
    loss = jax.jit(loss)
    # V'(1) = 7, V'(2) = 1/2: targets 1 + 3.5 and 3 + .25 for Q(0, 0) = 5 and Q(1, 1) = 3
    _, (_, metrics) = loss(params, slow, batch, jax.random.key(0))
    np.testing.assert_allclose(metrics["critic_loss"], (0.5**2 + 0.25**2) / 2, rtol=1e-6)
    np.testing.assert_allclose(metrics["q"], 4.0)
    np.testing.assert_allclose(metrics["target"], (4.5 + 3.25) / 2, rtol=1e-6)
    ended = step._replace(discount=step.discount.at[2].set(0.0), last=flags.at[2].set(True))
    _, (_, metrics) = loss(params, slow, batch._replace(step=ended), jax.random.key(0))
    np.testing.assert_allclose(metrics["critic_loss"], (0.5**2 + 0.0**2) / 2, rtol=1e-6)
    # KL((1/4, 3/4) || (1/2, 1/2)) = ln 2 - H
    np.testing.assert_allclose(metrics["kl_category"], 0.25 * np.log(0.5) + 0.75 * np.log(1.5), rtol=1e-5)


@pytest.mark.parametrize("kind", SETTINGS)
def test_each_child_learns_from_its_own_terms(kind):
    """Slopes against differences of the terms they are to follow, along a random direction of each child."""
    (params, slow), batch, key = moved(kind), BATCHES[kind], jax.random.key(1)
    loss = jax.jit(loss_of(kind))
    slopes, (same, _) = jax.jit(jax.grad(loss_of(kind), has_aux=True))(params, slow, batch, key)
    jax.tree.map(np.testing.assert_array_equal, same, slow)
    terms = {"actor": ("policy_loss", "kl_loss"), "critic": ("critic_loss",), "duals": ("dual_loss",)}
    keys = iter(jax.random.split(jax.random.key(2), 20))
    for child, names in terms.items():
        way = jax.tree.map(lambda x: jax.random.normal(next(keys), x.shape), params[child])

        def along(size, child=child, names=names, way=way):
            there = params | {child: jax.tree.map(lambda x, y: x + size * y, params[child], way)}
            _, (_, metrics) = loss(there, slow, batch, key)
            return sum(metrics[f"{name}"] for name in names)

        expected = (along(0.01) - along(-0.01)) / 0.02
        found = sum(jax.tree.leaves(jax.tree.map(lambda x, y: (x * y).sum(), slopes[child], way)))
        np.testing.assert_allclose(found, expected, rtol=0.02, atol=2e-3, err_msg=child)
        assert abs(expected) > 0.01, child


def test_target_copies_get_no_gradient_and_stand_in_by_name():
    params, slow = moved("gaussian")
    batch, key = BATCHES["gaussian"], jax.random.key(1)

    def total(slow):
        return loss_of("gaussian")(params, slow, batch, key)[0]

    assert all((slope == 0).all() for slope in jax.tree.leaves(jax.jit(jax.grad(total))(slow)))
    # with the actor's copy left out its target is the actor itself, and nothing has moved
    alone = {"target": {"critic": slow["target"]["critic"]}}
    _, (_, metrics) = jax.jit(loss_of("gaussian"))(params, alone, batch, key)
    np.testing.assert_allclose(metrics["kl_mean"], 0.0, atol=1e-6)


def spied(kind):
    """The loss, and the actions that its target critic was asked about, in order."""
    family, actor, represent, value, bounds = SETTINGS[kind]
    asked, unrolled = [], []

    def see(params, batch):
        unrolled.append(batch.action.shape)
        return represent(params, batch)

    def ask(params, seen, action):
        asked.append(action)
        return value(params, seen, action)

    return losses.mpo_loss(family, actor, see, ask, bounds=bounds, gamma=GAMMA, samples=7), asked, unrolled


def test_the_same_actions_are_improved_and_evaluated():
    """Drawn once and weighed once: the mean of their values is the critic's target, their order the policy's."""
    loss, asked, unrolled = spied("gaussian")

    @jax.jit
    def actions(*args):
        loss(*args)
        return list(asked)

    asked = actions(*begin("gaussian"), BATCHES["gaussian"], jax.random.key(0))
    assert sorted(action.shape for action in asked) == [(1, T - 1, B, 1), (7, T, B, 1)]
    assert unrolled == [(T, B, 1), (T - 1, B, 1)]  # the memory of a recurrent critic: once for all samples


def test_listed_actions_are_weighed_once():
    """Q'(x, all K) serves both: the products of the compiled program are those of one pass."""
    size, skills = 64, len(GRID)
    shapes = {"first": (1 + skills, size), "second": (size, size), "last": (size, 1)}
    keys = jax.random.split(jax.random.key(0), 3)
    critic = {name: jax.random.normal(key, shape) for key, (name, shape) in zip(keys, shapes.items(), strict=True)}

    def ask(params, seen, action):
        x = jnp.concatenate([jnp.broadcast_to(seen, (*action.shape, 1)), jax.nn.one_hot(action, skills)], -1)
        for name in shapes:
            x = jnp.tanh(x @ params["critic"][name])
        return x[..., 0]

    loss = losses.mpo_loss(
        families.categorical(),
        category_actor,
        lambda params, batch: batch.step.obs["x"][..., None],
        ask,
        bounds=CATEGORY,
    )
    params = begin("category")[0] | {"critic": critic}
    slow = {"target": {"actor": params["actor"], "critic": jax.tree.map(lambda x: x + 1, critic)}}
    program = jax.jit(loss).lower(params, slow, BATCHES["category"], jax.random.key(0)).compile()
    one_row = 2 * sum(a * b for a, b in shapes.values())
    expected = one_row * B * (T * skills + (T - 1))  # all K of the target at all rows, and what was done
    assert expected <= program.cost_analysis()["flops"] < 1.25 * expected


def test_rows_without_a_transition_and_final_rows_teach_nothing():
    """A time limit in world 0 after row 2, a world that broke after row 3 in world 1."""
    params, slow = moved("gaussian")
    batch = BATCHES["gaussian"]
    step = batch.step._replace(
        last=batch.step.last.at[2, 0].set(True), first=batch.step.first.at[3, 0].set(True).at[4, 1].set(True)
    )
    batch = batch._replace(step=step)
    run = jax.jit(jax.value_and_grad(loss_of("gaussian"), has_aux=True))
    (value, _), slopes = run(params, slow, batch, jax.random.key(0))
    # what was done at a final row, and what a reset or a broken world pays, is nobody's business
    action = batch.action.at[2, 0].set(jnp.nan)
    reward = step.reward.at[3, 0].set(jnp.nan).at[4, 1].set(jnp.nan)
    other = batch._replace(action=action, step=step._replace(reward=reward))
    (same, _), others = run(params, slow, other, jax.random.key(0))
    np.testing.assert_array_equal(value, same)
    np.testing.assert_array_equal(slopes["critic"][1], others["critic"][1])
    jax.tree.map(np.testing.assert_array_equal, slopes["actor"], others["actor"])
    (whole, _), _ = run(params, slow, BATCHES["gaussian"], jax.random.key(0))
    assert whole != value


def test_a_latent_inside_is_the_same_for_target_and_online_policy():
    """Else a policy that has not moved would seem to."""
    params, _ = moved("gaussian")

    def noisy(params, batch, key):
        policy = gaussian_actor(params, batch, key)
        return policy._replace(mean=policy.mean + jax.random.normal(key, policy.mean.shape))

    loss = jax.jit(losses.mpo_loss(families.gaussian(), noisy, represent, value, bounds=BOUNDS))
    still = {"target": {name: params[name] for name in ("actor", "critic")}}
    one, two = (loss(params, still, BATCHES["gaussian"], jax.random.key(seed))[1][1] for seed in (0, 1))
    np.testing.assert_allclose(one["kl_mean"], 0.0, atol=1e-6)
    assert abs(one["target"] - two["target"]) > 1e-4


def test_a_recurrent_critic_by_its_apply_function():
    """Memory h = h / 2 + x, blank where first: Q after a cut knows nothing of before, and else does."""
    params, slow = begin("gaussian")
    params = params | {"critic": jnp.array([0.3, 0.2, -0.1])}

    def unroll(params, batch):
        def row(memory, now):
            x, first = now
            memory = jnp.where(first, 0.0, 0.5 * memory) + x
            return memory, memory

        _, memory = jax.lax.scan(row, jnp.zeros(B), (batch.step.obs["x"], batch.step.first))
        return memory[..., None] * params["critic"]

    loss = losses.mpo_loss(families.gaussian(), gaussian_actor, unroll, value, bounds=BOUNDS, gamma=GAMMA)
    batch = BATCHES["gaussian"]
    slow = {"target": {"actor": params["actor"], "critic": params["critic"] + 0.1}}
    cut = batch._replace(
        step=batch.step._replace(first=batch.step.first.at[3].set(True), last=batch.step.last.at[2].set(True))
    )

    def per_world_q(batch, x0):
        changed = batch.step._replace(obs={"x": batch.step.obs["x"].at[0].set(x0)})
        return unroll(params, batch._replace(step=changed))

    assert (per_world_q(batch, 5.0)[5] != per_world_q(batch, -5.0)[5]).any()
    np.testing.assert_array_equal(per_world_q(cut, 5.0)[3:], per_world_q(cut, -5.0)[3:])
    _, (_, metrics) = jax.jit(loss)(params, slow, batch, jax.random.key(0))
    # the first five rows once more by hand: Q of what was done, with the memory summed up
    x = np.asarray(batch.step.obs["x"])
    memory = [sum(0.5 ** (t - i) * x[i] for i in range(t + 1)) for t in range(T - 1)]
    a = np.asarray(batch.action[:-1, :, 0])
    expected = np.mean(np.array(memory) * (0.3 + 0.2 * a - 0.1 * a**2))
    np.testing.assert_allclose(metrics["q"], expected, rtol=1e-4, atol=1e-6)


def test_backups_that_must_agree():
    (params, slow), batch = moved("gaussian"), BATCHES["gaussian"]
    # had nobody been able to do what was done, Retrace would trust no more than one step
    batch = batch._replace(extras=batch.extras | {"mu": jnp.full((T, B), 50.0)})
    backups = {
        "none given": None,
        "one_step": losses.one_step(),
        "n_step 1": losses.n_step(1),
        "retrace 0": losses.retrace(0.0),
        "retrace of the impossible": losses.retrace(0.9, "mu"),
        "n_step 3": losses.n_step(3),
        "retrace": losses.retrace(0.9),
    }

    @jax.jit
    def critic_losses(params, slow, batch, key):
        found = {name: loss_of("gaussian", backup=backup)(params, slow, batch, key) for name, backup in backups.items()}
        return {name: metrics["critic_loss"] for name, (_, (_, metrics)) in found.items()}

    found = critic_losses(params, slow, batch, jax.random.key(0))
    for name in list(backups)[:5]:
        np.testing.assert_allclose(found[name], found["none given"], rtol=1e-5, err_msg=name)
    for name in list(backups)[5:]:
        assert abs(found[name] - found["none given"]) > 0.01, name


def test_priors_are_added_by_weight_and_named():
    (params, slow), batch = moved("mixture"), BATCHES["mixture"]

    def near(params, online, features, batch):
        return {"category": priors.uniform(online), "components": priors.components(online, 0.0, 1.0)}

    args = (params, slow, batch, jax.random.key(0))
    plain, (_, before) = jax.jit(loss_of("mixture"))(*args)
    held = jax.jit(loss_of("mixture", priors=near, eta={"category": 0.5, "components": 0.25}))
    total, (_, after) = held(*args)
    added = 0.5 * after["prior_category"] + 0.25 * after["prior_components"]
    np.testing.assert_allclose(total - plain, added, rtol=1e-4)
    assert added > 0.1
    np.testing.assert_array_equal(before["critic_loss"], after["critic_loss"])
    last = batch._replace(step=batch.step._replace(last=jnp.ones((T, B), bool)))
    none = held(params, slow, last, args[3])
    assert none[1][1]["prior_components"] == 0.0


def test_errors_are_one_line_and_name_what_to_set():
    with pytest.raises(ValueError, match="bounds mean, temperature do not fit this policy; set mean, stddev, temp"):
        loss_of("gaussian", bounds={"temperature": Bound(0.1, 1.0), "mean": Bound(0.1, 1.0)})
    with pytest.raises(ValueError, match="leave it out for a choice of K"):
        loss_of("category", bounds=CATEGORY | {"penalty": Bound(1e-3, 1.0)})
    with pytest.raises(ValueError, match="samples must be >= 1, got 0; set agent.samples"):
        loss_of("gaussian", samples=0)
    args = (*begin("gaussian"), BATCHES["gaussian"], jax.random.key(0))
    with pytest.raises(ValueError, match="eta weighs the priors skill, and the priors are none; set eta for each"):
        loss_of("gaussian", eta={"skill": 0.1})(*args)
    with pytest.raises(ValueError, match="retrace needs 'mu' of the actions, the replay holds log_prob"):
        loss_of("gaussian", backup=losses.retrace(0.9, "mu"))(*args)
    with pytest.raises(ValueError, match="the parameters actor, critic have no child duals; add"):
        loss_of("gaussian")({name: args[0][name] for name in ("actor", "critic")}, *args[1:])


def test_metrics():
    _, (_, metrics) = jax.eval_shape(loss_of("gaussian"), *begin("gaussian"), BATCHES["gaussian"], jax.random.key(0))
    names = set(metrics)
    kinds = {f"{what}_{bound}" for what in ("kl", "multiplier") for bound in BOUNDS}
    assert names == {"critic_loss", "q", "target", "policy_loss", "kl_loss", "dual_loss"} | kinds
    assert all(metric.shape == () for metric in metrics.values())


def train(kind, steps, backup=None):
    """A learner as an agent would make it: target copies every 20 updates, an optimiser for multipliers."""
    duals = projected(optax.adam(0.05), mpo.clip_duals)
    tx = by_child({"actor": optax.adam(0.02), "critic": optax.adam(0.05), "duals": duals})
    copies = combined({"target": hard_copies({"actor": 20, "critic": 20})})
    made = learner(lambda key: begin(kind)[0], loss_of(kind, backup=backup), tx, copies)
    scan = jax.jit(
        lambda state: jax.lax.scan(
            lambda state, key: made.update(state, BATCHES[kind], key), state, jax.random.split(jax.random.key(3), steps)
        )
    )
    state, metrics = scan(made.init(jax.random.key(0)))
    assert not state.health.skipped
    return state.params, metrics


@pytest.mark.parametrize("kind", SETTINGS)
def test_it_learns_the_best_action_and_what_that_is_worth(kind):
    params, metrics = train(kind, 1000)
    family, actor, represent, value, _ = SETTINGS[kind]
    found = family.mode(actor(params, BATCHES[kind], None))
    x = BATCHES[kind].step.obs["x"]
    found = GRID[found] if kind == "category" else found[..., 0]
    np.testing.assert_allclose(found, BEST * x, atol=0.1)
    asked = jnp.arange(5) if kind == "category" else GRID[:, None]
    q = value(
        params,
        represent(params, BATCHES[kind]),
        asked.reshape(5, 1, 1, *asked.shape[1:]) + jnp.zeros_like(BATCHES[kind].action[None]),
    )
    np.testing.assert_allclose(q, 2 - (GRID[:, None, None] - BEST * x) ** 2, atol=0.1)


def test_retrace_learns_the_same_from_what_anybody_did():
    params, _ = train("category", 1000, losses.retrace(0.95))
    x = BATCHES["category"].step.obs["x"]
    q = jnp.moveaxis(represent(params, BATCHES["category"]), -1, 0)
    np.testing.assert_allclose(q, 2 - (GRID[:, None, None] - BEST * x) ** 2, atol=0.2)

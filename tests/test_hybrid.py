"""A Gaussian beside a gripper that is -1 or 1: its closed forms, MPO on a known Q, and the agent that acts by it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from specs import spec_of
from test_mpo_loss import BEST, GAMMA, B, T, batch_of, sides
from test_transfer import MID, OBS, done, shown, source_of, system, targets, updated
from test_transfer import B as WORLDS

from skillhier.agents import registry, slow
from skillhier.agents.learner import learner
from skillhier.agents.optimisers import by_child, projected
from skillhier.losses import mpo as losses
from skillhier.nets import encoder
from skillhier.nets.actor import HybridActor
from skillhier.ops import families, mpo
from skillhier.ops.families import Hybrid
from skillhier.ops.mpo import Bound
from skillhier.train import loop

FAMILY = families.hybrid()
HALF = 0.5 * np.log(2 * np.pi)


def one(mean, scale, shut):
    """One row, [1, 1, ...]; `shut` is the probability of 1."""
    return Hybrid(
        jnp.array(mean).reshape(1, 1, -1), jnp.array(scale).reshape(1, 1, -1),
        jnp.log(jnp.array([1 - shut, shut])).reshape(1, 1, 2) + 0.3,
    )  # fmt: skip


# --- closed forms ---


def test_log_prob_by_hand():
    policy = one([1.0, 0.0], [2.0, 0.5], 0.25)
    actions = jnp.array([[1.0, 0.0, 1.0], [3.0, 0.0, -1.0], [1.0, 1.0, 1.0]]).reshape(3, 1, 1, 3)
    # 2 and 1/2 are deviations whose logs cancel; then no scale, one scale, two scales off
    expected = [np.log(0.25) - 2 * HALF, np.log(0.75) - 0.5 - 2 * HALF, np.log(0.25) - 2.0 - 2 * HALF]
    np.testing.assert_allclose(FAMILY.log_prob(policy, actions)[:, 0, 0], expected, rtol=1e-6)


def test_it_acts_within_its_support_and_likeliest_by_both_parts():
    policy = one([1.0, 0.0], [2.0, 0.5], 0.25)
    np.testing.assert_array_equal(FAMILY.mode(policy), [[[1.0, 0.0, -1.0]]])
    drawn = FAMILY.choices(policy, jax.random.key(0), 4000).action[:, 0, 0]
    assert set(np.unique(drawn[:, 2])) == {-1.0, 1.0}
    # independent: three standard errors of a correlation of 4000
    assert np.abs(np.corrcoef(drawn.T)[2, :2]).max() < 3 / 4000**0.5
    np.testing.assert_allclose((drawn[:, 2] > 0).mean(), 0.25, atol=3 * (0.25 * 0.75 / 4000) ** 0.5)


def test_all_probability_is_one():
    """Over a grid of 12 scales and both ends."""
    policy = one([0.3], [0.5], 0.8)
    x = jnp.linspace(-6.0, 6.0, 4001)
    actions = jnp.stack([jnp.stack([x, jnp.full_like(x, end)], -1) for end in (-1.0, 1.0)])[..., None, None, :]
    density = jnp.exp(FAMILY.log_prob(policy, actions))[..., 0, 0]
    np.testing.assert_allclose(density.sum(1) * 12 / 4000, [0.2, 0.8], rtol=1e-4)


def test_parts_by_hand():
    """From N(1, 2^2) and 1/4 to N(3, 1^2) and 3/4; actions 1 open and 5 shut."""
    target, online = one([1.0], [2.0], 0.25), one([3.0], [1.0], 0.75)
    parts = FAMILY.parts(target, online, jnp.array([[1.0, -1.0], [5.0, 1.0]]).reshape(2, 1, 1, 2))
    assert parts.keys() == set(FAMILY.names)
    before = np.log([0.75, 0.25])
    np.testing.assert_allclose(parts["mean"].log_prob[:, 0, 0], before - 0.5 - np.log(2) - HALF, rtol=1e-6)
    np.testing.assert_allclose(parts["stddev"].log_prob[:, 0, 0], before - np.array([0.0, 8.0]) - HALF, rtol=1e-6)
    moved = np.log([0.25, 0.75]) - np.array([0.0, 2.0]) - np.log(2) - HALF
    np.testing.assert_allclose(parts["category"].log_prob[:, 0, 0], moved, rtol=1e-6)
    np.testing.assert_allclose(parts["mean"].kl[0, 0], [0.5], rtol=1e-6)
    np.testing.assert_allclose(parts["stddev"].kl[0, 0], [1.5 - np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(parts["category"].kl, [[0.5 * np.log(3)]], rtol=1e-6)  # 3/4 ln 3 - 1/4 ln 3
    parts = FAMILY.parts(target, target, jnp.zeros((2, 1, 1, 2)))
    assert all(np.abs(part.kl).max() == 0.0 for part in parts.values())


@pytest.mark.parametrize("moved", [("mean", "category"), ("scale", "category"), ("category",)])
def test_divergences_add_up_to_that_of_the_whole(moved):
    """Against KL(target || online) summed over a grid and both ends. Mean and spread at once are not to add up."""
    fields = {"mean": "mean", "scale": "scale", "category": "logits"}
    target, other = one([0.3], [0.5], 0.8), one([-0.2], [0.8], 0.35)
    online = target._replace(**{fields[name]: getattr(other, fields[name]) for name in moved})
    x = jnp.linspace(-8.0, 8.0, 8001)
    actions = jnp.stack([jnp.stack([x, jnp.full_like(x, end)], -1) for end in (-1.0, 1.0)])[..., None, None, :]
    log_p, log_q = (np.asarray(FAMILY.log_prob(policy, actions), float) for policy in (target, online))
    whole = (np.exp(log_p) * (log_p - log_q)).sum() * 16 / 8000
    parts = FAMILY.parts(target, online, actions)
    assert whole > 0.1
    np.testing.assert_allclose(sum(float(part.kl.sum()) for part in parts.values()), whole, rtol=1e-4)


def test_with_one_sure_end_it_is_the_gaussian():
    shut = one([1.0, 0.0], [2.0, 0.5], 1 - 1e-7)
    gaussian = families.gaussian()
    action = gaussian.choices(families.Gaussian(shut.mean, shut.scale), jax.random.key(0), 5).action
    joined = jnp.concatenate([action, jnp.ones((5, 1, 1, 1))], -1)
    np.testing.assert_allclose(FAMILY.log_prob(shut, joined), gaussian.log_prob(shut[:2], action), rtol=1e-6)


# --- with MPO ---


def test_only_what_is_gaussian_is_shunned_beyond_the_bounds():
    """The penalty is the Gaussian's own, and in the mean over draws it pulls the gripper to neither side."""
    target = one([0.9, 0.0], [0.5, 0.5], 0.7)
    choices = FAMILY.choices(target, jax.random.key(0), 20_000)
    cost = mpo.out_of_bounds(choices.action)
    np.testing.assert_array_equal(cost, mpo.out_of_bounds(choices.action[..., :-1]))
    assert (cost < -0.1).any()
    weights = mpo.e_step(cost, choices.log_prior, jnp.array(0.0), 1e-3).weights[:, 0, 0]
    shut = choices.action[:, 0, 0, -1] > 0
    np.testing.assert_allclose((weights * shut).sum(), 0.7, atol=0.02)
    mean = (weights[:, None] * choices.action[:, 0, 0, :-1]).sum(0)
    assert mean[0] < 0.85  # this dimension is drawn back in


BOUNDS = {
    "temperature": Bound(0.1, 1.0), "mean": Bound(0.02, 1.0), "stddev": Bound(0.01, 1.0), "category": Bound(0.1, 1.0)
}  # fmt: skip


def gripping(key):
    """Actions [T, B, 2] that anybody might do, and their log-probability."""
    arm_key, end_key = jax.random.split(key)
    arm = jax.random.uniform(arm_key, (T, B, 1), minval=-1.5, maxval=1.5)
    end = jnp.where(jax.random.bernoulli(end_key, 0.5, (T, B, 1)), 1.0, -1.0)
    return jnp.concatenate([arm, end], -1), -jnp.log(6.0)


def known_batch():
    """test_mpo_loss's world, but the gripper should be at x: else an action pays 1 less.

    Q(x, a, g) = 2 - (a - 0.6 x)^2 - (1 - g x) / 2.
    """
    batch = batch_of(gripping)
    wrong = (1 - batch.action[..., 1] * batch.step.obs["x"]) / 2
    reward = batch.step.reward.at[1:].add(-wrong[:-1])
    return batch._replace(step=batch.step._replace(reward=reward))


def actor(params, batch, key):
    mean, scale, logits = (sides(params["actor"][name], batch.step.obs["x"]) for name in ("mean", "scale", "logits"))
    return Hybrid(mean, jax.nn.softplus(scale), logits)


def represent(params, batch):
    return sides(params["critic"], batch.step.obs["x"])  # a parabola in the arm's action, linear in the gripper's


def value(params, seen, action):
    a, end = action[..., 0], action[..., 1]
    return seen[..., 0] + seen[..., 1] * a + seen[..., 2] * a**2 + seen[..., 3] * end


def taught(bounds=BOUNDS, updates=1000, **settings):
    """Parameters after so many updates on the known batch, and the metrics of all of them."""
    loss = losses.mpo_loss(FAMILY, actor, represent, value, bounds=bounds, gamma=GAMMA, **settings)

    def init(key):
        wrong = jnp.array([[-1.0, 1.0], [1.0, -1.0]])  # it begins on the wrong side, at odds of e^2
        policy = {"mean": jnp.zeros((2, 1)), "scale": jnp.zeros((2, 1)), "logits": wrong}
        return {"actor": policy, "critic": jnp.zeros((2, 4)), "duals": mpo.init_duals(bounds)}

    duals = projected(optax.adam(0.05), mpo.clip_duals)
    tx = by_child({"actor": optax.adam(0.02), "critic": optax.adam(0.05), "duals": duals})
    copies = slow.combined({"target": slow.hard_copies({"actor": 20, "critic": 20})})
    made = learner(init, loss, tx, copies)
    batch = known_batch()
    keys = jax.random.split(jax.random.key(3), updates)
    run = jax.jit(lambda state: jax.lax.scan(lambda state, key: made.update(state, batch, key), state, keys))
    state, metrics = run(made.init(jax.random.key(0)))
    assert not state.health.skipped
    return state.params, metrics


@pytest.mark.parametrize(
    "settings", [{}, {"backup": losses.retrace(0.95)}, {"bounds": BOUNDS | {"penalty": Bound(1e-3, 1.0)}}],
    ids=["td", "retrace", "penalty"],
)  # fmt: skip
def test_it_learns_the_best_side_of_every_state_and_what_it_is_worth(settings):
    params, _ = taught(**settings)
    batch = known_batch()
    x = batch.step.obs["x"]
    policy = actor(params, batch, None)
    np.testing.assert_allclose(FAMILY.mode(policy)[..., 0], BEST * x, atol=0.1)
    np.testing.assert_array_equal(FAMILY.mode(policy)[..., 1], x)
    sure = jnp.where(x > 0, *jnp.moveaxis(jax.nn.softmax(policy.logits)[..., ::-1], -1, 0))
    assert (sure > 0.95).all()
    if "backup" in settings:  # far from what was done it trusts less, and the critic has seen less
        return
    seen = represent(params, batch)
    for a, end in [(-0.6, 1.0), (0.0, -1.0), (0.6, 1.0)]:
        q = value(params, seen, jnp.broadcast_to(jnp.array([a, end]), (T, B, 2)))
        np.testing.assert_allclose(q, 2 - (a - BEST * x) ** 2 - (1 - end * x) / 2, atol=0.1)


def test_the_bound_of_the_category_holds_the_gripper_alone():
    """With a tight bound the gripper stays behind, the arm does not; every multiplier is one's own."""
    tight, free = (taught(BOUNDS | {"category": Bound(epsilon, 1.0)}, 200) for epsilon in (1e-5, 1.0))
    ends = [jax.nn.softmax(params["actor"]["logits"])[0, 0] for params, _ in (tight, free)]
    assert ends[0] < 0.5 < ends[1]
    arms = [np.abs(params["actor"]["mean"]).mean() for params, _ in (tight, free)]
    assert min(arms) > 0.3
    names = {f"{what}_{name}" for what in ("kl", "multiplier") for name in BOUNDS}
    assert names == {name for name in tight[1] if name.startswith(("kl_", "mul"))} - {"kl_loss"}
    late = [metrics["multiplier_category"][-1] for _, metrics in (tight, free)]
    assert late[0] > late[1]


# --- the agent ---


def test_it_acts_by_its_net_and_notes_the_likelihood_of_both_parts():
    agent, steps = system("mpo", gripper=True, backup="retrace"), shown(jax.random.key(1), rows=1)
    params = agent.learner.init(jax.random.key(0)).params
    params["control"]["actor"]["logits"]["bias"] = jnp.array([0.0, 0.5])
    batch, notes = done(agent, params, steps, jax.random.key(2))
    assert set(np.unique(batch.action[..., -1])) == {-1.0, 1.0}
    assert agent.replay_extras.keys() == {"choice", "log_prob"}
    np.testing.assert_array_equal(batch.action, notes["choice"])
    seen = encoder.whitened(OBS, MID).apply(params["encoders"]["actor"], steps.obs)
    mean, scale, logits = HybridActor(2, (16, 16)).apply({"params": params["control"]["actor"]}, seen)
    assert mean.shape == scale.shape == (1, WORLDS, 1) and logits.shape == (1, WORLDS, 2)
    arm, end = notes["choice"][..., 0], notes["choice"][..., 1]
    density = np.exp(-0.5 * ((arm - mean[..., 0]) / scale[..., 0]) ** 2) / (scale[..., 0] * np.sqrt(2 * np.pi))
    shut = 1 / (1 + np.exp(logits[..., 0] - logits[..., 1]))
    np.testing.assert_allclose(notes["log_prob"], np.log(density * np.where(end > 0, shut, 1 - shut)), rtol=1e-4)
    greedy, _ = done(agent, params, steps, jax.random.key(2), agent.exploit)
    np.testing.assert_allclose(greedy.action[..., 0], mean[..., 0], atol=1e-6)
    np.testing.assert_array_equal(greedy.action[..., 1], 1.0)


def test_it_begins_with_no_preference():
    agent = system("mpo", gripper=True, hidden=(256, 256))
    params = agent.learner.init(jax.random.key(0)).params
    seen = encoder.whitened(OBS, MID).apply(params["encoders"]["actor"], shown(jax.random.key(1)).obs)
    mean, scale, logits = HybridActor(2).apply({"params": params["control"]["actor"]}, seen)
    np.testing.assert_allclose(mean, 0.0, atol=0.05)
    np.testing.assert_allclose(scale, 0.7, rtol=1e-5)
    np.testing.assert_allclose(jax.nn.softmax(logits), 0.5, atol=0.02)


def test_all_of_it_learns_and_every_part_has_its_bound():
    (before, *_, after), metrics = updated("mpo", gripper=True)
    assert after.health.skipped == 0 and all(np.isfinite(value) for value in metrics.values())
    assert before.params["control"]["duals"].keys() == {"temperature", "mean", "stddev", "category", "penalty"}
    for part in ("actor", "critic", "duals"):
        moved = jax.tree.map(
            lambda a, b: bool((a != b).any()), before.params["control"][part], after.params["control"][part]
        )
        assert all(jax.tree.leaves(moved)), moved


def test_nothing_but_the_gripper_would_be_no_policy_here():
    with pytest.raises(
        ValueError, match="^agent.gripper needs actions of 2 or more .*, got 1; set agent.gripper=false$"
    ):
        registry.make("mpo", spec_of(OBS, 1), high=MID, critic=MID, gripper=True)


def ends_that_pay():
    """test_transfer's world, but what acts there is the gripper: 1 is paid where it is on the side shown, else 0."""
    plain = targets()
    return plain._replace(step=lambda state, action: plain.step(state, 0.5 * action[:, 1:]))


@pytest.mark.slow
def test_in_a_world_it_learns_which_end_pays_where():
    env, traces = ends_that_pay(), []

    def step(state, action):
        traces.append(action.shape)
        return env.step(state, action)

    fast = {
        "learning_rate": 3e-3,
        "dual_learning_rate": 0.05,
        "target_period": 10,
        "gamma": 0.5,
        "epsilon_category": 0.05,
    }
    agent = system("mpo", hidden=(32, 32), gripper=True, epsilon_mean=0.05, epsilon_stddev=1e-3, **fast)
    source = source_of(agent, env._replace(step=step))
    run = loop.epoch(agent.learner, source, 300)
    state, _, _ = run(loop.start(agent.learner, source, jax.random.key(0)))
    once = len(traces)
    state, told, _ = run(state)
    assert len(traces) == once and state.learner.health.skipped == 0
    assert float(told["episodes/return"]) > 6.5  # of 8; chance has 4
    _, seen = env.reset(jax.random.key(1))
    _, action, _ = agent.exploit.act(state.learner.params, (), seen, jax.random.key(2))
    np.testing.assert_array_equal(action[:, 1], seen.obs["things"][:, 0, 0])


def test_an_epoch_of_it_exports_for_accelerators():
    key = jax.random.key(0)
    agent = system("mpo", gripper=True, backup="retrace")
    source = source_of(agent, ends_that_pay(), batch_size=4)
    state = loop.RunState(jax.eval_shape(agent.learner.init, key), jax.eval_shape(source.init, key), key)
    exported = jax.export.export(loop.epoch(agent.learner, source, 2), platforms=("cuda", "tpu"))(state)
    assert exported.platforms == ("cuda", "tpu")

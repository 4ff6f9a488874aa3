"""Laws of policies: a hierarchy with one constant option is its worker, choices last a period, episodes start anew."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.branch import any_unbatched
from skillhier.policies.flat import flat, sequence
from skillhier.policies.hierarchy import hierarchy
from skillhier.policies.open_loop import chain, constant, drift
from skillhier.types import Policy, TimeStep


def steps(first):
    """Rows with given `first` flags [T, B], observation = row number."""
    first = jnp.asarray(first, bool)
    row = jnp.broadcast_to(jnp.arange(len(first), dtype=jnp.float32)[:, None], first.shape)
    return TimeStep({"x": row[..., None]}, row, jnp.ones_like(row), first, jnp.zeros_like(first))


def play(policy, seen, params=None, seed=0):
    def row(carry, given):
        step, key = given
        carry, action, notes = policy.act(params, carry, step, key)
        return carry, (action, notes)

    keys = jax.random.split(jax.random.key(seed), len(seen.first))
    return jax.jit(lambda: jax.lax.scan(row, policy.init(seen.first.shape[1]), (seen, keys))[1])()


def counter():
    """A manager that gives a new number every time it is asked, from 0 at each episode's start."""

    def act(params, count, step, key):
        count = jnp.where(step.first, 0, count)
        return count + 1, count, {"asked": jnp.ones_like(count)}

    return Policy(lambda worlds: jnp.zeros(worlds, jnp.int32), act)


def echo(params, obs, key):
    return obs["x"] * 10 + obs["skill"][:, None], {}


OPEN = [[1, 1], [0, 0], [0, 0], [0, 1], [0, 0], [0, 0], [0, 0]]  # the second world starts anew at row 3


def test_one_constant_option_is_the_worker():
    def noisy(params, obs, key):
        return obs["x"] + jax.random.normal(key, obs["x"].shape), {"seen": obs["x"]}

    seen = steps(OPEN)
    keys = jax.random.split(jax.random.key(0), len(OPEN))
    whole = hierarchy(constant(0), flat(noisy), period=3)
    action, notes = play(whole, seen)
    for t, key in enumerate(keys):
        worker_key = jax.random.split(key)[1]
        expected, _ = noisy(None, {"x": seen.obs["x"][t]}, worker_key)
        np.testing.assert_allclose(action[t], expected, rtol=1e-6)
    np.testing.assert_array_equal(notes["seen"], seen.obs["x"])
    np.testing.assert_array_equal(notes["skill"], 0)


def test_choices_last_a_period_and_start_anew_with_an_episode():
    _, notes = play(hierarchy(counter(), flat(echo), period=2), steps(OPEN))
    np.testing.assert_array_equal(notes["skill"][:, 0], [0, 0, 1, 1, 2, 2, 3])
    np.testing.assert_array_equal(notes["skill"][:, 1], [0, 0, 1, 0, 0, 1, 1])
    np.testing.assert_array_equal(notes["skill_renewed"][:, 1], [1, 0, 1, 1, 0, 1, 0])
    np.testing.assert_array_equal(notes["asked"], notes["skill_renewed"])


def test_the_worker_sees_what_is_shown():
    def show(params, step, choice):
        return {"skill": params["shift"] + choice, "other": step.obs["x"]}

    policy = hierarchy(counter(), flat(echo), period=1, show=show, name="choice")
    action, notes = play(policy, steps(OPEN), {"shift": 100})
    np.testing.assert_array_equal(notes["skill"], 100 + notes["choice"])
    np.testing.assert_array_equal(action[..., 0], 10 * np.arange(7)[:, None] + notes["skill"])
    assert set(notes) == {"asked", "skill", "other", "choice", "choice_renewed"}


def test_a_hierarchy_is_a_policy():
    middle = hierarchy(
        counter(),
        flat(echo),
        period=2,
        show=lambda params, step, choice: {"skill": step.obs["goal"] + choice},
        name="middle",
    )
    top = hierarchy(counter(), middle, period=4, show=lambda params, step, choice: {"goal": 1000 * choice}, name="top")
    _, notes = play(top, steps(np.eye(8, 1)))
    np.testing.assert_array_equal(notes["top"][:, 0], [0, 0, 0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(notes["middle"][:, 0], [0, 0, 1, 1, 2, 2, 3, 3])
    np.testing.assert_array_equal(notes["skill"][:, 0], [0, 0, 1, 1, 1002, 1002, 1003, 1003])


def test_a_period_must_be_a_number_of_rows():
    with pytest.raises(ValueError, match="period 0 of 'skill'"):
        hierarchy(counter(), flat(echo), period=0)


def test_seeds_side_by_side_leave_the_managers_branch_a_branch():
    """A batched predicate would turn `cond` into `select`, and a planner would run at every row."""
    policy = hierarchy(counter(), flat(echo), period=2)
    seen = jax.tree.map(lambda x: x[0], steps(OPEN))

    def act(key):
        return policy.act(None, policy.init(2), seen, key)

    keys = jax.random.split(jax.random.key(0), 3)
    carries = jax.vmap(lambda key: policy.init(2))(keys)

    def step(carry, key):
        return policy.act(None, carry, seen, key)

    assert " cond[" in str(jax.make_jaxpr(jax.vmap(step))(carries, keys))
    assert jax.vmap(any_unbatched)(jnp.array([[False, False], [True, False]])).shape == (2,)
    assert jax.vmap(jax.vmap(any_unbatched))(jnp.zeros((2, 3, 4), bool).at[0, 0, 0].set(True)).all()


def test_seeds_side_by_side_act_as_alone():
    policy = hierarchy(chain(lambda params: jnp.log(jnp.full((4, 4), 0.25))), flat(echo), period=3)
    pattern = jnp.stack([steps(OPEN).first, steps(OPEN).first[:, ::-1]])  # seeds out of step with each other

    def alone(first, key):
        def row(carry, given):
            step, key = given
            carry, action, notes = policy.act(None, carry, step, key)
            return carry, (action, notes["skill"])

        return jax.lax.scan(row, policy.init(2), (steps(first), jax.random.split(key, len(first))))[1]

    keys = jax.random.split(jax.random.key(1), 2)
    together = jax.jit(jax.vmap(alone))(pattern, keys)
    for i in range(2):
        jax.tree.map(lambda x, y, i=i: np.testing.assert_array_equal(x[i], y), together, alone(pattern[i], keys[i]))


def test_a_sequence_starts_anew_and_repeats_its_last_action():
    action, _ = play(sequence(jnp.arange(3.0)[:, None]), steps(OPEN))
    np.testing.assert_array_equal(action[..., 0].T, [[0, 1, 2, 2, 2, 2, 2], [0, 1, 2, 0, 1, 2, 2]])


def test_a_chain_follows_its_table_and_starts_uniform():
    table = jnp.array([[0.8, 0.2, 0.0], [0.0, 0.9, 0.1], [0.5, 0.0, 0.5]])
    worlds, length = 500, 40
    choice, _ = play(chain(lambda params: jnp.log(table)), steps(np.eye(length, 1) * np.ones(worlds)))
    seen = np.zeros((3, 3))
    np.add.at(seen, (choice[:-1].ravel(), choice[1:].ravel()), 1)
    np.testing.assert_allclose(seen / seen.sum(1, keepdims=True), table, atol=0.02)
    start = np.bincount(choice[0], minlength=3) / worlds
    np.testing.assert_allclose(start, table.mean(0), atol=0.08)  # one row of a uniform predecessor


def test_a_drifting_latent_stays_standard_normal():
    z, _ = play(drift(4, 0.95), steps(np.eye(60, 1) * np.ones(2000)))
    np.testing.assert_allclose(np.std(z, axis=1).mean(-1), 1.0, atol=0.05)  # at every row
    together = [np.corrcoef(np.ravel(z[t]), np.ravel(z[t + 1]))[0, 1] for t in (0, 30)]
    np.testing.assert_allclose(together, 0.95, atol=0.01)


def test_a_drifting_latent_starts_anew():
    first = np.zeros((3, 2000))
    first[[0, 2]] = 1
    z, _ = play(drift(1, 0.95), steps(first))
    assert abs(np.corrcoef(z[1, :, 0], z[2, :, 0])[0, 1]) < 0.1

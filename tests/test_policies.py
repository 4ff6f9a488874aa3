"""Laws of policies: a hierarchy with a constant choice is its worker; a choice lasts its period, within an episode."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.branch import any_unbatched
from skillhier.policies.flat import flat, sequence
from skillhier.policies.hierarchy import hierarchy, uniform_period
from skillhier.policies.open_loop import chain, constant, drift
from skillhier.types import Policy, TimeStep


def steps(first):
    """Rows with these `first` flags [T, B]; the observation is the row number."""
    first = jnp.asarray(first, bool)
    row = jnp.broadcast_to(jnp.arange(len(first), dtype=jnp.float32)[:, None], first.shape)
    return TimeStep({"x": row[..., None]}, row, jnp.ones_like(row), first, jnp.zeros_like(first))


def play(policy, rows, params=None, seed=0):
    """Actions and notes of `policy` at these rows."""

    def row(carry, inputs):
        step, key = inputs
        carry, action, notes = policy.act(params, carry, step, key)
        return carry, (action, notes)

    keys = jax.random.split(jax.random.key(seed), len(rows.first))
    return jax.jit(lambda: jax.lax.scan(row, policy.init(rows.first.shape[1]), (rows, keys))[1])()


def counter():
    """A manager that chooses the number of its calls in this episode, from 0."""

    def act(params, count, step, key):
        count = jnp.where(step.first, 0, count)
        return count + 1, count, {"calls": jnp.ones_like(count)}

    return Policy(lambda worlds: jnp.zeros(worlds, jnp.int32), act)


def echo(params, obs, key):
    return obs["x"] * 10 + obs["skill"][:, None], {}


OPEN = [[1, 1], [0, 0], [0, 0], [0, 1], [0, 0], [0, 0], [0, 0]]  # the second world starts anew at row 3


def test_a_hierarchy_with_a_constant_choice_is_its_worker():
    def noisy(params, obs, key):
        return obs["x"] + jax.random.normal(key, obs["x"].shape), {"x": obs["x"]}

    rows = steps(OPEN)
    keys = jax.random.split(jax.random.key(0), len(OPEN))
    whole = hierarchy(constant(0), flat(noisy), period=3)
    action, notes = play(whole, rows)
    for t, key in enumerate(keys):
        worker_key = jax.random.split(key)[1]
        expected, _ = noisy(None, {"x": rows.obs["x"][t]}, worker_key)
        np.testing.assert_allclose(action[t], expected, rtol=1e-6)
    np.testing.assert_array_equal(notes["x"], rows.obs["x"])
    np.testing.assert_array_equal(notes["skill"], 0)


def test_choices_last_a_period_and_start_anew_with_an_episode():
    _, notes = play(hierarchy(counter(), flat(echo), period=2), steps(OPEN))
    np.testing.assert_array_equal(notes["skill"][:, 0], [0, 0, 1, 1, 2, 2, 3])
    np.testing.assert_array_equal(notes["skill"][:, 1], [0, 0, 1, 0, 0, 1, 1])
    np.testing.assert_array_equal(notes["skill_renewed"][:, 1], [1, 0, 1, 1, 0, 1, 0])
    np.testing.assert_array_equal(notes["skill/calls"], notes["skill_renewed"])  # zero where it did not choose


def test_without_restart_a_choice_is_held_on_into_the_next_episode():
    """The second world's episode opens at row 3, in the middle of the period of row 2."""
    _, notes = play(hierarchy(counter(), flat(echo), period=2, restart=False), steps(OPEN))
    np.testing.assert_array_equal(notes["skill_renewed"], [[1, 1], [0, 0], [1, 1], [0, 0], [1, 1], [0, 0], [1, 1]])
    assert (notes["skill"][2] == notes["skill"][3]).all()


def test_the_worker_sees_what_it_is_conditioned_on():
    def condition(params, step, choice):
        return {"skill": params["shift"] + choice, "other": step.obs["x"]}

    policy = hierarchy(counter(), flat(echo), period=1, condition=condition, name="choice")
    action, notes = play(policy, steps(OPEN), {"shift": 100})
    np.testing.assert_array_equal(notes["skill"], 100 + notes["choice"])
    np.testing.assert_array_equal(action[..., 0], 10 * np.arange(7)[:, None] + notes["skill"])
    assert set(notes) == {"choice/calls", "skill", "other", "choice", "choice_renewed"}


def test_a_hierarchy_is_a_policy():
    middle = hierarchy(
        counter(),
        flat(echo),
        period=2,
        condition=lambda params, step, choice: {"skill": step.obs["goal"] + choice},
        name="middle",
    )
    goal = lambda params, step, choice: {"goal": 1000 * choice}  # noqa: E731
    top = hierarchy(counter(), middle, period=4, condition=goal, name="top")
    _, notes = play(top, steps(np.eye(8, 1)))
    np.testing.assert_array_equal(notes["top"][:, 0], [0, 0, 0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(notes["middle"][:, 0], [0, 0, 1, 1, 2, 2, 3, 3])
    np.testing.assert_array_equal(notes["skill"][:, 0], [0, 0, 1, 1, 1002, 1002, 1003, 1003])


def test_notes_of_all_levels_stand_side_by_side():
    """Each level notes its log-probability; the innermost is flat, the others stand under their level's name."""

    def level(value):
        return flat(lambda params, obs, key: (0 * obs["x"][:, 0].astype(int), {"log_prob": value + obs["x"][:, 0]}))

    middle = hierarchy(level(100.0), level(0.0), 2, lambda params, step, choice: {"skill": choice}, name="middle")
    top = hierarchy(level(1000.0), middle, 4, lambda params, step, choice: {"goal": choice}, name="top")
    _, notes = play(top, steps(np.eye(6, 1)))
    assert set(notes) == {
        "top", "top_renewed", "top/log_prob", "goal",
        "middle", "middle_renewed", "middle/log_prob", "skill", "log_prob",
    }  # fmt: skip
    np.testing.assert_array_equal(notes["log_prob"][:, 0], [0, 1, 2, 3, 4, 5])
    np.testing.assert_array_equal(notes["middle/log_prob"][:, 0], [100, 0, 102, 0, 104, 0])
    np.testing.assert_array_equal(notes["top/log_prob"][:, 0], [1000, 0, 0, 0, 1004, 0])


def shown_as(**entries):
    return lambda params, step, choice: {entry: choice + shift for entry, shift in entries.items()}


@pytest.mark.parametrize(
    ("worker", "settings", "owners", "note"),
    [
        ({"skill"}, {}, "choice and the worker", "skill"),
        ({"skill_renewed"}, {}, "choice and the worker", "skill_renewed"),
        ({"goal"}, {"condition": shown_as(goal=0)}, "condition and the worker", "goal"),
        ({"skill/calls"}, {}, "manager and the worker", "skill/calls"),
        ({"skill/period"}, {"period": uniform_period(1, 2)}, "choice and the worker", "skill/period"),
        (set(), {"condition": shown_as(skill=1)}, "choice and the condition", "skill"),
        (set(), {"condition": shown_as(**{"skill/calls": 1})}, "manager and the condition", "skill/calls"),
    ],
)
def test_two_notes_of_one_name_are_an_error_that_names_both(worker, settings, owners, note):
    noting = flat(lambda params, obs, key: (obs["x"], dict.fromkeys(worker, obs["x"])))
    policy = hierarchy(counter(), noting, **settings)
    with pytest.raises(ValueError) as error:
        jax.eval_shape(policy.act, None, policy.init(2), jax.tree.map(lambda x: x[0], steps(OPEN)), jax.random.key(0))
    assert str(error.value) == f"hierarchy 'skill': the {owners} both note '{note}'; rename one of them"


def test_two_levels_of_one_name_are_an_error():
    inner = hierarchy(counter(), flat(echo), 2)
    with pytest.raises(ValueError, match="the choice and the worker both note 'skill'"):
        play(hierarchy(counter(), inner, 4), steps(OPEN))


def test_a_new_carry_chooses_at_its_first_row():
    """Rows of an imagined world have no `first`: they begin in the middle of an episode."""
    _, notes = play(hierarchy(counter(), flat(echo), period=3), steps(np.zeros((7, 1))))
    np.testing.assert_array_equal(notes["skill_renewed"][:, 0], [1, 0, 0, 1, 0, 0, 1])
    np.testing.assert_array_equal(notes["skill"][:, 0], [0, 0, 0, 1, 1, 1, 2])


# --- periods that are drawn ---


def noisy_manager():
    """A manager and worker whose choices and actions depend on their keys."""
    manager = flat(lambda params, obs, key: (jax.random.randint(key, (len(obs["x"]),), 0, 99), {}))
    worker = flat(lambda params, obs, key: (obs["skill"][:, None] + jax.random.normal(key, obs["x"].shape), {}))
    return manager, worker


def test_a_callable_that_gives_a_constant_is_that_period():
    constant_period = lambda key, worlds: jnp.full(worlds, 3, jnp.int32)  # noqa: E731
    action, notes = play(hierarchy(*noisy_manager(), 3), steps(OPEN))
    action_too, notes_too = play(hierarchy(*noisy_manager(), constant_period), steps(OPEN))
    np.testing.assert_array_equal(notes_too.pop("skill/period"), 3)
    assert notes.keys() == notes_too.keys()
    jax.tree.map(np.testing.assert_array_equal, (action, notes), (action_too, notes_too))


def test_drawn_periods_last_as_long_as_they_say_and_are_uniform():
    """40 episodes of 100 rows in 50 worlds: every whole hold is as long as its period; chi-squared of 4 degrees."""
    low, high, length, worlds = 2, 6, 4000, 50
    first = np.zeros((length, worlds))
    first[::100] = 1
    _, notes = jax.tree.map(np.asarray, play(hierarchy(counter(), flat(echo), uniform_period(low, high)), steps(first)))
    counts = np.zeros(high + 1)
    for world in range(worlds):
        (decisions,) = np.nonzero(notes["skill_renewed"][:, world])
        assert set(range(0, length, 100)) <= set(decisions)
        lengths, drawn = np.diff(decisions), notes["skill/period"][decisions[:-1], world]
        whole = decisions[1:] % 100 != 0
        np.testing.assert_array_equal(lengths[whole], drawn[whole])
        assert (lengths[~whole] <= drawn[~whole]).all()
        held = np.maximum.accumulate(np.where(notes["skill_renewed"][:, world], np.arange(length), 0))
        np.testing.assert_array_equal(notes["skill/period"][:, world], notes["skill/period"][held, world])
        np.add.at(counts, drawn, 1)
    expected = counts.sum() / (high - low + 1)
    assert counts[:low].sum() == 0 and counts.sum() > 40_000
    assert ((counts[low:] - expected) ** 2 / expected).sum() < 18.5  # 0.1 % of draws that are uniform are beyond it


@pytest.mark.parametrize("period", [3, uniform_period(1, 5)])
def test_both_levels_see_how_long_a_choice_has_left(period):
    """The manager, where it chooses, the whole period of that choice; the worker one row fewer with every row."""

    def clock(left):
        return {"left": left}

    manager = flat(lambda params, obs, key: (obs["left"], {}))  # chooses what it sees
    worker = flat(lambda params, obs, key: (obs["left"], {}))
    first = np.zeros((60, 3))
    first[[0, 17, 40]] = 1
    action, notes = play(hierarchy(manager, worker, period, clock=clock), steps(first))
    left, renewed, choice = (np.asarray(notes[name]) for name in ("left", "skill_renewed", "skill"))
    np.testing.assert_array_equal(action, left)
    for world in range(3):
        for row in range(60):
            if renewed[row, world]:
                expected = notes["skill/period"][row, world] if callable(period) else period
                assert choice[row, world] == expected
            else:
                expected = left[row - 1, world] - 1
            assert left[row, world] == expected >= 1
            if row < 59 and not first[row + 1, world]:  # at 1 it is the choice's last row
                assert renewed[row + 1, world] == (left[row, world] == 1)


def test_a_clock_and_a_note_of_one_name_are_an_error_that_names_both():
    noting = flat(lambda params, obs, key: (obs["x"], {"left": obs["left"]}))
    policy = hierarchy(counter(), noting, 2, clock=lambda left: {"left": left})
    with pytest.raises(ValueError, match="the clock and the worker both note 'left'"):
        play(policy, steps(OPEN))


def test_periods_must_be_at_least_one_row():
    with pytest.raises(ValueError, match="the period of hierarchy 'skill' must be >= 1, got 0"):
        hierarchy(counter(), flat(echo), period=0)
    for low, high in ((0, 3), (4, 3)):
        with pytest.raises(ValueError, match=f"must satisfy 1 <= low <= high, got low={low}, high={high}"):
            uniform_period(low, high)
    with pytest.raises(ValueError, match=r"hierarchy 'skill' must be int32\[2\], got float32\[\]"):
        play(hierarchy(counter(), flat(echo), lambda key, worlds: jnp.ones(())), steps(OPEN))


@pytest.mark.parametrize("period", [2, uniform_period(2, 5)])
def test_seeds_side_by_side_leave_the_managers_branch_a_branch(period):
    """A batched predicate would turn `cond` into `select`, and a planner would run at every row."""
    policy = hierarchy(counter(), flat(echo), period)
    row = jax.tree.map(lambda x: x[0], steps(OPEN))
    keys = jax.random.split(jax.random.key(0), 3)
    carries = jax.vmap(lambda key: policy.init(2))(keys)

    def step(carry, key):
        return policy.act(None, carry, row, key)

    assert " cond[" in str(jax.make_jaxpr(jax.vmap(step))(carries, keys))
    assert jax.vmap(any_unbatched)(jnp.array([[False, False], [True, False]])).shape == (2,)
    assert jax.vmap(jax.vmap(any_unbatched))(jnp.zeros((2, 3, 4), bool).at[0, 0, 0].set(True)).all()


@pytest.mark.parametrize("period", [3, uniform_period(2, 5)])
def test_seeds_side_by_side_act_as_alone(period):
    policy = hierarchy(chain(lambda params: jnp.log(jnp.full((4, 4), 0.25))), flat(echo), period)
    pattern = jnp.stack([steps(OPEN).first, steps(OPEN).first[:, ::-1]])  # seeds out of step with each other

    def alone(first, key):
        def row(carry, inputs):
            step, key = inputs
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
    counts = np.zeros((3, 3))
    np.add.at(counts, (choice[:-1].ravel(), choice[1:].ravel()), 1)
    np.testing.assert_allclose(counts / counts.sum(1, keepdims=True), table, atol=0.02)
    start = np.bincount(choice[0], minlength=3) / worlds
    np.testing.assert_allclose(start, table.mean(0), atol=0.08)  # one row of a uniform predecessor


def test_a_drifting_latent_stays_standard_normal():
    z, _ = play(drift(4, 0.95), steps(np.eye(60, 1) * np.ones(2000)))
    np.testing.assert_allclose(np.std(z, axis=1).mean(-1), 1.0, atol=0.05)  # at every row
    correlation = [np.corrcoef(np.ravel(z[t]), np.ravel(z[t + 1]))[0, 1] for t in (0, 30)]
    np.testing.assert_allclose(correlation, 0.95, atol=0.01)


def test_a_drifting_latent_starts_anew():
    first = np.zeros((3, 2000))
    first[[0, 2]] = 1
    z, _ = play(drift(1, 0.95), steps(first))
    assert abs(np.corrcoef(z[1, :, 0], z[2, :, 0])[0, 1]) < 0.1

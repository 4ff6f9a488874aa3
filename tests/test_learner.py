"""One step down a gradient: which parts move, in how many pieces, and that it compiles once."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from skillhier.agents import slow
from skillhier.agents.learner import learner, num_microbatches, stateless, with_init_params
from skillhier.agents.optimisers import adam, by_child, jointly, projected
from skillhier.types import TimeStep, Trajectory


def batch(length=4, size=6):
    x = jax.random.normal(jax.random.key(0), (length, size, 3))
    no = jnp.zeros((length, size), bool)
    return Trajectory(TimeStep({"x": x}, x[..., 0], x[..., 0], no, no), x[..., :1] + 2 * x[..., 1:2], {})


def init_params(key):
    return {"hand": {"w": jax.random.normal(key, (3, 1))}, "eye": {"scale": jnp.ones(3)}, "rest": jnp.ones(2)}


def loss(params, batch, key):
    guess = (batch.step.obs["x"] * params["eye"]["scale"]) @ params["hand"]["w"] + params["rest"].sum()
    value = jnp.square(guess - batch.action).mean()
    return value, {"control/error": value}


RATES = {"hand": 0.1, "eye": None, "rest": 0.01}


def test_a_frozen_part_stays_bit_identical_and_the_others_move():
    made = learner(init_params, stateless(loss), adam(RATES))
    state = first = made.init(jax.random.key(0))
    update = jax.jit(made.update)
    for i in range(5):
        state, metrics = update(state, batch(), jax.random.key(i))
    np.testing.assert_array_equal(state.params["eye"]["scale"], first.params["eye"]["scale"])
    assert (state.params["hand"]["w"] != first.params["hand"]["w"]).all()
    assert (state.params["rest"] != first.params["rest"]).all()
    assert state.steps == 5
    assert metrics["control/error"] == metrics["learner/loss"]


def test_every_part_has_its_own_rate():
    made = learner(init_params, stateless(loss), adam(RATES))
    before = made.init(jax.random.key(0))
    after, _ = made.update(before, batch(), jax.random.key(0))
    # Adam's first step is the rate, whatever the gradient.
    np.testing.assert_allclose(jnp.abs(after.params["hand"]["w"] - before.params["hand"]["w"]), 0.1, rtol=1e-3)
    np.testing.assert_allclose(jnp.abs(after.params["rest"] - before.params["rest"]), 0.01, rtol=1e-3)


def test_a_part_may_have_parts_with_rates_of_their_own():
    nested = {"hand": {"w": 0.1}, "eye": {"scale": None}, "rest": 0.01}
    plain, deep = (learner(init_params, stateless(loss), adam(rates)) for rates in (RATES, nested))
    one, other = (made.update(made.init(jax.random.key(0)), batch(), jax.random.key(0))[0] for made in (plain, deep))
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
    for wrong, named in (({"v": 0.1}, "hand/v"), ({}, "hand/w"), ({"w": 0.1, "v": None}, "hand/v")):
        with pytest.raises(ValueError, match=named):
            learner(init_params, stateless(loss), adam({**nested, "hand": wrong})).init(jax.random.key(0))


def test_rates_fall_to_zero_along_a_cosine():
    tx = adam(RATES, decay_updates=4)
    params = init_params(jax.random.key(0))
    state, steps = tx.init(params), []
    for _ in range(6):  # of a gradient that stays, each of Adam's steps is the rate
        update, state = tx.update(jax.tree.map(jnp.ones_like, params), state, params)
        steps.append([float(-update["hand"]["w"][0, 0]), float(-update["rest"][0])])
    by_hand = np.array([1, 0.5 + 0.5 * np.sqrt(0.5), 0.5, 0.5 - 0.5 * np.sqrt(0.5), 0, 0])
    np.testing.assert_allclose(steps, by_hand[:, None] * [0.1, 0.01], atol=1e-6)


@pytest.mark.parametrize("rates", [{"hand": 0.1, "eye": None}, {**RATES, "foot": 0.1}])
def test_a_part_without_a_rate_and_a_rate_without_a_part_are_refused(rates):
    with pytest.raises(ValueError, match=r"\['(rest|foot)'\]"):
        learner(init_params, stateless(loss), adam(rates)).init(jax.random.key(0))


def test_the_norm_is_cut_over_the_parts_that_learn():
    def change(clip, gradient):
        tx = optax.chain(adam(RATES, max_grad_norm=clip))
        params = init_params(jax.random.key(0))
        state = tx.init(params)
        for scale in (1.0, 1e-3):  # Adam forgets the size of one gradient; of two it keeps their ratio
            update, state = tx.update(jax.tree.map(lambda g, s=scale: g * s, gradient), state, params)
        return update["hand"]["w"]

    gradient = {"hand": {"w": jnp.ones((3, 1))}, "eye": {"scale": jnp.full(3, 1e6)}, "rest": jnp.ones(2)}
    # The frozen part's huge gradient is no reason to cut the others.
    np.testing.assert_array_equal(change(40.0, gradient), change(1e9, gradient))
    assert (change(1e-3, gradient) != change(1e9, gradient)).all()


def test_pieces_are_the_batch():
    whole, cut = (learner(init_params, stateless(loss), adam(RATES), microbatches=lambda *_, n=n: n) for n in (1, 3))
    start = whole.init(jax.random.key(0))
    one, metrics = whole.update(start, batch(), jax.random.key(0))
    three, other = cut.update(start, batch(), jax.random.key(0))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), one.params, three.params)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), metrics, other)


def test_slow_state_passes_through_loss_pieces_and_follow():
    def counted(params, slow_now, batch, key):
        value, metrics = loss(params, batch, key)
        return value, ({**slow_now, "seen": slow_now["seen"] + batch.action.shape[1]}, metrics)

    made = learner(
        init_params,
        counted,
        adam(RATES),
        slow.combined(
            {
                "seen": slow.SlowPart(lambda params: jnp.int32(0)),
                "target": slow.hard_copies({"w": 2}, within="hand"),
            }
        ),
        microbatches=lambda rows, batch: 2,
    )
    start = made.init(jax.random.key(0))
    one, _ = made.update(start, batch(), jax.random.key(0))
    two, _ = made.update(one, batch(), jax.random.key(0))
    assert two.slow["seen"] == 12
    np.testing.assert_array_equal(one.slow["target"]["w"], start.params["hand"]["w"])
    np.testing.assert_array_equal(two.slow["target"]["w"], two.params["hand"]["w"])


def test_slow_parts_stand_side_by_side_and_none_drops_another():
    """A hard copy, a moving average and a scale that the loss moves, by hand over three updates."""

    def scaled(params, slow_now, batch, key):
        value, metrics = loss(params, batch, key)
        control = {**slow_now["control"], "scale": 0.5 * slow_now["control"]["scale"] + 1.0}
        return value, ({**slow_now, "control": control}, metrics)

    parts = {
        "control/target": slow.hard_copies({"hand": 2, "rest": 3}),
        "control/scale": slow.SlowPart(lambda params: jnp.float32(0.0)),
        "average": slow.moving_averages({"w": 0.25}, within="hand"),
    }
    agent = learner(init_params, scaled, adam(RATES), slow.combined(parts))
    states, update = [agent.init(jax.random.key(0))], jax.jit(agent.update)
    for i in range(3):
        states.append(update(states[-1], batch(), jax.random.key(i))[0])
    hands = [state.params["hand"]["w"] for state in states]
    average = hands[0]
    for i, state in enumerate(states):
        assert float(state.slow["control"]["scale"]) == [0.0, 1.0, 1.5, 1.75][i]
        np.testing.assert_array_equal(state.slow["control"]["target"]["hand"]["w"], hands[2 * (i // 2)])
        rest = states[3 * (i // 3)].params["rest"]
        np.testing.assert_array_equal(state.slow["control"]["target"]["rest"], rest)
        average = average if i == 0 else 0.75 * average + 0.25 * hands[i]
        np.testing.assert_allclose(state.slow["average"]["w"], average, rtol=1e-6)


def test_slow_parts_that_overlap_are_refused():
    part = slow.hard_copies({"hand": 1})
    with pytest.raises(ValueError, match="slow state 'control/target' lies within 'control'"):
        slow.combined({"control": part, "control/target": part})
    with pytest.raises(ValueError, match="must lie in .0, 1., got 0 for 'hand'"):
        slow.moving_averages({"hand": 0})


def test_a_child_has_any_transformation_and_may_be_clipped_with_others():
    """SGD with a clip of its own, a plain step, and a norm clipped over two children, worked out by hand."""
    params = {"a": jnp.zeros(2), "b": {"c": jnp.zeros(1), "d": jnp.zeros(1)}}
    gradient = {"a": jnp.array([3.0, 4.0]), "b": {"c": jnp.array([12.0]), "d": jnp.array([2.0])}}
    own = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0))
    tx = by_child({"a": own, "b/c": optax.sgd(0.5), "b/d": None})
    change, _ = tx.update(gradient, tx.init(params), params)
    np.testing.assert_allclose(change["a"], [-0.6, -0.8], rtol=1e-6)  # clipped by the norm of a alone, 5
    assert (float(change["b"]["c"][0]), float(change["b"]["d"][0])) == (-6.0, 0.0)
    both = optax.chain(
        jointly(optax.clip_by_global_norm(1.3), ["a", "b/c"]), by_child({"a": optax.sgd(1.0), "b": None})
    )
    change, _ = both.update(gradient, both.init(params), params)
    np.testing.assert_allclose(change["a"], [-0.3, -0.4], rtol=1e-6)  # the norm of a and b/c is 13


def test_a_projection_follows_every_step():
    tx = projected(optax.sgd(1.0), lambda params: jax.tree.map(lambda x: jnp.maximum(x, -0.5), params))
    params = {"a": jnp.zeros(2)}
    change, _ = tx.update({"a": jnp.array([2.0, 0.25])}, tx.init(params), params)
    np.testing.assert_allclose(change["a"], [-0.5, -0.25])


def test_one_program_for_all_updates():
    traces = []

    def traced(params, batch, key):
        traces.append(1)
        return loss(params, batch, key)

    made = learner(init_params, stateless(traced), adam(RATES))
    state = jax.jit(made.init)(jax.random.key(0))
    update = jax.jit(made.update, donate_argnums=0)
    for i in range(3):
        state, _ = update(state, batch(), jax.random.key(i))
    assert len(traces) == 1


def test_pieces_divide_the_batch_and_stay_small():
    assert num_microbatches(25, 128) == (4 if jax.default_backend() == "cpu" else 1)
    assert num_microbatches(25, 32) == 1
    if jax.default_backend() == "cpu":
        assert num_microbatches(25, 127) == 127  # a prime number of sequences has no other pieces
        assert num_microbatches(2000, 3) == 3


# --- bad numbers ---


def poisoned(value: float = jnp.nan) -> Trajectory:
    return batch()._replace(action=batch().action.at[1, 2, 0].set(value))


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf, 1e30])  # the last one: squared it is infinite
def test_an_update_with_bad_numbers_is_left_out_and_counted(value):
    made = learner(init_params, stateless(loss), adam(RATES))
    update = jax.jit(made.update)
    before, _ = update(made.init(jax.random.key(0)), batch(), jax.random.key(0))
    after, metrics = update(before, poisoned(value), jax.random.key(1))
    assert not np.isfinite(metrics["learner/loss"])
    for part in ("params", "slow", "opt"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, part), getattr(before, part))
    assert (after.steps, after.health.skipped, after.health.streak, after.health.stuck) == (2, 1, 1, False)
    well, _ = update(after, batch(), jax.random.key(2))
    assert (well.health.skipped, well.health.streak) == (1, 0)
    assert (well.params["hand"]["w"] != after.params["hand"]["w"]).all()


def test_slow_state_made_from_bad_numbers_is_left_out_too():
    def running(params, average, batch, key):
        value, metrics = loss(params, batch, key)
        return value, (0.9 * average + 0.1 * batch.action.mean(), metrics)

    made = learner(init_params, running, adam(RATES), slow.SlowPart(lambda params: jnp.float32(5.0)))
    after, _ = jax.jit(made.update)(made.init(jax.random.key(0)), poisoned(), jax.random.key(1))
    assert after.slow == 5.0


def test_after_so_many_in_a_row_the_learner_stands_still():
    made = learner(init_params, stateless(loss), adam(RATES), max_consecutive_skips=3)
    update, state = jax.jit(made.update), made.init(jax.random.key(0))
    for bad in (True, True, False, True, True, True):
        assert not state.health.stuck
        state, _ = update(state, poisoned() if bad else batch(), jax.random.key(0))
    assert state.health.stuck and (state.health.skipped, state.health.streak) == (5, 3)
    after, _ = update(state, batch(), jax.random.key(0))  # sound, but it came too late
    assert after.health.stuck and after.health.skipped == 6
    jax.tree.map(np.testing.assert_array_equal, after.params, state.params)


# --- beginning with other parameters ---


def test_a_learner_begins_with_the_parts_it_is_given():
    made = learner(init_params, stateless(loss), adam(RATES))
    fresh = made.init(jax.random.key(0))
    given = {"hand": {"w": np.full((3, 1), 7.0)}}
    state = jax.jit(with_init_params(made, given).init)(jax.random.key(0))
    np.testing.assert_array_equal(state.params["hand"]["w"], given["hand"]["w"])
    np.testing.assert_array_equal(state.params["rest"], fresh.params["rest"])
    assert jax.tree.structure(state) == jax.tree.structure(fresh)
    assert state.params["hand"]["w"].dtype == fresh.params["hand"]["w"].dtype


def test_slow_state_and_optimiser_are_made_from_what_a_learner_begins_with():
    """Its target copies are those of the given parameters, and the update is that of a learner born with them."""
    copies = slow.combined({"target": slow.hard_copies({"hand": 5})})
    agent = learner(init_params, stateless(loss), adam(RATES), copies)
    given = {"hand": {"w": np.full((3, 1), 7.0)}}
    begun = with_init_params(agent, given)
    state = jax.jit(begun.init)(jax.random.key(0))
    np.testing.assert_array_equal(state.slow["target"]["hand"]["w"], given["hand"]["w"])
    born = learner(
        lambda key: {**init_params(key), "hand": {"w": jnp.full((3, 1), 7.0)}}, stateless(loss), adam(RATES), copies
    )
    one, _ = begun.update(state, batch(), jax.random.key(1))
    other, _ = born.update(born.init(jax.random.key(0)), batch(), jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"hand": {"w": np.zeros((4, 1))}}, r"hand/w has shape \[4, 1\], the learner needs shape \[3, 1\]"),
        ({"hnad": {"w": np.zeros((3, 1))}}, "hnad is no part of the learner; it has hand, eye, rest"),
        ({"hand": {"v": np.zeros((3, 1))}}, "hand/v is no part of the learner; it has w"),
        ({"hand": np.zeros(3)}, r"hand has shape \[3\], the learner needs the parts w"),
        ({"rest": {"w": np.zeros(2)}}, "rest/w is no part of the learner; it is an array"),
    ],
)
def test_parameters_that_do_not_fit_are_named(given, said):
    made = learner(init_params, stateless(loss), adam(RATES))
    with pytest.raises(ValueError, match=said):
        jax.eval_shape(with_init_params(made, given).init, jax.random.key(0))

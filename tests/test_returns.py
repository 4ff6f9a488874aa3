"""Returns on windows of five rows worked out by hand, and against rlax where nothing is cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from skillhier.ops import returns
from skillhier.types import TimeStep

GAMMA, LAM = 0.5, 0.5
REWARD = [0.0, 1.0, 2.0, 3.0, 4.0]
VALUE = jnp.array([[10.0], [20.0], [30.0], [40.0]])  # of rows 1 to 4
TAKEN = jnp.array([[8.0], [20.0], [28.0], [np.nan]])  # what was done at rows 1 to 4; the last is never asked
LOG_RATIO = jnp.log(jnp.array([[2.0], [0.5], [1.0], [1.0]]))  # so c = .5, .25, .5


def window(first=(0,), last=(), ends=()):
    """Five rows of one world; rewards are 0 where first, as worlds promise."""
    flags = jnp.zeros(5, bool)
    first, last = flags.at[jnp.array(first, int)].set(True), flags.at[jnp.array(last, int)].set(True)
    discount = jnp.ones(5).at[jnp.array(ends, int)].set(0.0)
    reward = jnp.where(first, 0.0, jnp.array(REWARD))
    return TimeStep({}, *(leaf[:, None] for leaf in (reward, discount, first, last)))


# name: (window, valid, TD(0), 2-step, all rewards (lambda 1), lambda 0.5, Retrace 0.5)
# G of a row that begins no transition means nothing and is left out (None).
CASES = {
    # Nothing is cut. Row 3: 4 + 40/2 = 24. Rewards alone, backwards: 24, 3 + 12, 2 + 7.5, 1 + 4.75.
    # Lambda .5: 24, 3 + (.5 (30 + 24)) / 2 = 16.5, 2 + (20 + 16.5) / 4 = 11.125, 1 + (10 + 11.125) / 4 = 6.28125.
    # Retrace: 24; 3 + (30 + .5 (24 - 28)) / 2 = 17; 2 + (20 + .25 (17 - 20)) / 2 = 11.625;
    # 1 + (10 + .5 (11.625 - 8)) / 2 = 6.90625.
    "no cut": (
        window(),
        [True, True, True, True],
        [6.0, 12.0, 18.0, 24.0],
        [7.0, 11.0, 15.0, 24.0],
        [5.75, 9.5, 15.0, 24.0],
        [6.28125, 11.125, 16.5, 24.0],
        [6.90625, 11.625, 17.0, 24.0],
    ),
    # The task ends on arriving at row 2: row 1 is worth its 2 and no value; row 2 begins nothing; row 3 is fresh.
    "an end": (
        window(first=(0, 3), last=(2,), ends=(2,)),
        [True, True, False, True],
        [6.0, 2.0, None, 24.0],
        [2.0, 2.0, None, 24.0],
        [2.0, 2.0, None, 24.0],
        [1 + (10 + 2) / 4, 2.0, None, 24.0],
        [1 + (10 + 0.5 * (2 - 8)) / 2, 2.0, None, 24.0],
    ),
    # The clock runs out at row 2: the same cut, but row 2 has its value, 20: 2 + 20/2 = 12.
    "a time limit": (
        window(first=(0, 3), last=(2,)),
        [True, True, False, True],
        [6.0, 12.0, None, 24.0],
        [7.0, 12.0, None, 24.0],
        [7.0, 12.0, None, 24.0],
        [1 + (10 + 12) / 4, 12.0, None, 24.0],
        [1 + (10 + 0.5 * (12 - 8)) / 2, 12.0, None, 24.0],
    ),
    # The clock at row 1, the task's own end at row 4.
    "both": (
        window(first=(0, 2), last=(1, 4), ends=(4,)),
        [True, False, True, True],
        [6.0, None, 18.0, 4.0],
        [6.0, None, 5.0, 4.0],
        [6.0, None, 5.0, 4.0],
        [6.0, None, 3 + (30 + 4) / 4, 4.0],
        [6.0, None, 3 + (30 + 0.5 * (4 - 28)) / 2, 4.0],
    ),
    # The world broke after row 2: row 3 is first, no row before it is last. Row 2 leads nowhere, and a return that
    # comes to row 2 takes the value there, as at a time limit.
    "a broken world": (
        window(first=(0, 3)),
        [True, True, False, True],
        [6.0, 12.0, None, 24.0],
        [7.0, 12.0, None, 24.0],
        [7.0, 12.0, None, 24.0],
        [1 + (10 + 12) / 4, 12.0, None, 24.0],
        [1 + (10 + 0.5 * (12 - 8)) / 2, 12.0, None, 24.0],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_five_rows_by_hand(case):
    step, valid, one, two, rewards, mixed, corrected = CASES[case]
    transitions = returns.transitions(step, GAMMA)
    np.testing.assert_array_equal(transitions.valid[:, 0], valid)
    found = {
        "td": (returns.td(transitions, VALUE), one),
        "n_step 1": (returns.n_step(transitions, VALUE, 1), one),
        "n_step 2": (returns.n_step(transitions, VALUE, 2), two),
        "n_step 9": (returns.n_step(transitions, VALUE, 9), rewards),
        "lambda 0": (returns.lambda_returns(transitions, VALUE, 0.0), one),
        "lambda 1": (returns.lambda_returns(transitions, VALUE, 1.0), rewards),
        "lambda": (returns.lambda_returns(transitions, VALUE, LAM), mixed),
        "retrace 0": (returns.retrace(transitions, VALUE, TAKEN, LOG_RATIO, 0.0), one),
        "retrace": (returns.retrace(transitions, VALUE, TAKEN, LOG_RATIO, LAM), corrected),
    }
    for name, (there, expected) in found.items():
        for t, number in enumerate(expected):
            if number is not None:
                np.testing.assert_allclose(there[t, 0], number, rtol=1e-6, err_msg=f"{name}, row {t}")


def test_what_an_action_on_a_final_row_is_worth_is_never_asked():
    transitions = returns.transitions(window(first=(0, 3), last=(2,)), GAMMA)
    nonsense = TAKEN.at[1].set(jnp.nan)
    found = returns.retrace(transitions, VALUE, nonsense, LOG_RATIO.at[1].set(jnp.nan), LAM)
    np.testing.assert_array_equal(found, returns.retrace(transitions, VALUE, TAKEN, LOG_RATIO, LAM))
    assert np.isfinite(found).all()


def random_window(length=7, batch=3):
    keys = jax.random.split(jax.random.key(0), 5)
    blank = jnp.zeros((length, batch), bool)
    reward, value, taken, ratio = (jax.random.normal(key, (length, batch)) for key in keys[:4])
    discount = jax.random.bernoulli(keys[4], 0.8, (length, batch)).astype(jnp.float32)
    return TimeStep({}, reward, discount, blank, blank), value[1:], taken[1:], ratio[1:]


@pytest.mark.parametrize("n", [1, 3, 6, 20])
def test_n_step_is_rlax(n):
    step, value, _, _ = random_window()
    transitions = returns.transitions(step, 0.9)
    for b in range(3):
        expected = rlax.n_step_bootstrapped_returns(
            transitions.reward[:, b], transitions.discount[:, b], value[:, b], min(n, len(value))
        )
        np.testing.assert_allclose(returns.n_step(transitions, value, n)[:, b], expected, rtol=1e-5, atol=1e-6)


def test_lambda_returns_and_retrace_are_rlax():
    step, value, taken, ratio = random_window()
    transitions = returns.transitions(step, 0.9)
    for b in range(3):
        reward, discount, v = transitions.reward[:, b], transitions.discount[:, b], value[:, b]
        np.testing.assert_allclose(
            returns.lambda_returns(transitions, value, 0.7)[:, b],
            rlax.lambda_returns(reward, discount, v, 0.7),
            rtol=1e-5,
            atol=1e-6,
        )
        q = taken[:-1, b]  # the last row's action is no business of a return
        errors = rlax.retrace_continuous(jnp.zeros_like(reward), q, v, reward, discount, ratio[:-1, b], 0.7)
        np.testing.assert_allclose(
            returns.retrace(transitions, value, taken, ratio, 0.7)[:, b], errors, rtol=1e-5, atol=1e-6
        )


def test_errors_name_the_setting():
    step = window()
    with pytest.raises(ValueError, match="must have >= 2 rows, got 1; set train.sequence_length"):
        returns.transitions(jax.tree.map(lambda x: x[:1], step), GAMMA)
    with pytest.raises(ValueError, match="n must be >= 1, got 0; set agent.n_step"):
        returns.n_step(returns.transitions(step, GAMMA), VALUE, 0)

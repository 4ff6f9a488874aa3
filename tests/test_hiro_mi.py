"""HIRO with LSP's intrinsic reward: which windows of a replay count, what they pay, who learns from them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.agents import hiro_mi
from skillhier.losses import skill_info
from skillhier.types import Bounds, Spec, TimeStep, Trajectory

SETTINGS = {"skill": 2, "period": 2, "hidden": (8, 8), "predictor_hidden": (8,), "pred_noise": 0.0}
SPEC = Spec({"place": jax.ShapeDtypeStruct((1, 3), jnp.float32)}, Bounds((1,), -1.0, 1.0), 1, 0.1, 10)


def rows(count=7, worlds=1, **flags):
    """Rows of one world whose skill is renewed at every other row, with flags set at the rows named."""
    key = jax.random.key(0)
    no = jnp.zeros((count, worlds), bool)
    flag = lambda name: no.at[jnp.array(flags[name])].set(True) if name in flags else no  # noqa: E731
    place = jax.random.normal(key, (count, worlds, 1, 3))
    step = TimeStep(
        {"place": place}, jnp.zeros((count, worlds)), jnp.ones((count, worlds)), flag("first"), flag("last")
    )
    renewed = no.at[:: SETTINGS["period"]].set(True) if "renewed" not in flags else flag("renewed")
    notes = {"goal": jax.random.normal(key, (count, worlds, 2)), "goal_renewed": renewed}
    return Trajectory(step, jnp.zeros((count, worlds, 1)), notes)


def windows(batch):
    return skill_info.windows_of_replay(batch, 2, batch.step.obs["place"][:, :, 0], "goal")


def test_a_window_is_what_one_skill_was_held_for():
    batch = rows()
    seen, skill, held = windows(batch)
    np.testing.assert_array_equal(held[:, 0], [True, False, True, False, True])
    np.testing.assert_array_equal(seen[2], batch.step.obs["place"][2:5, :, 0])
    np.testing.assert_array_equal(skill[2], batch.extras["goal"][2])


@pytest.mark.parametrize(
    ("flags", "held"),
    [
        ({"renewed": [0, 1, 4]}, [False, True, False, False, True]),  # cut short by the next choice
        ({"first": [3]}, [True, False, False, False, True]),  # rows 2 to 4 cross an episode's start
        ({"last": [3]}, [True, False, False, False, True]),  # and rows 3 on follow its end
        ({"last": [4]}, [True, False, True, False, False]),  # a window may close with its episode, none opens there
    ],
)
def test_cuts(flags, held):
    np.testing.assert_array_equal(windows(rows(**flags))[2][:, 0], held)


def test_too_few_rows_are_refused():
    with pytest.raises(ValueError, match="2 rows hold no skill of 2; set train.sequence_length"):
        windows(rows(2))


def test_the_predictor_learns_and_the_worker_is_paid():
    agent = hiro_mi.make(SPEC, **SETTINGS, mi_constant=100.0, statistics=None)
    state = jax.jit(agent.learner.init)(jax.random.key(0))
    update = jax.jit(agent.learner.update)
    batch = rows(8, 16)
    first = None
    for i in range(60):
        state, metrics = update(state, batch, jax.random.key(i))
        first = metrics["skills/log_q"] if first is None else first
    assert metrics["skills/log_q"] > first + 0.02  # 1e-4 a step
    # Half of the worker's transitions end a window, and are paid some 100 nats; Huber's loss of an error is its size.
    assert 60 < metrics["worker/critic_loss"] < 120


def test_what_the_predictor_says_moves_no_one_else():
    agent = hiro_mi.make(SPEC, **SETTINGS, mi_scale=0.0, predictor_learning_rate=0.0)
    other = hiro_mi.make(SPEC, **SETTINGS, mi_scale=0.0, predictor_learning_rate=1.0)
    batch = rows(8, 4)
    after = [
        jax.jit(one.learner.update)(one.learner.init(jax.random.key(0)), batch, jax.random.key(1))[0].params
        for one in (agent, other)
    ]
    for name in ("manager", "worker"):
        jax.tree.map(np.testing.assert_array_equal, after[0][name], after[1][name])
    moved = jax.tree.map(lambda x, y: float(jnp.abs(x - y).max()), after[0]["skills"], after[1]["skills"])
    assert max(jax.tree.leaves(moved)) > 0.1

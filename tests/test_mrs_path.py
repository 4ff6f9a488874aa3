"""How far ahead a goal should lie: choosers and figures by hand, the experiment and its page."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import call
from scripts import asked, options
from test_report import checked

from experiments import mrs_path
from experiments.following import followers, measures
from skillhier.envs import registry
from skillhier.rollout import rollout, start

TURN = jnp.array([[0.0, 0.0], [5.0, 0.0], [5.0, 20.0]])  # 5 units ahead
OFFERED = (1.0, 2.0, 4.0, 16.0)


def test_the_farthest_goal_that_does_not_pass_the_turn():
    choose = followers.up_to_the_turn(OFFERED)
    assert choose(TURN) == 4
    assert choose(TURN - jnp.array([[4.5, 0.0], [0.0, 0.0], [0.0, 0.0]])) == 4  # further away
    assert choose(TURN.at[0, 0].set(4.5)) == 1  # all pass it: the nearest
    straight = jnp.array([[0.0, 0.0], [5.0, 0.0], [25.0, 0.0]])
    assert choose(straight) == 16


def test_the_nearest_goal_before_a_turn():
    choose = followers.near_a_turn(OFFERED, within=3.0)
    assert choose(TURN) == 16 and choose(TURN.at[0, 0].set(2.5)) == 1


def taken(choose, hold, rows, noise=0.0, side=0.0, turns="none"):
    env = registry.make("point.path", worlds=3, turns=turns, reach=mrs_path.REACH, limit=rows)
    policy = followers.follower(choose, hold, mrs_path.REACH, side)
    return jax.jit(lambda key: rollout(env, policy, noise, start(env, policy, key), key, rows)[1])(jax.random.key(0))


def test_a_goal_stays_while_it_is_held():
    rows = taken(followers.fixed(4.0), hold=3, rows=9)
    x = np.asarray(rows.step.obs["position"])[:, 0, 0, 0]
    goals = np.asarray(rows.extras["goal"])[:, 0, 0]
    assert np.allclose(goals, [4, 4, 4, 7, 7, 7, 10, 10, 10], atol=1e-4)  # 4 ahead of 0, 3 and 6
    assert np.allclose(x, range(9), atol=1e-4)


def test_a_goal_reached_early_is_waited_at():
    x = np.asarray(taken(followers.fixed(1.0), hold=4, rows=9).step.obs["position"])[:, 0, 0, 0]
    assert np.allclose(x, [0, 1, 1, 1, 1, 2, 2, 2, 2], atol=1e-4)


def test_goals_to_both_sides_in_turn_and_noise_on_them():
    goals = np.asarray(taken(followers.fixed(8.0), hold=2, rows=6, side=1.0).extras["goal"])[:, 0, 1]
    assert np.allclose(goals, [1, 1, -1, -1, 1, 1], atol=1e-5)
    noisy = np.asarray(taken(followers.fixed(8.0), hold=1, rows=60, noise=0.5).extras["goal"])[..., 1]
    assert 0.4 < noisy.std() < 0.6 and abs(noisy.mean()) < 0.15


def test_figures_by_hand():
    # right, up, left: two changes of heading by a quarter; a step of rest between does not count
    corner = np.array([[0, 0], [1, 0], [1, 1], [1, 1], [0, 1]], float)
    ahead = np.array([[0, 0], [1, 0], [2, 0], [3, 0], [3, 5]], float)  # the last row comes after the end
    finished = np.array([[False] * 5, [False, False, False, True, True]]).T
    gaps = np.array([[0, 0, 1, 1, 3.0], [0.5, 0.5, 0.5, 0.5, 9.0]]).T
    of = measures.measure(np.stack([corner, ahead], 1), gaps, finished)
    assert np.allclose(of["error"], [1.0, 0.5])
    assert np.allclose(of["jitter"], [(np.pi / 2) ** 2, 0.0])
    assert np.allclose(of["steps"], [5, 3]) and np.allclose(of["finished"], [0, 1])


def test_the_change_of_heading_is_the_short_way_round():
    back = np.array([[[0, 0], [-1, 0.1], [-2, 0.0]]], float).reshape(3, 1, 2)  # headings just below and above pi
    jitter = measures.measure(back, np.zeros((3, 1)), np.zeros((3, 1), bool))["jitter"][0]
    assert np.isclose(jitter, (2 * np.arctan(0.1)) ** 2)


def test_goals_too_near_and_too_far_and_a_choice_that_beats_both(tmp_path, capsys):
    arguments = ["--ahead=2,4,16", "--noise=0,0.5", "--hold=4", "--paths=24", f"--out={tmp_path}"]
    code, out, err = call(capsys, mrs_path, *arguments)
    assert code == 0, err
    content = json.loads((tmp_path / "path.json").read_text())
    noisy = content["noises"]["0.5"]
    errors = {name: of["error"][0] for name, of in noisy["followers"].items()}
    assert errors["4"] < errors["2"] and errors["4"] < errors["16"] and noisy["best"] == "4"
    assert noisy["beside_best"][followers.UP_TO][1] < 0  # the whole interval lies below the best one alone
    assert noisy["followers"]["2"]["jitter"][0] > 4 * noisy["followers"]["16"]["jitter"][0]
    quiet = {name: of["error"][0] for name, of in content["noises"]["0"]["followers"].items()}
    assert quiet["2"] < 1e-6 and quiet["16"] > 0.5  # without noise a near goal misses nothing, a far one cuts corners
    assert all(of["finished"][0] == 1 for of in noisy["followers"].values())
    sides = content["sides"]["0"]
    assert sides["2"]["missed"] < 1e-4 < sides["16"]["missed"]
    checked((tmp_path / "path.html").read_text())
    assert "noise 0.5: alone the best is 4 ahead" in out


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("--ahead=1,x", "--ahead=1,x: give numbers from 0.01 to 20, with commas between"),
        ("--ahead=0,2", "--ahead=0,2: give numbers from 0.01 to 20"),
        ("--ahead=30", "--ahead=30: give numbers from 0.01 to 20"),
        ("--noise=-1", "--noise=-1: give numbers from 0 to 4"),
        ("--noise=", "give numbers from 0 to 4"),
    ],
)
def test_wrong_use_is_one_line(tmp_path, capsys, argument, line):
    code, _, err = call(capsys, mrs_path, argument, f"--out={tmp_path / 'out'}")
    assert code == 2 and err.count("\n") == 1 and line in err, err
    assert not (tmp_path / "out").exists()


def test_the_script_of_the_figure(tmp_path):
    commands, code, said = asked(tmp_path, "mrs_e1", "--paths=64")
    assert code == 0, said
    assert [command[1] for command in commands] == ["experiments.mrs_path"] * 3
    assert [options(command)["out"] for command in commands] == [["r/e1"], ["r/e1_each_step"], ["r/e1_damped"]]
    assert all(options(command)["paths"] == ["64"] for command in commands)

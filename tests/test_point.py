"""The point that follows a path: geometry by hand, how it moves, what it is paid, what it is shown."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier import rollout
from skillhier.envs import adapters, point, registry
from skillhier.types import Policy

# Two straights of 20 units and one of 10: along x, up, and on up without a turn.
BENT = jnp.array([[0.0, 0.0], [20.0, 0.0], [20.0, 20.0], [20.0, 30.0]])


# --- paths -----------------------------------------------------------------------------------------


def test_places_along_a_path():
    places = [point.point_at(BENT, arc) for arc in (-3.0, 0.0, 5.0, 20.0, 27.0, 50.0, 99.0)]
    np.testing.assert_allclose(places, [[0, 0], [0, 0], [5, 0], [20, 0], [20, 7], [20, 30], [20, 30]], atol=1e-5)
    assert point.length(BENT) == 50
    repeated = jnp.array([[1.0, 1.0], [1.0, 1.0], [4.0, 5.0], [4.0, 5.0]])  # straights without length
    np.testing.assert_allclose([point.point_at(repeated, arc) for arc in (0.0, 2.5, 9.0)], [[1, 1], [2.5, 3], [4, 5]])


@pytest.mark.parametrize(
    ("at", "arc", "far"),
    [
        ((5.0, 3.0), 5, 3),
        ((-3.0, 4.0), 0, 5),  # before the beginning
        ((23.0, 25.0), 45, 3),
        ((17.0, 4.0), 24, 3),  # 4 from the first straight, 3 from the second
        ((20.0, 34.0), 50, 4),
        ((23.0, -4.0), 20, 5),  # outside of the turn
    ],
)
def test_the_place_nearest_to_a_point(at, arc, far):
    at = jnp.array(at)
    np.testing.assert_allclose(point.nearest(BENT, at), arc, atol=1e-5)
    np.testing.assert_allclose(point.distance(BENT, at), far, atol=1e-5)


def test_a_window_keeps_a_path_that_crosses_itself_apart():
    cross = jnp.array([[0.0, 0.0], [20.0, 0.0], [20.0, 20.0], [10.0, 20.0], [10.0, -20.0]])
    at = jnp.array([10.0, 0.0])  # 10 units along, and 70
    assert point.nearest(cross, at) == 10
    assert point.nearest(cross, at, 60.0, 80.0) == 70
    assert point.nearest(cross, at, 12.0, 30.0) == 12  # the nearest one that counts
    assert point.distance(cross, at) == 0


def test_goals_ahead_and_the_next_turn():
    at = jnp.array([18.0, 1.0])
    np.testing.assert_allclose(point.ahead(BENT, at, 1.0), [19, 0], atol=1e-5)
    np.testing.assert_allclose(point.ahead(BENT, at, 8.0), [20, 6], atol=1e-5)
    turns = [float(point.to_next_turn(BENT, arc)) for arc in (0.0, 17.0, 20.5, 38.0, 50.0, 60.0)]
    np.testing.assert_allclose(turns, [20, 3, 29.5, 12, 0, 0])  # none where it goes straight on; then the end
    assert point.to_next_turn(BENT[:2], jnp.array(4.0)) == 16


@pytest.mark.parametrize(("turns", "share"), [("sharp", 1.0), ("mixed", 0.5), ("none", 0.0)])
def test_paths_are_drawn_as_they_are_called(turns, share):
    paths = jax.vmap(lambda key: point.draw_path(key, turns, 6))(jax.random.split(jax.random.key(0), 400))
    steps = np.diff(np.asarray(paths), axis=1)
    assert paths.shape == (400, 7, 2)
    np.testing.assert_array_equal(paths[:, 0], 0)
    np.testing.assert_array_equal(steps[:, 0], np.tile([20, 0], (400, 1)))
    np.testing.assert_array_equal(np.abs(steps).sum(-1), 20)
    side = np.sign(steps[:, :-1, 0] * steps[:, 1:, 1] - steps[:, :-1, 1] * steps[:, 1:, 0])
    assert abs((side != 0).mean() - share) < 0.04  # 2000 vertices
    assert (steps[:, :-1] * steps[:, 1:]).sum(-1).min() >= 0  # never back
    assert share == 0 or abs(side[side != 0].mean()) < 0.1  # to either side


# --- the world -------------------------------------------------------------------------------------


def act(units, carry, step, key):
    """Names the goal `units` ahead, from what is shown alone."""
    shown = step.obs["path"][:, 0].reshape(-1, 3, 2)
    return carry, jax.vmap(lambda path: point.point_at(path, units))(shown) / 16.0, {}


@functools.cache
def program(length, **settings):
    """(units of the goal, key) -> a rollout of 8 worlds."""
    env, policy = registry.make("point.path", worlds=8, **settings), Policy(lambda worlds: (), act)
    return jax.jit(lambda u, key: rollout.rollout(env, policy, u, rollout.start(env, policy, key), key, length))


@functools.cache
def rows(units, length, **settings):
    actor, taken = program(length, **settings)(jnp.float32(units), jax.random.key(0))
    return actor, jax.tree.map(np.asarray, taken)


def test_the_spec():
    spec = registry.make("point.path", worlds=2).spec
    assert {k: v.shape[-1] for k, v in spec.obs.items()} == point.SIZES
    assert spec.visible == ("position", "velocity", "path")
    assert (spec.limit, spec.interval, spec.success) == (200, 1.0, "success")
    assert (spec.action.shape, spec.action.low, spec.action.high) == ((2,), -1, 1)


def test_a_near_goal_is_followed_exactly_at_speed_one():
    """By hand: 100 units of path, one a step, corners at whole steps; there from 99 units on."""
    _, taken = rows(1.0, 105)
    step = taken.step
    np.testing.assert_allclose(
        step.obs["progress"][:, :, 0, 0], np.tile(np.arange(105.0).clip(max=100), (8, 1)).T, atol=2e-3
    )
    np.testing.assert_allclose(step.reward, 0, atol=1e-3)
    np.testing.assert_array_equal(step.obs["success"][:, 0, 0, 0], np.arange(105) >= 99)
    np.testing.assert_allclose(np.linalg.norm(step.obs["velocity"][1:101, :, 0], axis=-1), 1, atol=1e-3)
    assert np.ptp(step.obs["position"][100, :, 0], axis=0).min() > 10  # paths differ from world to world


def test_rewards_are_minus_the_distance_to_the_path():
    """From the state's own vertices, densely sampled."""
    actor, taken = rows(8.0, 105)
    path = np.asarray(actor.env.memory.path)
    share = np.linspace(0, 1, 2001)[:, None]
    dense = np.concatenate([path[:, i, None] + share * (path[:, i + 1] - path[:, i])[:, None] for i in range(5)], 1)
    gaps = np.linalg.norm(dense[None] - taken.step.obs["position"][:, :, :1], axis=-1).min(-1)
    np.testing.assert_allclose(taken.step.reward, -gaps, atol=1e-2)
    assert taken.step.reward.min() < -1


def test_far_goals_cut_corners():
    """The distance that E1 is about: without noise it grows with the distance of the goal."""
    errors = [-float(rows(float(units), 105)[1].step.reward.mean()) for units in (4, 8, 16)]
    assert errors[0] > 0.02 and np.all(np.diff(errors) > 0.05), errors


@pytest.mark.parametrize(
    ("dynamics", "goal", "velocities"),
    [("velocity", 8.0, [1, 1]), ("velocity", 0.5, [0.5, 0.5]), ("damped", 8.0, [4, 5.2])],
)
def test_how_it_moves_to_a_goal(dynamics, goal, velocities):
    """By hand, from rest to goals along y; damped: half of the way as acceleration, .7 of the speed lost."""
    engine, at, no = registry.task("point.path", dynamics=dynamics).physics, 0.0, jnp.zeros((), bool)
    data = engine.reset(point._state(jnp.zeros(2), jnp.zeros(2)))
    for velocity in velocities:
        data, at = engine.step(data.state, jnp.array([0.0, goal]), no, data.state), at + velocity
        np.testing.assert_allclose(data.state.qvel, [0, velocity], atol=1e-6)
        np.testing.assert_allclose(data.state.qpos, [0, at], atol=1e-6)


def test_reach_is_the_goal_at_action_one():
    task = registry.task("point.path", reach=0.25)
    _, goal = task.control(task.physics.reset(task.start(jax.random.key(0), 0)[0]), None, jnp.array([1.0, -0.5]))
    np.testing.assert_allclose(goal, [0.25, -0.125])


def test_what_is_shown_of_the_path():
    """3 units along and half a unit beside it: 17 to the first vertex, 20 more to the second one."""
    env = registry.make("point.path", turns="none")
    state, first = env.reset(jax.random.key(0))
    np.testing.assert_allclose(first.obs["path"][0, 0], [0, 0, 20, 0, 40, 0])
    advance = jax.jit(env.step)
    for action in ([1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 0.5 / 16]):
        state, step = advance(state, jnp.array([action]))
    np.testing.assert_allclose(step.obs["path"][0, 0], [0, -0.5, 17, -0.5, 37, -0.5], atol=1e-5)
    np.testing.assert_allclose(step.obs["progress"], [[[3]]], atol=1e-5)


def test_episodes_end_by_the_clock_and_open_on_new_paths():
    actor, taken = rows(1.0, 9, limit=7)
    np.testing.assert_array_equal(taken.step.last[:, 0], [False] * 7 + [True, False])
    np.testing.assert_array_equal(taken.step.obs["position"][8], 0)
    np.testing.assert_array_equal(taken.step.obs["progress"][8], 0)
    np.testing.assert_array_equal(taken.step.discount, 1)
    before = rows(1.0, 105)[0].env.memory.path
    assert (np.asarray(actor.env.memory.path) != np.asarray(before)).any()


def test_wrong_use_is_one_line():
    for settings, said in (
        ({"turns": "round"}, "turns 'round' is not known; choose sharp, mixed, none in env.turns"),
        ({"dynamics": "car"}, "dynamics 'car' is not known; choose velocity, damped in env.dynamics"),
        ({"straights": 0}, "straights must be >= 1, got 0; set env.straights"),
        ({"reach": 0.0}, "reach must be positive, got 0.0; set env.reach"),
        ({"engine": "c"}, "engine 'c' is not known"),
        ({"camera": 1}, "world 'point.path' has no setting 'camera'"),
    ):
        with pytest.raises(ValueError, match=said) as error:
            registry.make("point.path", **settings)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="world 'point.path@pixels' is not known; did you mean 'point.path'"):
        registry.make("point.path@pixels")
    with pytest.raises(ValueError, match="world 'point.path' has no bodies to be drawn"):
        adapters.to_gymnasium("point.path", render_mode="rgb_array")


def test_it_lowers_for_accelerators():
    env = registry.make("point.path", worlds=4)
    state = jax.eval_shape(env.reset, jax.random.key(0))[0]
    exported = jax.export.export(jax.jit(env.step), platforms=("cuda", "tpu"))(state, jnp.zeros((4, 2)))
    assert "callback" not in exported.mlir_module()

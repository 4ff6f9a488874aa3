"""Skills held fixed: same starts, one program, broken rows, spread and noise by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from point_world import LIMIT, MOVES, STEP, WORLDS, point_world

from experiments.fixed_skills import measures
from experiments.shared.lanes import PRIOR, validity
from experiments.stacking import skill_measures, skill_rollouts
from experiments.stacking.skill_rollouts import SkillRollouts, collect
from skillhier.types import Policy


def act(skill=None, *, chance=0.0):
    """Skill k moves along MOVES[k], with a tremble; skill 1 closes the gripper. The prior takes the skills by turns."""

    def step(params, carry, seen, key):
        chosen = jnp.full(WORLDS, skill) if skill is not None else jnp.broadcast_to(carry % 2, WORLDS)
        move = params["speed"] * MOVES[chosen] + chance * jax.random.normal(key, (WORLDS, 3))
        action = jnp.concatenate([move, (chosen == 1).astype(jnp.float32)[:, None] * params["grip"]], -1)
        return carry + 1, action, {"skill": chosen, "note": jnp.zeros((WORLDS, 2))}

    return Policy(lambda worlds: jnp.zeros((), jnp.int32), step)


PARAMS = {"speed": jnp.ones(()), "grip": jnp.full((), 0.8)}


def test_every_skill_starts_where_the_others_do_and_goes_its_own_way():
    rollouts = collect(point_world(), act, PARAMS, 2, jax.random.key(0))
    assert rollouts.skill.tolist() == [PRIOR, 0, 1]
    assert rollouts.pinch.shape == (3, 2 * WORLDS, LIMIT + 1, 3)
    np.testing.assert_array_equal(rollouts.pinch[:, :, 0], np.broadcast_to(rollouts.pinch[0, :, 0], (3, 2 * WORLDS, 3)))
    np.testing.assert_array_equal(rollouts.pinch[0, :WORLDS, 0], rollouts.pinch[0, WORLDS:, 0])  # each start twice
    assert len(np.unique(rollouts.pinch[0, :, 0, 0])) == WORLDS
    for lane, skill in ((1, 0), (2, 1)):
        went = rollouts.pinch[lane] - rollouts.pinch[lane, :, :1]
        np.testing.assert_allclose(
            went, STEP * np.arange(LIMIT + 1)[None, :, None] * np.asarray(MOVES[skill]) + 0 * went, atol=1e-6
        )
    turns = STEP * (MOVES[0] + MOVES[1])  # the prior takes the skills by turns
    np.testing.assert_allclose(
        rollouts.pinch[0, :, 2] - rollouts.pinch[0, :, 0], np.tile(turns, (2 * WORLDS, 1)), atol=1e-6
    )
    assert rollouts.valid.all() and not rollouts.broken.any()
    np.testing.assert_array_equal(rollouts.chosen[0, 0, :4], [0, 1, 0, 1])
    np.testing.assert_array_equal(rollouts.chosen[2], 1)
    np.testing.assert_array_equal(
        rollouts.grasping[2, 0], [False] + [True] * LIMIT
    )  # the newest frame, not the older one
    assert rollouts.action.shape[-1] == 4 and float(rollouts.interval) == 0.5


def test_one_program_serves_all_lanes_and_params_are_data():
    traced = []
    env = point_world(traced=traced)
    slow = collect(env, act, {**PARAMS, "speed": jnp.full((), 0.5)}, 2, jax.random.key(0))
    assert len(traced) <= 2  # a scan looks at its body once, twice where it fixes weak types
    np.testing.assert_allclose(slow.pinch[1, 0, -1, 0] - slow.pinch[1, 0, 0, 0], 0.5 * STEP * LIMIT, atol=1e-6)


def test_fingers_that_are_shut_hold_nothing():
    rollouts = collect(point_world(), act, {**PARAMS, "grip": jnp.ones(())}, 2, jax.random.key(0))
    assert not rollouts.grasping.any() and rollouts.closed[2, :, 1:].all()


def test_a_broken_world_ends_its_episode_and_no_other():
    whole, rollouts = (collect(point_world(at), act, PARAMS, 2, jax.random.key(0)) for at in (None, 7))
    hit = np.arange(2 * WORLDS) % WORLDS == 1
    assert rollouts.broken.tolist() == [2, 2, 2]
    assert rollouts.valid[:, hit, :7].all() and not rollouts.valid[:, hit, 7:].any() and rollouts.valid[:, ~hit].all()
    np.testing.assert_array_equal(rollouts.pinch[:, ~hit], whole.pinch[:, ~hit])
    assert np.abs(skill_measures.mean_paths(rollouts)).max() < 2  # rows of the next episode, at 99, are left out
    row = skill_measures.measure(rollouts)["skills"][1]
    assert row["broken"] == 2 and row["path_length"] < STEP * LIMIT


def test_which_rows_belong_to_an_episode():
    first = np.array([[1, 0, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]], bool)
    last = np.array([[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0]], bool)
    valid, broken = validity(first, last)
    assert valid.astype(int).tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]]
    assert broken.tolist() == [False, True, False]


def test_a_system_without_skills_has_one_lane():
    rollouts = collect(point_world(), act, PARAMS, 0, jax.random.key(0), rows=4)
    found = skill_measures.measure(rollouts)
    assert rollouts.pinch.shape[:3] == (1, 2 * WORLDS, 5)
    assert found["spread"] is None and found["noise"] is None
    assert found["skills"][0]["skill"] is None and found["skills"][0]["shares"] == []


def test_an_entry_that_is_missing_is_named():
    env = point_world()
    env = env._replace(spec=env.spec._replace(obs={"gripper.grasp": env.spec.obs["gripper.grasp"]}))
    with pytest.raises(ValueError, match="no observation entry 'sawyer.pinch.pose'.*it has gripper.grasp"):
        collect(env, act, PARAMS, 2, jax.random.key(0))


def spread(rollouts: SkillRollouts) -> float | None:
    return measures.spread(rollouts.pinch, rollouts.valid, rollouts.skill)


def noise(rollouts: SkillRollouts, **settings) -> float | None:
    return measures.noise(rollouts.pinch, rollouts.valid, rollouts.skill, **settings)


def rollouts_of(paths: np.ndarray, valid: np.ndarray | None = None) -> SkillRollouts:
    """Paths [L, E, T, 3] of skills 0, 1, ... and nothing else."""
    lanes, episodes, rows, _ = paths.shape
    return SkillRollouts(
        skill=np.arange(lanes),
        pinch=paths,
        objects=np.full((lanes, episodes, rows, 3, 3), 5.0),
        closed=np.zeros((lanes, episodes, rows)),
        grasping=np.zeros((lanes, episodes, rows), bool),
        action=np.zeros((lanes, episodes, rows, 2)),
        chosen=np.zeros((lanes, episodes, rows), int),
        valid=np.ones((lanes, episodes, rows), bool) if valid is None else valid,
        broken=np.zeros(lanes, int),
        interval=np.float32(0.05),
    )


def test_spread_and_noise_by_hand():
    paths = np.zeros((3, 4, 2, 3))  # 2 starts, twice each
    paths[1, ..., 0] = 0.3
    paths[2, ..., 1] = 0.4
    assert spread(rollouts_of(paths)) == pytest.approx((0.3 + 0.4 + 0.5) / 3)
    assert noise(rollouts_of(paths)) == 0
    paths[1, 2:, :, 2] = 0.06  # the second pass of one skill of three
    paths[:, [1, 3], :, 0] += 0.1  # all skills alike begin elsewhere at the second start
    assert noise(rollouts_of(paths)) == pytest.approx(0.02)
    assert noise(rollouts_of(paths), across_starts=True) == pytest.approx(0.1)
    assert spread(rollouts_of(paths[:1])) is None


def test_paths_are_compared_only_where_both_run():
    paths = np.zeros((2, 2, 3, 3))
    paths[1, ..., 0] = [0.1, 0.2, 99.0]
    valid = np.ones((2, 2, 3), bool)
    valid[1, :, 2] = False
    assert spread(rollouts_of(paths, valid)) == pytest.approx(0.15)


def test_chance_is_noise_and_skill_is_spread():
    rollouts = collect(point_world(), lambda skill: act(skill, chance=0.3), PARAMS, 2, jax.random.key(1))
    between, within = spread(rollouts), noise(rollouts)
    assert between == pytest.approx(np.sqrt(2) * STEP * LIMIT / 2, rel=0.15)
    assert 0 < within < between / 3
    assert noise(rollouts, across_starts=True) > 3 * within


def test_figures_of_a_lane():
    row = skill_measures.measure(collect(point_world(), act, PARAMS, 2, jax.random.key(0)))["skills"][2]
    assert row["grasping"] == pytest.approx(LIMIT / (LIMIT + 1), abs=1e-3)
    assert row["moved"]["red"] == pytest.approx(STEP * LIMIT, abs=1e-4)
    assert row["displacement"] == pytest.approx([0, 0, -STEP * LIMIT], abs=1e-4)
    assert row["distance_end"]["red"] == pytest.approx(0.03 * np.sqrt(3), abs=1e-4) and row["covered"][
        "red"
    ] == pytest.approx(0, abs=1e-4)
    assert row["lift_red"] == 0 and row["word"] == "grasp red, closed"
    assert row["action_mean"] == [0, 0, -1, 0.8] and row["action_std"] == [0, 0, 0, 0]


WORDS = [
    ({"lifts": {"red": 0.5, "blue": 0.0}}, "lift red, closed"),
    ({"grasping": 0.4, "closest": {"red": 0.3, "blue": 0.04}}, "grasp blue, closed"),
    ({"grasping": 0.4}, "hold still, closed"),  # fingers on the floor, say
    ({"covered": {"red": 0.1, "blue": 0.0}, "closest": {"red": 0.02, "blue": 0.3}}, "reach red, closed"),
    ({"covered": {"red": 0.1, "blue": 0.0}, "displacement": [0.2, 0, 0.1]}, "move outwards to red, closed"),
    ({"displacement": [0, 0, 0.2]}, "rise, closed"),
    ({"displacement": [0, 0.1, -0.2], "covered": {"red": 0.1, "blue": 0.09}}, "go down, closed"),
    ({"displacement": [0, -0.2, 0], "closed": 0.05}, "move right, open"),
    ({"displacement": [0, 0.2, 0], "closed": 0.2}, "move left, half open"),
    ({"displacement": [0.01, 0, 0]}, "hold still, closed"),
]


@pytest.mark.parametrize(("changes", "expected"), WORDS)
def test_words(changes, expected):
    row = {
        "lifts": {"red": 0.0, "blue": 0.0},
        "covered": {"red": 0.0, "blue": 0.0},
        "closest": {"red": 0.3, "blue": 0.2},
        "displacement": [0.0, 0.0, 0.0],
        "grasping": 0.0,
        "closed": 0.9,
    }
    assert skill_measures.word({**row, **changes}) == expected


def test_a_study_is_kept_whole(tmp_path):
    rollouts = collect(point_world(), act, PARAMS, 2, jax.random.key(0))
    found = skill_measures.write(rollouts, tmp_path, {"env": "point"})
    again = skill_rollouts.load(tmp_path)
    for one, other in zip(rollouts, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert found["env"] == "point" and "skill  what it does" in skill_measures.table(found)

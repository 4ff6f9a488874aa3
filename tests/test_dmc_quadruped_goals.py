"""What quadrupeds are after: layouts by their laws, rewards by hand, rows of one task paid by another."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from skillhier.envs import batch, registry
from skillhier.envs.dmc import quadruped, quadruped_goals, quadruped_model

ROWS, LIMIT = 9, 6
NAMES = tuple(quadruped.TASKS)


def test_the_registry_has_them_all():
    assert set(NAMES) == set(quadruped_goals.REWARDS)
    assert set(NAMES) == {name for name in registry.names() if name.startswith("dmc.quadruped") and "@" not in name}
    assert len(NAMES) == 8


# --- layouts ---------------------------------------------------------------------------------------


def drawn(place, count=1000):
    return jax.jit(jax.vmap(place))(jax.random.split(jax.random.key(0), count))


def test_targets_lie_anywhere_in_a_ring():
    places = drawn(quadruped_goals.free())
    away = np.linalg.norm(places.target[:, :2], axis=1)
    assert away.min() >= 3 and away.max() <= 6 + 1e-5
    assert stats.kstest(away**2, stats.uniform(9, 27).cdf).pvalue > 0.01  # every square metre alike
    way = np.arctan2(places.target[:, 1], places.target[:, 0])
    assert stats.kstest(way, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 0.01
    np.testing.assert_array_equal(places.pillars[..., 2], quadruped_model.PARKED)


def test_scattered_pillars_leave_the_start_clear():
    places = drawn(quadruped_goals.scattered())
    xy = np.asarray(places.pillars[..., :2])
    np.testing.assert_array_equal(places.pillars[..., 2], 0)  # all twelve stand
    assert np.linalg.norm(xy, axis=-1).min() >= 2
    assert np.abs(xy).max() <= 8 and np.abs(xy).max() > 7.9
    assert len(np.unique(xy[:, 0, 0])) > 0.99 * len(xy)  # a new layout every time
    assert len(np.unique(xy[0, :, 0])) == quadruped_model.SLOTS
    rng = np.random.default_rng(0)
    square = rng.uniform(-8, 8, (20000, 2))
    square = square[np.linalg.norm(square, axis=1) >= 2]
    for axis in range(2):
        assert stats.ks_2samp(xy[:, :, axis].ravel(), square[:, axis]).pvalue > 0.01


def test_fewer_pillars_park_the_rest():
    places = drawn(quadruped_goals.scattered(pillars=5, field=4.0, clear=4.0), 200)
    np.testing.assert_array_equal((places.pillars[..., 2] == 0).sum(1), 5)
    assert np.linalg.norm(places.pillars[:, :5, :2], axis=-1).min() >= 4  # corners of the field only


def test_the_line_stands_across_the_way():
    places = drawn(quadruped_goals.line())
    wall = np.asarray(places.pillars)
    np.testing.assert_array_equal(wall[:, :5, 2], 0)
    np.testing.assert_array_equal(wall[:, 5:, 2], quadruped_model.PARKED)
    np.testing.assert_array_equal(wall[:, :5, 0], 3)
    np.testing.assert_allclose(np.diff(wall[:, :5, 1], axis=1), 1, atol=1e-6)  # pillars 1 m thick: no gap
    middle = wall[:, 2, 1]
    assert stats.kstest(middle, stats.uniform(-1, 2).cdf).pvalue > 0.01
    assert (wall[:, 0, 1] < 0).all() and (wall[:, 4, 1] > 0).all()  # never beside the straight way
    np.testing.assert_allclose(places.target, [[6, 0, 0.05]] * 1000)


def test_the_cove_is_a_trap():
    places = quadruped_goals.cove()(jax.random.key(0))
    wall = np.asarray(places.pillars)
    assert (wall[7:, 2] == quadruped_model.PARKED).all() and (wall[:7, 2] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(wall[:7, :2] - [2.5, 0], axis=1), 2, atol=1e-6)
    np.testing.assert_allclose(wall[[0, 3, 6], :2], [[2.5, -2], [4.5, 0], [2.5, 2]], atol=1e-6)
    assert (wall[:7, 0] > 2.5 - 1e-6).all()  # open towards the start
    gaps = np.linalg.norm(np.diff(wall[:7, :2], axis=0), axis=1) - 2 * 0.5
    np.testing.assert_allclose(gaps, 4 * math.sin(math.pi / 12) - 1, atol=1e-6)  # 3.5 cm: nobody gets through
    assert np.linalg.norm(wall[:7, :2], axis=1).min() > 2
    np.testing.assert_allclose(places.target, [6, 0, 0.05])
    assert np.linalg.norm(wall[:7, :2] - [6, 0], axis=1).min() > 1 + 0.4  # nobody is paid from inside


def test_too_many_pillars_and_walls_beyond_the_target_are_refused():
    for layout in (quadruped_goals.scattered, quadruped_goals.line, quadruped_goals.cove):
        with pytest.raises(ValueError, match="pillars 13 is not within 1 to 12; set env.pillars"):
            layout(pillars=13)
    with pytest.raises(ValueError, match="a wall at 7.0 m does not stand between start and goal at 6.0 m"):
        quadruped_goals.line(ahead=7.0)


# --- rewards and views by hand ---------------------------------------------------------------------


def entries(torso=(0, 0, 0.6), up=1.0, forward=0.0, target=(4, 0, 0.05)):
    """A torso whose z axis has the height `up`, turned about its x axis."""
    side = math.sqrt(1 - up**2)
    frame = [1, 0, 0, 0, up, -side, 0, side, up]
    told = {"task.torso": torso, "task.frame": frame, "task.velocity": (forward, 0.3, 0.1), "task.target": target}
    return {k: jnp.asarray(v, jnp.float32) for k, v in told.items()}


def test_a_standing_robot_is_paid_half_for_walking_and_running():
    for name in ("dmc.quadruped_walk", "dmc.quadruped_run", "dmc.quadruped_obstacles_random"):
        assert quadruped_goals.REWARDS[name](entries()) == 0.5
    for forward, up, walk, run in (
        (0.25, 1.0, 0.75, 0.525),
        (0.5, 0.0, 0.5, 0.275),
        (7.0, 0.0, 0.5, 0.5),
        (-0.5, 1.0, 0.0, 0.45),
        (-9.0, 1.0, 0.0, 0.0),
        (7.0, -1.0, 0.0, 0.0),
    ):
        given = entries(forward=forward, up=up)
        assert quadruped_goals.moving(given) == pytest.approx(walk)
        assert quadruped_goals.moving(given, quadruped_goals.RUN) == pytest.approx(run)


def test_reach_pays_for_coming_closer():
    pay = quadruped_goals.REWARDS["dmc.quadruped_reach"]
    assert pay(entries()) == 0  # standing where it began
    assert pay(entries(torso=(-1, 0, 0.6))) == 0
    assert pay(entries(torso=(1.8, 0, 0.6))) == pytest.approx(0.5)  # 2.2 m away: half of the way from 4 to 0.4 m
    assert pay(entries(torso=(1.8, 0, 0.6), up=0.0)) == pytest.approx(0.25)
    assert pay(entries(torso=(3.7, 0.2, 2.0))) == 1  # over ground
    assert pay(entries(torso=(4, 0, 0.6), up=-1.0)) == 0
    assert quadruped_goals.reaching(entries(), slack=0.4) == pytest.approx(0.1)  # 0.4 m of 4 m
    assert quadruped_goals.reaching(entries(torso=(3, 0, 0.6)), radius=1.5) == 1


def test_the_cove_pays_at_the_target_only():
    pay = quadruped_goals.REWARDS["dmc.quadruped_obstacles_cove"]
    assert pay(entries(torso=(3.01, 0, 0.6))) == 1 and pay(entries(torso=(4, 0.99, 0.6), up=-1.0)) == 1
    assert pay(entries(torso=(2.99, 0, 0.6))) == 0 and pay(entries(torso=(4, 1.01, 0.6))) == 0


def test_target_and_pillars_are_seen_from_the_torso():
    quarter = jnp.array([0.0, -1, 0, 1, 0, 0, 0, 0, 1])  # its x axis is the world's y axis
    torso = jnp.array([1.0, 2.0, 0.5])
    np.testing.assert_allclose(quadruped_goals.toward(torso, quarter, jnp.array([1, 5, 0.1])), [3, 0, -0.4], atol=1e-6)
    xy = np.array([[1, 4], [9, 9], [0, 2], [1, 2.5], [4, 2], [1, -3]])
    pillars = quadruped_goals.standing_at(jnp.asarray(xy, jnp.float32), np.array([1, 0, 1, 1, 1, 1], bool))
    seen = quadruped_goals.around(torso, quarter, pillars).reshape(5, 2)
    np.testing.assert_allclose(seen, [[0.5, 0], [0, 1], [2, 0], [0, -3], [-5, 0]], atol=1e-6)
    fewer = quadruped_goals.around(torso, quarter, pillars.at[3:].set(quadruped_model.PARKED))
    np.testing.assert_allclose(fewer, [0, 1, 2, 0, 0, 0, 0, 0, 0, 0], atol=1e-6)


# --- episodes --------------------------------------------------------------------------------------


@functools.cache
def every() -> batch.Task:
    """All tasks with the settings they have by default, in one program: world i plays the i-th of NAMES."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quadruped, "make", lambda aims, **settings: aims)
        aims = [make()[0] for make in quadruped.TASKS.values()]
    return quadruped.make(tuple(aims), engine="native")


@functools.cache
def episodes(name="all"):
    """(spec, first step, later steps [ROWS, worlds, ...]) under random actions, as a function of a seed."""
    worlds = 3 * len(NAMES) if name == "all" else 6
    env = batch.make(every(), worlds, limit=LIMIT) if name == "all" else registry.make(name, worlds=worlds, limit=LIMIT)

    @jax.jit
    def run(key):
        k_reset, k_actions = jax.random.split(key)
        state, first = env.reset(k_reset)
        actions = jax.random.uniform(k_actions, (ROWS, worlds, 12), minval=-1.0)
        state, later = jax.lax.scan(env.step, state, actions)
        return state, first, later

    return env.spec, run


@functools.cache
def rows(name="all", seed=0):
    return episodes(name)[1](jax.random.key(seed))


def of(name, tree, axis):
    """The worlds of `tree` that play `name`."""
    return jax.tree.map(lambda x: x[(slice(None),) * axis + (slice(NAMES.index(name), None, len(NAMES)),)], tree)


@pytest.mark.parametrize("name", NAMES)
def test_an_episode_of_every_task(name):
    spec, _ = episodes()
    _, first, later = rows()
    first, later = of(name, first, 0), of(name, later, 1)
    assert {
        k: v.shape[-1] for k, v in spec.obs.items()
    } == quadruped.PROPRIO | quadruped_goals.TRANSFER_ENTRIES | quadruped_goals.PRIVILEGED
    assert spec.privileged == tuple(quadruped_goals.PRIVILEGED)
    assert all(jnp.isfinite(x).all() for x in later.obs.values())
    np.testing.assert_array_equal(later.last[:, 0], [0, 0, 0, 0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(later.first[:, 0], [0, 0, 0, 0, 0, 0, 1, 0, 0])  # none broke
    assert (later.reward >= 0).all() and (later.reward <= 1).all()
    targets = name.endswith(("reach", "upright", "line", "cove")) and "walk" not in name
    assert (later.obs["target_position"] != 0).any(-1).all() == targets
    assert (later.obs["obstacle_positions"] != 0).any(-1).all() == ("obstacles" in name)
    np.testing.assert_array_equal(first.obs["task.torso"][:, 0, :2], 0)  # rewards count on it
    upright = first.obs["torso_upright"] > 0.999999
    assert not upright.any() if name.endswith(("walk", "run", "reach")) else upright.all()
    opened = later.obs["task.target"][LIMIT]  # of the second episodes
    same = (opened == first.obs["task.target"]).all(-1)
    assert same.all() if name.endswith(("line", "cove")) else not same.any()
    if name.endswith("random"):  # a new layout every episode
        assert (later.obs["obstacle_positions"][LIMIT] != first.obs["obstacle_positions"]).any(-1).all()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_paid_can_be_computed_from_the_rows(name):
    later = of(name, rows()[2], 1)
    reward = quadruped_goals.REWARDS[name](later.obs)[..., 0]  # [ROWS, worlds] without the axis of stacks
    np.testing.assert_allclose(jnp.where(later.first, 0, reward), later.reward, rtol=1e-6, atol=1e-6)


def test_walking_rows_paid_for_reaching_are_what_reaching_shows_and_pays():
    """The same key draws the same start and target, and a target changes no motion."""
    _, _, walked = rows("dmc.quadruped_walk_upright", 1)
    _, _, reached = rows("dmc.quadruped_reach_upright", 1)
    aimed = quadruped_goals.aim(walked.obs)
    for entry, value in reached.obs.items():
        np.testing.assert_allclose(aimed[entry], value, rtol=1e-6, atol=1e-6, err_msg=entry)
    paid = jnp.where(walked.first, 0, quadruped_goals.REWARDS["dmc.quadruped_reach_upright"](aimed)[..., 0])
    np.testing.assert_allclose(paid, reached.reward, rtol=1e-6, atol=1e-6)
    assert (reached.reward > 0).any() and (reached.reward != walked.reward).any()


def test_the_rewards_of_all_tasks_agree_on_states_of_one():
    """Rows from among pillars, aimed at the target of each task, against that task's own reward in the same states."""
    task, source = every(), "dmc.quadruped_obstacles_random"
    state, _, later = rows(seed=2)
    on = jnp.array([0.0, 5.5, 2.5])  # m, moved on: to where, for one, the cove's target is
    data, last = of(source, state.data, 0), {k: v[-1, :, 0] for k, v in of(source, later, 1).obs.items()}
    data = data._replace(xpos=data.xpos.at[:, :, 0].add(on[:, None]))
    last["task.torso"] = last["task.torso"].at[:, 0].add(on)

    @jax.jit
    def judged(data, index):
        memory = jax.vmap(task.start, (0, None))(jax.random.split(jax.random.key(5), len(on)), index)[1]
        shown, _ = jax.vmap(task.observe)(data, memory, jnp.zeros((len(on), 12)))
        return memory.target, shown["target_position"], jax.vmap(task.reward_and_discount)(data, memory)[0]

    paid = {}
    for index, name in enumerate(NAMES):
        target, shown, paid[name] = judged(data, jnp.asarray(index))
        aimed = quadruped_goals.aim(last, target)
        np.testing.assert_allclose(quadruped_goals.REWARDS[name](aimed), paid[name], rtol=1e-5, atol=1e-6)
        if (shown != 0).any():
            np.testing.assert_allclose(aimed["target_position"], shown, atol=1e-5)
    np.testing.assert_array_equal(paid["dmc.quadruped_obstacles_cove"], [0, 1, 0])
    assert paid["dmc.quadruped_obstacles_line"][1] > 0.5 > paid["dmc.quadruped_obstacles_line"][0]


def test_stacked_rows_cannot_be_aimed():
    told = {k: jnp.zeros((1, size)) for k, size in quadruped_goals.PRIVILEGED.items()}
    with pytest.raises(ValueError, match="record with env.stack=1"):
        quadruped_goals.aim({**told, "target_position": jnp.zeros((3, 3))})
    assert "target_position" not in quadruped_goals.aim(told)  # as in rows of pixels


def test_pillars_stop_the_robot():
    """Thrown at the line at 5 m/s it stays before it; with the wall's pillars parked it flies on."""
    task = quadruped.obstacles_line(shift=0.0, yaw=0.0, engine="native")
    start, _ = jax.jit(task.start)(jax.random.key(0), jnp.zeros((), jnp.int32))
    start = start._replace(qvel=start.qvel.at[0].set(5.0), qpos=start.qpos.at[0].set(1.0))
    parked = start._replace(mocap_pos=start.mocap_pos.at[:, 2].set(quadruped_model.PARKED))
    state = jax.tree.map(lambda *x: jnp.stack(x), start, parked)

    @jax.jit
    def fly(state):
        step = jax.vmap(lambda s: task.physics.step(s, jnp.zeros(12), jnp.zeros((), bool), s).state)
        return jax.lax.fori_loop(0, 50, lambda _, s: step(s), state).qpos[:, 0]

    before, beyond = fly(state)
    assert before < 2.5 < 3.0 < beyond  # the wall's face is at 2.5 m, its middle at 3 m

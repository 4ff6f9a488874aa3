"""Fetch's worlds against gymnasium-robotics 1.4.2: what is shown, paid and moved; starts; pictures.

The original is no dependency (see `fetch_references`): what it did is in tests/golden/fetch_*.npz, which `python
tests/fetch_references.py` writes where the package is installed. There a test runs the original itself again.
"""

import functools
from pathlib import Path

import fetch_references
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from scipy import stats

from skillhier import rollout
from skillhier.envs import physics, registry
from skillhier.envs.fetch import hand, model, tasks
from skillhier.envs.render import pixels
from skillhier.types import Policy

NAMES = tuple(tasks.KINDS)
EPISODES, STEPS = fetch_references.EPISODES, fetch_references.STEPS
ANGLES = slice(11, 14)  # of the block, in `observation`


@functools.cache
def reference(name):
    with np.load(Path(__file__).parent / "golden" / f"fetch_{name}.npz") as file:
        return dict(file)


@functools.cache
def ours(name, profile="parity", reward="sparse"):
    """(task, one control step of many worlds (state, action [N, 4]) -> state, entries, reward)."""
    task = tasks.make(name, engine="native", profile=profile, reward=reward)

    def one(state, action):
        unread = (jnp.zeros(()),) * 7
        state, ctrl = task.control(physics.Data(state, *unread), (), action)
        data = task.physics.step(state, ctrl, jnp.zeros((), bool), state)
        return data.state, task.observe(data, (), action)[0], task.reward_and_discount(data, ())[0]

    return task, jax.jit(jax.vmap(one))


def states(name, qpos, qvel, goal, time):
    """A state with N worlds."""
    state = physics.initial(ours(name)[0].physics.model)
    state = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(qpos), *x.shape)), state)
    state = state._replace(qpos=jnp.asarray(qpos), qvel=jnp.asarray(qvel), time=jnp.asarray(time, jnp.float32))
    return state._replace(mocap_pos=state.mocap_pos.at[:, model.TARGET].set(goal))


def openings(name):
    """The states in which the recorded episodes began, but for the rounding of the file."""
    task, held = ours(name)[0], reference(name)
    state = jax.vmap(lambda key: task.start(key, 0)[0])(jax.random.split(jax.random.key(0), EPISODES))
    qpos = state.qpos.at[:, model.layout(task.physics.model).block[:2]].set(held["block"])
    return states(name, qpos, state.qvel, held["goal"], np.zeros(EPISODES))


@functools.cache
def stepped(name):
    """Entries and rewards of 500 states, one step after each."""
    held = reference(name)
    flat = {k: held[k].reshape(EPISODES * STEPS, -1) for k in ("qpos", "qvel", "action")}
    goal, time = np.repeat(held["goal"], STEPS, 0), np.tile(np.arange(STEPS) * tasks.INTERVAL, EPISODES)
    _, entries, reward = ours(name)[1](states(name, flat["qpos"], flat["qvel"], goal, time), flat["action"])
    return entries, np.asarray(reward)


def apart(shown, theirs):
    """Distances of observations; angles a turn apart are the same."""
    difference = np.asarray(shown, np.float64) - theirs
    difference[..., ANGLES] = (difference[..., ANGLES] + np.pi) % (2 * np.pi) - np.pi
    return np.abs(difference)


# --- against gymnasium-robotics --------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_model_weighs_what_the_original_s_does(name):
    scene, held = model.build(tasks.KINDS[name].gripper), reference(name)
    assert (scene.nq, scene.nv, scene.nu) == (22, 21, 2 * (name == "pick_and_place"))
    np.testing.assert_allclose(scene.body("base").subtreemass, held["mass"], rtol=1e-12)
    for field, key in (("damping", "damping"), ("armature", "armature"), ("invweight0", "inverse_weight")):
        np.testing.assert_allclose(getattr(scene, f"dof_{field}"), held[key], rtol=1e-9, err_msg=field)


@pytest.mark.parametrize("name", NAMES)
def test_500_states_are_shown_as_the_original_shows_them(name):
    entries, _ = stepped(name)
    held, shown = reference(name), np.asarray(entries["observation"])
    far = apart(shown, held["observation"].reshape(-1, 25))
    assert far[:, :11].max() < 1e-6 and far.max() < 3e-5
    np.testing.assert_array_equal(entries["achieved_goal"], shown[:, 3:6])
    np.testing.assert_array_equal(entries["desired_goal"], np.repeat(held["goal"], STEPS, 0))
    assert np.abs(held["observation"][..., 17:20]).max() > 0.05  # the block was turned


@pytest.mark.parametrize("name", NAMES)
def test_500_states_are_paid_as_the_original_pays_them(name):
    entries, reward = stepped(name)
    theirs = reference(name)["reward"].ravel()
    np.testing.assert_array_equal(reward, theirs)
    np.testing.assert_array_equal(np.asarray(entries["success"])[:, 0], theirs == 0)
    assert set(theirs) == {-1, 0} and 50 < (theirs == 0).sum() < 250


@pytest.mark.parametrize("name", NAMES)
def test_episodes_go_as_the_original_s_do(name):
    """Fifty steps; states between steps are float32 here. A block that is just lost hold of goes its own way."""
    held, state, path = reference(name), openings(name), []
    for t in range(STEPS):
        state, entries, _ = ours(name)[1](state, held["action"][:, t])
        path.append(entries["observation"][:, :6])
    far = np.abs(np.stack(path, 1) - held["path"]).max(-1)
    moved = np.abs(held["path"][:, -1, 3:5] - held["block"]).max(-1)
    assert far[:, :10].max() < 2e-6 and far.max() < 5e-3 and np.median(far.max(1)) < 1e-5
    assert (moved > 0.03).sum() >= 3


@pytest.mark.parametrize("name", NAMES)
def test_episodes_open_as_the_original_s_do(name):
    """The hand is where the original's settles, which is nothing that is drawn; positions are of the instant itself."""
    task, held, state = ours(name)[0], reference(name), openings(name)
    shown = jax.vmap(lambda s: task.observe(physics.Data(s, *(jnp.zeros(()),) * 7), (), jnp.zeros(4))[0])(state)
    assert apart(shown["observation"], held["opening"]).max() < 1e-6
    grip = {"push": (1.3627, 0.7491, 0.41601), "pick_and_place": (1.34191, 0.7491, 0.53472)}[name]
    np.testing.assert_allclose(shown["observation"][0, :3], grip, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_and_goals_are_drawn_as_the_original_draws_them(name):
    task, held = ours(name)[0], reference(name)["draws"]
    state = jax.jit(jax.vmap(lambda key: task.start(key, 0)[0]))(jax.random.split(jax.random.key(1), len(held)))
    block = np.asarray(state.qpos)[:, model.layout(task.physics.model).block[:2]]
    drawn = np.concatenate([block, np.asarray(state.mocap_pos)[:, model.TARGET]], 1)
    grip = model.settled(task.physics.model.nu > 0, tasks.KINDS[name].above).grip
    for rows in (drawn, held):
        away = np.linalg.norm(rows[:, :2] - grip[:2], axis=1)
        assert away.min() >= 0.1 and np.abs(rows[:, :4] - np.tile(grip[:2], 2)).max() <= 0.15 + 1e-6
    for column in range(5 if name == "pick_and_place" else 4):
        assert stats.ks_2samp(drawn[:, column], held[:, column]).pvalue > 0.01, column
    table = [np.abs(rows[:, 4] - 0.42489) < 1e-4 for rows in (drawn, held)]
    share = 1.0 if name == "push" else 0.5
    assert all(abs(low.mean() - share) < 0.07 for low in table) and drawn[:, 4].max() < 0.42490 + 0.45


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_what_the_original_does(name):
    """Only where the original is installed."""
    pytest.importorskip("gymnasium_robotics")
    for key, value in fetch_references.recorded(name).items():
        np.testing.assert_allclose(value, reference(name)[key], atol=1e-5, err_msg=key)


# --- parts -----------------------------------------------------------------------------------------


def test_the_hand_is_where_kinematics_puts_it():
    """By the C engine in random postures: place, sign of the quaternion, and the grip's velocity."""
    scene = model.build(True)
    data, where, rng = mujoco.MjData(scene), model.layout(scene), np.random.default_rng(0)
    body, grip = scene.body("hand").id, scene.site("grip").id
    for _ in range(20):
        data.qpos[where.base], data.qpos[where.arm] = rng.uniform(-0.3, 0.3, 4), rng.uniform(-3, 3, 7)
        data.qvel[:] = rng.normal(size=scene.nv)
        mujoco.mj_forward(scene, data)
        posture = (data.qpos[where.base], data.qpos[where.arm], data.qvel[where.base], data.qvel[where.arm])
        pose = hand.pose(*(jnp.asarray(x, jnp.float32) for x in posture))
        jacobian = np.zeros((3, scene.nv))
        mujoco.mj_jacSite(scene, data, jacobian, None, grip)
        np.testing.assert_allclose(pose.place, data.xpos[body], atol=2e-6)
        np.testing.assert_allclose(pose.turn, data.xquat[body], atol=2e-6)
        np.testing.assert_allclose(pose.grip, data.site_xpos[grip], atol=2e-6)
        np.testing.assert_allclose(pose.velocity, jacobian @ data.qvel, atol=2e-5)


def test_turns_by_hand():
    """A quarter about y; half a step of 0.2 rad about z and back; angles of a turn about each axis alone."""
    quarter = hand.about(jnp.array([0.0, 1.0, 0.0]), jnp.pi / 2)
    np.testing.assert_allclose(hand.matrix(quarter), [[0, 0, 1], [0, 1, 0], [-1, 0, 0]], atol=1e-6)
    there = hand.multiply(hand.turning(jnp.array([0, 0, 0.2])), hand.turning(jnp.array([0, 0, -0.2])))
    np.testing.assert_allclose(there, [1, 0, 0, 0], atol=1e-7)
    np.testing.assert_allclose(hand.turning(jnp.zeros(3)), [1, 0, 0, 0])
    for axis in np.eye(3, dtype=np.float32):
        angles = hand.euler(hand.matrix(hand.about(jnp.asarray(axis), jnp.float32(0.3))))
        np.testing.assert_allclose(angles, 0.3 * axis, atol=1e-6)


def test_a_block_is_put_where_it_is_not_near():
    """The first of the places that is 0.1 m away; the last, if none is."""
    tried = jnp.array([[0.0, 0.09], [0.07, 0.08], [0.15, 0.15]])
    np.testing.assert_allclose(tasks._apart(tried), [0.07, 0.08])
    np.testing.assert_allclose(tasks._apart(tried / 3), [0.05, 0.05])


# --- episodes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_spec(name):
    env = registry.make(f"fetch.{name}", worlds=3)
    assert {k: v.shape[-1] for k, v in env.spec.obs.items()} == tasks.SIZES | {"success": 1}
    assert env.spec.privileged == ("success",) and env.spec.success == "success"
    assert (env.spec.limit, env.spec.action.shape) == (100, (4,)) and env.spec.interval == pytest.approx(0.04)
    assert registry.make(f"fetch.{name}", limit=50).spec.limit == 50


def lived(name, act, worlds, length, **settings):
    """Rows of `worlds` whose actions are act(observation [B, 25], goal [B, 3])."""
    env = registry.make(f"fetch.{name}", worlds=worlds, engine="native", **settings)

    def acts(params, carry, step, key):
        return carry, act(*(step.obs[k][:, 0] for k in ("observation", "desired_goal"))), {}

    policy = Policy(lambda worlds: (), acts)
    run = jax.jit(lambda key: rollout.rollout(env, policy, (), rollout.start(env, policy, key), key, length)[1])
    return run(jax.random.key(0)).step


def test_a_goal_that_is_never_reached_costs_the_limit():
    """Three episodes of 7 steps of a hand that does nothing; a goal that the block lies on by chance costs nothing."""
    step = lived("push", lambda shown, goal: jnp.zeros((16, 4)), 16, 24, limit=7)
    far = np.linalg.norm(np.asarray(step.obs["achieved_goal"] - step.obs["desired_goal"])[:, :, 0], axis=-1)
    total = np.asarray(step.reward).reshape(3, 8, 16).sum(1)
    expected = np.where(far.reshape(3, 8, 16)[:, 1] < 0.05, 0, -7)
    np.testing.assert_array_equal(total, expected)
    assert (expected == -7).sum() > 30
    np.testing.assert_array_equal(step.discount, 1)
    np.testing.assert_array_equal(np.flatnonzero(step.last[:, 0]), [7, 15, 23])


def test_actions_move_the_hand_along_its_axes_and_the_fingers_open():
    """From rest: the soft weld follows 5 cm for half of it, along that axis alone."""
    row = jax.tree.map(lambda x: jnp.repeat(x[:1], 5, 0), openings("pick_and_place"))
    row = row._replace(qvel=0 * row.qvel)
    actions = jnp.zeros((5, 4)).at[jnp.arange(4), jnp.arange(4)].set(1.0)
    _, entries, _ = ours("pick_and_place")[1](row, actions)
    shown = np.asarray(entries["observation"])
    moved = shown[:3, :3] - shown[4, :3]
    np.testing.assert_allclose(np.diag(moved), 0.025, atol=0.01)
    assert np.abs(moved - np.diag(np.diag(moved))).max() < 5e-3
    assert (shown[3, 9:11] > shown[4, 9:11] + 5e-3).all()


def test_dense_pay_is_the_distance():
    task, step = ours("push", reward="dense")
    _, entries, reward = step(openings("push"), reference("push")["action"][:, 0])
    far = np.linalg.norm(np.asarray(entries["achieved_goal"] - entries["desired_goal"]), axis=-1)
    np.testing.assert_allclose(reward, -far, rtol=1e-6)


def test_the_fast_profile_stays_near_the_original():
    """Ten steps from the fifteenth of each recorded episode, where hands have come down to their blocks."""
    held, far = reference("pick_and_place"), []
    for profile in ("parity", "fast"):
        state = states("pick_and_place", held["qpos"][:, 15], held["qvel"][:, 15], held["goal"], np.ones(EPISODES))
        for t in range(10):
            state, entries, _ = ours("pick_and_place", profile)[1](state, held["action"][:, 15 + t])
        far.append(np.asarray(entries["observation"][:, :6]))
    assert np.abs(far[0] - far[1]).max() < 1e-3
    fast = model.build(True, "fast")
    assert (fast.opt.iterations, fast.opt.ls_iterations) == (4, 8) and model.build(True).opt.iterations == 100


# --- pictures --------------------------------------------------------------------------------------


def test_goals_are_seen():
    """A ball is red, and nothing else is; block, arm or hand hide one in nine of them."""
    env = registry.make("fetch.pick_and_place@pixels", worlds=40, engine="native")
    assert env.spec.obs["pixels"].shape == (1, 64, 64, 3) and set(env.spec.obs) == {"pixels", "success"}
    state, step = jax.jit(env.reset)(jax.random.key(0))
    red, green, blue = np.moveaxis(np.asarray(step.obs["pixels"], int)[:, 0], -1, 0)
    ball = (red > green + 25) & (red > blue + 25)
    seen = ball.sum((1, 2))
    assert (seen > 0).mean() > 0.8 and seen.max() <= 9
    # where the ball is, by the camera's own geometry
    scene = tasks.make("pick_and_place", engine="native").physics.model
    eye, axes = scene.cam_pos0[0], scene.cam_mat0[0].reshape(3, 3)
    goal = np.asarray(state.data.state.mocap_pos)[:, model.TARGET] - eye
    right, up, back = (goal @ axes).T
    scale = 32 / np.tan(np.radians(scene.cam_fovy[0] / 2)) / -back
    column, row = 32 + right * scale, 32 - up * scale
    for world in np.flatnonzero(seen):
        rows, columns = np.nonzero(ball[world])
        assert abs(rows.mean() + 0.5 - row[world]) < 1 and abs(columns.mean() + 0.5 - column[world]) < 1


def test_cameras_look_where_the_original_s_do():
    """The free view: 2.5 m from (1.3, 0.75, 0.55), azimuth 132, elevation -14 degrees, computed by hand."""
    scene = model.build(False)
    names = ["free", "near", "external_camera_0", "head_camera_rgb", "gripper_camera_rgb"]
    assert [scene.camera(i).name for i in range(scene.ncam)] == names and pixels.camera_of("fetch.push") == 0
    np.testing.assert_allclose(scene.cam_pos0[0], [2.92311, -1.05266, 1.15480], atol=1e-4)
    ahead = -scene.cam_mat0[0].reshape(3, 3)[:, 2]
    np.testing.assert_allclose(scene.cam_pos0[0] + 2.5 * ahead, [1.3, 0.75, 0.55], atol=1e-9)


def test_wrong_settings_are_refused_in_one_line():
    for name, settings, said in (
        ("fetch.push", {"profile": "slow"}, "profile 'slow' is not known; choose auto, parity or fast in env.profile"),
        ("fetch.push", {"reward": "shaped"}, "reward 'shaped' is not known; choose sparse or dense in env.reward"),
        ("fetch.push", {"rewards": "dense"}, "has no setting 'rewards'; did you mean 'reward'"),
        ("fetch.pick", {}, "world 'fetch.pick' is not known; did you mean 'fetch.push'"),
    ):
        with pytest.raises(ValueError, match=said) as error:
            registry.make(name, **settings)
        assert "\n" not in str(error.value)


def test_what_touches_what():
    """Hand and block each other, table and floor; the base the floor; what is only seen, nothing."""
    scene = model.build(True)

    def meets(a, b):
        one, two = scene.geom(a), scene.geom(b)
        return bool(one.contype[0] & two.conaffinity[0] | two.contype[0] & one.conaffinity[0])

    things = ("palm", "right_finger", "block", "table", "floor", "base")
    pairs = {(a, b) for i, a in enumerate(things) for b in things[i + 1 :] if meets(a, b)}
    hands = {(part, other) for part in ("palm", "right_finger") for other in ("block", "table", "floor")}
    assert pairs == hands | {("block", "table"), ("block", "floor"), ("floor", "base")}
    assert not any(meets(i, j) for i in range(scene.ngeom) if not scene.geom(i).name for j in range(scene.ngeom))

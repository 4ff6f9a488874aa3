"""Control-suite tasks against dm_control's own task code: what is seen and paid, how episodes open and go on."""

import mujoco
import numpy as np
import pytest
import suite_reference as ref
from scipy import stats
from suite_reference import NAMES, ONE_EACH

from skillhier.envs import physics
from skillhier.envs.dmc import cheetah, suite

STATES, STEPS, STARTS = 500, 100, 600
TOUCH = 1e-3  # relative: sensors of contact forces


def put(env, qpos, qvel):
    """dm_control's world at a state, as an episode of it opens."""
    with env.physics.reset_context():
        env.physics.data.qpos[:], env.physics.data.qvel[:] = qpos, qvel


def act(env, action, steps):
    env.physics.set_control(action)
    env.physics.step(steps)


@pytest.mark.parametrize("name", NAMES)
def test_observation_and_reward_are_the_suites(name):
    """500 random states and a control step from each: every entry in the suite's order, and the reward."""
    env, made = ref.theirs(name), ref.task(name)
    state, action = ref.states(name, STATES)
    obs, reward = ref.told(made, ref.stepped(made, state, action))
    paid = np.zeros(STATES)
    for i in range(STATES):
        put(env, state.qpos[i], state.qvel[i])
        act(env, action[i], made.physics.substeps)
        want = ref.flat(env.task.get_observation(env.physics))
        assert list(want) == list(made.obs)
        for entry, value in want.items():
            tolerance = TOUCH if entry == "touch" else 1e-5
            np.testing.assert_allclose(obs[entry][i], value, rtol=tolerance, atol=1e-5, err_msg=entry)
            assert made.obs[entry].shape == value.shape
        paid[i] = env.task.get_reward(env.physics)
    np.testing.assert_allclose(reward, paid, atol=1e-5)
    assert np.ptp(paid) > 0.3 and np.mean(paid > 0) > 0.02  # the states tell the task's parts apart


@pytest.mark.parametrize("name", ONE_EACH)
def test_an_opening_row_is_the_suites(name):
    """At a start, before anything moved. Only touch differs: ours feels nothing until the first physics step."""
    env, made = ref.theirs(name), ref.task(name)
    state, _ = ref.states(name, 50, seed=1)
    obs, reward = ref.told(made, ref.opened(made, state))
    for i in range(50):
        put(env, state.qpos[i], state.qvel[i])
        want = ref.flat(env.task.get_observation(env.physics))
        for entry in set(want) - {"touch"}:
            np.testing.assert_allclose(obs[entry][i], want[entry], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(reward[i], env.task.get_reward(env.physics), atol=1e-5)
    if "touch" in obs:
        assert (obs["touch"] == 0).all()


def test_actions_and_episodes_are_the_suites():
    for name in NAMES:
        env, made = ref.theirs(name), ref.task(name)
        spec = env.action_spec()
        assert spec.shape == made.action.shape
        np.testing.assert_allclose(env.control_timestep(), made.interval)
        assert env._step_limit == made.limit
        for action, want in ((-1.0, spec.minimum), (1.0, spec.maximum)):
            _, ctrl = made.control(physics.Data(*[None] * 8), (), np.full(made.action.shape, action))
            np.testing.assert_allclose(ctrl, want)


def test_actions_reach_the_ends_of_a_crooked_range():
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><body><joint name='j'/><geom size='1'/></body></worldbody>"
        "<actuator><motor joint='j' ctrlrange='-1 1.1'/><motor joint='j' ctrlrange='2 6'/></actuator></mujoco>"
    )
    stretch = suite.stretched(model)
    np.testing.assert_allclose(stretch(np.array([-1.0, -1.0])), [-1, 2])
    np.testing.assert_allclose(stretch(np.array([0.0, 0.5])), [0.05, 5], atol=1e-6)


def rollout(name, rounded, steps=STEPS):
    """Ours and dm_control's observation, reward after each of `steps` random actions, from one of its starts.

    Our states are float32 between control steps. `rounded` does the same to dm_control's world.
    """
    env, made = ref.theirs(name), ref.task(name)
    state, _ = ref.states(name, 1, seed=2)
    put(env, state.qpos[0], state.qvel[0])
    data, rng = env.physics.data, np.random.default_rng(3)
    data.qacc_warmstart[:] = data.qacc_warmstart.astype(np.float32)
    state = state._replace(warmstart=np.float32(data.qacc_warmstart)[None])
    ours, want = [], []
    for _ in range(steps):
        action = rng.uniform(-1, 1, (1, *made.action.shape)).astype(np.float32)
        record = ref.stepped(made, state, action)
        state = record.state
        obs, reward = ref.told(made, record)
        ours.append([np.concatenate([v[0] for v in obs.values()]), reward[0]])
        act(env, action[0], made.physics.substeps)
        obs = ref.flat(env.task.get_observation(env.physics))
        want.append([np.concatenate(list(obs.values())), env.task.get_reward(env.physics)])
        if rounded:
            for field in (data.qpos, data.qvel, data.qacc_warmstart):
                field[:] = field.astype(np.float32)
            mujoco.mj_step1(env.physics.model.ptr, data.ptr)
    assert data.time > 0.9 * steps * made.interval
    return [np.array([row[i] for row in rows]) for i in (0, 1) for rows in (ours, want)]


@pytest.mark.parametrize("name", ONE_EACH)
def test_trajectories_follow_the_suite(name):
    """100 control steps: the same to the last bit where both round alike, and closely where only ours does.

    That one rounding grows is the worlds' own: a walker on the ground multiplies it by 10 in 5 steps.
    """
    obs, want, reward, paid = rollout(name, rounded=True)
    np.testing.assert_allclose(obs, want, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(reward, paid, atol=1e-6)
    obs, want, reward, paid = rollout(name, rounded=False, steps=10)
    np.testing.assert_allclose(obs, want, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(reward, paid, atol=1e-4)


def test_poses_and_speeds_are_of_the_instant_and_touch_of_the_step_before():
    """The suite's refresh at the end of a control step; what MuJoCo leaves after its last step is one step older."""
    made = ref.task("dmc.hopper_hop")
    model = made.physics.model
    state, action = ref.states("dmc.hopper_hop", 100)
    data = ref.stepped(made, state, action)
    late = speeds = forces = 0
    for i in range(100):
        plain = mujoco.MjData(model)
        plain.qpos[:], plain.qvel[:], plain.ctrl[:] = state.qpos[i], state.qvel[i], action[i]
        mujoco.mj_step(model, plain, made.physics.substeps)
        touch, older = plain.sensordata[3:].copy(), plain.sensordata[:3].copy()
        mujoco.mj_forward(model, plain)
        np.testing.assert_allclose(data.xpos[i], plain.xpos, atol=1e-5)
        np.testing.assert_allclose(data.sensordata[i, :3], plain.sensordata[:3], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(data.sensordata[i, 3:], touch, rtol=TOUCH, atol=1e-4)
        speeds += np.abs(older - plain.sensordata[:3]).max() > 1e-2
        forces += touch.max() > 0
        late += np.abs(touch - plain.sensordata[3:]).max() > 1e-2
    assert speeds > 50 and forces >= 10 and late >= 5  # the order of things shows


@pytest.mark.parametrize("name", (*ONE_EACH, "dmc.cartpole_balance"))
def test_episodes_open_where_the_suites_do(name):
    """Each coordinate of 600 starts and of 600 of dm_control's own: two-sample Kolmogorov-Smirnov tests."""
    env, made = ref.theirs(name, seed=11), ref.task(name)
    mine = ref.starts(made, STARTS, seed=7)
    mine = np.concatenate([mine.qpos, mine.qvel], 1)
    want = np.zeros_like(mine)
    for row in want:
        with env.physics.reset_context():
            env.task.initialize_episode(env.physics)
        row[:] = np.concatenate([env.physics.data.qpos, env.physics.data.qvel])
    varied = np.ptp(want, axis=0) > 1e-6
    np.testing.assert_allclose(mine[:, ~varied], want[:, ~varied], atol=1e-6)
    assert varied.any()
    values = [stats.ks_2samp(mine[:, k], want[:, k]).pvalue for k in np.flatnonzero(varied)]
    assert min(values) > 1e-3, values
    shifted = mine[:, varied] + 0.4 * np.std(mine[:, varied], axis=0)
    assert stats.ks_2samp(shifted[:, -1], want[:, varied][:, -1]).pvalue < 1e-3  # what the test would notice


def test_cheetahs_settle_as_the_suites(tmp_path):
    """The very state that the suite reaches from the same joints; and the bank of such rows is kept."""
    env, model = ref.theirs("dmc.cheetah_run", seed=5), suite.load("cheetah")
    limited = model.jnt_limited.astype(bool)
    drawn, want = np.tile(model.qpos0, (8, 1)), np.zeros((8, model.nq))
    for i in range(8):
        before = env.task.random.get_state()
        drawn[i, limited] = env.task.random.uniform(*model.jnt_range[limited].T)
        env.task.random.set_state(before)
        with env.physics.reset_context():
            env.task.initialize_episode(env.physics)
        want[i] = env.physics.data.qpos
    rows = cheetah.settle(model, drawn)
    np.testing.assert_allclose(rows["qpos"], want, atol=1e-6)
    made = cheetah.settled(5, seed=1, folder=str(tmp_path))
    cheetah.settled.cache_clear()
    np.testing.assert_array_equal(cheetah.settled(5, seed=1, folder=str(tmp_path))["qpos"], made["qpos"])
    assert len(list(tmp_path.iterdir())) == 1 and np.ptp(made["qpos"][:, 3:], axis=0).min() > 1e-4
    again = cheetah.settle(model, cheetah._random_joints(model, 5, 1))
    np.testing.assert_array_equal(again["qvel"], made["qvel"])


def test_models_are_the_suites():
    """Every number of a model, but for the energies that are not computed."""
    for name in ONE_EACH:
        model, want = ref.task(name).physics.model, ref.theirs(name).physics.model.ptr
        numbers = [n for n in dir(want) if isinstance(getattr(want, n, None), np.ndarray)]
        assert len(numbers) > 200
        differ = [n for n in numbers if not np.array_equal(getattr(model, n), getattr(want, n), equal_nan=True)]
        assert set(differ) <= {"mat_rgba"}, (name, differ)  # the suite's tasks recolour their robots
        assert want.opt.enableflags & ~int(mujoco.mjtEnableBit.mjENBL_ENERGY) == model.opt.enableflags


def test_the_fast_profile_says_what_it_changes():
    parity, fast = (suite.load("walker", profile).opt for profile in ("parity", "fast"))
    assert (parity.iterations, parity.ls_iterations, fast.iterations, fast.ls_iterations) == (100, 50, 8, 8)
    assert fast.disableflags == parity.disableflags  # joint damping stays implicit: a cheetah would move otherwise
    assert suite.load("walker", "fast").numeric("max_contact_points").data[0] == suite.CAPS["walker"][0]
    with pytest.raises(ValueError, match="profile 'slow' is not known; choose auto, parity or fast in env.profile"):
        suite.load("walker", "slow")


@pytest.mark.parametrize("name", ("dmc.cheetah_run", "dmc.walker_run", "dmc.hopper_hop"))
def test_a_step_under_the_fast_profile_is_the_suites(name):
    """From every state of 30 control steps of random actions in 16 worlds: within 1e-3 m or rad after one more."""
    state, action = ref.states(name, 16, seed=4)
    parity, fast = ref.task(name), ref.task(name, "native", "fast")
    for _ in range(20):  # what was drawn into the ground has come out of it
        state = ref.stepped(parity, state, 0 * action).state
    moved, apart = [], []
    for k in range(30):
        one, two = (ref.stepped(made, state, np.roll(action, k, 0)).state.qpos for made in (parity, fast))
        apart.append(np.abs(np.asarray(one) - two).max())
        state = ref.stepped(parity, state, np.roll(action, k, 0)).state
        moved.append(np.asarray(state.qpos))
    assert max(apart) < 1e-3 and np.ptp(moved, axis=0).max() > 0.1


def test_tasks_of_a_domain_share_their_physics():
    assert ref.task("dmc.walker_walk").physics.step is ref.task("dmc.walker_run").physics.step
    assert ref.task("dmc.cartpole_swingup").physics.step is ref.task("dmc.cartpole_balance_sparse").physics.step

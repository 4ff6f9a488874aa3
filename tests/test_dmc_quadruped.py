"""The quadruped against dm_control's own: what it shows and is paid, how it moves, how episodes open."""

import functools
import os
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.spatial.transform import Rotation

from skillhier.envs import physics, registry
from skillhier.envs.dmc import quadruped, quadruped_goals, quadruped_model, suite

STATES = 500
LOOSE = ("imu", "force_torque")  # entries with readings of accelerations and forces


@functools.cache
def theirs(task="walk"):
    """dm_control's environment, and the module that it comes from; it looks for a window that nobody needs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ.setdefault("MUJOCO_GL", "disabled")
        control_suite = pytest.importorskip("dm_control.suite")
    return control_suite.load("quadruped", task, task_kwargs={"random": 0}), control_suite.quadruped


@functools.cache
def ours(layout, profile="parity"):
    """(task, one control step from many states: (qpos, qvel, act, ctrl) [N, ...] -> entries, reward, record)."""
    task = quadruped.move(layout=layout, profile=profile, engine="native")

    def one(qpos, qvel, act, ctrl):
        state = physics.initial(task.physics.model, qpos, qvel, act)
        if len(state.mocap_pos):
            state = state._replace(mocap_pos=state.mocap_pos.at[:, 2].set(quadruped_model.PARKED))
        data = task.physics.step(state, ctrl, jnp.zeros((), bool), state)
        memory = quadruped.Memory(jnp.zeros((), jnp.int32), jnp.ones(3))
        return task.observe(data, memory, ctrl)[0], task.reward_and_discount(data, memory)[0], data

    return task, jax.jit(jax.vmap(one))


def states(seed=0, count=STATES):
    """Random (qpos, qvel, act, ctrl) [count, ...] in any orientation, many of them in contact, in float32."""
    rng, model = np.random.default_rng(seed), suite_model()
    qpos = np.tile(model.qpos0, (count, 1))
    qpos[:, 2] = rng.uniform(0.35, 0.9, count)
    qpos[:, 3:7] = Rotation.random(count, random_state=seed).as_quat()
    qpos[::2, 3:7] = [1, 0, 0, 0]
    qpos[:, 7:] = rng.uniform(*model.jnt_range[1:].T, (count, 16)) * rng.uniform(0, 1, (count, 1))
    qvel = rng.normal(0, 1, (count, model.nv))
    act = rng.uniform(-0.8, 0.8, (count, model.na))
    ctrl = rng.uniform(*model.actuator_ctrlrange.T, (count, model.nu))
    return [x.astype(np.float32) for x in (qpos, qvel, act, ctrl)]


def suite_model():
    return quadruped_model.build("parity", arena=False)


def place(env, qpos, qvel, act):
    data = env.physics.data
    data.qpos[:], data.qvel[:], data.act[:], data.time = qpos, qvel, act, 0
    env.physics.forward()
    data.qacc_warmstart[:] = 0


@functools.cache
def stepped():
    """dm_control's observations and its rewards for walk and run, one control step after `states()`."""
    env, module = theirs()
    runs = module.Move(desired_speed=quadruped_goals.RUN)
    seen, paid = [], []
    for qpos, qvel, act, ctrl in zip(*states(), strict=True):
        place(env, qpos, qvel, act)
        env.task.before_step(ctrl.astype(np.float64), env.physics)
        env.physics.step(quadruped.SUBSTEPS)
        seen.append({k: np.atleast_1d(v) for k, v in env.task.get_observation(env.physics).items()})
        paid.append([env.task.get_reward(env.physics), runs.get_reward(env.physics)])
    return {k: np.stack([row[k] for row in seen]) for k in seen[0]}, np.array(paid)


@pytest.mark.parametrize("layout", quadruped.LAYOUTS)
def test_what_is_seen_and_paid_is_what_the_suite_says(layout):
    seen, paid = stepped()
    shown, reward, _ = ours(layout)[1](*states())
    assert list(seen) == list(quadruped.PROPRIO)  # and in this order
    for name, entry in seen.items():
        tight = dict(rtol=1e-5, atol=1e-5) if name not in LOOSE else dict(rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(shown[name], entry, err_msg=name, **tight)
    np.testing.assert_allclose(shown["imu"][:, 3:], seen["imu"][:, 3:], rtol=1e-5, atol=1e-5)  # the gyro
    np.testing.assert_allclose(reward, paid[:, 0], atol=1e-5)
    np.testing.assert_allclose(quadruped_goals.moving(shown, quadruped_goals.RUN), paid[:, 1], atol=1e-5)
    assert np.ptp(paid[:, 0]) > 0.9  # states on which it matters
    assert (np.abs(seen["force_torque"]).max(1) > 5).sum() > 50  # N, after asinh: feet on the floor


def test_the_layout_of_the_suite_is_the_suite_s_78_numbers():
    env = registry.make("dmc.quadruped_run", layout="suite")
    public = {k: v.shape[-1] for k, v in env.spec.obs.items() if k not in env.spec.privileged}
    assert public == quadruped.PROPRIO and sum(public.values()) == 78
    assert env.spec.interval == 0.02 and env.spec.limit == 1000 and env.spec.action.shape == (12,)
    model, dm = quadruped_model.build("parity", arena=False), theirs("run")[0].physics.model
    assert (model.nbody, model.ngeom, model.nq, model.nu) == (dm.nbody, dm.ngeom, dm.nq, dm.nu)
    for field in ("body_mass", "geom_contype", "geom_size", "geom_friction", "dof_damping", "actuator_ctrlrange"):
        np.testing.assert_array_equal(getattr(model, field), getattr(dm, field), err_msg=field)
    assert model.stat.extent == dm.stat.extent and model.opt.timestep * quadruped.SUBSTEPS == 0.02


def test_it_moves_as_the_suite_s_does():
    """50 control steps under random controls from a standing start; states between steps are float32 here."""
    env, _ = theirs()
    task, _ = ours("transfer")
    rng = np.random.default_rng(1)
    ctrl = rng.uniform(-0.8, 0.8, (50, 12)).astype(np.float32)
    state = physics.initial(task.physics.model)
    step = jax.jit(task.physics.step)
    place(env, state.qpos, state.qvel, state.act)
    away = []
    for u in ctrl:
        env.task.before_step(u.astype(np.float64), env.physics)
        env.physics.step(quadruped.SUBSTEPS)
        state = step(state, u, jnp.zeros((), bool), state).state
        away.append(np.abs(np.asarray(state.qpos) - env.physics.data.qpos).max())
    assert np.abs(np.asarray(state.qpos[:2])).max() > 0.02  # it went somewhere
    assert max(away[:10]) < 1e-5 and max(away) < 1e-2


def test_a_runner_beyond_100_m_is_not_taken_for_broken():
    """At more than the 5 m/s that are paid in full, an episode of 20 s leads there."""
    qpos, qvel, act, ctrl = (x[:STATES] for x in states())
    _, _, data = ours("transfer")[1](qpos + np.eye(23, dtype=np.float32)[0] * 150, qvel, act, ctrl)
    assert not data.broken.any() and (data.state.qpos[:, 0] > 149).all()


# --- starts ----------------------------------------------------------------------------------------


def raised(quaternion):
    """Where the suite's own loop leaves the torso."""
    env, module = theirs()
    module._find_non_contacting_height(env.physics, quaternion)
    return env.physics.data.qpos[2]


def test_the_height_in_closed_form_is_where_the_suite_s_loop_ends():
    hull = quadruped_model.robot(suite_model()).hull
    turns = Rotation.random(60, random_state=3).as_quat()
    turns[:5] = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0.6, 0, 0, 0.8]]
    found = jax.vmap(lambda q: quadruped_model.clearance(hull, q))(turns.astype(np.float32))
    np.testing.assert_allclose(found, [raised(q) for q in turns], atol=1e-6)
    assert np.ptp(found) > 0.3


@functools.cache
def starts(name, count=1000):
    """The first row [count, ...] of many episodes, without privileged entries' stack axis."""
    env = registry.make(name, worlds=count)
    _, step = jax.jit(env.reset)(jax.random.key(0))
    return {k: np.asarray(v[:, 0]) for k, v in step.obs.items()}


def test_random_starts_are_distributed_as_the_suite_s():
    env, _ = theirs()
    drawn = []
    for _ in range(120):
        env.task.initialize_episode(env.physics)
        xmat = env.physics.named.data.xmat["torso"]
        drawn.append([env.physics.data.qpos[2], *xmat])
    drawn, mine = np.array(drawn), starts("dmc.quadruped_walk")
    columns = np.column_stack([mine["task.torso"][:, 2], mine["task.frame"]])
    for i in range(10):
        assert stats.ks_2samp(columns[:, i], drawn[:, i]).pvalue > 0.01, i
    np.testing.assert_array_equal(mine["task.torso"][:, :2], 0)
    np.testing.assert_array_equal(mine["egocentric_state"], 0)
    np.testing.assert_array_equal(mine["torso_velocity"], 0)


def test_upright_starts_look_every_way_and_into_an_arena_ahead():
    for name, most in (("dmc.quadruped_walk_upright", 180), ("dmc.quadruped_obstacles_cove", 30)):
        seen = starts(name)
        np.testing.assert_allclose(seen["torso_upright"], 1, atol=1e-6)
        yaw = np.rad2deg(np.arctan2(seen["task.frame"][:, 3], seen["task.frame"][:, 0]))
        assert stats.kstest(yaw, stats.uniform(-most, 2 * most).cdf).pvalue > 0.01
        assert np.ptp(seen["task.torso"][:, 2]) < 1e-6
    height = raised(np.array([1.0, 0, 0, 0]))
    np.testing.assert_allclose(seen["task.torso"][0], [0, 0, height], atol=1e-6)


# --- profiles --------------------------------------------------------------------------------------


def test_the_fast_profile_differs_as_it_says():
    fast, exact = quadruped_model.build("fast"), quadruped_model.build("parity")
    assert (fast.opt.iterations, exact.opt.iterations) == (4, 100)
    assert fast.geom("eye_l").contype == 0 and exact.geom("eye_l").contype == 3
    names = [fast.geom(i).name for i in range(fast.ngeom)]

    def meets(model, a, b):
        a, b = model.geom(a), model.geom(b)
        return bool((a.contype[0] & b.conaffinity[0]) | (b.contype[0] & a.conaffinity[0]))

    body = [n for n in names if not n.startswith(("pillar", "floor", "target", "eye", "ball", "torso"))]
    assert len(body) == 16
    for model, itself in ((fast, False), (exact, True)):
        for name in body:
            assert meets(model, name, "floor") and meets(model, name, "pillar_3"), name
            assert meets(model, name, "torso") == itself
            assert meets(model, name, "thigh_back_left") == itself
        assert meets(model, "torso", "floor") and meets(model, "torso", "pillar_0") == itself
        assert not meets(model, "pillar_0", "pillar_1") and not meets(model, "pillar_0", "floor")
        assert not any(meets(model, "target", name) for name in names if name != "ball")
    assert meets(fast, "ball", "pillar_0") and fast.geom("ball").contype & fast.geom("floor").conaffinity == 0
    np.testing.assert_array_equal(fast.body_mass, exact.body_mass)
    np.testing.assert_array_equal(fast.body_inertia, exact.body_inertia)


def test_the_fast_profile_stays_near_the_suite_s_physics():
    """10 control steps from states that are not inside themselves: see docs/worlds.md for longer ones."""
    model = suite_model()
    ctrl = np.random.default_rng(2).uniform(-0.8, 0.8, (10, 8, model.nu)).astype(np.float32)
    ends = {}
    for profile in ("parity", "fast"):
        qpos = np.tile(model.qpos0, (8, 1)).astype(np.float32)
        qvel, act = np.zeros((8, model.nv), np.float32), np.zeros((8, model.na), np.float32)
        for u in ctrl:
            state = ours("transfer", profile)[1](qpos, qvel, act, u)[2].state
            qpos, qvel, act = state.qpos, state.qvel, state.act
        ends[profile] = np.asarray(qpos)
    difference = np.abs(ends["fast"] - ends["parity"]).max()
    assert 1e-6 < difference < 0.1


def test_wrong_settings_are_refused_in_one_line():
    for settings, said in (
        ({"layout": "own"}, "layout 'own' is not known; choose transfer or suite in env.layout"),
        ({"start": "lying"}, "start 'lying' is not known; choose random or upright in env.start"),
        ({"profile": "slow"}, "profile 'slow' is not known; choose auto, parity or fast"),
        ({"yaw": 200.0}, "yaw 200.0 is not within 0 to 180 degrees; set env.yaw"),
        ({"speed": 0.0}, "speed must be positive, got 0.0; set env.speed"),
        ({"near": 1.0}, "has no setting 'near'"),
    ):
        with pytest.raises(ValueError, match=said):
            registry.make("dmc.quadruped_walk", **settings)
    for settings, said in (
        ({"near": 7.0}, "near 7.0 m and far 6.0 m: want 0 < near <= far"),
        ({"radius": 3.5}, "radius 3.5 m is not within 0 and 3.0 m"),
    ):
        with pytest.raises(ValueError, match=said):
            registry.make("dmc.quadruped_reach", **settings)
    assert suite.LIMIT == 1000

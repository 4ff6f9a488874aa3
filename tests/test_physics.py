"""Both engines: pure under every transformation, alike, and never poisoned by one bad world."""

import functools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from skillhier.envs import physics

SCENE = """
<mujoco><option timestep="0.005"/>
<worldbody>
  <geom type="plane" size="2 2 .1"/>
  <body name="box" pos="0 0 .049"><freejoint/><geom type="box" size=".05 .05 .05"/></body>
  <body name="arm" pos="1 0 .5"><joint name="hinge" axis="0 1 0" damping=".1"/>
    <geom type="capsule" size=".03" fromto="0 0 0 .3 0 0"/><site name="tip" pos=".3 0 0"/></body>
  <body name="ghost" mocap="true" pos="0 1 0"><site name="ghost"/></body>
</worldbody>
<actuator><intvelocity joint="hinge" kp="20" kv="1" actrange="-1 1"/></actuator>
<sensor><framepos objtype="site" objname="tip"/><framelinvel objtype="site" objname="tip"/><torque site="tip"/>
  <framepos objtype="site" objname="ghost"/></sensor>
</mujoco>"""
ENGINES = ("native", "mjx")


@functools.cache
def world(engine):
    model = mujoco.MjModel.from_xml_string(SCENE)
    return physics.make(model, substeps=5, engine=engine)


def many(engine, worlds=6):
    """`worlds` copies of the start, each with its own speed."""
    start = physics.initial(world(engine).model)
    start = jax.tree.map(lambda x: jnp.broadcast_to(x, (worlds, *x.shape)), start)
    return start._replace(qvel=start.qvel.at[:, 0].set(0.1 * jnp.arange(worlds)))


@functools.cache
def stepper(engine):
    return jax.jit(jax.vmap(world(engine).step))


@functools.cache
def opener(engine):
    return jax.jit(jax.vmap(world(engine).reset))


def leaves(tree):
    return [np.asarray(x) for x in jax.tree.leaves(tree)]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_control_step_is_the_same_number_of_mujoco_steps(engine):
    """Against plain mj_step, one world at a time: state, poses, and each sensor at its own instant."""
    start, no = many(engine), jnp.zeros(6, bool)
    data = opener(engine)(start)
    for _ in range(2):
        data = stepper(engine)(data.state, jnp.full((6, 1), 0.5), no, start)
    model = world(engine).model
    for i in range(6):
        plain = mujoco.MjData(model)
        plain.qvel[0] = 0.1 * i
        plain.ctrl[:] = 0.5
        mujoco.mj_step(model, plain, 10)
        torque = plain.sensordata[6:9].copy()
        mujoco.mj_forward(model, plain)
        atol = 1e-5 if engine == "native" else 2e-4
        np.testing.assert_allclose(data.state.qpos[i], plain.qpos, atol=atol)
        np.testing.assert_allclose(data.state.act[i], plain.act, atol=1e-6)
        np.testing.assert_allclose(data.state.time[i], plain.time, atol=1e-6)
        np.testing.assert_allclose(data.xpos[i], plain.xpos, atol=atol)
        np.testing.assert_allclose(data.xmat[i].reshape(-1, 9), plain.xmat, atol=atol)
        np.testing.assert_allclose(data.site_xmat[i].reshape(-1, 9), plain.site_xmat, atol=atol)
        np.testing.assert_allclose(data.sensordata[i, :6], plain.sensordata[:6], atol=10 * atol)
        np.testing.assert_allclose(data.sensordata[i, 6:9], torque, atol=100 * atol)
        np.testing.assert_allclose(data.sensordata[i, 9:], [0, 1, 0])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_bad_world_is_opened_anew_and_its_neighbours_do_not_feel_it(engine):
    start, no = many(engine), jnp.zeros(6, bool)
    state = stepper(engine)(start, jnp.full((6, 1), 0.5), no, start).state
    good = stepper(engine)(state, jnp.full((6, 1), 0.5), no, start)
    bad = state._replace(
        qvel=state.qvel.at[1, 0].set(1e8).at[2, 3].set(jnp.nan),
        qpos=state.qpos.at[3, 2].set(jnp.inf).at[4, 0].set(1e11),
    )
    data = stepper(engine)(bad, jnp.full((6, 1), 0.5), no, start)
    np.testing.assert_array_equal(data.broken, [False, True, True, True, True, False])
    for mine, clean, opened in zip(leaves(data), leaves(good), leaves(opener(engine)(start)), strict=True):
        assert np.isfinite(mine).all()
        np.testing.assert_array_equal(mine[[0, 5]], clean[[0, 5]])
        if mine.dtype != bool:  # `broken` itself differs
            np.testing.assert_allclose(mine[1:5], opened[1:5], atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_may_have_a_shorter_reach_than_the_next(engine):
    start, no = many(engine), jnp.zeros(6, bool)
    far = start._replace(qpos=start.qpos.at[:, 1].add(jnp.array([0.0, 5.0, 9.0, 11.0, 50.0, -20.0])))
    near = physics.make(world(engine).model, substeps=5, engine=engine, reach=10.0)
    for step, broken in ((stepper(engine), []), (jax.jit(jax.vmap(near.step)), [3, 4, 5])):
        data = step(far, jnp.zeros((6, 1)), no, start)
        np.testing.assert_array_equal(np.flatnonzero(data.broken), broken)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_control_that_is_not_a_number_breaks_its_world_only(engine):
    start = many(engine)
    ctrl = jnp.zeros((6, 1)).at[2, 0].set(jnp.nan)
    data = stepper(engine)(start, ctrl, jnp.zeros(6, bool), start)
    np.testing.assert_array_equal(np.flatnonzero(data.broken), [2])
    assert all(np.isfinite(x).all() for x in leaves(data))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_mocap_pose_that_is_not_finite_breaks_its_world_only(engine):
    """The ghost touches nothing, so that no position or velocity would tell."""
    start = many(engine)
    state = start._replace(
        mocap_pos=start.mocap_pos.at[2, 0, 1].set(jnp.nan), mocap_quat=start.mocap_quat.at[4, 0, 0].set(jnp.inf)
    )
    data = stepper(engine)(state, jnp.zeros((6, 1)), jnp.zeros(6, bool), start)
    np.testing.assert_array_equal(np.flatnonzero(data.broken), [2, 4])
    assert all(np.isfinite(x).all() for x in leaves(data))


@pytest.mark.parametrize("engine", ENGINES)
def test_renewing_a_world_opens_it_at_its_start(engine):
    start = many(engine)
    state = stepper(engine)(start, jnp.ones((6, 1)), jnp.zeros(6, bool), start).state
    other = start._replace(qpos=start.qpos.at[:, 1].add(0.5))
    renew = jnp.arange(6) % 2 == 0
    data = stepper(engine)(state, jnp.ones((6, 1)), renew, other)
    np.testing.assert_allclose(data.state.qpos[::2], other.qpos[::2], atol=1e-6)
    np.testing.assert_array_equal(data.state.time[::2], 0)
    np.testing.assert_array_equal(data.sensordata[::2, 6:9], 0)
    assert (data.state.time[1::2] > 0.04).all() and not data.broken.any()


@pytest.mark.parametrize("engine", ENGINES)
def test_worlds_may_differ_in_their_parameters(engine):
    """A heavier arm answers the same actuator more slowly, in the same proportion in C."""
    model = world(engine).model
    start = many(engine, 3)
    mass = np.tile(model.body_mass, (3, 1))
    mass[:, model.body("arm").id] *= [1, 2, 4]
    inertia = model.body_inertia * (mass / model.body_mass.clip(1e-9))[..., None]
    start = start._replace(params={"body_mass": jnp.asarray(mass), "body_inertia": jnp.asarray(inertia)})
    data = stepper(engine)(start, jnp.full((3, 1), 2.0), jnp.zeros(3, bool), start)
    for i in range(3):
        other = mujoco.MjModel.__copy__(model)
        other.body_mass[:], other.body_inertia[:] = mass[i], inertia[i]
        plain = mujoco.MjData(other)
        plain.qvel[0], plain.ctrl[:] = 0.1 * i, 2.0
        mujoco.mj_step(other, plain, 5)
        np.testing.assert_allclose(data.state.qvel[i], plain.qvel, atol=2e-3, rtol=1e-3)
    assert len(np.unique(np.round(data.state.qvel[:, 6], 3))) == 3


TOP = """
<mujoco><option timestep="0.005" integrator="implicitfast"/>
<worldbody>
  <geom type="plane" size="5 5 .1"/>
  <body name="cube" pos="4 .7 .024"><freejoint/><geom type="box" size=".025 .025 .025" mass="{mass}"/></body>
</worldbody>
<sensor><subtreelinvel body="cube"/></sensor>
</mujoco>"""


def spinning(model):
    """A cube that spins fast, 4 m from the origin, of 0.18 kg where the model says 0.2."""
    speed = jnp.array([1.0, 0.5, -0.5, -35.0, 120.0, 86.0])  # m/s, rad/s
    params = {"body_mass": model.body_mass * 0.9, "body_inertia": model.body_inertia * 0.9}
    return physics.initial(model, qvel=speed, params=params)


def test_a_body_with_a_mass_of_its_own_spins_about_its_own_centre():
    """Like a body whose model has that mass; about another point it gains energy, up to speeds that are no numbers."""
    engine = physics.make(mujoco.MjModel.from_xml_string(TOP.format(mass=0.2)), substeps=10, engine="native")
    start = spinning(engine.model)
    data = jax.jit(engine.step)(start, jnp.zeros(0), jnp.zeros((), bool), start)
    other = mujoco.MjModel.from_xml_string(TOP.format(mass=0.18))
    plain = mujoco.MjData(other)
    plain.qvel[:] = start.qvel
    mujoco.mj_step(other, plain, 10)
    assert np.abs(plain.qvel[:3]).max() < 10  # it did touch the floor, and bounced like a body of its size
    assert not np.allclose(plain.qvel[3:], start.qvel[3:], atol=10) and not data.broken
    np.testing.assert_allclose(data.state.qvel, plain.qvel, atol=0.4)  # invweights stay those of 0.2 kg


@pytest.mark.parametrize("engine", ENGINES)
def test_a_mass_of_ones_own_is_felt_by_sensors_of_subtrees(engine):
    model = mujoco.MjModel.from_xml_string(TOP.format(mass=0.2))
    shown = jax.jit(physics.make(model, substeps=1, engine=engine).reset)(spinning(model))
    np.testing.assert_allclose(shown.sensordata, [1.0, 0.5, -0.5], atol=1e-5)  # the cube's own velocity


def test_native_worlds_nest_and_scan():
    """vmap in vmap in scan in jit gives what plain calls give, bit for bit."""
    p, start, no = world("native"), many("native"), jnp.zeros(6, bool)
    ctrl = jnp.linspace(-1, 1, 6)[:, None]
    state = start
    for _ in range(3):
        state = jax.vmap(p.step)(state, ctrl, no, start).state

    def run(start, ctrl, no):
        step = jax.vmap(jax.vmap(p.step))
        return jax.lax.scan(lambda s, _: (step(s, ctrl, no, start).state, None), start, None, length=3)[0]

    nest = lambda tree: jax.tree.map(lambda x: x.reshape(2, 3, *x.shape[1:]), tree)  # noqa: E731
    nested = jax.jit(run)(nest(start), nest(ctrl), nest(no))
    for mine, plain in zip(leaves(nested), leaves(nest(state)), strict=True):
        np.testing.assert_array_equal(mine, plain)
    one = jax.jit(p.step)(jax.tree.map(lambda x: x[2], start), ctrl[2], no[2], jax.tree.map(lambda x: x[2], start))
    assert one.state.qpos.shape == (p.model.nq,)


def test_one_trace_per_shape():
    traces = []

    @jax.jit
    def step(state, ctrl, renew, start):
        traces.append(1)
        return jax.vmap(world("native").step)(state, ctrl, renew, start)

    start, no = many("native"), jnp.zeros(6, bool)
    state = opener("native")(start).state
    for renew in (no, no, ~no):
        state = step(state, jnp.zeros((6, 1)), renew, start).state
    assert len(traces) == 1


def test_an_unknown_engine_is_named():
    with pytest.raises(ValueError, match="engine 'nativ' is not known; choose auto, native, mjx or warp"):
        physics.make(world("native").model, substeps=1, engine="nativ")


def test_parameters_stay_the_same_set():
    p = world("native")
    start = physics.initial(p.model)
    other = physics.initial(p.model, params={"body_mass": p.model.body_mass})
    with pytest.raises(ValueError, match="must have the same set"):
        p.step(start, jnp.zeros(1), jnp.zeros((), bool), other)


def test_a_warning_of_mujoco_leaves_no_file_in_the_folder_one_is_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><body><freejoint/><geom size='.1'/></body></worldbody></mujoco>"
    )
    data = mujoco.MjData(model)
    data.qvel[0] = np.nan
    mujoco.mj_step(model, data)
    assert data.warning.number.sum() == 1, "else nothing was there to be logged"
    assert not list(tmp_path.iterdir())

"""Ant mazes against dm_control's own ant in its own maze: what is shown, paid and felt; layouts; pictures."""

import functools
import os
import warnings
from collections import deque

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from scipy import stats

from skillhier import rollout
from skillhier.envs import batch, physics, registry
from skillhier.envs.antmaze import mazes, model, tasks
from skillhier.envs.render import pixels
from skillhier.types import Policy

pytest.importorskip("dm_control")
STATES = 500
SENSORS = ("gyro", "velocimeter", "accelerometer", "touch")  # dm_control says sensors_gyro


# --- layouts ---------------------------------------------------------------------------------------

# maze: rows and columns, cells of walls, steps from P to G, boxes that collide, boxes that are seen
FIGURES = {
    "s": (11, 11, 40, 12, 6, 12),
    "m": (11, 11, 52, 16, 8, 16),
    "l": (14, 14, 76, 22, 14, 22),
    "xl": (17, 17, 112, 26, 18, 31),
}


def steps_to_the_goal(plan):
    """Breadth-first, from cell to neighbouring cell."""
    start, goal = ((r, c) for token in "PG" for r, row in enumerate(plan) for c in range(len(row)) if row[c] == token)
    far, queue = {start: 0}, deque([start])
    while queue:
        row, column = here = queue.popleft()
        for there in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            inside = 0 <= there[0] < len(plan) and 0 <= there[1] < len(plan[0])
            if inside and there not in far and plan[there[0]][there[1]] in ".PG":
                far[there] = far[here] + 1
                queue.append(there)
    return far[goal]


@pytest.mark.parametrize("maze", FIGURES)
def test_layouts_are_the_published_ones(maze):
    plan = mazes.LAYOUTS[maze]
    filled, coloured = mazes.walls(plan), [mazes.cells(plan) == str(d) for d in range(1, 10)]
    boxes = [list(mazes.rectangles(filled)), [box for f in coloured for box in mazes.rectangles(f)]]
    assert {len(row) for row in plan} == {len(plan[0])}
    assert (*filled.shape, filled.sum(), steps_to_the_goal(plan), *map(len, boxes)) == FIGURES[maze]
    for kind in boxes:  # every wall once
        covered = np.zeros(filled.shape, int)
        for box in kind:
            covered[box.top : box.bottom + 1, box.left : box.right + 1] += 1
        np.testing.assert_array_equal(covered, filled)


def test_places_of_cells():
    """By hand: 11 cells of 1.2 m, the middle one at the origin, rows towards -y."""
    plan = mazes.LAYOUTS["m"]
    assert mazes.find(plan, "P") == (8, 2) and mazes.find(plan, "G") == (2, 2)
    np.testing.assert_allclose(mazes.centre(plan, 8, 2), (-3.6, -3.6))
    np.testing.assert_allclose(mazes.centre(plan, 2, 2), (-3.6, 3.6))
    np.testing.assert_allclose(mazes.centre(mazes.LAYOUTS["l"], 11, 5), (-1.8, -5.4))


# --- against dm_control ----------------------------------------------------------------------------


@functools.cache
def theirs():
    """(environment, task, target) of dm_control on maze m; no camera is used."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ.setdefault("MUJOCO_GL", "disabled")
        from dm_control import composer
        from dm_control.locomotion.arenas import mazes as arenas
        from dm_control.locomotion.props import target_sphere
        from dm_control.locomotion.tasks import random_goal_maze
        from dm_control.locomotion.walkers import ant
    text = "".join(
        "".join("*" if c.isdigit() else c.replace(".", " ") for c in row) + "\n" for row in mazes.LAYOUTS["m"]
    )
    maze = arenas.labmaze.FixedMazeWithRandomGoals(entity_layer=text, num_spawns=1, num_objects=1, random_state=None)
    target = target_sphere.TargetSphere(radius=1.2, height_above_ground=0.0)
    task = random_goal_maze.RepeatSingleGoalMaze(
        walker=ant.Ant(), maze_arena=arenas.MazeWithTargets(maze, xy_scale=1.2, z_height=2.0), target=target,
        max_repeats=1, aliveness_threshold=-1.0, contact_termination=False,
        physics_timestep=0.005, control_timestep=0.02,
    )  # fmt: skip
    task._walker.observables.egocentric_camera.enabled = False
    env = composer.Environment(task=task, time_limit=60, random_state=0)
    env.reset()
    return env, task, target


@functools.cache
def ours(maze="m", profile="parity"):
    """(task, one control step from many states (qpos, qvel, ctrl) [N, ...] -> entries, reward, record)."""
    task = tasks.make(maze, profile=profile, engine="native")

    def one(qpos, qvel, ctrl):
        state = physics.initial(task.physics.model, qpos, qvel)
        data = task.physics.step(state, ctrl, jnp.zeros((), bool), state)
        entries, memory = task.observe(data, tasks.Memory(jnp.zeros((), bool)), ctrl)
        return entries, task.reward_and_discount(data, memory)[0], data

    return task, jax.jit(jax.vmap(one))


def states(seed=0, count=STATES):
    """Random (qpos, qvel, ctrl) [count, ...] all over maze m, in any orientation, many in contact, in float32."""
    rng = np.random.default_rng(seed)
    turns = rng.normal(size=(count, 4))
    turns[::2, 1:3] = 0  # upright
    joints = rng.uniform(-0.5, 0.5, (count, 8)) * np.tile([1, 0.66], 4)
    qpos = np.concatenate(
        [
            rng.uniform(-5.4, 5.4, (count, 2)), rng.uniform(-0.3, 0.3, (count, 1)),
            turns / np.linalg.norm(turns, axis=1, keepdims=True), joints,
        ], 1,
    )  # fmt: skip
    qpos[::5, :2] = [-3.6, 3.6] + rng.normal(0, 1.0, (len(qpos[::5]), 2))  # about the target
    qvel, ctrl = rng.normal(size=(count, 14)), rng.uniform(-1, 1, (count, 8))
    return [x.astype(np.float32) for x in (qpos, qvel, ctrl)]


def place(qpos, qvel):
    env, _, target = theirs()
    data = env.physics.data
    data.qpos[:], data.qvel[:], data.time = qpos, qvel, 0
    target.reset(env.physics)
    env.physics.forward()
    data.qacc_warmstart[:] = 0


def advance(ctrl):
    """A control step of dm_control's physics; what its target asks after every physics step."""
    env, _, target = theirs()
    env.physics.set_control(ctrl)
    for _ in range(tasks.SUBSTEPS):
        env.physics.step()
        target.after_substep(env.physics, None)


def shown():
    """dm_control's observables of the ant; touch as its corruptor gives it."""
    env, task, _ = theirs()
    entries = {}
    for name in tasks.SIZES:
        observable = getattr(task._walker.observables, f"sensors_{name}" if name in SENSORS else name)
        value = np.array(observable.observation_callable(env.physics, None)(), ndmin=1)  # a copy
        entries[name] = observable.corruptor(value, None) if observable.corruptor else value
    return entries


@functools.cache
def stepped():
    """dm_control's observations and whether its target is touched, one control step after `states()`; qpos."""
    env, _, target = theirs()
    rows, touched, qpos = [], [], []
    for at, speed, ctrl in zip(*states(), strict=True):
        place(at, speed)
        advance(ctrl)
        rows.append(shown())
        touched.append(target.activated)
        qpos.append(env.physics.data.qpos.copy())
    return {k: np.stack([row[k] for row in rows]) for k in rows[0]}, np.array(touched), np.array(qpos)


def test_the_model_is_dm_control_s_but_for_the_seams_of_walls():
    scene, dm = ours()[0].physics.model, theirs()[0].physics.model
    assert (scene.nq, scene.nv, scene.nu, scene.nexclude) == (dm.nq, dm.nv, dm.nu, dm.nexclude) == (15, 14, 8, 4)
    bodies = [scene.body(i).name for i in range(scene.nbody) if scene.body(i).name.startswith("ant")]
    for name in bodies:
        a, b = scene.body(name), dm.body(name.replace("ant", "walker", 1) + ("" if "/" in name else "/"))
        for field in ("mass", "inertia", "pos", "quat", "ipos"):
            np.testing.assert_allclose(getattr(a, field), getattr(b, field), rtol=1e-12, err_msg=f"{name}.{field}")
    for field in ("dof_damping", "dof_armature", "jnt_range", "jnt_stiffness", "actuator_gear", "actuator_ctrlrange"):
        np.testing.assert_array_equal(getattr(scene, field), getattr(dm, field), err_msg=field)
    options = ("timestep", "cone", "iterations", "ls_iterations", "noslip_iterations", "noslip_tolerance", "impratio",
               "solver", "integrator", "disableflags", "gravity")  # fmt: skip
    for field in options:
        np.testing.assert_array_equal(getattr(scene.opt, field), getattr(dm.opt, field), err_msg=field)
    assert model.build("m").camera("ant/egocentric").id == model.EGOCENTRIC == dm.camera("walker/egocentric").id


def test_what_is_seen_is_what_dm_control_says():
    """Everywhere but at the seams of walls, which some states are deep inside; see `model`."""
    theirs_shown, touched, qpos = stepped()
    entries, reward, data = ours()[1](*states())
    same = np.abs(np.asarray(data.state.qpos) - qpos).max(1) < 1e-6
    centres = np.array(
        [mazes.centre(mazes.LAYOUTS["m"], *cell) for cell in np.argwhere(mazes.walls(mazes.LAYOUTS["m"]))]
    )
    gap = np.abs(np.asarray(entries["position"])[:, None] - centres) - mazes.CELL / 2
    away = np.linalg.norm(np.maximum(gap, 0), axis=-1).min(1)  # m, of the torso from the nearest wall
    assert same[away > 0.75].all() and (away > 0.75).sum() > 150 and same.mean() > 0.9
    assert sum(tasks.SIZES.values()) == 153
    for name in tasks.SIZES:
        loose = dict(rtol=1e-3, atol=5e-3) if name == "accelerometer" else dict(rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(np.asarray(entries[name])[same], theirs_shown[name][same], err_msg=name, **loose)
    assert theirs_shown["touch"].mean(0).min() > 0.01 and set(np.unique(theirs_shown["touch"])) == {0, 1}
    # seams or not; dm_control also asks between physics steps of a control step, so a graze may count there alone
    assert not (np.asarray(reward)[~touched] == 1).any() and (np.asarray(reward)[touched] == 0).sum() <= 2
    assert 50 < touched.sum() < 450


def nearest(data, point):
    """[N] m from `point` to the ant's surface, sampled by hand along each capsule's axis."""
    scene = ours()[0].physics.model
    best = np.full(len(data.xpos), np.inf)
    for i in range(scene.ngeom):
        if not scene.geom(i).name.startswith("ant/"):
            continue
        turn, body = np.zeros(9), scene.geom_bodyid[i]
        mujoco.mju_quat2Mat(turn, scene.geom_quat[i])
        capsule = scene.geom_type[i] == mujoco.mjtGeom.mjGEOM_CAPSULE
        for share in np.linspace(-1, 1, 401) if capsule else (0.0,):
            local = scene.geom_pos[i] + turn.reshape(3, 3)[:, 2] * share * scene.geom_size[i, 1]
            at = np.asarray(data.xpos)[:, body] + np.asarray(data.xmat)[:, body] @ local
            best = np.minimum(best, np.linalg.norm(at - point, axis=-1) - scene.geom_size[i, 0])
    return best


def test_a_touch_is_a_surface_within_the_ball():
    _, reward, data = ours()[1](*states())
    far = nearest(data, np.array([-3.6, 3.6, 0.0]))
    clear = np.abs(far - 1.2) > 1e-4
    np.testing.assert_array_equal(np.asarray(reward)[clear], (far < 1.2)[clear].astype(np.float32))
    assert clear.sum() > 490 and 50 < (far < 1.2).sum() < 450


def test_it_moves_as_dm_control_s_does():
    """60 control steps under random controls from the start; states between steps are float32 here."""
    env, _, _ = theirs()
    task, _ = ours()
    state = task.start(jax.random.key(3), jnp.zeros((), jnp.int32))[0]
    step = jax.jit(task.physics.step)
    place(np.asarray(state.qpos), np.asarray(state.qvel))
    begun, away = np.asarray(state.qpos), []
    for ctrl in np.random.default_rng(1).uniform(-1, 1, (60, 8)).astype(np.float32):
        advance(ctrl.astype(np.float64))
        state = step(state, ctrl, jnp.zeros((), bool), state).state
        away.append(np.abs(np.asarray(state.qpos) - env.physics.data.qpos).max())
    assert np.abs(np.asarray(state.qpos) - begun)[:2].max() > 0.05  # it went somewhere
    assert max(away[:10]) < 1e-5 and max(away) < 1e-3


# --- episodes --------------------------------------------------------------------------------------


def test_the_spec():
    env = registry.make("antmaze.l", worlds=3)
    assert {k: v.shape[-1] for k, v in env.spec.obs.items()} == tasks.SIZES | {"position": 2, "success": 1}
    assert env.spec.privileged == ("position", "success") and env.spec.success == "success"
    assert (env.spec.interval, env.spec.limit, env.spec.action.shape) == (0.02, 3000, (8,))
    assert registry.make("antmaze.l", limit=70).spec.limit == 70


def test_starts_are_upright_on_their_cell_and_look_every_way():
    env = registry.make("antmaze.s", worlds=600)
    state, first = jax.jit(env.reset)(jax.random.key(0))
    np.testing.assert_allclose(first.obs["position"][:, 0], np.tile([-3.6, -3.6], (600, 1)), atol=1e-6)
    np.testing.assert_allclose(first.obs["body_height"], 0.522, atol=1e-6)
    np.testing.assert_allclose(first.obs["world_zaxis"][:, 0], np.tile([0, 0, 1], (600, 1)), atol=1e-6)
    np.testing.assert_array_equal(first.obs["success"], 0)
    torso = np.asarray(state.data.xmat)[:, model.layout(ours("s")[0].physics.model).torso]
    yaw = np.arctan2(torso[:, 1, 0], torso[:, 0, 0])
    assert stats.kstest(yaw, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 0.01


def walk_in(steps, limit):
    """Rows [limit + 2] of an ant that is thrown at the target from 1.6 m away, in its fifth step or never."""
    task = tasks.make("m", engine="native")

    def start(key, index):
        state, memory = task.start(key, index)
        return state._replace(qpos=state.qpos.at[:2].set(jnp.array([-1.0, 3.6]))), memory

    def control(data, memory, action):
        state, ctrl = task.control(data, memory, action)
        now = jnp.round(data.state.time / tasks.INTERVAL).astype(jnp.int32)
        x = jnp.where(now == steps - 1, -2.6, jnp.where(now == steps, -0.0, state.qpos[0]))
        return state._replace(qpos=state.qpos.at[0].set(x)), ctrl

    env = batch.make(task._replace(start=start, control=control), 1, limit=limit)
    policy = Policy(lambda worlds: (), lambda params, carry, step, key: (carry, jnp.zeros((1, 8)), {}))
    run = jax.jit(lambda key: rollout.rollout(env, policy, (), rollout.start(env, policy, key), key, limit + 2))
    actor, rows = run(jax.random.key(0))
    return rows.step, actor


def test_a_touch_pays_from_then_on_and_the_target_goes():
    """The ant is put into the target for step 5 of 12 and taken out of it for step 6: steps 5 to 12 are paid."""
    step, actor = walk_in(5, 12)
    np.testing.assert_array_equal(step.reward[:, 0], [0] * 5 + [1] * 8 + [0])
    assert step.reward[:13].sum() == 12 - 5 + 1
    np.testing.assert_array_equal(step.obs["success"][:, 0, 0, 0], [0] * 5 + [1] * 8 + [0])
    np.testing.assert_array_equal(step.last[:, 0], [False] * 12 + [True, False])
    np.testing.assert_array_equal(step.discount, 1)
    assert abs(step.obs["position"][6, 0, 0, 0]) < 0.1  # outside again, and still paid
    np.testing.assert_allclose(actor.env.data.state.mocap_pos[0, 0], [-3.6, 3.6, 0])  # back for the next episode


def test_the_target_goes_out_of_sight_once_it_is_touched():
    task, _ = ours()
    data = task.physics.reset(task.start(jax.random.key(0), 0)[0])
    for touched, height in ((False, 0.0), (True, model.PARKED)):
        state, _ = task.control(data, tasks.Memory(jnp.array(touched)), jnp.zeros(8))
        np.testing.assert_allclose(state.mocap_pos, [[-3.6, 3.6, height]])


# --- pictures --------------------------------------------------------------------------------------


@functools.cache
def picture(yaw, at=(-3.6, -3.6), camera=model.EGOCENTRIC, size=32):
    """[size, size, 3] what the camera sees of an ant at a place (m) that looks to `yaw` (degrees)."""
    task, _ = ours()
    half = np.deg2rad(yaw) / 2
    qpos = jnp.asarray(task.physics.model.qpos0, jnp.float32).at[:2].set(jnp.array(at))
    qpos = qpos.at[3:7].set(jnp.array([np.cos(half), 0, 0, np.sin(half)]))
    draw = pixels.drawing(task.physics, "antmaze.m", 1, camera=camera, size=size)
    return np.asarray(jax.jit(draw)(task.physics.reset(physics.initial(task.physics.model, qpos)))["pixels"], int)


def hue(pixel):
    """Index of the colour of tab10 that a lit pixel has."""
    palette = np.array(model._TAB10) / np.linalg.norm(model._TAB10, axis=1, keepdims=True)
    return int((palette @ (pixel / np.linalg.norm(pixel))).argmax())


def test_walls_have_the_colours_of_their_digits():
    """By the plan: from P wall 1 is behind and to both sides of the corner; ahead are, left to right, 5, 4, 3 and 2."""
    for yaw in (90, 180, 270):
        assert {hue(pixel) for pixel in picture(yaw)[15]} == {0}, yaw
    ahead = [hue(pixel) + 1 for pixel in picture(0, size=96)[46]]
    assert [digit for digit, before in zip(ahead, [0, *ahead], strict=False) if digit != before] == [5, 4, 3, 2]


def test_the_default_camera_is_the_ant_s_and_the_target_is_green():
    assert registry.make("antmaze.m@pixels").spec.obs["pixels"].shape == (1, 64, 64, 3)
    assert pixels.camera_of("antmaze.xl@pixels") == model.EGOCENTRIC
    ahead = picture(180, at=(0.0, 3.6))[16:20, 14:18].reshape(-1, 3)
    assert (ahead[:, 1] > 2 * ahead[:, [0, 2]].max(1)).all()
    above = picture(0, camera="top", size=48)
    assert (above != picture(0, at=(-2.0, -3.6), camera="top", size=48)).any()


def test_wrong_settings_are_refused_in_one_line():
    for name, settings, said in (
        ("antmaze.m", {"profile": "slow"}, "profile 'slow' is not known; choose auto, parity or fast in env.profile"),
        ("antmaze.m", {"engine": "c"}, "engine 'c' is not known"),
        ("antmaze.m", {"profil": "fast"}, "has no setting 'profil'; did you mean 'profile'"),
        ("antmaze.xs", {}, "world 'antmaze.xs' is not known; did you mean 'antmaze."),
    ):
        with pytest.raises(ValueError, match=said) as error:
            registry.make(name, **settings)
        assert "\n" not in str(error.value)


def test_the_fast_profile_stays_near_dm_control_s_physics():
    """Ten control steps from standing; without noslip iterations feet slide."""
    ends = {}
    for profile in ("parity", "fast"):
        task, step = ours(profile=profile)
        state = jax.tree.map(lambda x: jnp.broadcast_to(x, (8, *x.shape)), task.start(jax.random.key(0), 0)[0])
        qpos, qvel = state.qpos, state.qvel
        for ctrl in np.random.default_rng(2).uniform(-1, 1, (10, 8, 8)).astype(np.float32):
            after = step(qpos, qvel, ctrl)[2].state
            qpos, qvel = after.qpos, after.qvel
        ends[profile] = np.asarray(qpos)
    assert 1e-6 < np.abs(ends["fast"] - ends["parity"]).max() < 0.1
    fast, exact = model.build("m", "fast"), model.build("m", "parity")
    meets = lambda scene, a, b: bool(  # noqa: E731
        scene.geom(a).contype[0] & scene.geom(b).conaffinity[0]
        | scene.geom(b).contype[0] & scene.geom(a).conaffinity[0]
    )
    for scene, itself in ((fast, False), (exact, True)):
        assert meets(scene, "ant/torso_geom", "floor") and meets(scene, "ant/front_left_ankle_geom", "wall_3")
        assert meets(scene, "ant/torso_geom", "ant/front_left_ankle_geom") == itself
        assert not meets(scene, "ant/torso_geom", "target") and not meets(scene, "ant/torso_geom", "colour_1_0")

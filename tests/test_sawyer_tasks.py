"""The stacking world put together: what it shows against real logs, episodes, goals, settings."""

import functools

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.envs import physics, registry
from skillhier.envs.sawyer import bank, controller, objects, observations, rewards, tasks
from skillhier.envs.sawyer import model as scenery

STARTS = 16  # a small bank: made in a second
SETS = objects.OBJECT_SETS
stacking = functools.partial(tasks.make, starts=STARTS)
world_of = functools.partial(registry.make, starts=STARTS)


# --- one control step from any state -------------------------------------------------------------


@functools.cache
def advance():
    """(qpos, qvel, act, action) [N, ...] -> the frame there and the frame and rewards one control step later."""
    task = stacking(SETS[4], (0, 2), play=0.0)
    layout = scenery.layout(task.physics.model)

    def one(qpos, qvel, act, action):
        state = physics.initial(task.physics.model, qpos, qvel, act)
        data = task.physics.reset(state)
        memory = tasks.opening(layout, state, jnp.array([0, 2]), jnp.zeros(13))
        here, memory = task.observe(data, memory, action)
        data = task.physics.step(*task.control(data, memory, action), jnp.zeros((), bool), state)
        there, memory = task.observe(data, memory, action)
        return here, there, task.reward_and_discount(data, memory)

    return task, jax.jit(jax.vmap(one))


def logged(expert_logs, number: int, episode: int):
    """States of our model [400, ...], actions and observations of one logged episode."""
    task, _ = advance()
    model = task.physics.model
    layout = scenery.layout(task.physics.model)
    with h5py.File(expert_logs / f"set{number}.h5") as file:
        group = file[f"episode_{episode}"]
        theirs = {name: group["infos"][name][:] for name in ("qpos", "qvel", "act")}
        action, reward = group["actions"][:], group["rewards"][:]
        seen = {name: entry[:].reshape(401, -1) for name, entry in group["observations"].items()}
    qpos, qvel = np.zeros((400, model.nq), np.float32), np.zeros((400, model.nv), np.float32)
    qpos[:, layout.arm], qvel[:, layout.arm] = theirs["qpos"][:, :7], theirs["qvel"][:, :7]
    for ours, name in ((qpos, "qpos"), (qvel, "qvel")):  # our fingertips turn back by the driver's angle
        ours[:, layout.fingers] = theirs[name][:, 7:8] * [1, -1, 1, -1]
    qpos[:, layout.objects] = theirs["qpos"][:, 15:].reshape(400, 3, 7)
    qvel[:, layout.object_dofs] = theirs["qvel"][:, 15:].reshape(400, 3, 6)
    return (qpos, qvel, theirs["act"].astype(np.float32), action), reward, seen


def test_an_object_that_was_flung_away_breaks_its_world():
    task, _ = advance()
    lifted = scenery.layout(task.physics.model).objects[0][2]  # red's height
    start = physics.initial(task.physics.model)
    at = jax.vmap(lambda height: start._replace(qpos=start.qpos.at[lifted].set(height)))
    step = jax.jit(jax.vmap(lambda state: task.physics.step(state, jnp.zeros(task.physics.model.nu), False, start)))
    np.testing.assert_array_equal(step(at(jnp.array([0.3, 2.0, 11.0]))).broken, [False, False, True])


@pytest.mark.parametrize(("number", "episode"), [(1, 0), (2, 1), (3, 2), (4, 3), (5, 4)])
def test_what_is_shown_at_a_logged_state_is_what_was_logged(expert_logs, number, episode):
    states, _, seen = logged(expert_logs, number, episode)
    shown = advance()[1](*states)[0]
    for name in observations.PROPRIO | observations.OBJECTS:
        ours, theirs = np.asarray(shown[name]), seen[name][:400]
        assert ours.shape == theirs.shape, name
        if name in ("gripper.joints.velocity", "gripper.grasp", "sawyer.joints.torque", "wrist.force", "wrist.torque"):
            continue  # of the step before; see the next test
        error = np.abs(ours - theirs).max(1)
        if name.endswith(("pose", "to_pinch")):  # near w = 0 the sign of a quaternion hangs on the last bit
            sure = [np.abs(seen[n][:400, 3]) > 1e-5 for n in seen if n.endswith("pose")]
            error = error[np.all(sure, axis=0)]
            assert len(error) > 350
        if name == "gripper.joints.angle":  # whole ticks: a half may be rounded either way
            assert error.max() <= 1 and (error > 0).mean() < 0.01
        else:
            assert error.max() < 1e-4, f"{name} differs by {error.max()}"


def test_one_logged_step_feels_and_pays_as_logged(expert_logs):
    """Set 4, so contacts too. Loads and the grasp reading are those of the step that leads to the frame."""
    states, reward, seen = logged(expert_logs, 4, 0)
    _, shown, (paid, discount) = advance()[1](*states)
    error = lambda name: np.abs(np.asarray(shown[name]) - seen[name][1:]).max(1)  # noqa: E731
    moving = np.abs(seen["sawyer.joints.torque"]).mean()
    assert np.median(error("sawyer.joints.torque")) < 0.3 * moving
    assert np.median(error("wrist.force")) < 0.05  # N; gravity on the hand alone would be 13
    assert np.median(error("wrist.torque")) < 0.005  # N m
    assert np.median(error("sawyer.pinch.pose")) < 1e-4
    assert np.median(error("sawyer.tcp.velocity")) < 3e-3
    assert np.mean(error("gripper.grasp") == 0) > 0.95
    assert np.mean(error("gripper.joints.velocity") == 0) > 0.75  # whole ticks
    assert np.mean(np.abs(paid - reward) < 0.01) > 0.95
    np.testing.assert_array_equal(discount, 1)


def stacked():
    """States in which red stands on blue, the open hand 10 cm above it in the first row, far above in the others."""
    task, _ = advance()
    layout = scenery.layout(task.physics.model)
    arms = jnp.asarray(bank.load(SETS[4], STARTS).arms)
    order = np.argsort(jax.vmap(lambda q: controller.forward(q).pinch[2])(arms))
    low, high = np.asarray(arms)[order[0]], np.asarray(arms)[order[-1]]
    qpos = np.array(task.physics.model.qpos0, np.float32)
    floor = scenery.BASKET[2]
    flat = np.sqrt(0.5)  # b6 is 32 x 48 x 96 mm: turned about y its lowest side is 32 mm
    poses = np.zeros((3, 7))
    poses[:, :2] = (0.6, 0.0), (0.52, 0.09), (0.6, 0.0)
    poses[:, 2] = floor + 0.032 + 0.025, floor + 0.025, floor + 0.016
    poses[:, 3] = 1.0
    poses[2, 3:] = flat, 0.0, flat, 0.0
    qpos[layout.objects] = poses
    repeat = lambda x: np.repeat(np.asarray(x, np.float32)[None], 400, 0)  # noqa: E731
    qpos, act = repeat(qpos), repeat(np.zeros(task.physics.model.na))
    qpos[:, layout.arm] = act[:, layout.arm] = high
    qpos[0, layout.arm] = act[0, layout.arm] = low
    return qpos, repeat(np.zeros(task.physics.model.nv)), act, repeat([0, 0, 0, 0, -1])


def test_a_stack_is_seen_by_contacts():
    states = stacked()
    _, shown, (paid, _) = advance()[1](*states)
    first = {name: np.asarray(entry)[0] for name, entry in shown.items()}
    assert first["task.success"] == 1
    np.testing.assert_array_equal(first["task.stack"], [1, 1])
    np.testing.assert_array_equal(first["task.pair"], [0, 2])
    red = first["rgb30_red.abs_pose"]
    assert abs(red[2] - first["rgb30_blue.abs_pose"][2] - 0.041) < 1e-3
    np.testing.assert_allclose(paid[:2], [1.0, 0.8], atol=1e-3)
    np.testing.assert_allclose(shown["task.staged"][:2, 0], [1.0, 0.8], atol=1e-3)


def test_off_the_middle_it_is_a_success_but_no_stack_and_beside_it_is_neither():
    qpos, *rest = stacked()
    layout = scenery.layout(advance()[0].physics.model)
    qpos = qpos.copy()
    qpos[0, layout.objects[0, 0]] += 0.041  # blue is 96 mm long that way: red still stands on it
    qpos[1, layout.objects[0, :3]] += [0.0, 0.0495, -0.032]  # red on the floor, against blue
    shown = advance()[1](qpos, *rest)[1]
    np.testing.assert_array_equal(shown["task.success"][:3, 0], [1, 0, 1])
    np.testing.assert_array_equal(shown["task.stack"][:3], [[0, 0], [0, 0], [1, 1]])


@pytest.mark.parametrize(
    ("before", "now", "interval", "moved"),
    [
        ((0.2, 1.0), (0.25, 1.0), 0.05, 4),  # at 1 rad/s: 79.7 and 75.7 ticks
        ((0.25, -1.0), (0.2, -1.0), 0.05, -4),
        ((0.0, 0.0), (0.02, 0.8), 0.05, 2),  # at 16 rad/s2 from rest: 0.02 rad, and 0.01125 rad 12.5 ms before
        ((0.3, 0.8), (0.32, 0.0), 0.05, 0),  # slowing at 16 rad/s2: 102.0 ticks, and 101.6
        ((0.2, 1.0), (0.225, 1.0), 0.025, 4),
        ((0.4, 0.0), (0.4, 0.0), 0.05, 0),
    ],
)
def test_the_finger_counts_ticks_of_the_last_12_5_milliseconds(before, now, interval, moved):
    before, now = observations.Finger(*map(jnp.float32, before)), observations.Finger(*map(jnp.float32, now))
    assert observations.ticks_moved(before, now, interval) == moved


def test_quaternions_of_many_rotations():
    from scipy.spatial.transform import Rotation

    turns = Rotation.random(200, random_state=0)
    turns = Rotation.concatenate(
        [turns, Rotation.from_quat(np.eye(4)), Rotation.from_euler("xyz", [[180, 0, 0], [179.9, 0, 30]], True)]
    )
    found = jax.jit(jax.vmap(observations.quaternion))(turns.as_matrix().astype(np.float32))
    assert (found[:, 0] >= 0).all()
    same = np.abs((np.asarray(found) * turns.as_quat()[:, [3, 0, 1, 2]]).sum(1))  # q and -q are one rotation
    np.testing.assert_allclose(same, 1, atol=1e-6)


# --- episodes --------------------------------------------------------------------------------------


@functools.cache
def episodes(name: str, rows: int = 9, limit: int = 3, worlds: int = 6, **settings):
    """(spec, first step, later steps [rows, ...]) under random actions, as a function of a seed: one program."""
    env = world_of(name, worlds=worlds, limit=limit, **settings)

    @jax.jit
    def run(key):
        k_reset, k_actions = jax.random.split(key)
        state, first = env.reset(k_reset)
        actions = jax.random.uniform(k_actions, (rows, worlds, 5), minval=-1.0)
        state, later = jax.lax.scan(env.step, state, actions)
        return state, first, later

    return env.spec, run


@pytest.mark.parametrize("number", SETS)
def test_all_pairs_of_every_set_run_in_one_program(number):
    spec, run = episodes(f"sawyer.stack_all.set{number}")
    state, first, later = run(jax.random.key(0))
    sizes = {"task.pair": 2, "task.stack": 2, "task.success": 1, "task.staged": 1}
    assert set(spec.privileged) == set(sizes)
    shown = {k: v for k, v in spec.obs.items() if k not in sizes}
    assert sum(v.shape[-1] for v in shown.values()) == 43 + 42
    assert list(shown)[:10] == list(observations.PROPRIO) and len(shown) == 16
    for name, shape in spec.obs.items():
        assert shape.shape == ((1, sizes[name]) if name in sizes else (3, shown[name].shape[-1])), name
        assert first.obs[name].shape == (6, *shape.shape) and later.obs[name].shape == (9, 6, *shape.shape)
        assert first.obs[name].dtype == shape.dtype == jnp.float32
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((first.obs, later.obs, later.reward)))
    np.testing.assert_array_equal(first.obs["task.pair"][:, 0], rewards.PAIRS)

    assert first.first.all() and not first.last.any()
    np.testing.assert_array_equal(later.last[:, 0], [0, 0, 1, 0, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(later.first[:, 0], [0, 0, 0, 1, 0, 0, 0, 1, 0])  # none broke
    np.testing.assert_array_equal(later.discount, 1)  # the clock is no end
    np.testing.assert_array_equal(later.reward[later.first], 0)
    assert (later.reward[~later.first] > 0).all() and (later.reward <= 1).all()

    for row in (first.obs, {k: v[3] for k, v in later.obs.items()}):  # where an episode opens
        for name in shown:
            np.testing.assert_array_equal(row[name], jnp.broadcast_to(row[name][:, :1], row[name].shape))
        np.testing.assert_array_equal(row["gripper.joints.angle"], 0)
        np.testing.assert_array_equal(row["gripper.grasp"], 1)
        np.testing.assert_array_equal(row["gripper.joints.velocity"], 0)
        for name in ("sawyer.joints.torque", "wrist.force", "wrist.torque", "sawyer.joints.velocity"):
            assert (jnp.abs(row[name][:, 0]).max(-1) > 1e-4).all(), name  # of the bank's control step
    ticks, moved = later.obs["gripper.joints.angle"], later.obs["gripper.joints.velocity"]
    assert (ticks[2] > 0).any() and (ticks == jnp.round(ticks)).all() and (moved == jnp.round(moved)).all()
    assert (moved != 0).any() and (jnp.abs(moved) <= jnp.abs(ticks).max()).all()
    pinch = later.obs["sawyer.pinch.pose"][..., :3]
    moved = jnp.linalg.norm(pinch[:, :, 0] - pinch[:, :, 1], axis=-1)
    assert 1e-3 < moved[:3].max() < 5e-3  # 0.07 m/s for 0.05 s, and no jump where an episode opens
    frame = later.obs["rgb30_green.abs_pose"] - later.obs["sawyer.pinch.pose"]
    np.testing.assert_allclose(later.obs["rgb30_green.to_pinch"], frame, atol=1e-6)


def test_the_first_row_shows_the_loads_of_its_start():
    _, run = episodes("sawyer.stack_all.set4")
    rows = bank.load(SETS[4], STARTS)
    _, first, later = run(jax.random.key(2))
    for obs in (first.obs, {k: v[3] for k, v in later.obs.items()}):
        for world in range(6):
            start = int(np.abs(rows.arms - obs["sawyer.joints.angle"][world, 0]).max(1).argmin())
            shown = [obs[k][world, 0] for k in ("sawyer.joints.torque", "wrist.force", "wrist.torque")]
            np.testing.assert_array_equal(np.concatenate(shown), rows.loads[start])
            np.testing.assert_array_equal(obs["sawyer.joints.velocity"][world, 0], rows.rates[start])


def test_the_same_key_gives_the_same_episode():
    _, run = episodes("sawyer.stack_all.set4")
    one, again, other = run(jax.random.key(0)), run(jax.random.key(0)), run(jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, one[1:], again[1:])
    assert (one[1].obs["sawyer.pinch.pose"] != other[1].obs["sawyer.pinch.pose"]).any(-1).all()


def test_episodes_open_at_rows_of_the_bank():
    _, run = episodes("sawyer.stack_all.set4")
    rows = bank.load(SETS[4], STARTS)
    _, first, later = run(jax.random.key(2))
    arms, reds = set(), set()
    for obs in (first.obs, {k: v[3] for k, v in later.obs.items()}):
        for arm, red in zip(obs["sawyer.joints.angle"][:, 0], obs["rgb30_red.abs_pose"][:, 0, :3], strict=True):
            arms.add(int(np.abs(rows.arms - arm).max(1).argmin()))
            reds.add(int(np.abs(rows.objects[:, 0, :3] - red).max(1).argmin()))
            assert np.abs(rows.arms - arm).max(1).min() < 1e-6
            assert np.abs(rows.objects[:, 0, :3] - red).max(1).min() < 1e-6
    assert len(arms) > 4 and len(reds) > 4 and arms != reds  # drawn apart


def test_delay_and_randomisation():
    _, run = episodes("sawyer.stack_red_on_blue.set4", delay=(0, 2), randomise=True, worlds=8)
    state, _, later = run(jax.random.key(0))
    assert set(np.asarray(state.delay)) <= {0, 1, 2} and len(set(np.asarray(state.delay))) > 1
    mass = state.data.state.params["body_mass"]
    nominal = np.asarray(advance()[0].physics.model.body_mass)
    assert (np.abs(mass / np.where(nominal > 0, nominal, 1) - (nominal > 0)) <= 0.1 + 1e-6).all()
    reds = np.asarray(mass[:, advance()[0].physics.model.body("red").id])
    assert len(set(reds.tolist())) == 8
    assert not later.first[np.array([0, 1, 2, 4, 5, 6, 8])].any()  # none broke


def test_the_pyramid_opens_and_pays():
    spec, run = episodes("sawyer.pyramid.set4", rows=3, worlds=2)
    _, first, later = run(jax.random.key(0))
    assert set(spec.privileged) == {"task.success", "task.staged"}
    assert (later.obs["task.success"] == 0).all() and (later.reward > 0).all() and (later.reward < 2 / 9).all()


# --- settings --------------------------------------------------------------------------------------


def test_all_tasks_of_a_set_share_its_model():
    for number in SETS:
        made = [stacking(SETS[number], pair, reward=kind) for pair in rewards.PAIRS for kind in ("dense", "sparse")]
        assert len({id(task.physics.model) for task in made}) == 1


def test_every_reward_is_paid_on_the_same_scene():
    dense = stacking(SETS[4], (0, 2))
    data = dense.physics.reset(dense.start(jax.random.key(0), jnp.zeros((), int))[0])
    qpos, *_ = stacked()
    layout = scenery.layout(dense.physics.model)
    data = data._replace(state=data.state._replace(qpos=jnp.asarray(qpos[0])))
    found = np.zeros(len(data.sensordata), np.float32)
    found[layout.object_object[1]] = 1  # red on blue
    high = data.site_xpos.at[layout.pinch].set(qpos[0][layout.objects[0, :3]] + [0, 0, 0.1])
    data = data._replace(sensordata=jnp.asarray(found), site_xpos=high)
    for pair, worth in (((0, 2), 1.0), ((2, 0), 0.0), ((0, 1), 0.0)):
        for kind in ("sparse_staged", "sparse", "stack_leave", "success"):
            task = stacking(SETS[4], pair, reward=kind)
            memory = tasks.opening(layout, data.state, jnp.array(pair), jnp.zeros(13))._replace(grasp=jnp.ones(()))
            np.testing.assert_allclose(
                task.reward_and_discount(data, memory)[0], worth, err_msg=f"{pair} {kind}", atol=1e-6
            )


@pytest.mark.parametrize("speed", [0.1, 1.0, 0.0, -0.1])
def test_fingers_are_bang_bang_unless_told(speed):
    for bang_bang, expected in ((True, 255.0 if speed > 0 else -255.0), (False, 255.0 * speed)):
        task = stacking(SETS[4], (0, 2), bang_bang=bang_bang)
        layout = scenery.layout(task.physics.model)
        data = physics.Data(physics.initial(task.physics.model), *[None] * 7)
        _, ctrl = task.control(data, None, jnp.array([0.0, 0.0, 0.0, 0.0, speed]))
        np.testing.assert_allclose(ctrl[layout.gripper], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("right", "left", "both", "speed", "reading"),
    [(1, 1, 0, 255, 2), (1, 1, 0, -255, 3), (1, 1, 0, 1.9, 1), (1, 0, 0, 255, 1), (0, 0, 0, 255, 1)],
)
def test_grasp_reading(right, left, both, speed, reading):
    task = stacking(SETS[4], (0, 2))
    layout = scenery.layout(task.physics.model)
    found = np.zeros(task.physics.model.nsensordata, np.float32)
    found[layout.tip_any], found[layout.tip_tip] = (right, left), both
    state = physics.initial(task.physics.model)
    data = physics.Data(state, *[None] * 5, sensordata=jnp.asarray(found), broken=None)
    assert observations.grasp_reading(layout, data, jnp.asarray(float(speed))) == reading


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"reward": "sparce"}, "reward 'sparce' is not known; choose dense, sparse_staged, sparse"),
        ({"timestep": 0.003}, "timestep must divide 0.05 s, got 0.003 s"),
        ({"engine": "cuda"}, "engine 'cuda' is not known"),
        ({"goal": (0, 0)}, "pair (0, 0) is not known"),
        ({"goal": "pyramid", "reward": "success"}, "reward 'success' is not known; choose dense"),
        ({"names": ("s0", "g5", "q9")}, "object 'q9' is not known"),
    ],
)
def test_wrong_settings_are_one_line(settings, said):
    settings = {"names": SETS[4], "goal": (0, 2), **settings}
    with pytest.raises(ValueError) as error:
        stacking(settings.pop("names"), settings.pop("goal"), **settings)
    assert said in str(error.value) and "\n" not in str(error.value)

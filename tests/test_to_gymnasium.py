"""Our worlds behind gymnasium's interface: its checks, its vector environments beside ours, our policies in both."""

import subprocess
import sys
import warnings

import counting_worlds
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import skillhier  # noqa: F401  its worlds are to be had by their ids
from skillhier.agents import registry as agents
from skillhier.envs import adapters, limits, registry
from skillhier.envs.adapters import identifiers, registration
from skillhier.envs.adapters.rows import key_from_seed
from skillhier.envs.render import rays
from skillhier.envs.sawyer import expert
from skillhier.policies.flat import sequence
from skillhier.policies.numpy_policy import NumpyPolicy
from skillhier.rollout import rollout, start
from skillhier.train import checkpoint
from skillhier.types import Policy

STACKING = "sawyer.stack_red_on_blue.set4"
LIMIT = 12  # control steps, here; one for all tests, so that they share their programs
CLOSES = {0: (5, "cut"), 1: (3, "ended"), 2: (3, "broken")}  # world -> row that closes its first episode, and how


def checked(env):
    """`check_env` without the advice that physical quantities should have bounds."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for advice in (".*-infinity.*", ".*infinity.*", ".*alternative render modes.*"):
            warnings.filterwarnings("ignore", message=advice)
        check_env(env)


def test_gymnasium_finds_nothing_wrong():
    checked(adapters.to_gymnasium(counting_worlds.make(1, key_matters=True)))


def test_spaces_say_what_the_spec_says():
    env = adapters.to_gymnasium(counting_worlds.make(1))
    space = env.observation_space
    assert set(space.keys()) == {"where", "sum", "picture"}
    assert (space["where"].shape, space["where"].dtype) == ((1, 2), np.float32)
    assert (space["picture"].dtype, space["picture"].low.max(), space["picture"].high.min()) == (np.uint8, 0, 255)
    assert (env.action_space.shape, env.action_space.low[0], env.action_space.high[0]) == ((2,), -1, 1)
    assert env.metadata["render_fps"] == 10
    assert "hidden" in adapters.to_gymnasium(counting_worlds.make(1), privileged=True).observation_space.spaces
    many = adapters.to_gymnasium_vector(counting_worlds.make(3), 3)
    assert many.observation_space["where"].shape == (3, 1, 2) and many.action_space.shape == (3, 2)


@pytest.mark.parametrize("world", CLOSES)
def test_how_an_episode_closes(world):
    """By the task, by the clock, or by breaking: then the last sound observation, no reward, and the info says so."""
    env = adapters.to_gymnasium(counting_worlds.make(1, offset=world))
    obs, info = env.reset(seed=0)
    assert info["broken"] is False and info["hidden"].item() == 7
    row, how = CLOSES[world]
    for t in range(1, row + 1):
        obs, reward, terminated, truncated, info = env.step(np.array([0.5, -0.5], np.float32))
        assert (terminated or truncated) == (t == row)
    assert (terminated, truncated, info["broken"]) == (how == "ended", how != "ended", how == "broken")
    assert obs["where"].tolist() == [[0, 2 if how == "broken" else row]]
    assert reward == (0 if how == "broken" else row)
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        env.step(np.zeros(2, np.float32))
    obs, _ = env.reset()
    assert obs["where"].tolist() == [[1, 0]] and obs["sum"].tolist() == [[0, 0]]  # nothing of the new episode is lost
    obs, reward, *_ = env.step(np.array([0.5, -0.5], np.float32))
    assert obs["where"].tolist() == [[1, 1]] and obs["sum"].tolist() == [[0.5, -0.5]] and reward == 11


@pytest.mark.parametrize("mode", AutoresetMode)
def test_actions_beyond_the_bounds_are_those_at_the_bounds(mode):
    """The counting world adds up what it is handed, without bounds of its own."""
    beyond = np.array([1e3, -1e3], np.float32)
    one = adapters.to_gymnasium(counting_worlds.make(1))
    one.reset(seed=0)
    assert one.step(beyond)[0]["sum"].tolist() == [[1, -1]]
    many = adapters.to_gymnasium_vector(counting_worlds.make(2), 2, autoreset_mode=mode)
    many.reset(seed=0)
    assert many.step(np.stack([beyond, 0.5 * beyond]))[0]["sum"].tolist() == [[[1, -1]], [[1, -1]]]


def same(ours, theirs, at=""):
    if isinstance(theirs, dict):
        assert set(ours) == set(theirs), at
        for name in theirs:
            same(ours[name], theirs[name], f"{at}/{name}")
    elif isinstance(theirs, np.ndarray) and theirs.dtype == object:
        assert ours.dtype == object and len(ours) == len(theirs), at
        for a, b in zip(ours, theirs, strict=True):
            same(a, b, at)
    elif isinstance(theirs, np.ndarray):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), at
        np.testing.assert_array_equal(ours, theirs, err_msg=at)
    else:
        assert ours == theirs, at


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_many_worlds_are_what_gymnasium_makes_of_single_ones(mode):
    """Rows, ends, infos with their masks, final observations: all as SyncVectorEnv gives them, for three episodes."""
    ours = adapters.to_gymnasium_vector(counting_worlds.make(3), 3, mode)
    singles = [lambda i=i: adapters.to_gymnasium(counting_worlds.make(1, offset=i)) for i in range(3)]
    theirs = SyncVectorEnv(singles, autoreset_mode=mode)
    assert ours.observation_space == theirs.observation_space and ours.action_space == theirs.action_space
    assert ours.metadata["autoreset_mode"] == mode
    a, b = ours.reset(seed=1), theirs.reset(seed=1)
    same(a[0], b[0]), same(a[1], b[1])
    dice = np.random.default_rng(0)
    closed = 0
    for _ in range(14):
        actions = dice.uniform(-1, 1, (3, 2)).astype(np.float32)
        a, b = ours.step(actions), theirs.step(actions)
        for name, mine, other in zip(("obs", "reward", "terminated", "truncated", "info"), a, b, strict=True):
            same(mine, other, name)
        closed += (a[2] | a[3]).sum()
    assert closed >= 6


def test_without_autoreset_closed_worlds_wait_for_their_reset():
    env = adapters.to_gymnasium_vector(counting_worlds.make(3), 3, "Disabled")
    env.reset(seed=1)
    zeros = np.zeros((3, 2), np.float32)
    for _ in range(3):
        _, _, terminated, truncated, _ = env.step(zeros)
    assert (terminated | truncated).tolist() == [False, True, True]
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset_mask"):
        env.step(zeros)
    obs, info = env.reset(options={"reset_mask": terminated | truncated})
    assert obs["where"][:, 0].tolist() == [[0, 3], [0, 0], [0, 0]]
    assert info["_broken"].tolist() == [False, True, True]
    obs, reward, *_ = env.step(zeros)
    assert obs["where"][:, 0].tolist() == [[0, 4], [0, 1], [0, 1]] and reward.tolist() == [4, 1, 1]
    with pytest.raises(ValueError, match="reset_mask"):
        env.reset(options={"reset_mask": [True, True, True]})


def test_arrays_may_be_kept_and_changed():
    env = adapters.to_gymnasium_vector(counting_worlds.make(2), 2)
    before, _ = env.reset(seed=0)
    kept = before["sum"].copy()
    after, *_ = env.step(np.ones((2, 2), np.float32))
    np.testing.assert_array_equal(before["sum"], kept)
    after["sum"][:] = -1
    assert env.step(np.ones((2, 2), np.float32))[0]["sum"][0].tolist() == [[2, 2]]


def test_seeds_of_any_size():
    keys = [jax.random.key_data(key_from_seed(seed)).tolist() for seed in (0, 1, 2**32, 2**32 + 1, 2**64, 3**80)]
    assert len({tuple(key) for key in keys}) == len(keys)
    np.testing.assert_array_equal(keys[1], jax.random.key_data(jax.random.key(1)))


def test_wrong_use_is_one_line():
    for wrong, said in (
        (lambda: adapters.to_gymnasium("dmc.cheetah_rum"), "did you mean"),
        (lambda: adapters.to_gymnasium(STACKING, rewrad="dense"), "did you mean 'reward'"),
        (lambda: adapters.to_gymnasium(counting_worlds.make(2)), "make it with worlds=1"),
        (lambda: adapters.to_gymnasium(counting_worlds.make(1), limit=3), "takes no settings"),
        (lambda: adapters.to_gymnasium_vector(counting_worlds.make(2), 2, "Sometimes"), "Sometimes"),
        (lambda: adapters.to_gymnasium_vector(counting_worlds.make(2), 2).reset(seed=[1, 2]), "must be an integer"),
    ):
        with pytest.raises(ValueError, match=said) as caught:
            wrong()
        assert "\n" not in str(caught.value)


def test_every_world_has_its_id():
    for name in registry.names():
        assert identifiers.identifier(name) in gymnasium.registry
    assert identifiers.identifier("dmc.cheetah_run@pixels") == "skillhier/dmc.cheetah_run.pixels-v0"
    assert len({identifiers.identifier(name) for name in registry.names()}) == len(registry.names())


def test_ids_say_how_long_an_episode_lasts():
    """Known without building the world, and what the world itself says; every family is listed."""
    of_family = {name.split(".")[0]: name for name in registry.names() if "@" not in name}
    assert set(of_family) == set(limits.LIMITS)
    for name in of_family.values():
        assert gymnasium.spec(identifiers.identifier(name)).max_episode_steps == registry.make(name).spec.limit


def test_a_world_of_ones_own_has_its_own_limit(monkeypatch):
    """Even by a family's name; its id says nothing of it, and no clock but its own cuts it."""
    monkeypatch.setattr(registry, "WORLDS", dict(registry.WORLDS))
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    task = registry.task("dmc.pendulum_swingup")._replace(limit=3)
    registry.register_task("dmc.mine", lambda: task)
    registration.register()
    env = gymnasium.make("skillhier/dmc.mine-v0", disable_env_checker=True)
    assert env.spec.max_episode_steps is None
    env.reset(seed=0)
    assert [env.step(np.zeros(1, np.float32))[3] for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("given", [3, 210])
def test_the_limit_of_an_id_is_its_max_episode_steps(given):
    """Shorter or longer than the world's own 1000; it counts steps of the environment, `repeat` control steps each."""
    settings = {"max_episode_steps": given, "repeat": 5}  # 1050 control steps
    one = gymnasium.make("skillhier/dmc.pendulum_swingup-v0", disable_env_checker=True, **settings)
    many = gymnasium.make_vec("skillhier/dmc.pendulum_swingup-v0", num_envs=1, **settings)
    assert one.spec.max_episode_steps == many.spec.max_episode_steps == given
    one.reset(seed=0), many.reset(seed=0)
    for row in range(1, given + 1):
        truncated = one.step(np.zeros(1, np.float32))[3], many.step(np.zeros((1, 1), np.float32))[3].item()
        assert truncated == (row == given, row == given)
    for make in (gymnasium.make, gymnasium.make_vec):
        with pytest.raises(ValueError, match="limit=50 is not a setting .*; pass max_episode_steps=50"):
            make("skillhier/dmc.pendulum_swingup-v0", limit=50)


ASYNC = """
import gymnasium, skillhier
if __name__ == "__main__":
    env = gymnasium.make_vec(
        "skillhier/dmc.pendulum_swingup-v0", num_envs=2, vectorization_mode="async", vector_kwargs={"context": "%s"}
    )
    obs, _ = env.reset(seed=0)
    print(obs["velocity"].shape, env.step(env.action_space.sample())[1].shape)
    env.close()
"""


def test_a_forked_process_is_refused_in_one_line_and_does_not_hang(tmp_path):
    (tmp_path / "async.py").write_text(ASYNC % "fork")
    ended = subprocess.run([sys.executable, tmp_path / "async.py"], capture_output=True, text=True, timeout=120)
    last = ended.stderr.strip().splitlines()[-1]
    assert ended.returncode == 1 and "without vectorization_mode" in last and "vector_entry_point" in last, ended.stderr


@pytest.mark.slow
def test_a_process_of_its_own_works(tmp_path):
    (tmp_path / "async.py").write_text(ASYNC % "spawn")
    ended = subprocess.run([sys.executable, tmp_path / "async.py"], capture_output=True, text=True, timeout=240)
    assert ended.stdout == "(2, 1, 1) (2,)\n", ended.stderr


@pytest.mark.parametrize("order", ["import skillhier, gymnasium", "import gymnasium, skillhier", "import skillhier"])
def test_ids_are_there_whichever_is_imported_first_and_the_import_alone_is_light(order):
    code = f"""
import sys
{order}
print(len({{"jax", "mujoco", "gymnasium"}} & set(sys.modules)))
print("gymnasium" in sys.modules and sum(id.startswith("skillhier/") for id in sys.modules["gymnasium"].registry))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert told == (["0", "False"] if order == "import skillhier" else ["3", str(len(registry.names()))])


def test_skillhier_imports_where_there_is_no_gymnasium():
    code = "import sys; sys.modules['gymnasium'] = None; import skillhier.types; print('fine')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "fine\n"


def test_made_by_their_ids_and_checked():
    """All of it for a world whose pictures are soon compiled, and without pictures for stacking."""
    small = {"render_size": (8, 12), "render_camera": 0}
    env = gymnasium.make(
        "skillhier/dmc.pendulum_swingup-v0", render_mode="rgb_array", disable_env_checker=True, **small
    )
    checked(env.unwrapped)
    env = gymnasium.make(f"skillhier/{STACKING}-v0", max_episode_steps=LIMIT, disable_env_checker=True)
    assert env.spec.id == f"skillhier/{STACKING}-v0"
    env.unwrapped.spec = None
    checked(env.unwrapped)


def test_a_world_of_pictures():
    env = gymnasium.make("skillhier/dmc.pendulum_swingup.pixels-v0", size=8, stack=2)
    obs, _ = env.reset(seed=0)
    assert set(obs) == {"pixels"} and env.observation_space["pixels"].shape == (2, 8, 8, 3)
    assert obs["pixels"].dtype == np.uint8 and obs["pixels"].max() > obs["pixels"].min()
    assert env.observation_space.contains(env.step(env.action_space.sample())[0])


def test_pictures_are_of_what_is_there():
    """The picture of each of two pendulums is that of the renderer at its state, and changes as it swings."""
    settings = {"render_mode": "rgb_array", "render_size": (24, 24)}
    many = adapters.to_gymnasium_vector("dmc.pendulum_swingup", 2, **settings)
    with pytest.raises(gymnasium.error.ResetNeeded):
        many.render()
    many.reset(seed=0)
    before = many.render()
    for _ in range(20):
        many.step(np.ones((2, 1), np.float32))
    after = many.render()
    assert len(after) == 2 and after[0].shape == (24, 24, 3) and after[0].dtype == np.uint8
    draw = jax.jit(rays.renderer(registry.task("dmc.pendulum_swingup").physics.model, 0, 24, 24))
    for world in range(2):
        data = jax.tree.map(lambda x, world=world: x[world], many._carry.state.data)
        differ = np.abs(after[world].astype(int) - np.asarray(draw(data)["rgb"]).astype(int))
        assert (differ > 2).mean() < 0.02  # two programs may round an edge differently
        assert (after[world] != before[world]).any()
    assert adapters.to_gymnasium("dmc.pendulum_swingup").render() is None
    with pytest.raises(ValueError, match="render_mode 'rgb_array' of an Env"):
        adapters.to_gymnasium(counting_worlds.make(1), render_mode="rgb_array")


def ours(env, policy, params, seed, rows):
    """Our own rollout, with the keys that were used: rollout draws one for each row."""
    key = jax.random.key(9)
    actor = start(env, policy, key_from_seed(seed))
    _, seen = jax.jit(lambda params, actor, key: rollout(env, policy, params, actor, key, rows))(params, actor, key)
    return jax.device_get(seen), jax.random.split(key, rows)


def close(a, b, name):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-3, err_msg=name)  # two programs round differently


@pytest.fixture(scope="module")
def cloned(tmp_path_factory):
    """A clone with its parameters as they come back from a checkpoint."""
    spec = registry.make(STACKING).spec
    names = ("sawyer.joints.angle", "rgb30_red.abs_pose")
    system = agents.make("bc", spec, low=names, mid=names, hidden=(16,), lookahead=1)
    path = tmp_path_factory.mktemp("run")
    saved = checkpoint.Checkpoints(path / "checkpoints")
    saved.save(3, {"learner": system.learner.init(jax.random.key(4))._asdict()})
    saved.close()
    return system.exploit, checkpoint.read(path, "learner/params")


@pytest.mark.parametrize("who", ["expert", "clone"])
def test_our_policies_live_the_same_episodes_in_gymnasium(who, cloned):
    """The stacking expert and a clone from a checkpoint, two episodes: row by row what our rollout shows."""
    policy, params = (expert.make(4), {}) if who == "expert" else cloned
    rows = 26
    seen, keys = ours(registry.make(STACKING, limit=LIMIT), policy, params, 5, rows)
    env = gymnasium.make(f"skillhier/{STACKING}-v0", max_episode_steps=LIMIT, privileged=True)
    act = NumpyPolicy(policy, params)
    obs, _ = env.reset(seed=5)
    first, closed = True, False
    for t in range(rows):
        for name in obs:
            close(obs[name], seen.step.obs[name][t, 0], f"row {t} {name}")
        assert first == seen.step.first[t, 0] and closed == seen.step.last[t, 0]
        action = act(obs, first, keys[t])
        close(action, seen.action[t, 0], f"row {t} action")
        if closed:
            obs, _ = env.reset()
            first, closed = True, False
        else:
            obs, reward, terminated, truncated, _ = env.step(action)
            first, closed = False, terminated or truncated
            if t + 1 < rows:
                close(reward, seen.step.reward[t + 1, 0], f"row {t + 1} reward")
    assert seen.step.last.sum() == 2


def test_and_in_a_vector_of_worlds(cloned):
    policy, params = cloned
    rows = 20
    seen, keys = ours(registry.make(STACKING, worlds=3, limit=LIMIT), policy, params, 5, rows)
    env = gymnasium.make_vec(f"skillhier/{STACKING}-v0", num_envs=3, max_episode_steps=LIMIT, privileged=True)
    act = NumpyPolicy(policy, params, worlds=3)
    obs, _ = env.reset(seed=5)
    first, closed = np.ones(3, bool), np.zeros(3, bool)
    for t in range(rows):
        for name in obs:
            close(obs[name], seen.step.obs[name][t], f"row {t} {name}")
        np.testing.assert_array_equal(first, seen.step.first[t])
        np.testing.assert_array_equal(closed, seen.step.last[t])
        action = act(obs, first, keys[t])
        obs, reward, terminated, truncated, _ = env.step(action)
        first, closed = closed, terminated | truncated


def test_frames_in_the_order_of_gymnasium():
    """`oldest_first` is what FrameStackObservation makes of single frames, within an episode and where one opens."""
    stacked = adapters.to_gymnasium("dmc.pendulum_swingup", stack=3, oldest_first=True)
    many = adapters.to_gymnasium_vector("dmc.pendulum_swingup", 1, stack=3, oldest_first=True)
    theirs = gymnasium.wrappers.FrameStackObservation(adapters.to_gymnasium("dmc.pendulum_swingup"), 3)
    newest_first = adapters.to_gymnasium("dmc.pendulum_swingup", stack=3)
    shown = [env.reset(seed=3)[0] for env in (theirs, stacked, newest_first, many)]
    dice = np.random.default_rng(0)
    for _ in range(5):
        for name, frames in shown[0].items():
            np.testing.assert_allclose(shown[1][name], frames[:, 0], atol=1e-5)
            np.testing.assert_allclose(shown[2][name], frames[::-1, 0], atol=1e-5)
            np.testing.assert_allclose(shown[3][name][0], frames[:, 0], atol=1e-5)
        action = dice.uniform(-1, 1, 1).astype(np.float32)
        shown = [env.step(action)[0] for env in (theirs, stacked, newest_first)] + [many.step(action[None])[0]]


def test_a_policy_that_is_handed_oldest_first_acts_the_same():
    """The difference of the two latest frames, which has the wrong sign in the wrong order."""
    difference = lambda obs: obs["observation"][:, 0, :1] - obs["observation"][:, 1, :1]  # noqa: E731
    policy = Policy(lambda worlds: (), lambda params, carry, step, key: (carry, difference(step.obs), {}))
    act, naive = NumpyPolicy(policy, {}, oldest_first=True), NumpyPolicy(policy, {})
    theirs = gymnasium.wrappers.FrameStackObservation(gymnasium.make("Pendulum-v1"), 2)
    obs, _ = theirs.reset(seed=0)
    for row in range(4):
        newest, older = obs[-1, :1], obs[-2, :1]
        assert act({"observation": obs}, row == 0) == pytest.approx(newest - older)
        assert naive({"observation": obs}, row == 0) == pytest.approx(older - newest)
        obs, *_ = theirs.step(np.ones(1, np.float32))
    assert abs(newest - older) > 1e-3


def test_a_policy_outside_starts_anew_where_first():
    act = NumpyPolicy(sequence(jnp.arange(4.0)[:, None]), {}, worlds=2)
    obs = {"x": np.zeros((2, 1), np.float32)}
    assert act(obs, [True, True]).tolist() == [[0], [0]]
    assert act(obs, [False, False]).tolist() == [[1], [1]]
    assert act(obs, [True, False]).tolist() == [[0], [2]]
    assert NumpyPolicy(sequence(jnp.ones((1, 3))), {})({"x": np.zeros(1)}, True).shape == (3,)

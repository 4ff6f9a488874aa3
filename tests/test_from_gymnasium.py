"""gymnasium's environments as worlds of ours: the same rows as from gymnasium itself."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

import skillhier  # noqa: F401  its worlds are to be had by their ids
from skillhier.envs import adapters, registry
from skillhier.policies.flat import sequence
from skillhier.rollout import rollout, start
from skillhier.train import evaluate


def played(env, actions, key):
    """A rollout of `actions` [T, A] (from the first row of every episode on), and the state after it."""
    policy = sequence(jnp.asarray(actions))
    actor = start(env, policy, key)
    return jax.jit(lambda actor: rollout(env, policy, {}, actor, key, len(actions)))(actor)


def seed_of(key) -> int:
    return int(jax.random.randint(key, (), 0, 2**31 - 2))


def test_pendulum_row_by_row():
    """Actions of -1 to 1 are torques of -2 to 2 N m; three episodes of seven steps; the seed comes from the key."""
    env = adapters.from_gymnasium("Pendulum-v1", limit=7, stack=2)
    assert env.spec.obs["observation"].shape == (2, 3) and env.spec.action == ((1,), -1.0, 1.0)
    assert (env.spec.worlds, env.spec.limit, env.spec.interval) == (1, 7, 0.05)
    key = jax.random.key(5)
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 1)).astype(np.float32)
    _, seen = played(env, actions, key)
    theirs = gymnasium.make("Pendulum-v1", max_episode_steps=7)
    obs, _ = theirs.reset(seed=seed_of(key))
    t, before = 0, obs  # within the episode
    for row in range(20):
        np.testing.assert_array_equal(seen.step.obs["observation"][row, 0, 0], obs)
        older = obs if t == 0 else before
        np.testing.assert_array_equal(seen.step.obs["observation"][row, 0, 1], older)
        assert bool(seen.step.first[row, 0]) == (t == 0) and bool(seen.step.last[row, 0]) == (t == 7)
        assert seen.step.discount[row, 0] == 1  # only the clock ends it
        before = obs
        if t == 7:
            (obs, _), t = theirs.reset(), 0
            continue
        obs, reward, _, _, _ = theirs.step(2 * seen.action[row, 0])
        t += 1
        if row < 19:
            assert seen.step.reward[row + 1, 0] == pytest.approx(float(reward), rel=1e-6)


def test_cartpole_falls_to_an_end():
    """Discrete(2) as two scores; pushing right for ever ends within 12 steps, and that is an end, not a cut."""
    env = adapters.from_gymnasium("CartPole-v1", worlds=3)
    assert env.spec.action == ((2,), -1.0, 1.0) and env.spec.limit == 500
    key = jax.random.key(0)
    _, seen = played(env, np.tile(np.array([[-0.2, 0.1]], np.float32), (40, 1)), key)
    first, last, discount = (np.asarray(x) for x in (seen.step.first, seen.step.last, seen.step.discount))
    np.testing.assert_array_equal(last, discount == 0)
    np.testing.assert_array_equal(first[1:], last[:-1])
    assert (last.sum(0) >= 3).all()
    assert (np.asarray(seen.step.reward)[first] == 0).all() and (np.asarray(seen.step.reward)[~first] == 1).all()
    for world in range(3):
        theirs = gymnasium.make("CartPole-v1")
        obs, _ = theirs.reset(seed=seed_of_many(key, 3) + world)
        for row in range(8):
            np.testing.assert_array_equal(seen.step.obs["observation"][row, world, 0], obs)
            obs, *_ = theirs.step(1)


def seed_of_many(key, worlds) -> int:
    return int(jax.random.randint(key, (), 0, 2**31 - 1 - worlds))


def test_the_same_key_gives_the_same_episode():
    env = adapters.from_gymnasium("Pendulum-v1", limit=5)
    actions = np.linspace(-1, 1, 12, dtype=np.float32)[:, None]
    rows = [np.asarray(played(env, actions, jax.random.key(k))[1].step.obs["observation"]) for k in (1, 1, 2)]
    np.testing.assert_array_equal(rows[0], rows[1])
    assert (rows[0][0] != rows[2][0]).any()


def test_a_state_that_is_not_the_latest_is_refused():
    env = adapters.from_gymnasium("Pendulum-v1")
    ticket, _ = env.reset(jax.random.key(0))
    later, _ = env.step(ticket, jnp.zeros((1, 1)))
    with pytest.raises(Exception, match="cannot go back to call 1"):
        jax.block_until_ready(env.step(ticket, jnp.zeros((1, 1))))
    jax.block_until_ready(env.step(later, jnp.zeros((1, 1))))


@pytest.mark.parametrize(
    ("source", "limit", "holds"),
    [
        ("Pendulum-v1", None, 200),
        ("Pendulum-v1", 12, 12),
        ("Pendulum-v1", 300, 300),  # an id's own limit is replaced
        (lambda: gymnasium.make("Pendulum-v1", max_episode_steps=9), 200, 9),
        (lambda: gymnasium.make("Pendulum-v1", max_episode_steps=9), 4, 4),
        (lambda: gymnasium.wrappers.TimeLimit(gymnasium.make("Pendulum-v1", max_episode_steps=9), 20), None, 9),
        (lambda: gymnasium.wrappers.RescaleAction(gymnasium.make("Pendulum-v1", max_episode_steps=9), -1, 1), 20, 9),
        (lambda: SyncVectorEnv([lambda: gymnasium.make("Pendulum-v1", max_episode_steps=9)]), 20, 9),
        (lambda: AsyncVectorEnv([lambda: gymnasium.make("Pendulum-v1", max_episode_steps=9)]), 20, 9),
        (lambda: gymnasium.make_vec("CartPole-v1", 1), None, 500),
        (lambda: gymnasium.make_vec("CartPole-v1", 1, max_episode_steps=900), None, 900),
        (lambda: gymnasium.make_vec("CartPole-v1", 1, max_episode_steps=7), 20, 7),
    ],
)
def test_the_limit_that_holds_is_the_one_that_is_reported(source, limit, holds):
    env = adapters.from_gymnasium(inner := source if isinstance(source, str) else source(), limit=limit)
    assert env.spec.limit == holds
    if holds < 100:
        actions = np.zeros((holds + 2, *env.spec.action.shape), np.float32)
        _, seen = played(env, actions, jax.random.key(0))
        assert np.flatnonzero(seen.step.last[:, 0]).tolist() == [holds]
    if isinstance(inner, AsyncVectorEnv):
        inner.close(terminate=True)


def test_our_evaluation_runs_in_it():
    env = registry.make("gymnasium:Pendulum-v1", worlds=2, limit=6, g=5.0)
    found = evaluate.episodes(env, sequence(jnp.zeros((1, 1))))({}, jax.random.key(0))
    assert found["return"] < 0 and found["length"] == 6 and found["broken"] == 0


class Odd(gymnasium.Env):
    """Any spaces."""

    spec, metadata = None, {"render_fps": 20}

    def __init__(self, observation_space, action_space=None):
        self.observation_space = observation_space
        self.action_space = action_space or spaces.Box(np.array([0, -3], np.float32), np.array([1, 5], np.float32))
        self.done = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        self.done.append(action)
        return self.observation_space.sample(), 1.5, False, False, {}


def test_dicts_pictures_and_bounds_of_each_action():
    space = spaces.Dict(
        {
            "arm": spaces.Dict(
                {"angle": spaces.Box(-1, 1, (2, 2), np.float64), "count": spaces.Box(0, 9, (), np.int64)}
            ),
            "picture": spaces.Box(0, 255, (4, 4, 3), np.uint8),
        }
    )
    inner = Odd(space)
    env = adapters.from_gymnasium(inner, limit=3)
    assert {k: (v.shape, v.dtype) for k, v in env.spec.obs.items()} == {
        "arm.angle": ((1, 4), np.float32),
        "arm.count": ((1, 1), np.float32),
        "picture": ((1, 4, 4, 3), np.uint8),
    }
    assert env.spec.interval == 0.05
    _, seen = played(env, np.array([[-1, -1], [0, 0], [1, 0.5], [0, 0]], np.float32), jax.random.key(0))
    assert np.asarray(inner.done).tolist() == [[0, -3], [0.5, 1], [1, 3]]  # the row after a cut acts on nothing
    assert {k: v.shape[2:] for k, v in seen.step.obs.items()} == {k: v.shape for k, v in env.spec.obs.items()}


@pytest.mark.parametrize(
    ("space", "beyond", "done"),
    [
        (spaces.Box(np.array([0, -3], np.float32), np.array([1, 5], np.float32)), [1e3, -1e3], [1, -3]),
        (spaces.Discrete(3), [0.5, 5.0, 1e3], 1),  # both scores are 1 at the bound, and the first of equals is taken
    ],
)
def test_actions_beyond_the_bounds_are_those_at_the_bounds(space, beyond, done):
    inner = Odd(spaces.Box(-1, 1, (1,)), space)
    env = adapters.from_gymnasium(inner, limit=9)
    played(env, np.array([beyond, np.clip(beyond, -1, 1)], np.float32), jax.random.key(0))
    assert np.asarray(inner.done).tolist() == [done, done]


def test_a_vector_environment_comes_as_it_is():
    vector = gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="vector_entry_point")
    env = adapters.from_gymnasium(vector)
    assert (env.spec.worlds, env.spec.limit) == (2, 500)
    _, seen = played(env, np.tile(np.array([[0, 1]], np.float32), (14, 1)), jax.random.key(0))
    np.testing.assert_array_equal(np.asarray(seen.step.first)[1:], np.asarray(seen.step.last)[:-1])
    assert seen.step.last.any(0).all()


@pytest.mark.parametrize(
    ("source", "settings", "said"),
    [
        ("FrozenLake-v1", {}, "entry 'observation' in Discrete"),
        ("skillhier/dmc.pendulum_swingup-v0", {}, "is a world of this library; make it with envs.registry.make"),
        (lambda: gymnasium.make_vec("skillhier/dmc.pendulum_swingup-v0"), {}, "is a world of this library"),
        ("Nowhere-v1", {}, "gymnasium does not make 'Nowhere-v1'"),
        ("Pendulum-v1", {"gravity": 3}, "gravity"),
        (
            lambda: Odd(spaces.Box(0, 1, (2,)), spaces.MultiDiscrete([2, 3])),
            {"limit": 3},
            "actions in MultiDiscrete",
        ),
        (lambda: Odd(spaces.Box(0, 1, (2,)), spaces.Box(-np.inf, np.inf, (2,))), {"limit": 3}, "bounded Box"),
        (lambda: Odd(spaces.Tuple([spaces.Box(0, 1, (2,))])), {"limit": 3}, "in Tuple"),
        (lambda: Odd(spaces.Dict({"a.b": spaces.Box(0, 1, (2,))})), {"limit": 3}, "a dot"),
        (lambda: Odd(spaces.Box(0, 1, (2,))), {}, "no time limit; set limit"),
        (lambda: Odd(spaces.Box(0, 1, (2,))), {"limit": 3, "worlds": 2}, "pass its id"),
        (lambda: gymnasium.make_vec("CartPole-v1", num_envs=2), {"worlds": 3}, "neither worlds nor settings"),
        (
            lambda: gymnasium.make_vec("CartPole-v1", num_envs=2),
            {"limit": 50},
            "its own time limit, 500, and not limit=50",
        ),
        (
            lambda: SyncVectorEnv([lambda: Odd(spaces.Box(0, 1, (2,)))]),
            {"limit": 5},
            "own time limit, none, and not limit=5",
        ),
        (
            lambda: gymnasium.make_vec(
                "CartPole-v1", vector_kwargs={"autoreset_mode": "SameStep"}, vectorization_mode="sync"
            ),
            {},
            "NEXT_STEP",
        ),
    ],
)
def test_what_is_not_taken_in_is_said_in_one_line(source, settings, said):
    with pytest.raises(ValueError, match=said) as caught:
        adapters.from_gymnasium(source if isinstance(source, str) else source(), **settings)
    assert "\n" not in str(caught.value)


def test_no_step_length_is_said_in_one_line():
    env = Odd(spaces.Box(0, 1, (2,)))
    env.metadata = {}
    with pytest.raises(ValueError, match="set interval"):
        adapters.from_gymnasium(env, limit=3)
    assert adapters.from_gymnasium(env, limit=3, interval=0.5).spec.interval == 0.5


def test_names_of_other_libraries():
    for name, settings, said in (
        ("gym:Pendulum-v1", {}, "choose gymnasium or playground"),
        ("gymnasium:Pendulum-v1", {"delay": (0, 2)}, "delay must be .* got .0, 2."),
        ("gymnasium:Pendulum-v1", {"repeat": 2}, "repeat must be 1 .* got 2"),
    ):
        with pytest.raises(ValueError, match=said):
            registry.make(name, **settings)

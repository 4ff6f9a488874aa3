"""One law for every adapter: a world that is no longer finite is cut there, unpaid, counted as broken, opened anew."""

from typing import NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

from skillhier.data import episode_stats
from skillhier.envs import adapters
from skillhier.envs.adapters import playground_to_env
from skillhier.rollout import rollout, start
from skillhier.train import evaluate
from skillhier.types import Policy

LIMIT = 4  # steps of an episode that does not break
BREAKS = 3  # the step of the first episode at which a world breaks
WRONG = [("observation", np.nan), ("observation", np.inf), ("reward", np.nan), ("reward", -np.inf), ("state", np.nan)]


class Counter(gymnasium.Env):
    """Shows the number of its step and pays it; in its first episode `what` becomes `value` at step BREAKS."""

    spec, metadata, render_mode = None, {"render_fps": 10}, None
    observation_space, action_space = spaces.Box(-np.inf, np.inf, (1,)), spaces.Box(-1, 1, (1,))

    def __init__(self, what: str | None, value: float = np.nan):
        self.what, self.value, self.episode, self.state = what, value, -1, np.zeros(1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.t, self.state = self.episode + 1, 0, np.zeros(1)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        values = {"observation": float(self.t), "reward": float(self.t), "state": float(self.t)}
        if self.t == BREAKS and self.episode == 0 and self.what:
            values[self.what] = self.value
        self.state[:] = values["state"]
        ended = self.what == "observation" and not np.isfinite(values["observation"])  # as a health check ends it
        return np.array([values["observation"]], np.float32), values["reward"], ended, self.t == LIMIT, {}


class Together(gymnasium.vector.VectorEnv):
    """Two counters in a vector environment of its own, which knows no reset of some worlds."""

    def __init__(self, *singles):
        self.inner, self.num_envs, self.spec = SyncVectorEnv([lambda env=env: env for env in singles]), 2, None
        self.metadata = self.inner.metadata
        self.single_observation_space, self.single_action_space = Counter.observation_space, Counter.action_space

    def reset(self, *, seed=None, options=None):
        assert not options
        return self.inner.reset(seed=seed)

    def step(self, actions):
        return self.inner.step(actions)


class Data(NamedTuple):
    qpos: jax.Array
    qvel: jax.Array


class State(NamedTuple):
    data: Data
    obs: jax.Array
    reward: jax.Array
    done: jax.Array
    metrics: dict
    info: dict


class Played:
    """The same counter behind Playground's interface; it breaks at an action above 0."""

    action_size, dt = 1, 0.1

    def __init__(self, what: str, value: float):
        self.what, self.value = what, value

    def reset(self, key):
        zero = jnp.zeros(())
        return State(Data(zero[None], zero[None]), zero[None], zero, zero, {}, {})

    def step(self, state, action):
        t = state.data.qvel[0] + 1
        wrong = (t == BREAKS) & (action[0] > 0)
        values = {k: jnp.where(wrong & (k == self.what), self.value, t) for k in ("observation", "reward", "state")}
        data = Data(values["state"][None], t[None])
        return State(data, values["observation"][None], values["reward"], jnp.zeros(()), {}, {})


def played(what, value):
    return playground_to_env.wrapped(Played(what, value), worlds=1, limit=LIMIT, stack=2)


FROM = {  # adapter -> what breaks, its value -> an Env whose last world breaks
    "gymnasium": lambda what, value: adapters.from_gymnasium(Counter(what, value), limit=LIMIT, stack=2),
    "sync": lambda what, value: adapters.from_gymnasium(
        SyncVectorEnv([lambda: gymnasium.wrappers.TimeLimit(Counter(None), LIMIT), lambda: Counter(what, value)]),
        stack=2,
    ),
    "playground": played,
}
# broken at its third row, then an episode that the clock cuts, and the row that opens the next
FIRST = [True, False, False, True, False, False, False, False, True]
COUNT = [0, 1, 2, 0, 1, 2, 3, 4, 0]
OLDER = [0, 0, 1, 0, 0, 1, 2, 3, 0]


def act(params, carry, step, key):
    """1 until the world has broken, then 0: Playground's counter is a pure function, and must not break again."""
    return carry + 1, jnp.where(carry < BREAKS, 1.0, 0.0)[:, None], {}


ACT = Policy(lambda worlds: jnp.zeros(worlds, jnp.int32), act)


def rows(env):
    actor = start(env, ACT, jax.random.key(0))
    return jax.jit(lambda a: rollout(env, ACT, {}, a, jax.random.key(1), len(FIRST)))(actor)[1].step


@pytest.mark.parametrize(("what", "value"), WRONG)
@pytest.mark.parametrize("adapter", FROM)
def test_what_is_not_finite_is_cut_unpaid_and_opened_anew(adapter, what, value):
    step = jax.device_get(rows(FROM[adapter](what, value)))
    assert step.first[:, -1].tolist() == FIRST
    assert step.obs["observation"][:, -1, 0, 0].tolist() == COUNT
    assert step.obs["observation"][:, -1, 1, 0].tolist() == OLDER  # nothing of the episode before
    assert step.reward[:, -1].tolist() == COUNT  # each step pays its number, and a row that opens pays nothing
    assert np.flatnonzero(step.last[:, -1]).tolist() == [7] and (step.discount == 1).all()
    if adapter == "sync":  # its neighbour goes on
        assert step.obs["observation"][:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3]
        assert np.flatnonzero(step.last[:, 0]).tolist() == [4]


@pytest.mark.parametrize("adapter", FROM)
def test_it_is_counted(adapter):
    """Of the episodes in which it broke, the return is that of the two steps before."""
    step = rows(env := FROM[adapter]("observation", np.nan))
    head = jax.tree.map(lambda x: x[: BREAKS + 1], step)
    stats = episode_stats.update(episode_stats.init(env.spec.worlds), head)
    assert stats.latest.broken.tolist()[-1] and stats.latest.total.tolist()[-1] == 1 + 2
    measured = evaluate.episodes(FROM[adapter]("reward", np.nan), ACT)({}, jax.random.key(0))
    assert measured["broken"] == 1 / env.spec.worlds


@pytest.mark.parametrize(("what", "value"), WRONG)
@pytest.mark.parametrize("adapter", ["gymnasium", "vector", "brax"])
def test_and_other_libraries_see_its_last_finite_row(adapter, what, value):
    """A cut by the clock, where brax knows only an end; the next row opens the next episode."""
    env, ones, zeros = played(what, value), np.ones(1, np.float32), np.zeros(1, np.float32)
    if adapter == "brax":
        brax = adapters.to_brax(env)
        state = brax.reset(jax.random.key(0))
        for _ in range(BREAKS):
            before, state = state.obs, brax.step(state, jnp.ones(1))
        assert before.tolist() == state.obs.tolist() == [2, 1]
        assert (state.reward, state.done, state.metrics["broken"]) == (0, 1, 1)
        return
    if adapter == "gymnasium":
        one = adapters.to_gymnasium(env)
        one.reset(seed=0)
        for t in range(1, BREAKS + 1):
            obs, reward, terminated, truncated, info = one.step(ones)
            assert (reward, terminated, truncated, info["broken"]) == (t % 3, False, t == BREAKS, t == BREAKS)
        assert obs["observation"].tolist() == [[2], [1]]
        assert one.reset()[0]["observation"].tolist() == [[0], [0]] and one.step(zeros)[1] == 1
        return
    many = adapters.to_gymnasium_vector(env, 1)
    many.reset(seed=0)
    seen = [many.step(np.stack([action])) for action in [ones] * BREAKS + [zeros] * 2]
    assert [obs["observation"][0, 0, 0] for obs, *_ in seen] == [1, 2, 2, 0, 1]
    assert [reward[0] for _, reward, *_ in seen] == [1, 2, 0, 0, 1]
    assert [truncated[0] for *_, truncated, _ in seen] == [False, False, True, False, False]
    assert [info["broken"][0] for *_, info in seen] == [False, False, True, False, False]


def test_a_vector_environment_of_its_own_is_opened_as_a_whole():
    """It cannot open some of its worlds; no learner sees the row all the same."""
    env = adapters.from_gymnasium(Together(Counter(None), Counter("reward")), limit=LIMIT)
    step = jax.device_get(rows(env))
    assert step.first.T.tolist() == [FIRST, FIRST]
    assert step.obs["observation"][:, :, 0, 0].T.tolist() == [COUNT, COUNT]


def test_processes_too():
    """AsyncVectorEnv: each world in a process of its own, of which one can be reset."""
    inner = AsyncVectorEnv([lambda: Counter(None), lambda: Counter("observation", np.nan)], context="fork")
    try:
        step = jax.device_get(rows(adapters.from_gymnasium(inner, limit=LIMIT)))
    finally:
        inner.close(terminate=True)
    assert step.first[:, 1].tolist() == FIRST and step.obs["observation"][:, 1, 0, 0].tolist() == COUNT
    assert step.obs["observation"][:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3]


class Shaken(gymnasium.Wrapper):
    """Sets a position of MuJoCo's to NaN at the third step; MuJoCo resets the pose by itself and says nothing."""

    t = 0

    def step(self, action):
        self.t += 1
        if self.t == BREAKS:
            self.unwrapped.data.qpos[0] = np.nan
        return self.env.step(action)


def test_a_reset_that_mujoco_made_by_itself_is_no_row_of_the_episode(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warning to a file there
    inner = Shaken(gymnasium.make("InvertedPendulum-v5"))
    step = jax.device_get(rows(adapters.from_gymnasium(inner)))
    assert np.flatnonzero(step.first[:, 0]).tolist() == [0, BREAKS]
    assert np.isfinite(step.obs["observation"]).all() and step.reward[:, 0].tolist() == [0, 1, 1, 0, 1, 1, 1, 1, 1]


def test_a_start_that_is_not_finite_is_said_in_one_line():
    env = Counter(None)
    env.reset = lambda **_: (np.array([np.inf], np.float32), {})
    with pytest.raises(Exception, match="'Counter'.* is not finite where episodes open.*: observation; "):
        jax.block_until_ready(adapters.from_gymnasium(env, limit=LIMIT).reset(jax.random.key(0)))


def test_a_huge_number_that_single_precision_calls_infinite_breaks_too():
    env = adapters.from_gymnasium(Counter("reward", 1e300), limit=LIMIT)
    step = jax.device_get(rows(env))
    assert step.first[:, 0].tolist() == FIRST and step.reward[:, 0].tolist() == COUNT

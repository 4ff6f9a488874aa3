"""The control suite's own worlds beside ours: the same states, actions and starts through dm_control's task code."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.envs import batch, physics, registry

NAMES = tuple(f"dmc.{name}" for name in (
    "cheetah_run", "walker_stand", "walker_walk", "walker_run", "hopper_stand", "hopper_hop", "cartpole_balance",
    "cartpole_balance_sparse", "cartpole_swingup", "cartpole_swingup_sparse", "pendulum_swingup",
))  # fmt: skip
ONE_EACH = ("dmc.cheetah_run", "dmc.walker_run", "dmc.hopper_hop", "dmc.cartpole_swingup", "dmc.pendulum_swingup")


@functools.cache
def theirs(name: str, seed: int = 0):
    """dm_control's environment of the same name."""
    pytest.importorskip("dm_control")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no display
        from dm_control import suite
    return suite.load(*name.removeprefix("dmc.").split("_", 1), task_kwargs=dict(random=seed))


@functools.cache
def task(name: str, engine: str = "native", profile: str = "parity") -> batch.Task:
    """Ours, whose physics is traced once for all tasks on it."""
    made = registry.WORLDS[name]()(engine=engine, profile=profile)
    return made._replace(physics=_traced(made.physics.step, made.physics))


_shared: dict = {}


def _traced(step, engines: physics.Physics) -> physics.Physics:
    if step not in _shared:
        _shared[step] = engines._replace(step=jax.jit(step), reset=jax.jit(engines.reset))
    return _shared[step]


@functools.cache
def _vmapped(function):
    return jax.jit(jax.vmap(function))


def opened(made: batch.Task, state: physics.State) -> physics.Data:
    return _vmapped(made.physics.reset)(state)


def stepped(made: batch.Task, state: physics.State, action) -> physics.Data:
    """`state` [n] after a control step of `action` [n, A]."""
    unread = physics.Data(*[None] * 8)  # controls of the suite depend on the action alone
    ctrl = np.stack([made.control(unread, (), a)[1] for a in np.asarray(action, np.float32)])
    return _vmapped(made.physics.step)(state, ctrl, jnp.zeros(len(action), bool), state)


@functools.cache
def _teller(observe, reward_and_discount, shape):
    return jax.jit(jax.vmap(lambda data: (observe(data, (), jnp.zeros(shape))[0], reward_and_discount(data, ())[0])))


def told(made: batch.Task, data: physics.Data) -> tuple[dict, np.ndarray]:
    """Observation and reward [n] of the records `data` [n]."""
    obs, reward = _teller(made.observe, made.reward_and_discount, made.action.shape)(data)
    return {k: np.asarray(obs[k]) for k in made.obs}, np.asarray(reward)  # JAX sorts the entries of a dict


def starts(made: batch.Task, count: int, seed: int = 0) -> physics.State:
    keys = jax.random.split(jax.random.key(seed), count)
    return jax.jit(jax.vmap(lambda key: made.start(key, 0)[0]))(keys)


def states(name: str, count: int, seed: int = 0) -> tuple[physics.State, np.ndarray]:
    """Random states [count] of a world and actions [count, A]: every region that its rewards tell apart occurs."""
    rng, made = np.random.default_rng(seed), task(name)
    state = starts(made, count, seed)
    qpos, qvel = np.array(state.qpos), np.array(state.qvel)
    speed = rng.uniform(0, 6, (count, 1))
    qvel = qvel + speed * rng.normal(size=qvel.shape)
    if "cartpole" in name:
        qpos[:, 0], qpos[:, 1] = rng.uniform(-1.7, 1.7, count), rng.uniform(-np.pi, np.pi, count)
        qpos[::2] *= [0.3, 0.05]
    elif "pendulum" in name:
        qpos[::2] *= 0.1
    else:
        names = [made.physics.model.joint(i).name for i in range(made.physics.model.njnt)]
        z, y, x = names.index("rootz"), names.index("rooty"), names.index("rootx")
        qpos[:, z] += rng.uniform(-0.6, 0.3, count)
        qpos[::2, y] *= 0.1
        qpos[:, x] = rng.uniform(-3, 3, count)
        qvel[:, x] += rng.uniform(-3, 12, count)
    action = rng.uniform(-1, 1, (count, *made.action.shape)).astype(np.float32)
    return state._replace(qpos=jnp.asarray(qpos, jnp.float32), qvel=jnp.asarray(qvel, jnp.float32)), action


def flat(obs: dict) -> dict[str, np.ndarray]:
    return {k: np.atleast_1d(np.asarray(v, float)) for k, v in obs.items()}

"""Dreamer and LSP whole: one program, seeds side by side, going on after a restart, pictures, and known values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from imagining import source_of, system

from skillhier.agents import registry
from skillhier.envs import probe
from skillhier.envs import registry as worlds
from skillhier.rollout import rollout, start
from skillhier.train import checkpoint, evaluate, loop
from skillhier.types import Bounds, Spec, TimeStep, Trajectory

PLATFORMS = ("cuda", "tpu")
NAMES = registry.IMAGINING


def fast(*names):
    """All agents, of which these are in the fast suite."""
    slow = [pytest.param(name, marks=pytest.mark.slow) for name in NAMES if name not in names]
    return pytest.mark.parametrize("name", [*names, *slow])


@functools.cache
def made(name):
    """(env, agent, source, epoch of two updates), made once."""
    env = probe.constant_reward(2)
    agent = system(name, env.spec)
    source = source_of(agent, env)
    return env, agent, source, loop.epoch(agent.learner, source, 2)


def first_state(name, seed=0):
    _, agent, source, _ = made(name)
    return loop.start(agent.learner, source, jax.random.key(seed))


@fast("dreamer")
def test_an_epoch_is_one_program_learns_and_goes_on_from_a_checkpoint(name, tmp_path):
    """A second epoch compiles nothing; two epochs are one, saved, restored, and one more."""
    *_, run = made(name)
    before = jax.device_get(first_state(name).learner.params)
    state, metrics, _ = run(first_state(name))
    assert all(np.isfinite(float(x)) for x in metrics.values())
    assert int(state.learner.health.skipped) == 0
    moved = jax.tree.map(lambda x, y: bool((x != np.asarray(y)).any()), before, state.learner.params)
    for top, child in moved.items():
        assert any(jax.tree.leaves(child)), top
    keeper = checkpoint.Checkpoints(tmp_path)
    keeper.save(2, state)
    template = jax.tree.map(jnp.zeros_like, first_state(name))
    restored = keeper.restore(template)
    keeper.close()
    one, _, _ = run(state)
    other, _, _ = run(restored)
    same = lambda x: jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x  # noqa: E731
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(same(x), same(y)), one, other)
    assert run._cache_size() == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dreamer", "lsp"])
def test_seeds_side_by_side_are_the_seeds_alone(name):
    """One update from the same batch; within 1e-5, for batched products add in another order."""
    env, agent, _, _ = made(name)
    keys = jax.random.split(jax.random.key(5), 2)

    def one(key):
        init_key, roll_key, update_key = jax.random.split(key, 3)
        state = agent.learner.init(init_key)
        _, rows = rollout(env, agent.explore, state.params, start(env, agent.explore, roll_key), roll_key, 5)
        return agent.learner.update(state, rows._replace(extras={}), update_key)

    together, metrics = jax.jit(jax.vmap(one))(keys)
    for seed, key in enumerate(keys):
        alone, alone_metrics = jax.jit(one)(key)
        for x, y in zip(jax.tree.leaves(together.params), jax.tree.leaves(alone.params), strict=True):
            np.testing.assert_allclose(x[seed], y, atol=2e-5)
        for told, value in alone_metrics.items():
            np.testing.assert_allclose(metrics[told][seed], value, rtol=1e-3, atol=1e-4)


@fast()
def test_all_policies_act(name):
    env, agent, _, _ = made(name)
    params = jax.jit(agent.learner.init)(jax.random.key(0)).params
    for policy in [agent.explore, agent.exploit, *([agent.hold(3)] if agent.hold else [])]:
        run = jax.jit(lambda params, key: rollout(env, policy, params, start(env, policy, key), key, 5)[1])  # noqa: B023
        action = np.asarray(run(params, jax.random.key(1)).action)
        assert action.shape == (5, 2, 1) and (np.abs(action) <= 1).all()


def pixels(size, vector):
    obs = {"picture": jax.ShapeDtypeStruct((2, size, size, 3), jnp.uint8)}
    obs |= {"state": jax.ShapeDtypeStruct((1, 3), jnp.float32)} if vector else {}
    return Spec(obs, Bounds((2,), -2.0, 1.0), 2, 0.1, 10)


def random_batch(spec, t=3, b=2):
    rng = np.random.default_rng(0)
    no = jnp.zeros((t, b), bool)
    obs = {
        name: jnp.asarray(rng.integers(0, 255, (t, b, *x.shape)), x.dtype)
        if x.dtype == jnp.uint8
        else jnp.asarray(rng.normal(size=(t, b, *x.shape)), x.dtype)
        for name, x in spec.obs.items()
    }
    step = TimeStep(obs, jnp.ones((t, b)), jnp.ones((t, b)), no, no)
    action = jnp.asarray(rng.uniform(spec.action.low, spec.action.high, (t, b, *spec.action.shape)), jnp.float32)
    return Trajectory(step, action, {})


@pytest.mark.parametrize("vector", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["dreamer", pytest.param("dreamerv3", marks=pytest.mark.slow)])
def test_from_pictures_and_from_both(name, vector):
    spec = pixels(16, vector)
    agent = system(name, spec)
    learn = lambda key: agent.learner.update(agent.learner.init(key), random_batch(spec), key)  # noqa: E731
    state, metrics = jax.jit(learn)(jax.random.key(0))
    assert int(state.health.skipped) == 0 and np.isfinite(float(metrics["world/picture_loss"]))
    assert ("world/vectors_loss" in metrics) == vector


@pytest.mark.parametrize("name", ["lsp", *(pytest.param(n, marks=pytest.mark.slow) for n in ("dreamer", "dreamerv3"))])
def test_an_epoch_exports_for_accelerators(name):
    env, agent, source, run = made(name)
    state = jax.eval_shape(lambda key: loop.start(agent.learner, source, key), jax.random.key(0))
    assert jax.export.export(run, platforms=PLATFORMS)(state).platforms == PLATFORMS


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dreamer", "lsp"])
def test_an_epoch_in_worlds_of_mjx_exports_for_accelerators(name):
    env = worlds.make("dmc.pendulum_swingup", worlds=2, engine="mjx")
    agent = system(name, env.spec)
    source = source_of(agent, env)
    state = jax.eval_shape(lambda key: loop.start(agent.learner, source, key), jax.random.key(0))
    exported = jax.export.export(loop.epoch(agent.learner, source, 2), platforms=PLATFORMS)(state)
    assert exported.platforms == PLATFORMS and "callback" not in exported.mlir_module()


# --- worlds of known value ---

QUICK = {"hidden": 16, "deter": 16, "encoder": (16,), "decoder": (16,), "reward_hidden": (16,), "actor_hidden": (32,),
         "critic_hidden": (32,), "starts": 32, "free_nats": 0.3, "learning_rate": 3e-3,
         "critic_learning_rate": 3e-3, "actor_learning_rate": 1e-3, "gamma": 0.5}  # fmt: skip


def trained(name, env, updates, **settings):
    agent = system(name, env.spec, **{**QUICK, **settings})
    source = source_of(agent, env, batch_size=16, sequence_length=6, rows=400)
    run = loop.epoch(agent.learner, source, 100)
    state = loop.start(agent.learner, source, jax.random.key(0))
    for _ in range(updates // 100):
        state, metrics, _ = run(state)
    assert int(state.learner.health.skipped) == 0
    return agent, state, {name: float(x) for name, x in metrics.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dreamer", "rand_skills_init"])
def test_its_critic_finds_the_value(name):
    """1 / (1 - gamma) = 2, in imagination: the clock that cuts the real episodes is not dreamt of."""
    level = "control" if name == "dreamer" else "worker"
    _, _, metrics = trained(name, probe.constant_reward(8), 400)
    assert metrics[f"{level}/return"] == pytest.approx(2.0, abs=0.1)
    assert metrics[f"{level}/value_error"] < 0.1


@pytest.mark.slow
def test_it_learns_that_a_task_ends():
    """V(sign) = sign of the only step: values beyond the end weigh nothing, so returns stay within -1 and 1."""
    _, _, metrics = trained(
        "dreamer", probe.observed_reward(8), 1000, continue_hidden=(16,), rewards="arriving", free_nats=0.1
    )
    assert abs(metrics["control/return"]) < 0.5
    assert metrics["world/continue_loss"] < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dreamer", "rand_skills_init", "lsp"])
def test_its_policy_beats_every_constant_action(name):
    """Greedy, it follows the target: more than 7.5 of 10, which the best constant action earns."""
    env = probe.action_reward(8)
    agent, state, _ = trained(name, env, 3000)
    earned = float(evaluate.episodes(env, agent.exploit)(state.learner.params, jax.random.key(1))["return"])
    assert earned > 8.5

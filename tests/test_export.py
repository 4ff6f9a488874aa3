"""Ready for accelerators without one: what trains here lowers for CUDA and TPU when its worlds are MJX."""

import functools

import jax
import numpy as np
import pytest

from skillhier import rollout
from skillhier.agents import helms
from skillhier.data import sources
from skillhier.data.dataset import Dataset
from skillhier.envs import registry
from skillhier.envs.sawyer import observations
from skillhier.train import loop

PLATFORMS = ("cuda", "tpu")


@functools.cache
def stacking(engine):
    """Two Sawyer worlds with all that makes a program large: delay, stacks, physics drawn per episode."""
    return registry.make(
        "sawyer.stack_red_on_blue.set4", worlds=2, engine=engine, delay=(0, 2), randomise=True, starts=8
    )


@functools.cache
def agent(engine):
    spec = stacking(engine).spec
    low, mid = tuple(observations.PROPRIO), (*observations.PROPRIO, *observations.OBJECTS)
    return helms.make(spec, low=low, mid=mid, skills=2, hidden=(16, 16))


def collect_and_learn(engine):
    """One epoch online: rows of the skills in the worlds, then an update from them."""
    env, skills = stacking(engine), agent(engine)
    policy = skills.explore

    def epoch(state, key):
        k_start, k_roll, k_update = jax.random.split(key, 3)
        actor = rollout.start(env, policy, k_start)
        _, rows = rollout.rollout(env, policy, state.params, actor, k_roll, 7)
        return skills.learner.update(state, rows, k_update)

    return epoch, jax.eval_shape(skills.learner.init, jax.random.key(0))


def test_collecting_and_learning_under_mjx_exports():
    epoch, state = collect_and_learn("mjx")
    exported = jax.export.export(jax.jit(epoch), platforms=PLATFORMS)(state, jax.random.key(0))
    assert exported.platforms == PLATFORMS
    names = exported.mlir_module()
    assert "callback" not in names and "skillhier_" not in names  # nothing of it comes back to the host


def test_native_worlds_are_for_this_machine():
    """What the test above would say of a program that needs the host."""
    epoch, state = collect_and_learn("native")
    with pytest.raises(Exception, match="(?i)custom call|callback|skillhier_"):
        jax.export.export(jax.jit(epoch), platforms=PLATFORMS)(state, jax.random.key(0))


def test_an_offline_epoch_exports():
    skills, spec = agent("mjx"), stacking("mjx").spec
    rng = np.random.default_rng(0)
    rows = lambda *shape: rng.normal(size=(62, *shape)).astype(np.float32)  # noqa: E731
    obs = {name: rows(s.shape[-1]) for name, s in spec.obs.items() if name not in spec.privileged}
    data = Dataset(obs, rows(5), rows(), np.array([0, 31]), np.array([30, 30]), {})
    source = sources.offline(data, batch_size=4, sequence_length=10, lookahead=5, stack=3)
    state = loop.start(skills.learner, source, jax.random.key(0))
    epoch = loop.epoch(skills.learner, source, updates=2)
    exported = jax.export.export(epoch, platforms=PLATFORMS)(state)
    assert exported.platforms == PLATFORMS

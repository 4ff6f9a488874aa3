"""Control-suite worlds under MJX: as native ones are, in either profile, and ready for accelerators.

Compiling MJX takes this long for a CPU that the two worlds with the most contacts are compared among the slow tests.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import suite_reference as ref
from suite_reference import NAMES

from skillhier import rollout
from skillhier.envs import batch
from skillhier.types import Policy

WORLDS, STEPS = 16, 10
slow = pytest.mark.slow
CHEAP = ("dmc.cheetah_run", "dmc.cartpole_swingup", "dmc.pendulum_swingup")


def follow(made, name):
    """Records of STEPS control steps [STEPS, WORLDS] from settled random states, and what is told of them."""
    state, action = ref.states(name, WORLDS, seed=4)
    native = ref.task(name)
    for _ in range(20):  # what was drawn into the ground has come out of it
        state = ref.stepped(native, state, 0 * action).state
    records = []
    for k in range(STEPS):
        record = ref.stepped(made, state, np.roll(action, k, 0))
        state = record.state
        records.append((record, *ref.told(made, record)))
    return jax.tree.map(lambda *x: np.stack(x), *records)


@pytest.mark.parametrize(
    "name", [*CHEAP, *(pytest.param(n, marks=slow) for n in ("dmc.walker_walk", "dmc.hopper_hop"))]
)
def test_the_engines_agree(name):
    """Ten control steps from the same states: states, poses, sensors, observation and reward."""
    (native, seen, paid), (mjx, shown, got) = follow(ref.task(name), name), follow(ref.task(name, "mjx"), name)
    scale = 1 + np.abs(native.state.qvel).max()
    np.testing.assert_allclose(mjx.state.qpos[0], native.state.qpos[0], atol=1e-4 * scale)
    np.testing.assert_allclose(mjx.state.qpos, native.state.qpos, atol=5e-3)
    np.testing.assert_allclose(mjx.xmat, native.xmat, atol=1e-2)
    assert not mjx.broken.any() and np.ptp(native.state.qpos, axis=0).max() > 0.01
    np.testing.assert_allclose(got, paid, atol=2e-2)
    for entry in set(seen) - {"touch"}:
        assert np.median(np.abs(shown[entry] - seen[entry])) < 1e-4 * scale
    if "touch" in seen:
        assert ((shown["touch"] > 0) == (seen["touch"] > 0)).mean() > 0.95 and (seen["touch"] > 0).any()
        np.testing.assert_allclose(shown["touch"].mean(), seen["touch"].mean(), rtol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_every_task_exports_for_accelerators(name):
    """A rollout of episodes with a repeated action lowers for CUDA and TPU and asks nothing of the host."""
    made = ref.task(name, "mjx", "fast")
    env = batch.make(made, 2, limit=4, repeat=2, stack=2)
    still = Policy(lambda worlds: (), lambda params, carry, step, key: (carry, jnp.zeros((2, *made.action.shape)), {}))

    def run(key):
        return rollout.rollout(env, still, None, rollout.start(env, still, key), key, 3)[1].step

    exported = jax.export.export(jax.jit(run), platforms=("cuda", "tpu"))(jax.random.key(0))
    assert exported.platforms == ("cuda", "tpu")
    program = exported.mlir_module()
    assert "callback" not in program and "skillhier_" not in program

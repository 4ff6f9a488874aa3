"""Host functions inside compiled programs: shapes, errors, and a program that outlives its process."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.envs.physics import callback

PROGRAM = """
import sys
import jax, jax.numpy as jnp
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
hits = []
jax.monitoring.register_event_listener(lambda name, **kw: hits.append(name))
from skillhier.envs.physics import callback
def double(arguments, results):
    results[0][...] = 2 * arguments[0]
call = callback.hosted("double", double, [jax.ShapeDtypeStruct((3,), jnp.float32)])
out = jax.jit(jax.vmap(call))(jnp.ones((2, 3)))[0]
assert (out == 2).all()
print(hits.count("/jax/compilation_cache/cache_misses"))
"""


def mean_and_sign(arguments, results):
    values, flip = arguments
    results[0][...] = np.where(flip, -1, 1) * values.mean(-1)
    results[1][...] = values > 0


RESULTS = [jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((4,), jnp.bool_)]


@pytest.mark.parametrize("make", [callback.hosted, lambda name, f, r: callback._pure_callback(f, r)])
def test_any_number_of_batch_axes(make):
    call = make("mean_and_sign", mean_and_sign, RESULTS)
    values = jax.random.normal(jax.random.key(0), (2, 3, 4))
    for lead, f in (((), call), ((3,), jax.vmap(call)), ((2, 3), jax.vmap(jax.vmap(call)))):
        x = values[(0,) * (2 - len(lead))]
        flip = jnp.arange(max(1, int(np.prod(lead)))).reshape(lead) % 2 == 1
        mean, sign = jax.jit(f)(x, flip)
        np.testing.assert_allclose(mean, jnp.where(flip, -1, 1) * x.mean(-1), rtol=1e-5)
        np.testing.assert_array_equal(sign, x > 0)


def test_what_one_argument_lacks_is_broadcast():
    call = callback.hosted("mean_and_sign", mean_and_sign, RESULTS)
    mean, _ = jax.vmap(call, in_axes=(0, None))(jnp.ones((5, 4)), jnp.array(True))
    np.testing.assert_array_equal(mean, -np.ones(5))


def test_an_error_of_the_host_reaches_the_caller():
    def fails(arguments, results):
        raise ValueError("seven is not allowed")

    call = callback.hosted("fails", fails, [jax.ShapeDtypeStruct((), jnp.float32)])
    with pytest.raises(Exception, match="seven is not allowed"):
        jax.block_until_ready(jax.jit(call)(jnp.ones(())))


def test_a_second_process_compiles_nothing(tmp_path):
    def misses():
        command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert misses() > 0
    assert misses() == 0

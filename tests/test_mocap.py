"""Tasks whose control moves mocap bodies, in both engines: bodies are where they were put, and episodes open at their
starts."""

import functools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from skillhier.envs import batch, physics
from skillhier.types import Bounds

LEAD = """
<mujoco><option timestep="0.01" gravity="0 0 0"/>
<worldbody>
  <body name="hand" mocap="true"><geom type="sphere" size=".01" contype="0" conaffinity="0"/></body>
  <body name="cart"><joint name="x" type="slide" axis="1 0 0"/><geom type="sphere" size=".1" mass="1"/></body>
</worldbody>
<equality><weld body1="hand" body2="cart" solref=".02 1"/></equality>
<actuator><motor joint="x"/></actuator>
<sensor><framepos objtype="body" objname="hand"/></sensor></mujoco>"""
ENGINES = ("native", "mjx")
LIMIT = 4


@functools.cache
def task(engine, breaks_at=np.inf, lost_at=np.inf):
    """A hand that leads a cart: the action says where it stands, counted from the start. World i starts at x = i.

    At step `breaks_at` of an episode the control is no number, at `lost_at` the hand's position is none.
    """
    engines = physics.make(mujoco.MjModel.from_xml_string(LEAD), substeps=5, engine=engine)
    hand = engines.model.body("hand").id

    def start(key, index):
        state = physics.initial(engines.model, qpos=index[None])
        at = jnp.zeros((1, 3)).at[0, 0].set(index)
        return state._replace(mocap_pos=at), {"origin": index.astype(jnp.float32), "moves": jnp.zeros((), jnp.int32)}

    def control(data, memory, action):
        x = memory["origin"] + jnp.where(memory["moves"] > lost_at, jnp.nan, action[0])
        moved = data.state._replace(mocap_pos=jnp.stack([x, 0.25, 0.0])[None])
        return moved, jnp.where(memory["moves"] > breaks_at, jnp.nan, jnp.zeros(1))

    def observe(data, memory, action):
        frame = {
            "state": data.state.mocap_pos[0],
            "body": data.xpos[hand],
            "sensor": data.sensordata,
            "cart": data.state.qpos,
        }
        return frame, memory | {"moves": memory["moves"] + 1}

    sizes = {"state": 3, "body": 3, "sensor": 3, "cart": 1}
    return batch.Task(
        physics=engines,
        obs={name: jax.ShapeDtypeStruct((size,), jnp.float32) for name, size in sizes.items()},
        action=Bounds((1,), -1.0, 1.0),
        interval=0.05,
        limit=LIMIT,
        start=start,
        control=control,
        observe=observe,
        reward_and_discount=lambda data, memory: (data.state.qpos[0], jnp.ones(())),
    )


@functools.cache
def rows(engine, length=7, repeat=1, **settings):
    """Rows of two worlds whose hand is put 0.1 m further at every row: entry -> [T, B, size], and `first`."""
    env = batch.make(task(engine, **settings), 2, repeat=repeat)
    state, row = env.reset(jax.random.key(0))
    step, shown = jax.jit(env.step), [row]
    for t in range(length - 1):
        state, row = step(state, jnp.full((2, 1), 0.1 * (t + 1)))
        shown.append(row)
    stacked = jax.tree.map(lambda *x: np.stack(x), *shown)
    return {k: v[:, :, 0] for k, v in stacked.obs.items()} | {"first": stacked.first}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("repeat", [1, 2])
def test_a_moved_body_is_where_it_was_put(engine, repeat):
    seen = rows(engine, repeat=repeat)
    opens = np.array([1, 0, 0, 0, 0, 1, 0]) if repeat == 1 else np.array([1, 0, 0, 1, 0, 0, 1])
    np.testing.assert_array_equal(seen["first"], opens[:, None].repeat(2, 1))
    put = np.where(opens, 0.0, 0.1 * np.arange(7))[:, None] + np.arange(2)  # episodes open at the start, not there
    for entry in ("state", "body", "sensor"):
        np.testing.assert_allclose(seen[entry][..., 0], put, atol=1e-6, err_msg=entry)
        np.testing.assert_allclose(seen[entry][..., 1], np.where(opens, 0.0, 0.25)[:, None].repeat(2, 1), atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_physics_feels_it_in_the_same_step(engine):
    """The weld draws the cart after the hand within the step that moved it."""
    cart = rows(engine)["cart"][..., 0] - np.arange(2)
    assert (np.diff(cart[:5], axis=0) > 0.01).all() and (cart[[0, 5]] == 0).all()
    np.testing.assert_allclose(cart, rows("native")["cart"][..., 0] - np.arange(2), atol=2e-4)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("fault", ["breaks_at", "lost_at"])
def test_a_world_that_breaks_opens_at_its_start(engine, fault):
    """Also one whose mocap body was sent to no place at all: nothing that is not a number is ever shown."""
    seen = rows(engine, **{fault: 2})
    np.testing.assert_array_equal(np.flatnonzero(seen["first"][:, 0]), [0, 3, 6])
    assert all(np.isfinite(values).all() for values in seen.values())
    for entry in ("state", "body", "sensor"):
        np.testing.assert_array_equal(seen[entry][3, :, 0], [0, 1], err_msg=entry)
        np.testing.assert_allclose(seen[entry][4, :, 0], [0.4, 1.4], atol=1e-6, err_msg=entry)

"""Many worlds: episodes, limits, resets, delays, stacks; what one world does never reaches another."""

import functools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from skillhier import rollout
from skillhier.envs import batch, physics
from skillhier.types import Bounds, Policy

SLIDER = """
<mujoco><option timestep="0.01" gravity="0 0 0"/>
<worldbody><body><joint name="x" type="slide" axis="1 0 0"/><geom type="sphere" size=".1" mass="1"/></body></worldbody>
<actuator><velocity joint="x" kv="50"/></actuator></mujoco>"""


@functools.cache
def task(engine="native", ends_at=np.inf, breaks_at=np.inf):
    """A slider that starts at its world's number; reward is its position; `acts` shows the action that led here."""
    p = physics.make(mujoco.MjModel.from_xml_string(SLIDER), substeps=5, engine=engine)

    def start(key, index):
        position = index + 0.1 * jax.random.uniform(key)
        return physics.initial(p.model, qpos=position[None]), {"moves": jnp.zeros((), jnp.int32)}

    def control(data, memory, action):
        return data.state, jnp.where(memory["moves"] >= breaks_at, jnp.nan, action)

    def observe(data, memory, action):
        frame = {"x": data.state.qpos, "acts": action, "moves": memory["moves"][None].astype(jnp.float32)}
        return frame, {"moves": memory["moves"] + 1}

    def reward_and_discount(data, memory):
        return data.state.qpos[0], jnp.where(memory["moves"] > ends_at, 0.0, 1.0)

    one = jax.ShapeDtypeStruct((1,), jnp.float32)
    return batch.Task(
        p, {"x": one, "acts": one, "moves": one}, Bounds((1,), -1.0, 1.0), 0.05, 4,
        start, control, observe, reward_and_discount, privileged=("moves",),
    )  # fmt: skip


def walk(env, rows, key=0, action=0.5):
    """`rows` rows under a policy that counts: its action at row t is action * (t + 1)."""

    def act(params, carry, step, key):
        return carry + 1, jnp.broadcast_to(action * (carry + 1), (step.first.shape[0], 1)), {}

    policy = Policy(lambda worlds: jnp.zeros(()), act)
    actor = rollout.start(env, policy, jax.random.key(key))
    run = jax.jit(lambda actor, key: rollout.rollout(env, policy, None, actor, key, rows))
    return run(actor, jax.random.key(1))[1]


def test_the_clock_cuts_and_the_next_row_opens():
    env = batch.make(task(), 3, limit=4)
    rows = walk(env, 11)
    np.testing.assert_array_equal(rows.step.first[:, 0], [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(rows.step.last[:, 0], [0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0])
    np.testing.assert_array_equal(rows.step.discount, 1)  # a cut is no end
    x, reward = rows.step.obs["x"][:, :, 0, 0], rows.step.reward
    np.testing.assert_array_equal(reward, jnp.where(rows.step.first, 0, x))
    assert (x[4] > x[0] + 0.01).all()  # the row with `last` shows where the episode really ended
    np.testing.assert_array_equal(jnp.floor(x[5]), [0, 1, 2])  # every world opens at a start of its own


def test_a_true_end_says_so():
    rows = walk(batch.make(task(ends_at=2), 2, limit=9), 8)
    np.testing.assert_array_equal(rows.step.discount[:, 0], [1, 1, 0, 1, 1, 0, 1, 1])
    np.testing.assert_array_equal(rows.step.last[:, 0], [0, 0, 1, 0, 0, 1, 0, 0])


def test_starts_vary_over_episodes_and_worlds_and_repeat_with_the_key():
    env = batch.make(task(), 3, limit=2)
    again, other = walk(env, 9), walk(env, 9, key=5)
    first = np.asarray(again.step.first)
    starts = np.asarray(again.step.obs["x"][:, :, 0, 0])[first]
    assert len(np.unique(np.round(starts % 1, 6))) == first.sum()
    np.testing.assert_array_equal(again.step.obs["x"], walk(env, 9).step.obs["x"])
    assert not np.allclose(again.step.obs["x"], other.step.obs["x"])


def test_stacks_show_the_newest_first_and_open_full():
    env = batch.make(task(), 1, limit=4, stack=3)
    x = np.asarray(walk(env, 8).step.obs["x"][:, 0, :, 0])
    np.testing.assert_array_equal(x[0], x[0, 0])
    np.testing.assert_array_equal(x[3], [x[3, 0], x[2, 0], x[1, 0]])
    np.testing.assert_array_equal(x[5], x[5, 0])  # nothing of the episode before is left
    assert env.spec.obs["x"].shape == (3, 1) and env.spec.obs["moves"].shape == (1, 1)


@pytest.mark.parametrize("delay", [0, 1, 2])
def test_actions_arrive_after_their_delay(delay):
    env = batch.make(task(), 1, limit=5, delay=(delay, delay))
    acts = np.asarray(walk(env, 8, action=0.1).step.obs["acts"][:, 0, 0, 0])
    asked = 0.1 * np.arange(1, 9)
    want = np.concatenate([np.zeros(1 + delay), asked[: 5 - delay]])
    np.testing.assert_allclose(acts[:6], want, atol=1e-6)
    assert acts[6] == 0  # the action asked for on the closing row has no effect
    np.testing.assert_allclose(acts[7], 0 if delay else asked[6], atol=1e-6)


def test_delays_vary_between_episodes():
    env = batch.make(task(), 64, limit=3, delay=(0, 2))
    state, _ = env.reset(jax.random.key(0))
    assert set(np.asarray(state.delay)) == {0, 1, 2}


@pytest.mark.parametrize("engine", ["native", "mjx"])
def test_a_broken_world_opens_anew_and_its_row_is_never_shown(engine):
    """Worlds break at their third move: the next row is `first` though none was `last`, and all is finite."""
    rows = walk(batch.make(task(engine, breaks_at=2), 2, limit=9), 7)
    np.testing.assert_array_equal(rows.step.first[:, 0], [1, 0, 1, 0, 1, 0, 1])
    assert not rows.step.last.any()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(rows.step))
    valid = ~rows.step.last[:-1] & ~rows.step.first[1:]
    np.testing.assert_array_equal(valid[:, 0], [1, 0, 1, 0, 1, 0])


def test_a_world_does_as_it_would_alone():
    """The first of many worlds and the same world among two show the same rows, breaks of others included."""
    many = batch.make(task(), 5, limit=3)
    state, _ = many.reset(jax.random.key(0))
    poisoned = state._replace(
        data=state.data._replace(state=state.data.state._replace(qvel=state.data.state.qvel.at[2].set(1e8)))
    )
    action = jnp.full((5, 1), 0.3)
    step = jax.jit(many.step)
    for _ in range(7):
        (state, clean), (poisoned, other) = step(state, action), step(poisoned, action)
        for a, b in zip(jax.tree.leaves(clean), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(np.delete(a, 2, 0), np.delete(b, 2, 0))


def test_one_trace_and_no_more():
    env = batch.make(task(), 2, limit=3, stack=2, delay=(0, 1))
    traces = []

    @jax.jit
    def step(state, action):
        traces.append(1)
        return env.step(state, action)

    state, _ = jax.jit(env.reset)(jax.random.key(0))
    for _ in range(6):
        state, _ = step(state, jnp.zeros((2, 1)))
    assert len(traces) == 1


def test_a_step_gives_back_the_types_it_took_even_of_a_careless_task():
    """A reward that is a plain Python number at heart would have a scan over steps traced twice."""
    careless = task()._replace(
        reward_and_discount=lambda data, memory: (jnp.where(data.state.qpos[0] > 0, 0.0, 1.0), jnp.ones(()))
    )
    for repeat in (1, 2):
        env = batch.make(careless, 2, repeat=repeat)
        opened = jax.eval_shape(env.reset, jax.random.key(0))
        moved = jax.eval_shape(env.step, opened[0], jax.ShapeDtypeStruct((2, 1), jnp.float32))
        for a, b in zip(jax.tree.leaves(opened), jax.tree.leaves(moved), strict=True):
            assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type)


def test_the_spec_is_what_is_shown():
    env = batch.make(task(), 3, stack=2)
    _, step = env.reset(jax.random.key(0))
    assert {k: (3, *v.shape) for k, v in env.spec.obs.items()} == {k: v.shape for k, v in step.obs.items()}
    assert env.spec.limit == 4 and env.spec.worlds == 3 and env.spec.privileged == ("moves",)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_rollouts_under_mjx_export_for_accelerators(platform):
    env = batch.make(task("mjx"), 2, limit=3, stack=2, delay=(0, 2))
    policy = Policy(lambda worlds: (), lambda params, carry, step, key: (carry, step.obs["x"][:, 0], {}))

    def run(key):
        return rollout.rollout(env, policy, None, rollout.start(env, policy, key), key, 3)[1].step

    exported = jax.export.export(jax.jit(run), platforms=[platform])(jax.random.key(0))
    assert exported.platforms == (platform,)


@pytest.mark.parametrize(
    "setting, message",
    [
        (dict(delay=(2, 1)), r"delay must be .* got \(2, 1\); set env.delay"),
        (dict(stack=0), "stack must be >= 1, got 0; set env.stack"),
        (dict(limit=0), "limit must be >= 1, got 0; set env.limit"),
        (dict(repeat=0), "repeat must be >= 1, got 0; set env.repeat"),
    ],
)
def test_bad_settings_are_named(setting, message):
    with pytest.raises(ValueError, match=message):
        batch.make(task(), 1, **setting)


def test_worlds_multiply_in_full_precision_whatever_nets_do():
    one = task()
    turned = one._replace(reward_and_discount=lambda data, memory: (jnp.eye(1)[0] @ data.state.qpos, jnp.ones(())))
    env = batch.make(turned, 2)
    with jax.default_matmul_precision("bfloat16"):
        state, step = jax.eval_shape(env.reset, jax.random.key(0))
        jaxpr = str(jax.make_jaxpr(env.step)(state, jax.ShapeDtypeStruct((2, 1), jnp.float32)))
    assert "dot_general" in jaxpr and "Precision.HIGHEST" in jaxpr and "Precision.DEFAULT" not in jaxpr


def counting(ends_at=np.inf, breaks_at=np.inf, limit=7):
    """A task whose n-th control step of an episode pays 10^n; `moves` shows n. Ends or breaks at a given step."""

    def reward_and_discount(data, memory):
        moved = memory["moves"] - 1
        return 10.0**moved, jnp.where(moved >= ends_at, 0.0, 1.0)

    return task(breaks_at=breaks_at)._replace(reward_and_discount=reward_and_discount, limit=limit)


def test_a_decision_acts_for_several_control_steps_and_is_paid_their_sum():
    """Three steps a decision, seven an episode: 10 + 100 + 1000, the next three, then the one that is left."""
    env = batch.make(counting(), 2, repeat=3)
    assert (env.spec.limit, round(env.spec.interval, 6)) == (3, 0.15)
    rows = walk(env, 9, action=0.1)
    np.testing.assert_array_equal(rows.step.reward[:, 0], [0, 1110, 1110000, 1e7, 0, 1110, 1110000, 1e7, 0])
    np.testing.assert_array_equal(rows.step.obs["moves"][:, 0, 0, 0], [0, 3, 6, 7, 0, 3, 6, 7, 0])
    np.testing.assert_array_equal(rows.step.first[:, 0], [1, 0, 0, 0, 1, 0, 0, 0, 1])
    np.testing.assert_array_equal(rows.step.last[:, 0], [0, 0, 0, 1, 0, 0, 0, 1, 0])
    # the action of a row acts for its whole decision; on the closing row none does
    np.testing.assert_allclose(rows.step.obs["acts"][:, 0, 0, 0], [0, 0.1, 0.2, 0.3, 0, 0.5, 0.6, 0.7, 0], atol=1e-6)


def test_repeated_steps_are_the_steps_taken_one_by_one():
    constant = Policy(lambda worlds: (), lambda params, carry, step, key: (carry, jnp.full((2, 1), 0.3), {}))
    shown = []
    for repeat, length in ((1, 7), (3, 3)):
        env = batch.make(counting(limit=6), 2, repeat=repeat)
        actor = rollout.start(env, constant, jax.random.key(0))
        rows = jax.jit(
            lambda actor, env=env, n=length: rollout.rollout(env, constant, None, actor, jax.random.key(1), n)
        )
        shown.append(rows(actor)[1].step.obs["x"][:: 3 // repeat])
    np.testing.assert_array_equal(*shown)


def test_nothing_is_acted_past_a_true_end():
    rows = walk(batch.make(counting(ends_at=4), 1, repeat=3), 5)
    np.testing.assert_array_equal(rows.step.reward[:, 0], [0, 1110, 1e4, 0, 1110])
    np.testing.assert_array_equal(rows.step.obs["moves"][:, 0, 0, 0], [0, 3, 4, 0, 3])
    np.testing.assert_array_equal(rows.step.discount[:, 0], [1, 1, 0, 1, 1])
    np.testing.assert_array_equal(rows.step.last[:, 0], [0, 0, 1, 0, 0])


def test_a_world_that_breaks_within_a_decision_opens_there():
    """The fifth move breaks: the second decision's row opens an episode, is paid nothing and has not moved on."""
    rows = walk(batch.make(counting(breaks_at=5), 1, repeat=3), 4)
    np.testing.assert_array_equal(rows.step.first[:, 0], [1, 0, 1, 0])
    np.testing.assert_array_equal(rows.step.reward[:, 0], [0, 1110, 0, 1110])
    np.testing.assert_array_equal(rows.step.obs["moves"][:, 0, 0, 0], [0, 3, 0, 3])
    assert not rows.step.last.any() and all(np.isfinite(x).all() for x in jax.tree.leaves(rows.step))


def test_frames_and_delays_count_decisions():
    env = batch.make(counting(limit=12), 1, repeat=3, stack=3, delay=(1, 1))
    rows = walk(env, 4, action=0.1)
    x = np.asarray(rows.step.obs["x"][:, 0, :, 0])
    np.testing.assert_array_equal(x[3], [x[3, 0], x[2, 0], x[1, 0]])
    np.testing.assert_allclose(rows.step.obs["acts"][:, 0, 0, 0], [0, 0, 0.1, 0.2], atol=1e-6)


def picture(data):
    """A picture of 2 x 2 pixels that shows the slider's place in 1/100 m and how bright it is drawn."""
    place = jnp.clip(100 * data.state.qpos[0], 0, 255).astype(jnp.uint8)
    return {"pixels": jnp.full((2, 2, 3), place).at[0, 0].set(255)}


@pytest.mark.parametrize("repeat", [1, 2])
def test_pictures_join_the_observations_or_replace_them(repeat):
    env = batch.make(task(), 2, stack=2, repeat=repeat, draw=picture)
    assert set(env.spec.obs) == {"x", "acts", "moves", "pixels"}
    assert env.spec.obs["pixels"] == jax.ShapeDtypeStruct((2, 2, 2, 3), jnp.uint8)
    rows = walk(env, 8)
    pixels, x = np.asarray(rows.step.obs["pixels"]), np.asarray(rows.step.obs["x"])
    assert pixels.dtype == np.uint8 and pixels.shape == (8, 2, 2, 2, 2, 3)
    np.testing.assert_array_equal(pixels[..., 0, 0, :], 255)
    np.testing.assert_array_equal(pixels[..., 1, 1, 0], np.floor(np.float32(100) * x[..., 0]))  # every frame of a stack
    alone = batch.make(task(), 2, stack=2, repeat=repeat, draw=picture, draw_only=True)
    assert set(alone.spec.obs) == {"moves", "pixels"}  # privileged entries stay
    np.testing.assert_array_equal(walk(alone, 8).step.obs["pixels"], pixels)


def equations(jaxpr, inside=()):
    """Every equation of a program with the names of the primitives that it stands in."""
    for eqn in jaxpr.eqns:
        yield eqn, inside
        for value in eqn.params.values():
            if hasattr(value, "jaxpr"):
                yield from equations(value.jaxpr, (*inside, eqn.primitive.name))


def test_a_picture_is_drawn_once_a_decision():
    env = batch.make(task(), 2, repeat=4, draw=picture)
    state, _ = env.reset(jax.random.key(0))
    program = jax.make_jaxpr(env.step)(state, jnp.zeros((2, 1))).jaxpr
    made = [
        inside
        for eqn, inside in equations(program)
        if eqn.primitive.name == "convert_element_type" and eqn.outvars[0].aval.dtype == jnp.uint8
    ]
    scanned = [inside for _, inside in equations(program) if "scan" in inside]
    assert made and scanned and not any("scan" in inside for inside in made)


def test_the_spec_names_the_entry_of_success_where_it_is_shown():
    one = task()
    assert batch.make(one, 1).spec.success is None
    for success, alone, shown in (
        ("moves", False, "moves"),
        ("x", False, "x"),
        ("moves", True, "moves"),
        ("x", True, None),
    ):
        env = batch.make(one._replace(success=success), 1, draw=picture, draw_only=alone)
        assert env.spec.success == shown and (shown is None or shown in env.spec.obs)
    with pytest.raises(ValueError, match="success 'won' is not an entry of the task; it has x, acts, moves"):
        batch.make(one._replace(success="won"), 1)


def test_actions_beyond_the_bounds_are_those_at_the_bounds():
    env = batch.make(task(), 2, delay=(1, 1))
    np.testing.assert_array_equal(walk(env, 5, action=1e3).step.obs["acts"][:, 0, 0, 0], [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(walk(env, 5, action=-1e3).step.obs["acts"][:, 0, 0, 0], [0, 0, -1, -1, -1])


def test_nothing_to_show_alone_is_refused():
    with pytest.raises(ValueError, match="set env.draw_only to False"):
        batch.make(task(), 1, draw_only=True)

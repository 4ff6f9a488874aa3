"""Parts of a learner that do not learn, or go on: to the bit, their optimiser's state too, and the others as before."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from leftovers import same

from skillhier.agents import learner as learners
from skillhier.agents import mpo, paths, slow
from skillhier.agents.learner import learner, stateless
from skillhier.agents.minibatches import minibatched
from skillhier.agents.optimisers import adam, by_child, jointly
from skillhier.data import online, replay
from skillhier.distributed import seeds
from skillhier.envs import probe
from skillhier.train import checkpoint, loop
from skillhier.types import TimeStep, Trajectory

SHAPES = {"world": {"reward": {"w": (3,)}, "core": {"w": (3,), "b": ()}}, "worker": {"critic": {"w": (3,)}}}


def init_params(key):
    leaves, structure = jax.tree.flatten(SHAPES, is_leaf=lambda x: isinstance(x, tuple))
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(structure, [jax.random.normal(k, shape) for k, shape in zip(keys, leaves, strict=True)])


def loss(params, batch, key):
    """Every parameter has a gradient of its own, which the others' values change."""
    total = sum(jnp.sum(jnp.sin(leaf) * (1 + i)) for i, leaf in enumerate(jax.tree.leaves(params)))
    value = jnp.square(total - batch.step.reward.mean()) * 100
    return value, {"loss": value}


def batch(value=0.5):
    never = jnp.zeros((4, 2), bool)
    return Trajectory(TimeStep({}, jnp.full((4, 2), value), jnp.ones((4, 2)), never, never), jnp.zeros((4, 2, 1)), {})


JOINT = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-2, weight_decay=0.1))
EACH = by_child({"world/core": optax.adam(1e-2), "world/reward": optax.adam(1e-2), "worker": optax.adam(1e-2)})
CLIPPED = optax.chain(jointly(optax.clip_by_global_norm(1.0), ["world", "worker"]), EACH)
OPTIMISERS = {"joint": JOINT, "each": CLIPPED, "rates": adam({"world": 1e-2, "worker": 1e-2}, decay_updates=9)}


def after(subject, updates=4, state=None):
    state = subject.init(jax.random.key(0)) if state is None else state
    update = jax.jit(subject.update)
    for i in range(updates):
        state, _ = update(state, batch(0.1 * i), jax.random.key(i))
    return state


@pytest.mark.parametrize("frozen", [("world/reward",), ("world",), ("worker/critic/w", "world/core")])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_what_is_frozen_stays_to_the_bit_and_so_does_its_optimisers_state(name, frozen):
    subject = learner(init_params, stateless(loss), OPTIMISERS[name])
    begun = after(subject, 2)  # the state of the optimiser is not that of the beginning
    state = after(learners.with_frozen(subject, frozen), 4, begun)
    below = paths.mask(begun.params, frozen)
    for held, old, new in zip(*map(jax.tree.leaves, (below, begun.params, state.params)), strict=True):
        assert np.array_equal(old, new) == held
    theirs = paths.belonging(begun.opt, begun.params, frozen)
    moments = 0
    for held, old, new in zip(*map(jax.tree.leaves, (theirs, begun.opt, state.opt)), strict=True):
        assert np.array_equal(old, new) == held
        moments += held and old.ndim > 0
    assert moments == 2 * sum(leaf.ndim > 0 for leaf in jax.tree.leaves(paths_of(begun.params, frozen)))


def paths_of(params, names):
    return jax.tree.map(lambda held, x: x if held else jnp.zeros(()), paths.mask(params, names), params)


def test_the_others_learn_as_if_the_frozen_were_constants():
    """Their clipping does not see the gradient of what is frozen."""
    subject = learner(init_params, stateless(loss), OPTIMISERS["rates"])
    state = after(learners.with_frozen(subject, ("world",)))
    fixed = subject.init(jax.random.key(0)).params["world"]

    def rest_loss(params, batch, key):
        return loss({"world": fixed, **params}, batch, key)

    rest = learner(
        lambda key: {"worker": init_params(key)["worker"]},
        stateless(rest_loss),
        adam({"worker": 1e-2}, decay_updates=9),
    )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), after(rest).params, {"worker": state.params["worker"]})
    assert not np.allclose(state.params["worker"]["critic"]["w"], after(subject).params["worker"]["critic"]["w"])


def test_a_count_that_others_share_goes_on_and_one_of_the_frozen_alone_does_not():
    frozen = ("world",)
    opt = after(learners.with_frozen(learner(init_params, stateless(loss), JOINT), frozen)).opt
    counts = [int(leaf) for name, leaf in checkpoint.named(opt).items() if name.endswith("count")]
    assert counts == [4] * len(counts) != []
    opt = after(learners.with_frozen(learner(init_params, stateless(loss), CLIPPED), frozen)).opt
    counts = {name: int(leaf) for name, leaf in checkpoint.named(opt).items() if name.endswith("count")}
    assert {name.split("/inner_state/")[0].split("inner_states/")[1]: count for name, count in counts.items()} == {
        "world/core": 0, "world/reward": 0, "worker": 4,
    }  # fmt: skip


def test_the_gradient_that_is_reported_is_of_what_learns():
    subject = learner(init_params, stateless(loss), JOINT)
    norms = {}
    for frozen in (("world",), ("worker",), ()):
        still = learners.with_frozen(subject, frozen) if frozen else subject
        _, metrics = still.update(subject.init(jax.random.key(0)), batch(), jax.random.key(0))
        norms[frozen] = float(metrics["learner/gradient_norm"])
    assert norms["world",] ** 2 + norms["worker",] ** 2 == pytest.approx(norms[()] ** 2)
    assert min(norms.values()) > 0


def test_minibatches_of_a_frozen_learner_leave_it_alone_too():
    subject = minibatched(learner(init_params, stateless(loss), JOINT), epochs=2, minibatches=2)
    state = after(learners.with_frozen(subject, ("world",)))
    assert same(state.params["world"], subject.init(jax.random.key(0)).params["world"])
    assert not same(state.params["worker"], subject.init(jax.random.key(0)).params["worker"])


def test_a_misspelt_path_is_refused_with_those_that_there_are():
    subject = learner(init_params, stateless(loss), JOINT)
    for wrong, guess in (("world/rewrd", "world/reward"), ("worker/critc", "worker/critic"), ("wrold", "world")):
        with pytest.raises(ValueError, match="^[^\n]*$") as caught:
            learners.with_frozen(subject, (wrong,))
        assert f"'{wrong}' is no part of the parameters; did you mean {guess}?" in str(caught.value)
        assert "there are worker, worker/critic, world, world/core, world/reward" in str(caught.value)


def test_a_leaf_of_two_parents_of_one_name_belongs_to_its_own():
    """`w` ends many paths: the longest one counts."""
    params = {"w": jnp.zeros(3), "world": {"w": jnp.zeros(3)}}
    state = optax.adam(1.0).init(params)
    below = paths.belonging(state, params, ("world",))[0]
    assert below.mu == {"w": False, "world": {"w": True}} and below.count is False


def test_without_drops_what_is_named_and_groups_that_this_leaves_empty():
    params = init_params(jax.random.key(0))
    assert set(paths.known(paths.without(params, ("worker/critic", "world/core/b")))) == {
        "world", "world/core", "world/core/w", "world/reward", "world/reward/w",
    }  # fmt: skip


# --- going on ---


def stored(state):
    return checkpoint.named(state.opt)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_with_its_parameters_and_its_optimiser_a_learner_goes_on_as_if_it_had_not_been_another(name):
    subject = learner(init_params, stateless(loss), OPTIMISERS[name])
    begun = after(subject, 3)
    going = learners.with_opt_state(learners.with_init_params(subject, begun.params), stored(begun))
    state = jax.jit(going.init)(jax.random.key(9))
    assert same((state.params, state.opt), (begun.params, begun.opt)) and int(state.steps) == 0
    one, other = after(going, 2, state), after(subject, 2, begun)
    assert same((one.params, one.opt), (other.params, other.opt))
    forgot = after(learners.with_init_params(subject, begun.params), 2)
    assert not same(forgot.params, other.params)


def test_what_begins_anew_has_a_fresh_optimiser():
    subject = learner(init_params, stateless(loss), CLIPPED)
    begun = after(subject, 3)
    going = learners.with_opt_state(subject, stored(begun), anew=("world/reward",))
    opt, fresh = going.init(jax.random.key(0)).opt, subject.init(jax.random.key(0)).opt
    theirs = paths.belonging(fresh, begun.params, ("world/reward",))
    assert sum(jax.tree.leaves(theirs)) == 3  # two moments and the count of the optimiser that has no other
    for anew, now, new, old in zip(*map(jax.tree.leaves, (theirs, opt, fresh, begun.opt)), strict=True):
        assert np.array_equal(now, new if anew else old)


def test_an_optimiser_of_another_form_is_refused():
    subject = learner(init_params, stateless(loss), CLIPPED)
    begun = after(learner(init_params, stateless(loss), JOINT), 1)
    with pytest.raises(
        ValueError, match="of the optimiser's state 1/inner_states/.* is absent, the learner needs shape"
    ):
        jax.eval_shape(learners.with_opt_state(subject, stored(begun)).init, jax.random.key(0))
    wide = {name: jnp.zeros((2, *leaf.shape)) for name, leaf in stored(after(subject, 1)).items()}
    with pytest.raises(ValueError, match=r"has shape \[2\], the learner needs shape \[\]"):
        jax.eval_shape(learners.with_opt_state(subject, wide).init, jax.random.key(0))


def test_each_seed_goes_on_from_its_own():
    subject = learner(init_params, stateless(loss), JOINT, slow.SlowPart(lambda params: params["worker"]))
    each = [after(subject, 2 + i) for i in range(2)]
    going = learners.with_opt_state(
        learners.with_init_params(subject, *(one.params for one in each)), *map(stored, each)
    )  # fmt: skip
    key = jax.vmap(jax.random.key)(np.arange(2))
    env = probe.constant_reward(2)
    policy = mpo.make(env.spec, samples=2, hidden=(4,))
    source = online.online(
        env, policy.explore, replay.make(20, env.spec), unroll_length=4, batch_size=2, sequence_length=2, prefill=4,
        first_params=lambda key: policy.learner.init(key).params,
    )  # fmt: skip
    state = loop.start(going, source, key).learner
    for seed, one in enumerate(each):
        now = jax.tree.map(lambda x: x[seed], state)  # noqa: B023
        assert same((now.params, now.opt, now.slow), (one.params, one.opt, one.params["worker"]))


def test_a_function_finds_the_seed_that_it_is_traced_for():
    trees = tuple({"x": jnp.full(2, i)} for i in range(3))
    picked = jax.vmap(lambda key: seeds.pick(trees), axis_name=seeds.AXIS)(jax.random.split(jax.random.key(0), 3))
    np.testing.assert_array_equal(picked["x"], [[0, 0], [1, 1], [2, 2]])
    assert seeds.index() == 0 and seeds.pick(trees[1:2]) is trees[1]


# --- a real agent ---


def test_mpo_learns_with_its_actor_frozen():
    env = probe.action_reward(2)
    agent = mpo.make(env.spec, samples=3, hidden=(8,), target_period=2)
    source = online.online(
        env, agent.explore, replay.make(40, env.spec, extras=agent.replay_extras), unroll_length=4, batch_size=4,
        sequence_length=3, prefill=8, first_params=lambda key: agent.learner.init(key).params,
    )  # fmt: skip
    still = learners.with_frozen(agent.learner, ("control/actor",))
    state = loop.start(still, source, jax.random.key(0))
    begun = jax.device_get(state.learner)
    state, _, _ = loop.epoch(still, source, 4)(state)
    now = state.learner
    assert same(now.params["control"]["actor"], begun.params["control"]["actor"])
    assert not same(now.params["control"]["critic"], begun.params["control"]["critic"])
    assert int(now.health.skipped) == 0

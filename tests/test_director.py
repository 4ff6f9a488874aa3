"""Director and MRS whole: sizes of the fact sheet, who learns from what, who sees what, variants by setting."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from imagining import GOALS, LEVEL, MRS, SPEC, WORLD, made_up, noisy, parts_of, source_of, system

from skillhier.agents import director, mrs, registry
from skillhier.envs import probe
from skillhier.losses import goal_coder as losses
from skillhier.ops import action_heads
from skillhier.rollout import rollout, start
from skillhier.train import loop
from skillhier.types import Bounds, Spec

NAMES = registry.BY_GOALS
ENV = probe.constant_reward(2, limit=4)
T, B = 4, 3


def size(tree):
    return sum(x.size for x in jax.tree.leaves(tree)) / 1e6


@functools.cache
def agent_of(name, **settings):
    return system(name, ENV.spec, **settings)


@functools.cache
def params_of(name):
    return jax.jit(agent_of(name).learner.init)(jax.random.key(0)).params


def play(name, rows, policy="explore", **settings):
    policy = getattr(agent_of(name, **settings), policy)
    run = jax.jit(lambda params, key: rollout(ENV, policy, params, start(ENV, policy, key), key, rows)[1])
    return jax.device_get(run(params_of(name), jax.random.key(0)))


@pytest.mark.parametrize(
    ("name", "settings", "coders", "manager", "total"),
    [("director", {}, 2.70, 1.87, 53.3), ("mrs", {}, 8.21, 2.01, 59.0), ("mrs", {"infinity": False}, 5.52, 1.97, 56.3)],
)
def test_parameters_of_the_fact_sheet(name, settings, coders, manager, total):
    """mrs.md 1.14: pictures of 64 x 64, six actions, the paper's sizes; in millions, the total with slow copies."""
    spec = Spec({"picture": jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.uint8)}, Bounds((6,), -1.0, 1.0), 1, 0.1, 10)
    state = jax.eval_shape(registry.make(name, spec, **settings).learner.init, jax.random.key(0))
    world, params = state.params["world"], state.params
    sizes = {"encoder": 2.76, "dynamics": 13.65}
    assert {part: size(world[part]) for part in sizes} == pytest.approx(sizes, abs=0.01)
    heads = {"picture": 14.23, "reward": 1.84, "continue": 1.84}
    assert {part: size(world["heads"][part]) for part in heads} == pytest.approx(heads, abs=0.01)
    assert size(params["coder"]) == pytest.approx(coders, abs=0.01)
    assert size(params["manager"]["actor"]) == pytest.approx(manager, abs=0.01)
    assert [size(x) for x in params["manager"]["critic"].values()] == pytest.approx([1.84, 1.84], abs=0.01)
    assert [size(x) for x in params["worker"].values()] == pytest.approx([2.37, 2.36], abs=0.01)
    assert size(params) + size(state.slow) == pytest.approx(total, abs=0.1)


@functools.cache
def _slopes(name):
    own = {"mrs": MRS, "director": GOALS}[name]
    parts = parts_of(name, SPEC, **{**WORLD, **LEVEL, **own})

    params, slow = noisy(parts)

    def measured(params, weights):
        value, (_, metrics) = parts.loss(params, slow, made_up(T, B), jax.random.key(1))
        coder = [metrics[k] for k in metrics if k.startswith("coder/") and k.endswith("_error")]
        each = {
            "world": metrics["world/loss"],
            "coder": sum(coder),
            **{f"{level}/actor": metrics[f"{level}/actor_loss"] for level in ("manager", "worker")},
            **{f"manager/critic/{r}": metrics[f"manager/{r}_critic_loss"] for r in ("task", "novelty")},
            "worker/critic": metrics["worker/critic_loss"],
        }
        return sum(weights[k] * each[k] for k in each), metrics

    names = (
        "world",
        "coder",
        "manager/actor",
        "worker/actor",
        "manager/critic/task",
        "manager/critic/novelty",
        "worker/critic",
    )
    slope = jax.jit(jax.value_and_grad(measured, has_aux=True))
    return {term: slope(params, {k: float(k == term) for k in names})[1] for term in names}


@pytest.mark.parametrize("name", ["mrs", pytest.param("director", marks=pytest.mark.slow)])
def test_the_table_of_gradients(name):
    """mrs.md 2.9: each term moves its own part and nothing else."""
    for term, slope in _slopes(name).items():
        moved = set()
        for path, x in jax.tree_util.tree_leaves_with_path(slope):
            names = "/".join(entry.key for entry in path)
            assert np.isfinite(x).all()
            if float(jnp.abs(x).max()) > 0:
                moved.add(names)
        assert moved and all(path.startswith(term) for path in moved), (term, sorted(moved)[:5])


def test_goals_are_held_and_decoded_from_where_they_were_chosen():
    """Episodes of 5 rows, periods of 2: rows 0, 2, 4, and then 5, 7, 9."""
    rows = play("mrs", 10)
    goal, renewed = rows.extras["goal"][:, 0], rows.extras["goal_renewed"][:, 0]
    assert np.flatnonzero(renewed).tolist() == [0, 2, 4, 5, 7, 9]
    for t in range(1, 10):
        assert (goal[t] == goal[t - 1]).all() == (not renewed[t])
    codes, pick = action_heads.picked(rows.extras["goal/code"][0], 3)
    assert goal.shape == (10, 8) and codes.shape == (2, 3, 6) and (pick.sum(-1) == 1).all()


def test_goals_of_finite_resolutions_depend_on_where_one_is():
    """One code, two states: infinity means the same goal, a finite coder another one."""
    settings = {**mrs.DEFAULTS, **WORLD, **MRS}
    aims = mrs.make_goals(settings)
    params = aims.init(jax.random.key(0))
    action = aims.head.sample(aims.head.stats(jnp.zeros((1, aims.head.outputs))), jax.random.key(1))
    same = {}
    for i, change in enumerate(aims.held):
        one, other = (aims.decode(params, jnp.full((1, 8), x), change(action, None)) for x in (0.0, 1.0))
        same[("2", "3", director.INFINITY)[i]] = bool((one == other).all())
    assert same == {"2": False, "3": False, "infinity": True}


def test_novelty_is_the_least_error_of_the_finite_coders():
    settings = {**mrs.DEFAULTS, **WORLD, **MRS}
    deter = jax.random.normal(jax.random.key(2), (5, 3, 8))
    aims = mrs.make_goals(settings)
    params = aims.init(jax.random.key(0))
    # sure encoders: samples leave nothing to chance
    for head in params["finite"]["heads"].values():
        head["kernel"] = 1e4 * head["kernel"]
    novelty = aims.novelty(params, deter, jax.random.key(1))
    each = []
    for name in ("2", "3"):
        alone = mrs.make_goals({**settings, "resolutions": (int(name),), "infinity": False})
        pruned = {**params["finite"], **{part: {name: params["finite"][part][name]} for part in ("heads", "firsts")}}
        each.append(alone.novelty({"finite": pruned}, deter, jax.random.key(1)))
    np.testing.assert_allclose(novelty, np.minimum(*each), rtol=1e-4, atol=1e-6)
    assert (np.asarray(novelty) >= 0).all() and (each[0] < each[1]).any() and (each[0] > each[1]).any()
    vanilla = mrs.make_goals({**settings, "novelty": "infinity"})
    nets = director.make_coders((director.INFINITY,), settings, context=False)
    coder = director.coder_of(nets, lambda params: params[director.INFINITY])
    kind = director.code_kind(settings)
    known = losses.decoding_error(coder, kind, params, deter, deter, jax.random.key(1))
    np.testing.assert_allclose(vanilla.novelty(params, deter, jax.random.key(1)), known, rtol=1e-5)


@pytest.mark.parametrize("choice", ["2", "infinity", "uniform"])
def test_at_evaluation_the_pick_can_be_overruled(choice):
    rows = play("mrs", 10, "exploit", choice=choice)
    pick = action_heads.picked(rows.extras["goal/code"], 3)[1][rows.extras["goal_renewed"]]
    index = pick.argmax(-1)
    known = {"2": {0}, "infinity": {2}, "uniform": {0, 1, 2}}[choice]
    assert set(index.tolist()) == known


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("director", {"code_samples": "relaxed", "coder_kl_target": 0.0, "chunk_reward": "sum", "last_goal": "own"}),
        ("director", {"worker_task_weight": 1.0, "goal_restarts": False, "gradient": "score"}),
        ("mrs", {"infinity_shared": True, "entropy_masked": True, "novelty_context": "chunk"}),
        ("mrs", {"resolutions": (2,), "infinity": False}),
        ("mrs", {"resolutions": (), "infinity": True}),
        ("mrs", {"infinity": False, "choice_entropy": False, "pair_offset": 0, "task_weight": 0.0}),
    ],
)
def test_variants_are_settings(name, settings):
    """Nothing is computed: an update of each has finite shapes, and tells of its parts."""
    parts = agent_of(name, **settings)
    state = jax.eval_shape(parts.learner.init, jax.random.key(0))
    rows = made_up(6, 2)
    rows = rows._replace(step=rows.step._replace(obs={"one": jnp.zeros((6, 2, 1, 1))}))
    _, metrics = jax.eval_shape(parts.learner.update, state, rows, jax.random.key(0))
    assert {"manager/success", "worker/entropy", "coder/infinity_error"} - set(metrics) <= (
        {"coder/infinity_error"} if settings.get("infinity") is False else set()
    )
    assert ("worker/task_return" in metrics) == ("worker_task_weight" in settings)
    several = name == "mrs" and len(settings.get("resolutions", (2, 3))) + settings.get("infinity", True) > 1
    assert any(metric.startswith("manager/choice_") for metric in metrics) == several


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"resolutions": (), "infinity": False}, "agent.resolutions"),
        ({"resolutions": (2, 2)}, "agent.resolutions"),
        ({"resolutions": (1,)}, "pair_offset"),
        ({"novelty": "most"}, "agent.novelty"),
        ({"novelty": "infinity", "infinity": False}, "agent.infinity"),
        ({"choice": "7"}, "agent.choice"),
        ({"chunk_reward": "median"}, "agent.chunk_reward"),
        ({"code_samples": "soft"}, "agent.code_samples"),
        ({"horizon": 5}, "agent.horizon"),
    ],
)
def test_what_does_not_fit_is_refused(settings, named):
    with pytest.raises(ValueError, match=named):
        system("mrs", ENV.spec, **settings)


@functools.cache
def epoch_of(name):
    """(source, an epoch of two updates)."""
    source = source_of(agent_of(name), ENV)
    return source, loop.epoch(agent_of(name).learner, source, 2)


@pytest.mark.parametrize("name", ["mrs", pytest.param("director", marks=pytest.mark.slow)])
def test_an_epoch_is_one_program_that_learns(name):
    source, run = epoch_of(name)
    state = loop.start(agent_of(name).learner, source, jax.random.key(0))
    before = jax.device_get(state.learner.params)
    state, metrics, _ = run(state)
    assert all(np.isfinite(float(x)) for x in metrics.values()) and int(state.learner.health.skipped) == 0
    moved = jax.tree.map(lambda x, y: bool((x != np.asarray(y)).any()), before, state.learner.params)
    for part in ("coder", "manager", "worker", "world"):
        assert any(jax.tree.leaves(moved[part])), part
    run(state)
    assert run._cache_size() == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_epoch_exports_for_accelerators(name):
    source, run = epoch_of(name)
    shapes = jax.eval_shape(lambda key: loop.start(agent_of(name).learner, source, key), jax.random.key(0))
    assert jax.export.export(run, platforms=("cuda", "tpu"))(shapes).platforms == ("cuda", "tpu")


@pytest.mark.slow
def test_the_setting_says_which_goal_a_chunks_last_row_is_paid_for():
    """Rows and samples are the same, and so is all that the manager is told; the worker is paid something else."""
    metrics_of = {}
    for last_goal in ("next", "own"):
        parts = parts_of("director", SPEC, **{**WORLD, **LEVEL, **GOALS, "last_goal": last_goal})
        run = jax.jit(lambda params, slow: parts.loss(params, slow, made_up(T, B), jax.random.key(1))[1][1])  # noqa: B023
        metrics_of[last_goal] = jax.device_get(run(*noisy(parts)))
    paid, other = metrics_of["next"], metrics_of["own"]
    assert paid["manager/task_reward"] == other["manager/task_reward"]
    assert paid["manager/success"] == other["manager/success"]
    assert abs(paid["worker/reward"] - other["worker/reward"]) > 1e-4  # of .04, one row of four

"""Who learns from what: the gradient of every term of an agent's loss in every child of its parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from imagining import SPEC, made_up, noisy, parts_of

from skillhier.agents import registry

T, B = 3, 2
SMALL = {
    "stoch": 3, "deter": 4, "hidden": 5, "encoder": (6,), "decoder": (6,), "reward_hidden": (6,), "actor_hidden": (6,),
    "critic_hidden": (6,), "horizon": 4,
}  # fmt: skip
V3 = {"classes": 3, "continue_hidden": (6,), "entropy": 0.0}
SKILLS = {"period": 2, "plan_horizon": 2, "iterations": 1, "proposals": 2, "elites": 1, "skill": 2,
          "predictor_hidden": (6,), "cem_starts": 2}  # fmt: skip
SCORE = {"head": "bounded_normal", "gradient": "score", "entropy": 1e-3}
AGENTS = {
    "dreamer": ("dreamer", {}),
    "dreamer_score": ("dreamer", SCORE),
    "dreamerv3": ("dreamerv3", V3),
    "lsp": ("lsp", SKILLS),
    "no_mi": ("no_mi", SKILLS),
    "random_skills": ("random_skills", SKILLS),
    "rand_skills_init": ("rand_skills_init", SKILLS),
}
FAST = ("lsp",)
TERMS = ("world", "actor", "critic", "predictor", "start_predictor")
WORLD = {"world/encoder", "world/dynamics", "world/heads"}


def terms(metrics, level):
    """The terms of the loss, from the metrics that tell them."""
    measured = {"world": metrics["world/loss"], "actor": metrics[f"{level}/actor_loss"],
            "critic": metrics[f"{level}/critic_loss"]}  # fmt: skip
    if "skills/log_q" in metrics:
        measured["predictor"] = -metrics["skills/log_q"]
        measured["start_predictor"] = -metrics["skills/log_q_start"]
    return measured


@functools.cache
def _system(name):
    agent, settings = AGENTS[name]
    parts = parts_of(agent, SPEC, **{**SMALL, **settings})
    level = "worker" if "period" in AGENTS[name][1] else "control"

    def measured(params, state, weights):
        value, (_, metrics) = parts.loss(params, state, made_up(T, B), jax.random.key(1))
        each = {**terms(metrics, level), "total": value}
        return sum(weights[term] * each[term] for term in each), each

    params, state = noisy(parts)
    _, each = jax.eval_shape(measured, params, state, dict.fromkeys([*TERMS, "total"], 1.0))
    slope = jax.jit(jax.value_and_grad(measured, has_aux=True))  # one program for all terms
    slopes = {}
    for term in each:
        weights = {other: float(other == term) for other in each}
        (_, values), slopes[term] = slope(params, state, weights)
    return level, slopes, values


def children(tree):
    """Children that have a gradient, two levels deep."""
    moved = lambda x: any(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(x))  # noqa: E731
    return {f"{top}/{name}" for top, child in tree.items() for name, x in child.items() if moved(x)}


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in AGENTS]
)
def test_the_table(name):
    level, slopes, values = _system(name)
    table = {
        "world": WORLD,
        "actor": {f"{level}/actor"},
        "critic": {f"{level}/critic"},
        "predictor": {"skills/predictor"},
        "start_predictor": {"skills/start_predictor"},
    }
    measured = {term: children(slopes[term]) for term in TERMS if term in slopes}
    assert measured == {term: table[term] for term in measured}
    assert ("predictor" in measured) == (name in ("lsp", "random_skills"))
    total = sum(float(values[term]) for term in measured)
    assert float(values["total"]) == pytest.approx(total, rel=1e-5)  # and there is no other term
    together = jax.tree.map(lambda *each: sum(each), *(slopes[term] for term in measured))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-4), slopes["total"], together)
    every_leaf = jax.tree.map(lambda x: bool(jnp.isfinite(x).all()), slopes["total"])
    assert all(jax.tree.leaves(every_leaf))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"head": "normal"}, "agent.head"),
        ({"rewards": "both"}, "agent.rewards"),
        ({"slow_critic": "half"}, "agent.slow_critic"),
        ({"bootstrap": "slow"}, "agent.slow_critic"),
        ({"slow_weight": 1.0}, "agent.slow_critic"),
        ({"entropy": 0.1}, "agent.entropy"),
        ({"gradient": "both"}, "agent.gradient"),
    ],
)
def test_it_refuses_what_does_not_fit(settings, named):
    with pytest.raises(ValueError, match=named):
        registry.make("dreamer", SPEC, **{**SMALL, **settings})


def test_lsp_refuses_a_horizon_that_is_no_multiple_of_its_period():
    with pytest.raises(ValueError, match="agent.horizon"):
        registry.make("lsp", SPEC, **{**SMALL, **SKILLS, "horizon": 5})

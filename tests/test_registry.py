"""Worlds by name. Nothing here builds a model: the constructors are replaced."""

import jax
import jax.numpy as jnp
import pytest

from skillhier.envs import batch, registry
from skillhier.envs.adapters import identifiers
from skillhier.types import Bounds


@pytest.fixture
def probe(monkeypatch):
    """One world whose constructor only notes its settings."""
    seen = {}

    def constructor(*, engine="auto", worlds=1, randomise=False):
        seen.update(engine=engine, worlds=worlds, randomise=randomise)
        entry = {"x": jax.ShapeDtypeStruct((1,), jnp.float32)}
        return batch.Task(None, entry, Bounds((1,), -1.0, 1.0), 0.05, 400, *[None] * 4)

    monkeypatch.setattr(registry, "WORLDS", {"probe": lambda: constructor, "other.world": None})
    return seen


def test_names_and_that_listing_them_builds_nothing(monkeypatch):
    from skillhier.envs.sawyer import model

    monkeypatch.setattr(model, "build", None)
    names = registry.names()
    sawyer = [name for name in names if name.startswith("sawyer.") and "@" not in name]
    assert len(names) == len(set(names)) and len(sawyer) == 5 * (6 + 1 + 1)
    for name in ("sawyer.stack_red_on_blue.set4", "sawyer.stack_all.set1", "sawyer.pyramid.set5", "dmc.cheetah_run"):
        assert name in names
    assert not any("red_on_red" in name for name in names)


def test_settings_reach_the_task_and_the_worlds(probe):
    env = registry.make("probe", worlds=3, limit=7, stack=2, randomise=True)
    assert probe == {"engine": "auto", "worlds": 3, "randomise": True}
    assert (env.spec.worlds, env.spec.limit, env.spec.obs["x"].shape) == (3, 7, (2, 1))
    assert registry.make("probe").spec.limit == 400  # the task's own
    assert registry.make("probe").spec.obs["x"].shape == (1, 1)


def test_a_family_of_worlds_has_its_own_stack(probe, monkeypatch):
    monkeypatch.setitem(registry.WORLDS, "sawyer.probe", registry.WORLDS["probe"])
    assert registry.make("sawyer.probe").spec.obs["x"].shape == (3, 1)
    assert registry.make("sawyer.probe", stack=1).spec.obs["x"].shape == (1, 1)


def test_repeats_reach_the_worlds(probe):
    assert registry.make("probe", repeat=4).spec.limit == 100


def test_a_slash_is_another_spelling(probe, monkeypatch):
    monkeypatch.setitem(registry.WORLDS, "dmc.probe_run", registry.WORLDS["probe"])
    assert registry.make("dmc/probe_run", worlds=2).spec.worlds == 2
    assert registry.canonical("dmc/probe_run@pixels") == "dmc.probe_run@pixels"
    with pytest.raises(ValueError, match="world 'dmc.prob_run' is not known; did you mean 'dmc.probe_run'"):
        registry.make("dmc/prob_run")


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("sawyer.stack_red_on_bleu.set4", {}, "did you mean 'sawyer.stack_red_on_blue.set4'?"),
        ("sawyer.stack_red_on_blue.set6", {}, "did you mean 'sawyer.stack_red_on_blue.set"),
        ("sawyer.pyramids.set1", {}, "did you mean 'sawyer.pyramid.set1'?"),
    ],
)
def test_an_unknown_name_is_one_line_with_the_nearest(name, settings, said):
    with pytest.raises(ValueError) as error:
        registry.make(name, **settings)
    assert name in str(error.value) and said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["dmc.cheetah_run", "dmc.cheetah_run@pixels", "sawyer.pyramid.set1"])
def test_our_worlds_by_the_ids_that_gymnasium_has_of_them(name):
    assert registry.canonical(f"gymnasium:{identifiers.identifier(name)}") == name
    assert registry.canonical("gymnasium:skillhier/dmc.nothing-v0") == "gymnasium:skillhier/dmc.nothing-v0"
    assert registry.canonical("gymnasium:Pendulum-v1") == "gymnasium:Pendulum-v1"


def test_nothing_near_lists_all(probe):
    with pytest.raises(ValueError, match="choose one of probe, other.world"):
        registry.make("qqq")


def test_an_unknown_setting_is_one_line_with_the_nearest(probe):
    with pytest.raises(ValueError, match="no setting 'randomize'; did you mean 'randomise'") as error:
        registry.make("probe", randomize=True)
    assert "\n" not in str(error.value)

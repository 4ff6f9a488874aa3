"""World models from settings: their numbers of parameters, their units, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.agents import dreamer, imagination, lsp, world_model
from skillhier.losses import skill_info
from skillhier.nets import heads
from skillhier.nets.rssm import Latent
from skillhier.ops import predictions
from skillhier.types import Bounds, Spec


def spec(action, vector=0, picture=0, stack=1, low=-1.0, high=1.0):
    obs = {"state": jax.ShapeDtypeStruct((1, vector), jnp.float32)} if vector else {}
    if picture:
        obs["picture"] = jax.ShapeDtypeStruct((stack, picture, picture, 3), jnp.uint8)
    return Spec(obs, Bounds((action,), low, high), 1, 0.02, 1000)


def count(tree) -> int:
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(tree))


def params(agent):
    return jax.eval_shape(agent.learner.init, jax.random.key(0)).params


@pytest.mark.parametrize(("action", "model", "actor"), [(6, 5_296_820, 578_412), (12, 5_298_020, 583_224)])
def test_dreamers_numbers_from_pictures(action, model, actor):
    """lsp.md 1.6."""
    tree = params(dreamer.make(spec(action, picture=64)))
    assert count(tree["world"]) == model
    assert count(tree["control"]["actor"]) == actor
    assert count(tree["control"]["critic"]) == 413_601


@pytest.mark.parametrize(
    ("vector", "action", "model", "actor"), [(24, 6, 866_977, 579_612), (78, 12, 909_757, 584_424)]
)
def test_lsps_numbers_from_vectors(vector, action, model, actor):
    """lsp.md 1.6 and 2.5. The predictor has 11 features of 230 numbers."""
    tree = params(lsp.make(spec(action, vector)))
    assert count(tree["world"]) == model
    assert count(tree["worker"]["actor"]) == actor
    assert count(tree["worker"]["critic"]) == 413_601
    assert count(tree["skills"]["predictor"]) == 715_270
    assert count(tree["skills"]["start_predictor"]) == 126_470


DIRECTOR = {
    "latent_kind": "categorical", "stoch": 32, "classes": 32, "deter": 1024, "hidden": 1024, "cell": "norm_gru",
    "initial": "learned", "norm": True, "encoder": (512,) * 4, "decoder": (512,) * 4, "vector_form": "squared",
    "picture_depth": 64, "picture_form": "squared_sigmoid", "picture_dense": False, "reward_hidden": (512,) * 4,
    "reward_form": "symlog", "continue_hidden": (512,) * 4, "kl": "adaptive", "free_nats": 0.0, "kl_to_prior": 0.8,
    "kl_to_posterior": 0.2,
}  # fmt: skip


def test_directors_numbers_from_pictures():
    """mrs.md 1.14, in millions, and as that sheet's sizes multiply out."""
    model = world_model.make(spec(6, picture=64), **{**world_model.DEFAULTS, **DIRECTOR})
    tree = jax.eval_shape(model.init, jax.random.key(0))["world"]
    assert count(tree["encoder"]) == 2_757_504  # 2.76
    assert count(tree["dynamics"]) == 13_652_992  # 13.65
    assert count(tree["heads"]["picture"]) == 14_229_123  # 14.23
    assert count(tree["heads"]["reward"]) == count(tree["heads"]["continue"]) == 1_839_617  # 1.84
    assert count(tree) == pytest.approx(34.3e6, abs=0.05e6)


SMALL = {
    "stoch": 3, "deter": 4, "hidden": 5, "encoder": (6,), "decoder": (6,), "reward_hidden": (6,), "picture_depth": 2,
}  # fmt: skip


def make(spec, **settings):
    return world_model.make(spec, **{**world_model.DEFAULTS, **SMALL, **settings})


def test_actions_are_seen_in_the_models_units():
    to_model, to_world = world_model._units(Bounds((2,), -1.0, 3.0))
    assert np.asarray(to_model(jnp.array([-1.0, 1.0, 3.0]))).tolist() == [-1.0, 0.0, 1.0]
    assert np.asarray(to_world(jnp.array([-1.0, 0.0, 1.0]))).tolist() == [-1.0, 1.0, 3.0]
    same, _ = world_model._units(Bounds((2,), -1.0, 1.0))
    x = jnp.ones(2)
    assert same(x) is x


def test_starts_are_rows_without_replacement_and_without_a_gradient():
    stoch = jnp.arange(12.0).reshape(4, 3, 1)
    discount = jnp.arange(12.0).reshape(4, 3)
    everything, all_discounts = world_model.starts(Latent(stoch, stoch), discount, 0, jax.random.key(0))
    assert everything["stoch"].shape == (12, 1)
    np.testing.assert_array_equal(everything["deter"][:, 0], all_discounts)  # rows stay together
    np.testing.assert_array_equal(np.sort(all_discounts), np.arange(12))
    assert (np.asarray(all_discounts) != np.arange(12)).any()  # the first few are a fair share
    some, discounts = world_model.starts(Latent(stoch, stoch), discount, 5, jax.random.key(0))
    assert len(set(np.asarray(discounts).tolist())) == 5
    assert (np.asarray(some["deter"][:, 0]) == np.asarray(discounts)).all()  # rows stay together
    pulled = jax.grad(lambda x: world_model.starts(Latent(x, x), discount, 5, jax.random.key(0))[0]["stoch"].sum())
    assert (np.asarray(pulled(stoch)) == 0).all()


@pytest.mark.parametrize(
    ("world", "settings", "named"),
    [
        (spec(2, vector=3), {"see": ("stat",)}, "agent.see"),
        (spec(2, vector=3), {"kl": "none"}, "agent.kl"),
        (spec(2), {}, "agent.see"),
        (spec(2, picture=6), {}, "8 pixels"),
        (spec(2, vector=3)._replace(action={"arm": Bounds((2,), -1, 1)}), {}, "env.name"),
        (spec(2, vector=3), {"cell": "lstm"}, "agent.cell"),
    ],
)
def test_it_refuses_what_does_not_fit(world, settings, named):
    with pytest.raises(ValueError, match=named):
        make(world, **settings)


@pytest.mark.parametrize("form", ["normal", "squared_sigmoid"])
def test_pictures_and_vectors_are_predicted_together(form):
    model = make(spec(2, vector=3, picture=16, stack=2), picture_form=form)
    tree = jax.eval_shape(model.init, jax.random.key(0))["world"]
    assert set(tree["encoder"]) == {"vectors", "picture"} and set(tree["heads"]) == {"vectors", "picture", "reward"}


def test_the_predictor_is_as_the_feature_decoder():
    """lsp.md 2.5: two layers of 256, mean and bounded deviation."""
    predictor = heads.vector(3, predictions.clamped_normal(), lsp.DEFAULTS["predictor_hidden"])
    tree = jax.eval_shape(lambda key: predictor.init(key, 230 * len(skill_info.rows_seen(10))), jax.random.key(0))
    assert count(tree) == 715_270
    assert imagination.TRAINING["learning_rate"] == 6e-4 and imagination.LEVEL["gamma"] == 0.99

"""The recurrent state-space model, against numpy and against itself: rows one by one, and all in one pass."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.nets import rssm
from skillhier.nets.mlp import GLOROT, Style
from skillhier.ops import latents

T, B, A, E, DETER, HIDDEN = 5, 2, 2, 3, 4, 6
V3 = Style("silu", True, "glorot")
KINDS = {
    "dreamer": (latents.gaussian(3), {"cell": "gru", "initial": "zeros", "style": GLOROT}),
    "learned": (latents.gaussian(3), {"cell": "gru", "initial": "learned", "style": GLOROT}),
    "director": (latents.categorical(2, 3), {"cell": "norm_gru", "initial": "learned", "style": V3}),
    "plain": (latents.categorical(2, 3, 0.01), {"cell": "norm_gru", "initial": "zeros", "style": V3}),
}
every_kind = pytest.mark.parametrize("name", KINDS)


@functools.cache
def system(name):
    """(dynamics, parameters no part of which is trivial, jitted functions)."""
    kind, settings = KINDS[name]
    model = rssm.make(kind, action=A, embedding=E, deter=DETER, hidden=HIDDEN, **settings)
    params = jax.jit(model.init)(jax.random.key(0))
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    params = jax.tree.unflatten(tree, [x + 0.3 * rng.normal(size=x.shape).astype(np.float32) for x in leaves])
    return model, params, jax.jit(model.observe), jax.jit(model.observe_rows)


def inputs(kind, seed=0):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    first = np.zeros((T, B), bool)
    first[0] = first[3, 0] = True  # an episode of world 0 opens within the window
    return draw(T, B, A), draw(T, B, E), jnp.array(first), kind.noise(jax.random.key(seed), (T, B))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normed(params, x):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-3) * params["scale"] + params["offset"]


def dense(params, x, style):
    y = x @ params["kernel"] + params.get("bias", 0.0)
    y = normed(params, y) if style.norm else y
    return y * sigmoid(y) if style.activation == "silu" else np.where(y > 0, y, np.expm1(np.minimum(y, 0)))


def cell(params, name, h, x):
    if name == "gru":  # Keras, reset_after: gates z, r, candidate
        i = x @ params["input"]["kernel"] + params["input"]["bias"]
        r = h @ params["recurrent"]["kernel"] + params["recurrent"]["bias"]
        (iz, ir, ic), (hz, hr, hc) = np.split(i, 3, -1), np.split(r, 3, -1)
        z = sigmoid(iz + hz)
        return z * h + (1 - z) * np.tanh(ic + sigmoid(ir + hr) * hc)
    gates = normed(params, np.concatenate([h, x], -1) @ params["kernel"])  # mrs.md 1.2: reset, candidate, update
    reset, candidate, update = np.split(gates, 3, -1)
    update = sigmoid(update - 1)
    return update * np.tanh(sigmoid(reset) * candidate) + (1 - update) * h


def numpy_rows(name, params, action, embedding, first, noise):
    """Posterior deter and raw outputs of its distribution, from first principles."""
    kind, settings = KINDS[name]
    style = settings["style"]

    def raw(which, x):
        last = params[f"{which}_stats"]
        return dense(params[which], x, style) @ last["kernel"] + last["bias"]

    h0 = np.tanh(params["initial"]) if settings["initial"] == "learned" else np.zeros(DETER)
    z0 = np.zeros(kind.size)
    if settings["initial"] == "learned":
        z0 = np.asarray(kind.mode(kind.stats(jnp.asarray(raw("prior", h0)))))
    h, z, deters, outputs, samples = None, None, [], [], []
    for t in range(T):
        opens = np.asarray(first[t])[:, None]
        h = np.where(opens, h0, 0 if h is None else h)
        z = np.where(opens, z0, 0 if z is None else z)
        a = np.where(opens, 0.0, action[t])
        x = dense(params["inputs"], np.concatenate([z, a], -1), style)
        h = cell(params["cell"], settings["cell"], h, x)
        out = raw("posterior", np.concatenate([h, embedding[t]], -1))
        z = np.asarray(kind.sample(kind.stats(jnp.asarray(out, jnp.float32)), noise[t]))
        deters.append(h), outputs.append(out), samples.append(z)
    return np.stack(deters), np.stack(outputs), np.stack(samples)


@every_kind
def test_it_is_what_numpy_says(name):
    model, params, _, observe_rows = system(name)
    rows = inputs(model.kind)
    latent, stats = observe_rows(params, *rows)
    deter, raw, stoch = numpy_rows(name, jax.device_get(params), *map(np.asarray, rows))
    assert np.asarray(latent.deter) == pytest.approx(deter, abs=2e-5)
    assert np.asarray(latent.stoch) == pytest.approx(stoch, abs=2e-5)
    known = model.kind.stats(jnp.asarray(raw, jnp.float32))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=5e-5), stats, known)


@every_kind
def test_row_by_row_is_all_in_one_pass(name):
    model, params, observe, observe_rows = system(name)
    action, embedding, first, noise = inputs(model.kind)
    whole, whole_stats = observe_rows(params, action, embedding, first, noise)
    latent = jax.tree.map(lambda x: x + 7.0, model.blank(params, (B,)))  # any value: row 0 opens an episode
    for t in range(T):
        latent, stats = observe(params, latent, action[t], embedding[t], first[t], noise[t])
        row = jax.tree.map(lambda x: x[t], (whole, whole_stats))  # noqa: B023
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), (latent, stats), row)


@every_kind
def test_an_episodes_rows_do_not_depend_on_rows_before_it(name):
    model, params, _, observe_rows = system(name)
    action, embedding, first, noise = inputs(model.kind)
    one, _ = observe_rows(params, action, embedding, first, noise)
    changed = embedding.at[:3].add(1.0)
    other, _ = observe_rows(params, action.at[:4].add(1.0), changed, first, noise)  # row 3's action is not heard either
    assert (np.asarray(one.deter[3:, 0]) == np.asarray(other.deter[3:, 0])).all()
    assert (np.asarray(one.stoch[3:, 0]) == np.asarray(other.stoch[3:, 0])).all()
    assert (np.abs(np.asarray(one.deter[3:, 1] - other.deter[3:, 1])).max(-1) > 1e-4).all()  # world 1 goes on


@every_kind
def test_imagining_draws_from_the_prior_of_what_is_remembered(name):
    model, params, observe, _ = system(name)
    action, embedding, first, noise = inputs(model.kind)
    latent, _ = observe(params, model.blank(params, (B,)), action[0], embedding[0], first[0], noise[0])
    following = model.imagine(params, latent, action[1], noise[1])
    prior = model.prior(params, following.deter)
    assert np.asarray(following.stoch) == pytest.approx(np.asarray(model.kind.sample(prior, noise[1])))
    seen, _ = observe(params, latent, action[1], embedding[1], jnp.zeros(B, bool), noise[1])
    assert np.asarray(seen.deter) == pytest.approx(np.asarray(following.deter), abs=1e-6)  # the prior's deter is kept
    feature = np.asarray(model.feature(latent))
    assert (feature == np.concatenate([latent.stoch, latent.deter], -1)).all() and feature.shape[-1] == model.features


@every_kind
def test_the_first_row(name):
    model, params, _, _ = system(name)
    blank = model.blank(params, (3,))
    if KINDS[name][1]["initial"] == "zeros":
        assert all((np.asarray(x) == 0).all() for x in blank)
        return
    assert np.asarray(blank.deter) == pytest.approx(np.tanh(np.asarray(params["initial"]))[None].repeat(3, 0))
    mode = model.kind.mode(model.prior(params, blank.deter))
    assert (np.asarray(blank.stoch) == np.asarray(mode)).all()


def test_weights_begin_as_keras_does():
    model = rssm.make(latents.gaussian(30), action=6, embedding=8)
    params = jax.device_get(jax.jit(model.init)(jax.random.key(0)))
    recurrent = params["cell"]["recurrent"]["kernel"]
    assert recurrent.shape == (200, 600) and recurrent @ recurrent.T == pytest.approx(np.eye(200), abs=1e-4)
    limit = np.sqrt(6 / (200 + 600))
    kernel = params["cell"]["input"]["kernel"]
    assert np.abs(kernel).max() <= limit and kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.02)
    assert all((x == 0).all() for x in (params["inputs"]["bias"], params["cell"]["recurrent"]["bias"]))


@pytest.mark.parametrize(("wrong", "named"), [({"cell": "lstm"}, "agent.cell"), ({"initial": "ones"}, "agent.initial")])
def test_it_refuses_what_it_does_not_know(wrong, named):
    with pytest.raises(ValueError, match=named):
        rssm.make(latents.gaussian(3), action=A, embedding=E, **wrong)

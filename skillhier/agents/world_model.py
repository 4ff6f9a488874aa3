"""A world model from settings: what Dreamer, LSP, Director and DreamerV3 share, whole.

Read in order: nets/rssm.py (one row of observing, one of imagining), losses/world.py, policies/imagine.py,
policies/belief.py, then the agents: agents/dreamer.py, agents/lsp.py. Parameters lie under params["world"]: encoder,
dynamics, heads. A latent is shown to policies as its entries `stoch` and `deter`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from skillhier.losses import world as losses
from skillhier.losses.world import KLLoss
from skillhier.nets import heads, rssm
from skillhier.nets.mlp import MLP, Style
from skillhier.nets.pictures import PictureEncoder, check
from skillhier.nets.rssm import Latent
from skillhier.ops import latents, scale, twohot
from skillhier.ops.predictions import FORMS, Prediction
from skillhier.policies import belief, imagine
from skillhier.types import Action, Array, Bounds, Env, Key, Params, Policy, Spec, Trajectory

# Dreamer (2020) with the vectors of LSP; the settings of `make`, which explains them
DEFAULTS: dict[str, Any] = {
    "see": (),  # entries that the model sees and predicts; none: all that are not privileged
    "latent_kind": "gaussian",  # what is sampled: gaussian or categorical
    "stoch": 30,  # numbers of a Gaussian latent, or categoricals
    "classes": 32,  # of each categorical
    "unimix": 0.0,  # share of the uniform distribution in categoricals
    "deter": 200,  # numbers that are remembered
    "hidden": 200,  # width of the layers around the memory
    "cell": "gru",  # gru, norm_gru
    "initial": "zeros",  # the memory at an episode's start: zeros, learned
    "activation": "elu",  # of all layers: elu, silu, relu
    "norm": False,  # layer norm in all layers
    "encoder": (256, 256),  # widths for vectors
    "decoder": (256, 256),  # widths of the head that predicts vectors
    "vector_form": "clamped_normal",  # how vectors are predicted: clamped_normal, normal, squared
    "vector_transform": "none",  # of vectors, before they are seen and predicted: none, symlog
    "picture_depth": 32,  # channels of the first convolution
    "picture_form": "normal",  # how pictures are predicted: normal, squared_sigmoid
    "picture_dense": True,  # a linear layer before the first transposed convolution
    "reward_hidden": (400, 400),  # widths
    "reward_form": "normal",  # normal, symlog, two_hot
    "continue_hidden": (),  # of the head that predicts the task's end; none: the task never ends
    "kl": "mean",  # mean, balanced, adaptive
    "free_nats": 3.0,  # nats that the KL costs at least: on the mean, or on each row
    "kl_to_prior": 0.5,  # share of the KL that trains the prior, unless kl=mean
    "kl_to_posterior": 0.1,  # share that trains the posterior
    "kl_target": 3.5,  # nats, of kl=adaptive
    "dtype": "float32",  # of products: float32, bfloat16
}


class WorldModel(NamedTuple):
    """The functions of a world model, given the parameters of the whole agent."""

    init: Callable[[Key], Params]
    loss: Callable[..., Any]  # (params, state, batch, key) -> (scalar, (posterior Latent [T, B], state, metrics))
    loss_state: Any  # that the loss moves, () for none
    dream: Callable[[Params, dict], Env]  # pays nothing: see `paid`
    judged: Callable[[Mapping], Callable[[Params, dict], Env]]  # a dream that pays; shows further entries
    paid: Callable[[Params, Trajectory, Array | None], Trajectory]
    believe: Callable[..., Policy]  # (policy, noise=0.0) -> policy of the world
    feature: Callable[[Mapping[str, Array]], Array]  # of shown entries, [..., features]
    features: int
    open_loop: Callable[[Params, Trajectory, int, Key], dict[str, dict[str, Array]]]  # see types.Agent.dream
    looks: Callable[[Params, Array, Key], dict[str, Array]]  # of memories [..., D]: what is seen there, entry by entry


def make(
    spec: Spec,
    *,
    see: Sequence[str],
    latent_kind: str,
    stoch: int,
    classes: int,
    unimix: float,
    deter: int,
    hidden: int,
    cell: str,
    initial: str,
    activation: str,
    norm: bool,
    encoder: Sequence[int],
    decoder: Sequence[int],
    vector_form: str,
    vector_transform: str,
    picture_depth: int,
    picture_form: str,
    picture_dense: bool,
    reward_hidden: Sequence[int],
    reward_form: str,
    continue_hidden: Sequence[int],
    kl: str,
    free_nats: float,
    kl_to_prior: float,
    kl_to_posterior: float,
    kl_target: float,
    dtype: str,
) -> WorldModel:
    """A world model for worlds of `spec`, from settings as in DEFAULTS. Raises ValueError where they do not fit it."""
    dtype = jnp.dtype(dtype)
    style = Style(activation, norm, "glorot")
    names = tuple(see) or spec.visible
    for name in names:
        if name not in spec.obs:
            raise ValueError(f"observation '{name}' is not known; choose of {', '.join(sorted(spec.obs))} in agent.see")
    vectors = [name for name in names if len(spec.obs[name].shape) == 2]
    pictures = [name for name in names if name not in vectors]
    for name in pictures:
        check(spec.obs[name].shape, name)
    if not names:
        raise ValueError("a world model sees at least one entry; set agent.see")
    to_model, to_world = _units(spec.action)
    actions = spec.action.shape[-1]
    kind = {
        "gaussian": lambda: latents.gaussian(stoch),
        "categorical": lambda: latents.categorical(stoch, classes, unimix),
    }[latent_kind]()
    kl_loss = _kl_loss(kl, free_nats, kl_to_prior, kl_to_posterior, kl_target)
    transform = {"none": lambda x: x, "symlog": twohot.symlog}[vector_transform]
    black = {"normal": -0.5, "squared_sigmoid": 0.0}[picture_form]

    # --- encoder: entries [..., S, *] -> [..., E] ---
    vector_net = MLP(encoder, 0, dtype=dtype, style=style)
    picture_style = style._replace(activation="relu") if activation == "elu" and not norm else style
    picture_net = PictureEncoder(picture_depth, picture_style, black, dtype)

    def flat(entries: Mapping[str, Array]) -> Array:
        """All frames of all vectors side by side, [..., D]."""
        return transform(jnp.concatenate([entries[v].reshape(*entries[v].shape[:-2], -1) for v in vectors], -1))

    def init_encoder(key: Key) -> Params:
        keys = iter(jax.random.split(key, 1 + len(pictures)))
        blank = {name: jnp.zeros((1, *spec.obs[name].shape), spec.obs[name].dtype) for name in names}
        params = {"vectors": vector_net.init(next(keys), flat(blank))["params"]} if vectors else {}
        return params | {name: picture_net.init(next(keys), blank[name])["params"] for name in pictures}

    def embed(params: Params, entries: Mapping[str, Array]) -> Array:
        parts = [vector_net.apply({"params": params["encoder"]["vectors"]}, flat(entries))] if vectors else []
        parts += [picture_net.apply({"params": params["encoder"][name]}, entries[name]) for name in pictures]
        return jnp.concatenate(parts, -1)

    blank_encoder = jax.eval_shape(init_encoder, jax.random.key(0))
    blank_obs = {name: jax.ShapeDtypeStruct((1, *shape.shape), shape.dtype) for name, shape in spec.obs.items()}
    embedding = jax.eval_shape(embed, {"encoder": blank_encoder}, blank_obs).shape[-1]

    # --- dynamics and heads ---
    dynamics = rssm.make(
        kind, action=actions, embedding=embedding, deter=deter, hidden=hidden, cell=cell, initial=initial,
        style=style, dtype=dtype,
    )  # fmt: skip
    size = sum(spec.obs[name].shape[0] * spec.obs[name].shape[1] for name in vectors)
    readouts = {"vectors": heads.vector(size, FORMS[vector_form](), decoder, style, dtype)} if vectors else {}
    for name in pictures:
        shape = spec.obs[name].shape
        readouts[name] = heads.picture(
            shape, FORMS[picture_form](), picture_depth, picture_style, dense=picture_dense, dtype=dtype
        )
    last = 0.0 if reward_form == "two_hot" else 1.0
    readouts["reward"] = heads.scalar(FORMS[reward_form](), reward_hidden, style, last, dtype)
    if continue_hidden:
        readouts["continue"] = heads.scalar(FORMS["bernoulli"](), continue_hidden, style, 1.0, dtype)

    def init(key: Key) -> Params:
        encoder_key, dynamics_key, *keys = jax.random.split(key, 2 + len(readouts))
        return {
            "encoder": init_encoder(encoder_key),
            "dynamics": dynamics.init(dynamics_key),
            "heads": {
                name: head.init(k, dynamics.features) for k, (name, head) in zip(keys, readouts.items(), strict=True)
            },
        }

    def read(name: str) -> Callable[[Params, Array], Prediction]:
        return lambda params, features: readouts[name].apply(params["heads"][name], features)

    def targets(batch: Trajectory) -> dict[str, Array]:
        obs, step = batch.step.obs, batch.step
        wanted = {name: obs[name].astype(jnp.float32) / 255 + black for name in pictures}
        wanted |= {"vectors": flat(obs)} if vectors else {}
        wanted |= {"continue": step.discount} if continue_hidden else {}
        return wanted | {"reward": step.reward, "action": to_model(batch.action)}

    model_loss = losses.world_loss(
        embed,
        lambda params, *rows: dynamics.observe_rows(params["dynamics"], *rows),
        lambda params, posterior: dynamics.prior(params["dynamics"], posterior.deter),
        dynamics.feature,
        kind.kl,
        kind.noise,
        {name: read(name) for name in readouts},
        targets,
        kl_loss=kl_loss,
    )

    # --- imagining and believing; a latent is shown as a dictionary ---
    def feature(entries: Mapping[str, Array]) -> Array:
        return dynamics.feature(Latent(entries["stoch"], entries["deter"]))

    def imagine_row(params: Params, entries: Mapping[str, Array], action: Action, key: Key) -> dict[str, Array]:
        noise = kind.noise(key, entries["deter"].shape[:-1])
        now = Latent(entries["stoch"], entries["deter"])
        return dynamics.imagine(params["world"]["dynamics"], now, action, noise)._asdict()

    def mean(name: str) -> imagine.Read:
        return lambda params, entries: read(name)(params["world"], feature(entries)).mean

    def observe(params, entries, action, obs, first, key):
        world = jax.lax.stop_gradient(params["world"])
        noise = kind.noise(key, first.shape)
        now = Latent(entries["stoch"], entries["deter"])
        posterior, _ = dynamics.observe(world["dynamics"], now, action, embed(world, obs), first, noise)
        return posterior._asdict()

    def blank(worlds: int) -> dict[str, Array]:
        return {"stoch": jnp.zeros((worlds, kind.size)), "deter": jnp.zeros((worlds, deter))}

    def believe(policy: Policy, noise: float = 0.0) -> Policy:
        return belief.believe(observe, blank, policy, actions, noise=noise, to_world=to_world)

    def shown(values: Mapping[str, Array]) -> dict[str, Array]:
        """Predicted or true targets in the world's units: the newest picture between 0 and 1, vectors, the reward."""
        out = {name: values[name][..., 0, :, :, :] - black for name in pictures}
        if vectors:
            flat_vectors = twohot.symexp(values["vectors"]) if vector_transform == "symlog" else values["vectors"]
            sizes = [spec.obs[name].shape[0] * spec.obs[name].shape[1] for name in vectors]
            ends = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
            out |= dict(zip(vectors, jnp.split(flat_vectors, ends, -1), strict=True))
        return out | {"reward": values["reward"][..., None]}

    def say(params: Params, entries: Mapping[str, Array]) -> dict[str, Array]:
        """What is predicted at latents, in the world's units."""
        return shown({name: mean(name)(params, entries) for name in readouts})

    def open_loop(params: Params, batch: Trajectory, context: int, key: Key) -> dict[str, dict[str, Array]]:
        model_key, dream_key = jax.random.split(key)
        posterior = model_loss(params["world"], kl_loss.init, batch, model_key)[1][0]._asdict()
        action = to_model(batch.action)

        def row(entries, inputs):
            entries = imagine_row(params, entries, *inputs)
            return entries, entries

        begin = jax.tree.map(lambda x: x[context - 1], posterior)
        keys = jax.random.split(dream_key, len(action) - context)
        _, dreamt = jax.lax.scan(row, begin, (action[context - 1 : -1], keys))
        dreamt = jax.tree.map(lambda seen, new: jnp.concatenate([seen[:context], new]), posterior, dreamt)
        return {"seen": shown(targets(batch)), "belief": say(params, posterior), "dream": say(params, dreamt)}

    def looks(params: Params, deter: Array, key: Key) -> dict[str, Array]:
        stats = dynamics.prior(params["world"]["dynamics"], deter)
        return say(params, {"deter": deter, "stoch": kind.sample(stats, kind.noise(key, deter.shape[:-1]))})

    ends = mean("continue") if continue_hidden else None
    return WorldModel(
        lambda key: {"world": init(key)},
        lambda params, state, batch, key: model_loss(params["world"], state, batch, key),
        kl_loss.init,
        imagine.dream(imagine_row),
        lambda shows: imagine.dream(imagine_row, mean("reward"), ends, shows),
        lambda params, rows, first_discount: imagine.paid(params, rows, mean("reward"), ends, first_discount),
        believe,
        feature,
        dynamics.features,
        open_loop,
        looks,
    )


def starts(posterior: Latent, discount: Array, count: int, key: Key) -> tuple[dict[str, Array], Array]:
    """(`count` of the posterior's rows [T, B], all if 0, in an order drawn anew, as shown entries [N, ...]; their
    discounts [N]), without a gradient. So the first few of them are a fair share too.
    """
    rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), ({**posterior._asdict()}, discount))
    total = rows[1].shape[0]
    chosen = jax.random.permutation(key, total)[: count or total]
    return jax.lax.stop_gradient(jax.tree.map(lambda x: x[chosen], rows))


def _kl_loss(kl: str, free_nats: float, to_prior: float, to_posterior: float, target: float) -> KLLoss:
    if kl == "mean":
        return losses.mean_kl(free_nats)
    if kl == "balanced":
        return losses.balanced_kl(to_prior, to_posterior, free_nats)
    if kl == "adaptive":
        return losses.balanced_kl(to_prior, to_posterior, free_nats, scale.adaptive_weight(target))
    raise ValueError(f"kl '{kl}' is not known; choose mean, balanced or adaptive in agent.kl")


def _units(bounds: Bounds) -> tuple[Callable[[Action], Action], Callable[[Action], Action]]:
    """(from the world's actions to [-1, 1], and back); nothing is done where they lie there already."""
    if not isinstance(bounds, Bounds) or len(bounds.shape) != 1:
        raise ValueError(f"a world model takes actions that are one vector, got {bounds}; choose another env.name")
    if (bounds.low, bounds.high) == (-1.0, 1.0):
        return (lambda action: action), (lambda action: action)
    middle, half = (bounds.low + bounds.high) / 2, (bounds.high - bounds.low) / 2
    return (lambda action: (action - middle) / half), (lambda action: middle + half * action)

"""MPO agents of one level, called `control`: what all of them share, and MPO from scratch.

Read in order: losses/mpo.py (the loss), losses/levels.py, nets/critic.py, nets/actor.py, then the agents: this file's
`make`, agents/helms_transfer.py, agents/npmp_transfer.py, agents/bc_transfer.py.

Parameters: `encoders` hold the statistics of what newly initialised networks see, `skills` what was learned offline;
both are frozen. The level's own are control/actor, control/critic and control/duals; actor and critic have target
copies. What acts sees the same scope as the loss: the level's children beside the shared ones.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from skillhier.agents import slow
from skillhier.agents.learner import MAX_CONSECUTIVE_SKIPS, learner
from skillhier.agents.optimisers import by_child, jointly, projected
from skillhier.losses import mpo as losses
from skillhier.losses.levels import Level, levels, scope
from skillhier.nets import encoder
from skillhier.nets.actor import GaussianActor, HybridActor
from skillhier.nets.critic import ActionValue, CriticTorso
from skillhier.nets.encoder import MakeEncoder
from skillhier.nets.mlp import MLP
from skillhier.nets.vision import Shape
from skillhier.ops import families, mpo
from skillhier.ops.families import Distribution, Family, Gaussian, Hybrid
from skillhier.ops.temporal import acting_on
from skillhier.policies.flat import flat
from skillhier.types import Agent, Array, Key, Params, Policy, Spec, Trajectory

LEVEL = "control"
INIT_DUALS = {"temperature": 3.0, "category": 3.0, "mean": 10.0, "stddev": 100.0, "penalty": 3.0}  # before softplus
BACKUPS = {
    "td": lambda n_step, lambda_, note: losses.one_step(),  # HeLMS, equation 6
    "n_step": lambda n_step, lambda_, note: losses.n_step(n_step),
    "retrace": lambda n_step, lambda_, note: losses.retrace(lambda_, note),
}
# The settings of every agent of this file, Table 5 of HeLMS where it has them. `samples` and below are those of
# `control`, which explains them; agents add their own.
DEFAULTS = {
    "critic": (),  # entries that the critic sees; none: all that are not privileged. More than the actor: asymmetric
    "hidden": (256, 256),  # widths of newly initialised networks; a critic has one layer more, of the first width
    "recurrent_critic": False,  # the critic has a GRU over the rows before
    "picture_channels": (32, 64, 128),  # of the residual network that sees pictures: a stage for each number
    "picture_blocks": 2,  # of two convolutions, in each stage
    "samples": 20,  # actions drawn from a policy; helms_cat enumerates all K skills instead
    "gamma": 0.99,  # discount of a control step
    "backup": "td",  # the critic's targets: td, n_step, retrace
    "n_step": 5,  # rewards of backup=n_step
    "lambda_": 0.95,  # of backup=retrace
    "epsilon": 0.1,  # KL in nats between a policy and its improvement, which sets the temperature
    "learning_rate": 2e-4,  # of Adam, for the critic
    "actor_learning_rate": 2e-4,  # of Adam, for the actor
    "dual_learning_rate": 1e-2,  # of Adam, for the temperature and the multipliers of the bounds
    "max_grad_norm": 40.0,  # gradients are clipped at this norm
    "target_period": 200,  # updates between two copies of the critic to its target
    "actor_target_period": 200,  # the same of the actor: a step of policy iteration
    "critic_warmup": 0,  # first updates, in which the critic alone learns
    "max_consecutive_skips": 10,  # updates in a row left out for NaN or Inf before the run stops
}
GAUSSIAN = {
    "epsilon_mean": 5e-3,  # nats that means may move between two target copies
    "epsilon_stddev": 1e-4,  # nats that standard deviations may move
}
PRIMITIVE = {
    "epsilon_penalty": 1e-3,  # nats of the penalty on actions beyond [-1, 1]; 0: no penalty
}
SCRATCH = {
    **DEFAULTS,
    **GAUSSIAN,
    **PRIMITIVE,
    "high": (),  # entries that the actor sees; none: all that are not privileged
    "init_stddev": 0.7,  # initial standard deviation of actions
    "gripper": False,  # the last dimension of an action is one of -1 and 1; else all are Gaussian
    "epsilon_category": 5e-3,  # with a gripper: nats that the choice between the two may move
}


class PolicyHead(NamedTuple):
    """What MPO has in its hands: a policy over the level's own actions, and how the whole agent acts by it.

    Functions are given scope(params, "control"), so that a head's parameters are params["actor"].
    """

    family: Family
    name: str  # of the note that holds its action
    action: jax.ShapeDtypeStruct  # of one row: [A] float32, or [] int32
    init: Callable[[Key], tuple[Params, Params]]  # -> (skills, actor); skills are {} if there are none
    encode: Callable[[Params, Mapping[str, Array]], Any]  # what the actor reads of observations [..., S, d]
    policy: Callable[[Params, Any, Key | None], Distribution]  # of encoded rows; the key is for a latent inside of it
    act: Callable[[bool], Policy]  # samples if True, else takes what is likeliest
    choices: int = 0  # K, if its action is one of K
    priors: Callable[[Params, Distribution, Any, Trajectory], dict] = losses.no_priors
    eta: dict[str, float] | None = None  # weight of each prior
    bounded: bool = False  # its actions are the world's: the critic sees them clipped, and those beyond are penalised
    log_prob: str = "log_prob"  # the note that holds the log-probability of its action
    extras: tuple[str, ...] = ()  # skills that its priors read from the replay, beside its action


def control(
    head: PolicyHead,
    spec: Spec,
    *,
    sees: Sequence[str],
    critic: Sequence[str] = (),
    statistics: Mapping | None = None,
    make_encoder: MakeEncoder = encoder.whitened,
    hidden: Sequence[int] = (256, 256),
    recurrent_critic: bool = False,
    picture_channels: Sequence[int] = (32, 64, 128),
    picture_blocks: int = 2,
    samples: int = 20,
    gamma: float = 0.99,
    backup: str = "td",
    n_step: int = 5,
    lambda_: float = 0.95,
    epsilon: float = 0.1,
    epsilon_category: float = 1.0,
    epsilon_mean: float = 5e-3,
    epsilon_stddev: float = 1e-4,
    epsilon_penalty: float = 1e-3,
    learning_rate: float = 2e-4,
    actor_learning_rate: float | None = None,
    part_learning_rates: Mapping[str, float] | None = None,
    dual_learning_rate: float = 1e-2,
    max_grad_norm: float = 40.0,
    target_period: int = 200,
    actor_target_period: int | None = None,
    critic_warmup: int = 0,
    max_consecutive_skips: int = MAX_CONSECUTIVE_SKIPS,
    dtype: Any = jnp.float32,
) -> Agent:
    """An agent whose `head` learns by MPO.

    sees, critic          entries that the actor's new networks see, and the critic (all visible ones if empty)
    statistics            entry -> (mean [d], std [d]) of what newly initialised networks see
    make_encoder          (obs, names, statistics) -> nets.encoder.Encoder of vectors
    hidden                widths of the actor's new layers; the critic has one layer more, of the first width
    picture_channels      of the residual network of what sees pictures, actor or critic: a stage for each number
    picture_blocks        of two convolutions, in each of its stages
    samples               actions that represent a policy that cannot be enumerated
    backup                td, n_step (`n_step`), retrace (`lambda_`)
    epsilon               of the temperature, and of each part that the policy has, nats; epsilon_penalty=0: none
    actor_learning_rate   learning_rate if None. One step of Adam moves a policy of small deviation by more nats than
                          its bounds allow, which no multiplier prevents: Adam's steps do not depend on the loss's size
    part_learning_rates   for parts of the actor, by name, in place of actor_learning_rate
    target_period         updates between two copies of the critic, and of the actor if actor_target_period is None
    actor_target_period   each copy is a step of policy iteration: the more updates it has, the more batches the
                          critic's errors are averaged over
    critic_warmup         updates in which the critic alone learns, so that a pretrained policy does not follow a
                          critic that is still random
    dtype                 of the products in new networks
    """
    if backup not in BACKUPS:
        raise ValueError(f"backup '{backup}' is not known; choose {', '.join(BACKUPS)} in agent.backup")
    epsilons = {"category": epsilon_category, "mean": epsilon_mean, "stddev": epsilon_stddev}
    bounds = {"temperature": epsilon} | {name: epsilons[name] for name in head.family.names}
    if head.bounded and epsilon_penalty > 0:
        bounds["penalty"] = epsilon_penalty
    bounds = {name: mpo.Bound(value, INIT_DUALS[name]) for name, value in bounds.items()}

    critic_names = tuple(critic) or spec.visible
    actor_encoder, critic_encoder = (
        encoder.beside_pictures(make_encoder, spec.obs, names, statistics) for names in (sees, critic_names)
    )
    represent_net = CriticTorso(hidden[0], recurrent_critic, Shape(tuple(picture_channels), picture_blocks), dtype)
    widths = (*hidden, hidden[0])
    value_net = MLP(widths, head.choices, dtype=dtype) if head.choices else ActionValue(widths, dtype)

    def init(key: Key) -> Params:
        head_key, represent_key, value_key, encoder_key = jax.random.split(key, 4)
        actor_key, critic_key = jax.random.split(encoder_key)
        encoders = {"actor": actor_encoder.init(actor_key)} if sees else {}
        encoders["critic"] = critic_encoder.init(critic_key)
        x = critic_encoder.apply(encoders["critic"], encoder.blank(spec.obs, critic_names, (1, 1)))
        action = () if head.choices else (jnp.zeros((1, 1, 1, *head.action.shape)),)
        represented, torso = represent_net.init_with_output(represent_key, x, jnp.ones((1, 1), bool))
        skills, actor = head.init(head_key)
        return {
            "encoders": encoders,
            **({"skills": skills} if skills else {}),
            LEVEL: {
                "actor": actor,
                "critic": {
                    "represent": torso["params"],
                    "value": value_net.init(value_key, represented, *action)["params"],
                },
                "duals": mpo.init_duals(bounds),
            },
        }

    def encode(params: Params, batch: Trajectory) -> dict[str, Any]:
        critic_features = critic_encoder.apply(params["encoders"]["critic"], batch.step.obs)
        actor_features = head.encode(params, batch.step.obs)
        return {"actor": actor_features, "critic": critic_features, "first": batch.step.first}

    def represent(params: Params, features: dict[str, Any]):
        torso = {"params": params["critic"]["represent"]}
        return represent_net.apply(torso, features["critic"], features["first"])

    def value(params: Params, represented, action):
        variables = {"params": params["critic"]["value"]}
        if head.choices:  # one pass for all K
            values = value_net.apply(variables, represented)
            return (jax.nn.one_hot(action, head.choices) * values).sum(-1)  # a gather's gradient would be a scatter
        return value_net.apply(variables, represented, jnp.clip(action, -1.0, 1.0) if head.bounded else action)

    loss = losses.mpo_loss(
        head.family,
        lambda params, features, key: head.policy(params, features["actor"], key),
        represent,
        value,
        bounds=bounds,
        gamma=gamma,
        samples=samples,
        backup=BACKUPS[backup](n_step, lambda_, head.log_prob),
        priors=lambda params, online, features, batch: head.priors(params, online, features["actor"], batch),
        eta=head.eta,
        encode=encode,
    )
    view = acting_on(head.name)
    level = Level(loss, view=lambda params, batch: view(batch))
    skills, actor = jax.eval_shape(head.init, jax.random.key(0))
    actor_learning_rate = learning_rate if actor_learning_rate is None else actor_learning_rate
    actor_rates = {"actor": actor_learning_rate}
    if part_learning_rates:
        rates = dict.fromkeys(actor, actor_learning_rate) | dict(part_learning_rates)
        actor_rates = {f"actor/{part}": rate for part, rate in rates.items()}

    def after_warmup(rate: float):
        return (lambda step: jnp.where(step < critic_warmup, 0.0, rate)) if critic_warmup else rate

    learning = {f"{LEVEL}/{part}": optax.adam(after_warmup(rate)) for part, rate in actor_rates.items()}
    learning[f"{LEVEL}/critic"] = optax.adam(learning_rate)
    encoders = ({"actor": actor_encoder} if sees else {}) | {"critic": critic_encoder}
    learning |= {f"encoders/{name}": optax.adam(learning_rate) for name, one in encoders.items() if one.trainable}
    frozen = [f"encoders/{name}" for name, one in encoders.items() if not one.trainable] + ["skills"] * bool(skills)
    duals = optax.chain(optax.clip_by_global_norm(max_grad_norm), optax.adam(after_warmup(dual_learning_rate)))
    tx = optax.chain(
        jointly(optax.clip_by_global_norm(max_grad_norm), learning),
        by_child({**dict.fromkeys(frozen), **learning, f"{LEVEL}/duals": projected(duals, mpo.clip_duals)}),
    )
    periods = {"actor": actor_target_period or target_period, "critic": target_period}
    extras = {head.name: head.action} | {name: jax.ShapeDtypeStruct((), jnp.int32) for name in head.extras}
    if backup == "retrace":
        extras[head.log_prob] = jax.ShapeDtypeStruct((), jnp.float32)
    return Agent(
        learner(
            init,
            levels({LEVEL: level}),
            tx,
            slow.combined({f"{LEVEL}/target": slow.hard_copies(periods, within=LEVEL)}),
            max_consecutive_skips=max_consecutive_skips,
        ),
        explore=scoped(head.act(True)),
        exploit=scoped(head.act(False)),
        replay_extras=extras,
    )


def scoped(policy: Policy) -> Policy:
    """`policy` as it acts on the parameters of the whole agent."""
    return Policy(policy.init, lambda params, carry, step, key: policy.act(scope(params, LEVEL), carry, step, key))


def primitive(
    policy: Callable[[Params, Any, Key | None], Distribution],
    encode: Callable[[Params, Mapping[str, Array]], Any],
    spec: Spec,
    init: Callable[[Key], tuple[Params, Params]],
    family: Family | None = None,
) -> PolicyHead:
    """The head of a policy over the world's own actions, [A]; Gaussian, if no family is given.

    It notes `choice`, the action before the world clips it, and its log_prob.
    """
    family = family or families.gaussian()

    def act(sample: bool) -> Policy:
        def choose(params, obs, key):
            latent_key, action_key = jax.random.split(key)
            distribution = policy(params, encode(params, obs), latent_key if sample else None)
            choice = family.sample(distribution, action_key) if sample else family.mode(distribution)
            return choice, {"choice": choice, "log_prob": family.log_prob(distribution, choice)}

        return flat(choose)

    action = jax.ShapeDtypeStruct(spec.action.shape, jnp.float32)
    return PolicyHead(family, "choice", action, init, encode, policy, act, bounded=True)


def make(
    spec: Spec,
    *,
    high: Sequence[str] = (),
    hidden: Sequence[int] = (256, 256),
    init_stddev: float = 0.7,
    gripper: bool = False,
    statistics: Mapping | None = None,
    make_encoder: MakeEncoder = encoder.whitened,
    picture_channels: Sequence[int] = (32, 64, 128),
    picture_blocks: int = 2,
    dtype: Any = jnp.float32,
    **settings,
) -> Agent:
    """MPO from scratch; the rest as `control`.

    high         entries that the actor sees, vectors and pictures; all visible ones if empty
    init_stddev  initial standard deviation of what is Gaussian
    gripper      the last dimension of an action is -1 or 1, as in the released state agents; else all are Gaussian
    """
    size = spec.action.shape[-1]
    if gripper and size < 2:
        raise ValueError(f"agent.gripper needs actions of 2 or more dimensions, got {size}; set agent.gripper=false")
    family, kind = (families.hybrid(), Hybrid) if gripper else (families.gaussian(), Gaussian)
    pictures = Shape(tuple(picture_channels), picture_blocks)
    net = (HybridActor if gripper else GaussianActor)(size, hidden, init_stddev, pictures=pictures, dtype=dtype)
    names = tuple(high) or spec.visible
    own = encoder.beside_pictures(make_encoder, spec.obs, names, statistics)

    def init(key):
        encoder_key, key = jax.random.split(key)
        x = own.apply(own.init(encoder_key), encoder.blank(spec.obs, names))
        return {}, net.init(key, x)["params"]

    def encode(params, obs):
        return own.apply(params["encoders"]["actor"], obs)

    def policy(params, x, key):
        return kind(*net.apply({"params": params["actor"]}, x))

    head = primitive(policy, encode, spec, init, family)
    shared = {"hidden": hidden, "statistics": statistics, "make_encoder": make_encoder, "dtype": dtype}
    shared |= {"picture_channels": picture_channels, "picture_blocks": picture_blocks}
    return control(head, spec, sees=names, **shared, **settings)

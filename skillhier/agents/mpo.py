"""MPO of one level: what every online system here shares, and MPO from scratch on the world's own actions.

Read in order: losses/mpo.py (the loss), nets/critic.py, nets/actor.py, then the systems: this file's `make`,
agents/helms_transfer.py, agents/npmp_transfer.py, agents/bc_transfer.py.

Parameters: `scales` whiten what nets see that learn from nothing, `skills` are what was learned offline; both are
frozen. `actor`, `critic` and `duals` learn; the first two have target copies.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.agents.learner import PATIENCE, Control, adam, learner, targets, with_duals
from skillhier.losses import mpo as losses
from skillhier.nets import encoder
from skillhier.nets.actor import GaussianActor, HybridActor
from skillhier.nets.critic import ActionValue, CriticTorso
from skillhier.nets.mlp import MLP
from skillhier.ops import families, mpo
from skillhier.ops.families import Distribution, Family, Gaussian, Hybrid
from skillhier.ops.temporal import acting_on
from skillhier.policies.flat import flat
from skillhier.types import Key, Params, Policy, Trajectory

INIT_DUALS = {
    "temperature": 3.0,
    "category": 3.0,
    "mean": 10.0,
    "stddev": 100.0,
    "penalty": 3.0,
}  # of multipliers at first
BACKUPS = {
    "td": lambda n_step, lambda_, log_prob: losses.one_step(),  # HeLMS, equation 6
    "n_step": lambda n_step, lambda_, log_prob: losses.n_step(n_step),
    "retrace": lambda n_step, lambda_, log_prob: losses.retrace(lambda_, log_prob),
}


class PolicyHead(NamedTuple):
    """What MPO has in its hands: a policy over the level's own actions, and how the whole system acts by it."""

    family: Family
    name: str  # of the note that holds its action
    action: jax.ShapeDtypeStruct  # of one row: [A] float32, or [] int32
    begin: Callable[[Key], tuple[Params, Params]]  # -> (skills, actor), skills {} if there are none
    policy: Callable[[Params, dict, Key], Distribution]  # of observations [T, B, ...]; the key is for a latent inside
    act: Callable[[bool], Policy]  # draws if True
    choices: int = 0  # K, if its action is one of K
    priors: Callable[[Params, Distribution, Trajectory], dict] = losses.no_priors
    eta: dict[str, float] | None = None  # weight of each prior
    bounded: bool = False  # it acts in [-1, 1]: the critic sees actions cut, and those beyond are shunned
    noted: tuple[str, ...] = ()  # skills that priors ask for, beside its action
    log_prob: str = "log_prob"  # of the note that holds the log-probability of its action when it was taken


def control(
    level: PolicyHead,
    obs: dict,
    *,
    sees: Sequence[str],
    critic: Sequence[str],
    statistics: dict | None = None,
    hidden: Sequence[int] = (256, 256),
    recurrent_critic: bool = False,
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
    part_learning_rates: dict[str, float] | None = None,
    dual_learning_rate: float = 1e-2,
    max_grad_norm: float = 40.0,
    target_period: int = 200,
    actor_target_period: int | None = None,
    critic_warmup: int = 0,
    max_consecutive_skips: int = PATIENCE,
) -> Control:
    """A system whose `level` learns by MPO; `obs` is Spec.obs.

    sees, critic  entries of the observation that the actor's new nets see, and the critic; `scales` has both
    statistics    entry -> (mean [d], std [d]) that new nets whiten by
    hidden        widths of the actor's new layers; the critic has one layer more, of the first width
    recurrent_critic  the critic remembers
    samples       actions that stand for a policy that cannot be listed
    backup        td, n_step (`n_step`), retrace (`lambda_`)
    epsilon       of the temperature, and of each part that the policy has, nats; epsilon_penalty=0: no penalty
    actor_learning_rate  of Adam for the actor, learning_rate if not given: one step moves a policy of small deviation
                  by more nats than its bounds allow, and no multiplier helps, for Adam's steps have one length
    part_learning_rates  of Adam for parts of the actor, by name, in place of actor_learning_rate
    target_period  updates between two target copies of the critic, and of the actor if actor_target_period does not say
    actor_target_period  updates between two target copies of the actor: each is a step of policy iteration, and the
                  more updates it has, the more draws and batches the critic's errors are averaged over
    critic_warmup  updates at first in which only the critic learns: a policy that can do something already should not
                  follow a critic that knows nothing yet
    """
    if backup not in BACKUPS:
        raise ValueError(f"backup '{backup}' is not known; choose {', '.join(BACKUPS)} in agent.backup")
    every = {"category": epsilon_category, "mean": epsilon_mean, "stddev": epsilon_stddev}
    wanted = {"temperature": epsilon} | {name: every[name] for name in level.family.names}
    if level.bounded and epsilon_penalty > 0:
        wanted["penalty"] = epsilon_penalty
    bounds = {name: mpo.Bound(value, INIT_DUALS[name]) for name, value in wanted.items()}

    represent_net = CriticTorso(hidden[0], recurrent_critic)
    widths = (*hidden, hidden[0])
    value_net = MLP(widths, level.choices) if level.choices else ActionValue(widths)
    names = (*sees, *critic)

    def init(key: Key) -> Params:
        level_key, represent_key, value_key = jax.random.split(key, 3)
        scales = encoder.whitening(statistics, obs, names)
        blank = {name: jnp.zeros((1, 1, *obs[name].shape)) for name in critic}
        x, features = encoder.stacked(scales, blank, critic), jnp.zeros((1, 1, hidden[0]))
        beside = () if level.choices else (jnp.zeros((1, 1, 1, *level.action.shape)),)
        skills, actor = level.begin(level_key)
        return {
            "scales": scales,
            **({"skills": skills} if skills else {}),
            "actor": actor,
            "critic": {
                "represent": represent_net.init(represent_key, x, jnp.ones((1, 1), bool))["params"],
                "value": value_net.init(value_key, features, *beside)["params"],
            },
            "duals": mpo.init_duals(bounds),
        }

    def represent(params: Params, batch: Trajectory):
        x = encoder.stacked(params["scales"], batch.step.obs, critic)
        return represent_net.apply({"params": params["critic"]["represent"]}, x, batch.step.first)

    def value(params: Params, features, action):
        own = {"params": params["critic"]["value"]}
        if level.choices:  # one pass for all K
            every = value_net.apply(own, features)
            return (jax.nn.one_hot(action, level.choices) * every).sum(-1)  # no look-up: its gradient is a scatter
        return value_net.apply(own, features, jnp.clip(action, -1.0, 1.0) if level.bounded else action)

    loss = losses.mpo_loss(
        level.family,
        lambda params, batch, key: level.policy(params, batch.step.obs, key),
        represent,
        value,
        bounds=bounds,
        gamma=gamma,
        samples=samples,
        backup=BACKUPS[backup](n_step, lambda_, level.log_prob),
        priors=level.priors,
        eta=level.eta,
    )
    view = acting_on(level.name)
    after = lambda rate: (lambda step: jnp.where(step < critic_warmup, 0.0, rate)) if critic_warmup else rate  # noqa: E731
    actor_learning_rate = learning_rate if actor_learning_rate is None else actor_learning_rate
    skills, actor = jax.eval_shape(level.begin, jax.random.key(0))
    rates = {"scales": None, "actor": after(actor_learning_rate), "critic": learning_rate, "duals": None}
    if part_learning_rates:
        rates["actor"] = {
            part: after(rate)
            for part, rate in (dict.fromkeys(actor, actor_learning_rate) | part_learning_rates).items()
        }
    if skills:
        rates["skills"] = None
    made = learner(
        init,
        lambda params, slow, batch, key: loss(params, slow, view(batch), key),
        with_duals(
            adam(rates, max_grad_norm=max_grad_norm),
            mpo.clip_duals,
            rate=after(dual_learning_rate),
            max_grad_norm=max_grad_norm,
        ),
        *targets(
            {"actor": target_period if actor_target_period is None else actor_target_period, "critic": target_period}
        ),
        max_consecutive_skips=max_consecutive_skips,
    )
    kept = {level.name: level.action} | {name: jax.ShapeDtypeStruct((), jnp.int32) for name in level.noted}
    if backup == "retrace":
        kept[level.log_prob] = jax.ShapeDtypeStruct((), jnp.float32)
    return Control(made, level.act(True), level.act(False), kept)


def primitive(
    policy: Callable[[Params, dict, Key], Distribution],
    action,
    begin: Callable[[Key], tuple[Params, Params]],
    family: Family | None = None,
) -> PolicyHead:
    """The level of a policy over the world's own actions, [A] in [-1, 1]; Gaussian, if no family is given. Notes
    `choice`, the action before it is cut, and its log_prob.
    """
    family = family or families.gaussian()

    def act(sample: bool) -> Policy:
        def choose(params, seen, key):
            latent_key, action_key = jax.random.split(key)
            found = policy(params, seen, latent_key if sample else None)
            choice = family.sample(found, action_key) if sample else family.mode(found)
            return jnp.clip(choice, -1.0, 1.0), {"choice": choice, "log_prob": family.log_prob(found, choice)}

        return flat(choose)

    shape = jax.ShapeDtypeStruct(action.shape, jnp.float32)
    return PolicyHead(family, "choice", shape, begin, policy, act, bounded=True)


def make(
    obs: dict,
    action,
    *,
    high: Sequence[str],
    hidden: Sequence[int] = (256, 256),
    init_stddev: float = 0.7,
    gripper: bool = False,
    **settings,
) -> Control:
    """MPO from scratch; the rest as `control`.

    high      entries that the actor sees
    init_stddev  standard deviation at first of what is Gaussian
    gripper   the last dimension of an action is -1 or 1, as in the released state agents; else all are Gaussian
    """
    size = action.shape[-1]
    if gripper and size < 2:
        raise ValueError(
            f"a gripper beside other dimensions needs 2 or more; actions have {size}; set agent.gripper=false"
        )
    family, kind = (families.hybrid(), Hybrid) if gripper else (families.gaussian(), Gaussian)
    net = (HybridActor if gripper else GaussianActor)(size, hidden, init_stddev)
    statistics = settings.get("statistics")

    def begin(key):
        blank = {name: jnp.zeros((1, *obs[name].shape)) for name in high}
        x = encoder.stacked(encoder.whitening(statistics, obs, high), blank, high)
        return {}, net.init(key, x)["params"]

    def policy(params, seen, key):
        x = encoder.stacked(params["scales"], seen, high)
        return kind(*net.apply({"params": params["actor"]}, x))

    return control(primitive(policy, action, begin, family), obs, sees=high, hidden=hidden, **settings)

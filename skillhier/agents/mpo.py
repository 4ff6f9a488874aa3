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
from skillhier.nets.critic import ActionValue, Represented
from skillhier.nets.mlp import MLP
from skillhier.ops import families, mpo
from skillhier.ops.families import Distribution, Family, Gaussian, Hybrid
from skillhier.ops.temporal import acting_on
from skillhier.policies.flat import flat
from skillhier.types import Key, Params, Policy, Trajectory

RAW = {"temperature": 3.0, "category": 3.0, "mean": 10.0, "stddev": 100.0, "penalty": 3.0}  # of multipliers at first
BACKUPS = {
    "td": lambda steps, lam: losses.one_step(),  # HeLMS, equation 6
    "n_step": lambda steps, lam: losses.n_step(steps),
    "retrace": lambda steps, lam: losses.retrace(lam),
}


class Level(NamedTuple):
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


def control(
    level: Level,
    obs: dict,
    *,
    sees: Sequence[str],
    critic: Sequence[str],
    statistics: dict | None = None,
    hidden: Sequence[int] = (256, 256),
    recurrent: bool = False,
    samples: int = 20,
    gamma: float = 0.99,
    backup: str = "td",
    steps: int = 5,
    lam: float = 0.95,
    epsilon: float = 0.1,
    epsilon_category: float = 1.0,
    epsilon_mean: float = 5e-3,
    epsilon_stddev: float = 1e-4,
    epsilon_penalty: float = 1e-3,
    learning_rate: float = 2e-4,
    actor_rate: float | None = None,
    part_rates: dict[str, float] | None = None,
    dual_rate: float = 1e-2,
    clip: float = 40.0,
    period: int = 200,
    actor_period: int | None = None,
    warm_up: int = 0,
    patience: int = PATIENCE,
) -> Control:
    """A system whose `level` learns by MPO; `obs` is Spec.obs.

    sees, critic  entries of the observation that the actor's new nets see, and the critic; `scales` has both
    statistics    entry -> (mean [d], std [d]) that new nets whiten by
    hidden        widths of the actor's new layers; the critic has one layer more, of the first width
    recurrent     the critic remembers
    samples       actions that stand for a policy that cannot be listed
    backup        td, n_step (`steps`), retrace (`lam`)
    epsilon       of the temperature, and of each part that the policy has, nats; epsilon_penalty=0: no penalty
    actor_rate    of Adam for the actor, learning_rate if not given: one step of it moves a policy of small deviation by
                  more nats than its bounds allow, and no multiplier helps, for Adam's steps have one length
    part_rates    of Adam for parts of the actor, by name, in place of actor_rate
    period        updates between two target copies of the critic, and of the actor if actor_period does not say
    actor_period  updates between two target copies of the actor: each is a step of policy iteration, and the more
                  updates it has, the more draws and batches the critic's errors are averaged over
    warm_up       updates at first in which only the critic learns: a policy that can do something already should not
                  follow a critic that knows nothing yet
    """
    if backup not in BACKUPS:
        raise ValueError(f"backup '{backup}' is not known; choose {', '.join(BACKUPS)} in agent.backup")
    every = {"category": epsilon_category, "mean": epsilon_mean, "stddev": epsilon_stddev}
    wanted = {"temperature": epsilon} | {name: every[name] for name in level.family.names}
    if level.bounded and epsilon_penalty > 0:
        wanted["penalty"] = epsilon_penalty
    bounds = {name: mpo.Bound(value, RAW[name]) for name, value in wanted.items()}

    represent_net = Represented(hidden[0], recurrent)
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
            "duals": mpo.begin(bounds),
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
        backup=BACKUPS[backup](steps, lam),
        priors=level.priors,
        eta=level.eta,
    )
    view = acting_on(level.name)
    after = lambda rate: (lambda step: jnp.where(step < warm_up, 0.0, rate)) if warm_up else rate  # noqa: E731
    actor_rate = learning_rate if actor_rate is None else actor_rate
    skills, actor = jax.eval_shape(level.begin, jax.random.key(0))
    rates = {"scales": None, "actor": after(actor_rate), "critic": learning_rate, "duals": None}
    if part_rates:
        rates["actor"] = {part: after(rate) for part, rate in (dict.fromkeys(actor, actor_rate) | part_rates).items()}
    if skills:
        rates["skills"] = None
    made = learner(
        init,
        lambda params, slow, batch, key: loss(params, slow, view(batch), key),
        with_duals(adam(rates, clip=clip), mpo.project, rate=after(dual_rate), clip=clip),
        *targets({"actor": period if actor_period is None else actor_period, "critic": period}),
        patience=patience,
    )
    kept = {level.name: level.action} | {name: jax.ShapeDtypeStruct((), jnp.int32) for name in level.noted}
    if backup == "retrace":
        kept["log_prob"] = jax.ShapeDtypeStruct((), jnp.float32)
    return Control(made, level.act(True), level.act(False), kept)


def primitive(
    policy: Callable[[Params, dict, Key], Distribution],
    action,
    begin: Callable[[Key], tuple[Params, Params]],
    family: Family | None = None,
) -> Level:
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
    return Level(family, "choice", shape, begin, policy, act, bounded=True)


def make(
    obs: dict,
    action,
    *,
    high: Sequence[str],
    hidden: Sequence[int] = (256, 256),
    spread: float = 0.7,
    gripper: bool = False,
    **settings,
) -> Control:
    """MPO from scratch; the rest as `control`.

    high      entries that the actor sees
    spread    standard deviation at first of what is Gaussian
    gripper   the last dimension of an action is -1 or 1, as in the released state agents; else all are Gaussian
    """
    size = action.shape[-1]
    if gripper and size < 2:
        raise ValueError(
            f"a gripper beside other dimensions needs 2 or more; actions have {size}; set agent.gripper=false"
        )
    family, kind = (families.hybrid(), Hybrid) if gripper else (families.gaussian(), Gaussian)
    net = (HybridActor if gripper else GaussianActor)(size, hidden, spread)
    statistics = settings.get("statistics")

    def begin(key):
        blank = {name: jnp.zeros((1, *obs[name].shape)) for name in high}
        x = encoder.stacked(encoder.whitening(statistics, obs, high), blank, high)
        return {}, net.init(key, x)["params"]

    def policy(params, seen, key):
        x = encoder.stacked(params["scales"], seen, high)
        return kind(*net.apply({"params": params["actor"]}, x))

    return control(primitive(policy, action, begin, family), obs, sees=high, hidden=hidden, **settings)

"""MPO for one level and any action family: critic regression and policy improvement as one loss.

Read in order: ops/returns.py (targets of the critic), ops/families.py (policies and their parts), ops/mpo.py (the two
steps), ops/priors.py (what a policy may be kept near).

Target copies of the actor and the critic say what the critic regresses on and what the policy follows. They are
`slow["target"]`, children that stand in for those of the same name in the parameters; the learner moves them.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from skillhier.losses.imitation import average
from skillhier.ops import mpo, returns
from skillhier.ops.families import Choices, Distribution, Family
from skillhier.types import Action, Array, Key, Metrics, Params, Scalar, Slow, SlowLoss, Trajectory

# The policy at every row, [T, B]. The key is for a latent inside of it: target and online policy get the same one.
Actor = Callable[[Params, Trajectory, Key], Distribution]
# What the critic makes of every row before an action is joined, leaves [T, B, ...]. A recurrent critic unrolls here,
# with a blank memory at the window's first row and anew where step.first: once, however many actions are weighed.
Represent = Callable[[Params, Trajectory], Any]
Value = Callable[[Params, Any, Action], Array]  # Q of actions [N, T, B, ...] at represented rows, [N, T, B]
# (transitions, V of rows 1 .. T - 1, judge, batch) -> targets, [T - 1, B]. judge() gives Q and log pi, by the target
# copies, of what was done at rows 1 .. T - 1; who does not ask does not pay.
Backup = Callable[[returns.Transitions, Array, Callable[[], tuple[Array, Array]], Trajectory], Array]
Priors = Callable[[Params, Distribution, Trajectory], dict[str, Array]]  # named KL terms of the online policy, [T, B]


def one_step() -> Backup:
    """TD(0), HeLMS equation 6."""
    return lambda transitions, value, judge, batch: returns.td(transitions, value)


def n_step(n: int) -> Backup:
    """`n` rewards before the value; not corrected for actions that the policy would no longer choose."""
    return lambda transitions, value, judge, batch: returns.n_step(transitions, value, n)


def retrace(lam: float = 0.95, behaviour: str = "log_prob") -> Backup:
    """Retrace(lam); `behaviour` is where the batch's extras hold log mu of the actions, [T, B]."""

    def backup(transitions, value, judge, batch):
        if behaviour not in batch.extras:
            known = ", ".join(batch.extras) or "nothing"
            raise ValueError(
                f"Retrace needs '{behaviour}' of the actions and the replay holds {known}; let it be noted"
            )
        taken, log_prob = judge()
        return returns.retrace(transitions, value, taken, log_prob - batch.extras[behaviour][1:], lam)

    return backup


def no_priors(params: Params, online: Distribution, batch: Trajectory) -> dict[str, Array]:
    return {}


def mpo_loss(
    family: Family,
    actor: Actor,
    represent: Represent,
    value: Value,
    *,
    bounds: dict[str, mpo.Bound],
    gamma: float = 0.99,
    samples: int = 20,
    backup: Backup | None = None,
    priors: Priors = no_priors,
    eta: dict[str, float] | None = None,
    duals: str = "duals",
    level: str = "control",
) -> SlowLoss:
    """The loss of a level whose actions are batch.action, [T, B, ...].

    bounds   by name: `temperature`, the family's parts, and if actions beyond [-1, 1] shall be shunned `penalty`
    samples  actions that stand for a policy, where they are not listed all
    backup   the critic's targets; TD(0) if not given
    eta      weight of each KL term that `priors` gives; it is added to the policy's loss, not to the critic's target
    duals    the child of the parameters that holds ops.mpo.begin(bounds); its optimiser ends in ops.mpo.project

    The critic learns from valid transitions, the policy from all rows but final ones, where nothing is done.
    Metrics are named `level`/quantity.
    """
    wanted = {"temperature", *family.names}
    if bounds.keys() - {"penalty"} != wanted:
        raise ValueError(
            f"bounds {', '.join(sorted(bounds))} do not fit this policy; set {', '.join(sorted(wanted))} (and penalty)"
        )
    if "penalty" in bounds and "mean" not in family.names:
        raise ValueError("a bound 'penalty' is for actions that can lie beyond [-1, 1]; leave it out for a choice of K")
    if samples < 1:
        raise ValueError(f"{samples} samples stand for no policy; set samples to 1 or more")
    backup, eta = backup or one_step(), eta or {}

    def loss(params: Params, slow: Slow, batch: Trajectory, key: Key) -> tuple[Scalar, tuple[Slow, Metrics]]:
        if duals not in params:
            raise ValueError(
                f"the parameters {', '.join(params)} have no child {duals}; put ops.mpo.begin(bounds) there"
            )
        choice_key, latent_key = jax.random.split(key)
        late = jax.lax.stop_gradient({**params, **slow["target"]})
        policy, seen = actor(late, batch, latent_key), represent(late, batch)

        # the same actions say what a row is worth to the critic and what the policy should become, as in acme's MPO:
        # neither term's expectation feels it, and a second draw would cost three tenths of an update
        choices = family.choices(policy, choice_key, samples)
        q = value(late, seen, choices.action)

        def judge() -> tuple[Array, Array]:
            q = value(late, seen, jax.tree.map(lambda x: x[None], batch.action))[0]
            return q[1:], family.log_prob(policy, batch.action)[1:]

        transitions = returns.transitions(batch.step, gamma)
        target = backup(transitions, (jnp.exp(choices.log_prior) * q).sum(0)[1:], judge, batch)
        before = jax.tree.map(lambda x: x[:-1], batch)
        done = jax.tree.map(lambda x: where_valid(x, transitions.valid)[None], before.action)
        critic, critic_metrics = regression(
            value(params, represent(params, before), done)[0], target, transitions.valid
        )

        online, counted = actor(params, batch, latent_key), ~batch.step.last
        improved, metrics = improvement(family, bounds, params[duals], policy, online, choices, q, counted)
        terms = priors(params, online, batch)
        if terms.keys() != eta.keys():
            given, there = ", ".join(sorted(eta)) or "none", ", ".join(sorted(terms)) or "none"
            raise ValueError(f"weights of priors are given for {given}, the priors are {there}; set eta for each")
        near = {name: average(kl, counted) for name, kl in terms.items()}
        total = critic + improved + sum(eta[name] * kl for name, kl in near.items())
        metrics = critic_metrics | metrics | {f"prior_{name}": kl for name, kl in near.items()}
        return total, (slow, {f"{level}/{name}": metric for name, metric in metrics.items()})

    return loss


def where_valid(action: Array, valid: Array) -> Array:
    """Zero where no transition begins, [T - 1, B, ...]: there an action means nothing, but its slope would count."""
    return jnp.where(valid.reshape(*valid.shape, *[1] * (action.ndim - valid.ndim)), action, 0)


def regression(predicted: Array, target: Array, valid: Array) -> tuple[Scalar, Metrics]:
    """Mean squared error of Q over the valid transitions, [T - 1, B] each; the targets get no gradient."""
    chex.assert_equal_shape([predicted, target, valid])
    # chosen before it is squared: the target of a row that begins no transition may be no number
    error = jnp.where(valid, jax.lax.stop_gradient(target) - predicted, 0.0)
    value = average(jnp.square(error), valid)
    return value, {"critic_loss": value, "q": average(predicted, valid), "target": average(target, valid)}


def improvement(
    family: Family,
    bounds: dict[str, mpo.Bound],
    duals: Params,
    target: Distribution,
    online: Distribution,
    choices: Choices,
    q: Array,
    counted: Array,
) -> tuple[Scalar, Metrics]:
    """E-step, M-step and the losses of all multipliers, as a mean over the rows that are `counted`, [rows].

    choices were made by the target policy; `q` [N, rows] is what the target critic says of them. Metrics of a bound:
    its multiplier, and its divergence as the mean over what is bounded apart, to be compared with epsilon.
    """
    chex.assert_equal_shape([q, choices.log_prior])
    chex.assert_shape(counted, q.shape[1:])
    costs = {"temperature": q}
    if "penalty" in bounds:
        costs["penalty"] = mpo.out_of_bounds(choices.action)
    steps = {name: mpo.e_step(q, choices.log_prior, duals[name], bounds[name].epsilon) for name, q in costs.items()}
    weights = sum(step.weights for step in steps.values())
    parts = family.parts(jax.lax.stop_gradient(target), online, jax.lax.stop_gradient(choices.action))
    held = {name: mpo.penalty(part.kl, duals[name], bounds[name].epsilon, counted.ndim) for name, part in parts.items()}
    fit = {name: average(mpo.m_step(weights, part.log_prob), counted) for name, part in parts.items()}
    losses = {
        "policy_loss": sum(fit.values()),
        "kl_loss": sum(average(one.loss, counted) for one in held.values()),
        "dual_loss": sum(average(one.dual_loss, counted) for one in held.values())
        + sum(average(step.loss, counted) for step in steps.values()),
    }
    metrics = dict(losses)
    for name, step in steps.items():
        metrics[f"kl_{name}"] = average(step.kl, counted)
    for name, one in held.items():
        metrics[f"kl_{name}"] = average(one.kl.mean(tuple(range(counted.ndim, one.kl.ndim))), counted)
    for name in bounds:
        metrics[f"multiplier_{name}"] = mpo.multiplier(duals[name]).mean()
    return sum(losses.values()), metrics

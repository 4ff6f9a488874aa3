"""MPO of one policy and any action family: critic regression and policy improvement as one loss.

Read in order: ops/returns.py (targets of the critic), ops/families.py (policies and their parts), ops/mpo.py (the two
steps), ops/priors.py (distributions that a policy is regularised towards).

Target copies of the actor and the critic are `slow["target"]`: children that stand in for those of the same name in
the parameters. The critic regresses on them and the policy stays near them; the learner moves them.
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

# What the networks read of every row, leaves [T, B, ...]: computed once for target and online networks.
Encode = Callable[[Params, Trajectory], Any]
# The policy at every row, [T, B]. The key is for a latent inside of it: target and online policy get the same one.
Actor = Callable[[Params, Any, Key], Distribution]
# What the critic makes of every row before an action is joined, leaves [T, B, ...]. A recurrent critic unrolls here,
# from a zero state at the window's first row and anew where step.first: once, however many actions are evaluated.
Represent = Callable[[Params, Any], Any]
Value = Callable[[Params, Any, Action], Array]  # Q of actions [N, T, B, ...] at represented rows, [N, T, B]
# (transitions, V of rows 1 .. T - 1, evaluate_taken, batch) -> targets, [T - 1, B]. evaluate_taken() gives Q and
# log pi, by the target networks, of the actions taken at rows 1 .. T - 1; it is computed only where it is called.
Backup = Callable[[returns.Transitions, Array, Callable[[], tuple[Array, Array]], Trajectory], Array]
# named KL terms of the online policy, [T, B], from its distribution and the encoded rows
Priors = Callable[[Params, Distribution, Any, Trajectory], dict[str, Array]]


def one_step() -> Backup:
    """TD(0), HeLMS equation 6."""
    return lambda transitions, value, evaluate_taken, batch: returns.td(transitions, value)


def n_step(n: int) -> Backup:
    """`n` rewards before the value; not corrected for actions that the policy would no longer choose."""
    return lambda transitions, value, evaluate_taken, batch: returns.n_step(transitions, value, n)


def retrace(lam: float = 0.95, behaviour: str = "log_prob") -> Backup:
    """Retrace(lam); `behaviour` is where the batch's extras hold log mu of the actions, [T, B]."""

    def backup(transitions, value, evaluate_taken, batch):
        if behaviour not in batch.extras:
            known = ", ".join(batch.extras) or "nothing"
            raise ValueError(
                f"retrace needs '{behaviour}' of the actions, the replay holds {known}; add it to the extras"
            )
        taken, log_prob = evaluate_taken()
        return returns.retrace(transitions, value, taken, log_prob - batch.extras[behaviour][1:], lam)

    return backup


def no_priors(params: Params, online: Distribution, features: Any, batch: Trajectory) -> dict[str, Array]:
    return {}


def whole_rows(params: Params, batch: Trajectory) -> Trajectory:
    """The rows as they are, for networks that encode for themselves."""
    return batch


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
    encode: Encode = whole_rows,
) -> SlowLoss:
    """The loss of a policy whose actions are batch.action, [T, B, ...].

    bounds   by name: `temperature`, the family's parts, and `penalty` where actions beyond [-1, 1] are penalised
    samples  actions drawn from a policy, where they are not enumerated
    backup   the critic's targets; TD(0) if not given
    eta      weight of each KL term that `priors` gives; it is added to the policy's loss, not to the critic's target
    encode   what the networks read of every row; the gradient reaches it through the online networks

    The parameters hold the dual variables ops.mpo.init_duals(bounds) as their child `duals`, whose optimiser ends in
    ops.mpo.clip_duals. The critic learns from valid transitions, the policy from all rows but final ones, where no
    action is taken.
    """
    names = {"temperature", *family.names}
    if bounds.keys() - {"penalty"} != names:
        raise ValueError(
            f"bounds {', '.join(sorted(bounds))} do not fit this policy; set {', '.join(sorted(names))} (and penalty)"
        )
    if "penalty" in bounds and "mean" not in family.names:
        raise ValueError("a bound 'penalty' is for actions that can lie beyond [-1, 1]; leave it out for a choice of K")
    if samples < 1:
        raise ValueError(f"samples must be >= 1, got {samples}; set agent.samples")
    backup, eta = backup or one_step(), eta or {}

    def loss(params: Params, slow: Slow, batch: Trajectory, key: Key) -> tuple[Scalar, tuple[Slow, Metrics]]:
        if "duals" not in params:
            raise ValueError(f"the parameters {', '.join(params)} have no child duals; add ops.mpo.init_duals(bounds)")
        choice_key, latent_key = jax.random.split(key)
        target_params = jax.lax.stop_gradient({**params, **slow["target"]})
        features = encode(params, batch)
        target_features = jax.lax.stop_gradient(features)
        policy = actor(target_params, target_features, latent_key)
        represented = represent(target_params, target_features)

        # The same sampled actions estimate the critic's value and the policy's improvement, as in acme's MPO: neither
        # expectation is biased by it, and a second draw would cost three tenths of an update.
        choices = family.choices(policy, choice_key, samples)
        q = value(target_params, represented, choices.action)

        def evaluate_taken() -> tuple[Array, Array]:
            q = value(target_params, represented, jax.tree.map(lambda x: x[None], batch.action))[0]
            return q[1:], family.log_prob(policy, batch.action)[1:]

        transitions = returns.transitions(batch.step, gamma)
        target = backup(transitions, (jnp.exp(choices.log_prior) * q).sum(0)[1:], evaluate_taken, batch)
        before = jax.tree.map(lambda x: x[:-1], features)
        taken = jax.tree.map(lambda x: where_valid(x[:-1], transitions.valid)[None], batch.action)
        predicted = value(params, represent(params, before), taken)[0]
        critic, critic_metrics = regression(predicted, target, transitions.valid)

        online, policy_mask = actor(params, features, latent_key), ~batch.step.last
        improved, metrics = improvement(family, bounds, params["duals"], policy, online, choices, q, policy_mask)
        terms = priors(params, online, features, batch)
        if terms.keys() != eta.keys():
            weighted, present = ", ".join(sorted(eta)) or "none", ", ".join(sorted(terms)) or "none"
            raise ValueError(f"eta weighs the priors {weighted}, and the priors are {present}; set eta for each")
        near = {name: average(kl, policy_mask) for name, kl in terms.items()}
        total = critic + improved + sum(eta[name] * kl for name, kl in near.items())
        return total, (slow, critic_metrics | metrics | {f"prior_{name}": kl for name, kl in near.items()})

    return loss


def where_valid(action: Array, valid: Array) -> Array:
    """Zero where no transition begins, [T - 1, B, ...]: the action there is arbitrary, and its gradient would count."""
    return jnp.where(valid.reshape(*valid.shape, *[1] * (action.ndim - valid.ndim)), action, 0)


def regression(predicted: Array, target: Array, valid: Array) -> tuple[Scalar, Metrics]:
    """Mean squared error of Q over the valid transitions, [T - 1, B] each; the targets get no gradient."""
    chex.assert_equal_shape([predicted, target, valid])
    # masked before it is squared: the target of a row that begins no transition may be NaN
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
    policy_mask: Array,
) -> tuple[Scalar, Metrics]:
    """E-step, M-step and the losses of all multipliers, as a mean over the rows where `policy_mask` [rows] is set.

    `choices` are the target policy's; `q` [N, rows] is their value by the target critic. Metrics of a bound:
    its multiplier, and its divergence as the mean over what is bounded apart, to be compared with epsilon.
    """
    chex.assert_equal_shape([q, choices.log_prior])
    chex.assert_shape(policy_mask, q.shape[1:])
    costs = {"temperature": q}
    if "penalty" in bounds:
        costs["penalty"] = mpo.out_of_bounds(choices.action)
    steps = {name: mpo.e_step(q, choices.log_prior, duals[name], bounds[name].epsilon) for name, q in costs.items()}
    weights = sum(step.weights for step in steps.values())
    parts = family.parts(jax.lax.stop_gradient(target), online, jax.lax.stop_gradient(choices.action))
    held = {
        name: mpo.penalty(part.kl, duals[name], bounds[name].epsilon, policy_mask.ndim) for name, part in parts.items()
    }
    fit = {name: average(mpo.m_step(weights, part.log_prob), policy_mask) for name, part in parts.items()}
    losses = {
        "policy_loss": sum(fit.values()),
        "kl_loss": sum(average(one.loss, policy_mask) for one in held.values()),
        "dual_loss": sum(average(one.dual_loss, policy_mask) for one in held.values())
        + sum(average(step.loss, policy_mask) for step in steps.values()),
    }
    metrics = dict(losses)
    for name, step in steps.items():
        metrics[f"kl_{name}"] = average(step.kl, policy_mask)
    for name, one in held.items():
        metrics[f"kl_{name}"] = average(one.kl.mean(tuple(range(policy_mask.ndim, one.kl.ndim))), policy_mask)
    for name in bounds:
        metrics[f"multiplier_{name}"] = mpo.multiplier(duals[name]).mean()
    return sum(losses.values()), metrics

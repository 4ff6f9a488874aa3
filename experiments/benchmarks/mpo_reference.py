"""One update of MPO once more, written with rlax and optax alone: what ours is measured against.

The same networks on the same batch, the same arithmetic: TD(0) of a critic with target copies, E-step, M-step with
mean and deviation apart, each with its own KL bound, the multi-objective penalty of actions beyond [-1, 1]
(rlax: mpo_ops.py; put together as acme's jax MPO learner does), Adam with clipping, projected multipliers.
With the same key it ends with the same parameters as agents/mpo.py (tested). It has neither the guard against bad
numbers nor the metrics of ours.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.benchmarks import timing
from skillhier.agents import mpo
from skillhier.envs.sawyer.observations import OBJECTS, PROPRIO
from skillhier.nets import encoder
from skillhier.nets.actor import GaussianActor
from skillhier.nets.critic import ActionValue, CriticTorso
from skillhier.types import Array, Bounds, Key, LearnerState, Params, Spec, TimeStep, Trajectory

TARGET = 1.0  # our updates a second, as a share of the reference's
SIZE, STACK = 5, 3  # of an action and of what is seen of the stacking cell
EPSILONS = {"temperature": 0.1, "penalty": 1e-3, "mean": 5e-3, "stddev": 1e-4}
ENTRIES = {**PROPRIO, **OBJECTS}


class State(NamedTuple):
    params: Params  # actor, critic
    duals: Params
    target: Params  # of actor and critic
    opt: Any
    dual_opt: Any
    steps: Array


def update(
    see: Callable[[dict[str, Array]], Array],
    size: int,
    *,
    hidden: Sequence[int],
    samples: int,
    epsilons: dict[str, float],
    gamma: float = 0.99,
    learning_rate: float = 2e-4,
    dual_rate: float = 1e-2,
    clip: float = 40.0,
    period: int = 200,
) -> tuple[Callable[[LearnerState], State], Callable[[State, Trajectory, Key], tuple[State, dict[str, Array]]]]:
    """(begin, update): the state that a learner of agents.mpo.make stands at, and one update from there.

    see            what actor and critic read of observations; size: of an action
    epsilons       bounds in nats of temperature, penalty, mean, stddev
    The rest as in agents.mpo.
    """
    import rlax  # of the extra `dev`: asked for only where it is used

    actor_net = GaussianActor(size, hidden)
    represent_net, value_net = CriticTorso(hidden[0]), ActionValue((*hidden, hidden[0]))
    tx, dual_tx = (
        optax.chain(optax.clip_by_global_norm(clip), optax.adam(rate)) for rate in (learning_rate, dual_rate)
    )

    def multiplier(raw: Array) -> Array:
        return jax.nn.softplus(raw) + 1e-8

    def represent(params, x, first):
        return represent_net.apply({"params": params["critic"]["represent"]}, x, first)

    def value(params, features, action):
        return value_net.apply({"params": params["critic"]["value"]}, features, jnp.clip(action, -1.0, 1.0))

    def log_prob(action, mean, scale):
        return jax.scipy.stats.norm.logpdf(action, mean, scale).sum(-1)

    def kl(mean, scale, new_mean, new_scale):
        ratio = scale / new_scale
        return (-jnp.log(ratio) + 0.5 * (ratio**2 + ((mean - new_mean) / new_scale) ** 2 - 1)).sum(-1)

    def loss(learned: tuple[Params, Params], target: Params, batch: Trajectory, key: Key):
        params, duals = learned
        penalty = {name: rlax.LagrangePenalty(duals[name], jnp.float32(epsilon)) for name, epsilon in epsilons.items()}
        choice_key, _ = jax.random.split(key)
        step = batch.step
        x = see(step.obs)
        mean, scale = actor_net.apply({"params": target["actor"]}, x)
        features = represent(target, x, step.first)

        action = mean + scale * jax.random.normal(choice_key, (samples, *mean.shape))
        q = value(target, features, action)
        goal = jax.lax.stop_gradient(step.reward[1:] + gamma * step.discount[1:] * q[:, 1:].mean(0))
        done = batch.extras["choice"][None, :-1]
        predicted = value(params, represent(params, x[:-1], step.first[:-1]), done)[0]
        valid = ~step.last[:-1] & ~step.first[1:]
        critic_loss = jnp.mean(jnp.square(predicted - goal), where=valid)

        new_mean, new_scale = actor_net.apply({"params": params["actor"]}, x)
        beyond = -jnp.linalg.norm(action - jnp.clip(action, -1.0, 1.0), axis=-1)
        judged = [
            rlax.mpo_compute_weights_and_temperature_loss(costs, penalty[name], multiplier)
            for name, costs in (("temperature", q), ("penalty", beyond))
        ]
        weights = jax.lax.stop_gradient(sum(weights for _, weights, _ in judged))
        log_probs = log_prob(action, new_mean, scale) + log_prob(action, mean, new_scale)
        policy_loss = -(weights * log_probs).sum(0)
        kl_loss, alpha_loss = rlax.compute_parametric_kl_penalty_and_dual_loss(
            [
                (kl(mean, scale, new_mean, scale), penalty["mean"]),
                (kl(mean, scale, mean, new_scale), penalty["stddev"]),
            ],
            multiplier,
        )
        rows = policy_loss + kl_loss + alpha_loss + sum(dual_loss for dual_loss, _, _ in judged)
        actor_loss = jnp.mean(rows, where=~step.last)
        return critic_loss + actor_loss, {"critic_loss": critic_loss, "actor_loss": actor_loss}

    def begin(state: LearnerState) -> State:
        own = state.params["control"]
        params, duals = {name: own[name] for name in ("actor", "critic")}, own["duals"]
        state = State(params, duals, params, tx.init(params), dual_tx.init(duals), jnp.zeros((), jnp.int32))
        return jax.tree.map(jnp.copy, state)  # updates donate their state, which may hold no buffer twice

    def step(state: State, batch: Trajectory, key: Key):
        (slope, dual_slope), metrics = jax.grad(loss, has_aux=True)(
            (state.params, state.duals), state.target, batch, level_key(key)
        )
        change, opt = tx.update(slope, state.opt)
        params = optax.apply_updates(state.params, change)
        change, dual_opt = dual_tx.update(dual_slope, state.dual_opt)
        duals = jax.tree.map(lambda raw: jnp.maximum(raw, -18.0), optax.apply_updates(state.duals, change))
        steps = state.steps + 1
        target = optax.periodic_update(params, state.target, steps, period)
        return State(params, duals, target, opt, dual_opt, steps), metrics

    return begin, step


def level_key(key: Key) -> Key:
    """The key that losses.levels hands to the loss of the first of one level."""
    return jax.random.split(jax.random.split(key, 1)[0])[1]


def spec() -> Spec:
    """The stacking cell's, as far as an agent asks."""
    obs = {name: jax.ShapeDtypeStruct((STACK, size), jnp.float32) for name, size in ENTRIES.items()}
    return Spec(obs, Bounds((SIZE,), -1.0, 1.0), worlds=1, interval=0.05, limit=400)


def see(params: Params) -> Callable[[dict[str, Array]], Array]:
    """What a learner with these parameters sees of observations."""
    own = encoder.whitened(spec().obs, tuple(ENTRIES))
    return lambda obs: own.apply(params["encoders"]["actor"], obs)


def ours(hidden: Sequence[int], samples: int):
    """Our learner of plain MPO, Gaussian, at the settings that `update` has too."""
    bounds = {f"epsilon_{name}": value for name, value in EPSILONS.items() if name != "temperature"}
    settings = {"hidden": hidden, "samples": samples, "epsilon": EPSILONS["temperature"]} | bounds
    return mpo.make(spec(), **settings).learner


def made_up(key: Key, length: int, batch: int) -> Trajectory:
    """Rows [T, B] of noise in the shapes of the stacking cell; one row in fifty ends an episode."""
    keys = iter(jax.random.split(key, len(ENTRIES) + 3))
    obs = {name: jax.random.normal(next(keys), (length, batch, STACK, size)) for name, size in ENTRIES.items()}
    last = jax.random.uniform(next(keys), (length, batch)) < 0.02
    first = jnp.concatenate([jnp.zeros((1, batch), bool), last[:-1]])
    reward = jnp.where(first, 0.0, jax.random.uniform(next(keys), (length, batch)))
    choice = 0.8 * jax.random.normal(next(keys), (length, batch, SIZE))
    step = TimeStep(obs, reward, jnp.ones((length, batch)), first, last)
    return Trajectory(step, jnp.clip(choice, -1.0, 1.0), {"choice": choice})


def beside(hidden: Sequence[int], samples: int, length: int, batch: int, updates: int, repeats: int) -> dict[str, Any]:
    """`updates` updates of ours in turns with the reference's, on the same batches."""
    sizes = {"hidden": tuple(hidden), "samples": samples, "length": length, "batch": batch}
    if find_spec("rlax") is None:
        return {"skipped": "no rlax to compare with; it is in the extra `dev`", **sizes}
    learner = ours(hidden, samples)
    state = jax.jit(learner.init)(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), updates)
    batches = jax.jit(jax.vmap(lambda key: made_up(key, length, batch)))(keys)

    def many(update: Callable, state: Any) -> Callable[[], Any]:
        run = jax.jit(lambda state, *rows: jax.lax.scan(lambda s, x: update(s, *x), state, rows), donate_argnums=0)
        held = [jax.tree.map(jnp.copy, state)]

        def job() -> Any:
            held[0], metrics = run(held[0], batches, keys)
            return metrics

        return job

    nets = {"hidden": hidden, "samples": samples}
    begin, step = update(see(state.params), SIZE, epsilons=EPSILONS, **nets)
    mine, other = timing.taken_in_turns(repeats, many(learner.update, state), many(step, begin(state)))
    return {
        **sizes,
        "updates_per_second": timing.rate(updates, mine.wall),
        "reference_updates_per_second": timing.rate(updates, other.wall),
        **timing.shares(mine.wall, other.wall),
        "processor": timing.shares(mine.processor, other.processor),
        "target": TARGET,
        "seconds": {"ours": mine._asdict(), "reference": other._asdict()},
    }

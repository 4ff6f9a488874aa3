"""Agents that learn online, made to be timed: as a run has them learn, and each part of that by itself.

The worlds are stepped under drawn actions, the policy acts on rows seen before, the replay is written and read, updates
learn from batches drawn before: as often as the whole does it. The replay is full from the start. Skills are random
ones of the sizes that their preset gives: what they are does not change the time.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from experiments.benchmarks import agents, physics
from experiments.shared import cli, online_run
from skillhier import rollout
from skillhier.data import episode_stats, online
from skillhier.data.replay import Replay, ReplayState
from skillhier.train import loop
from skillhier.types import Agent, Env, Key, Params, Source, Trajectory

STARTS = 64  # places where episodes open; how many there are does not change the time


class Arena(NamedTuple):
    """Worlds that were opened and stepped under random actions; with several seeds arrays have one axis more."""

    env: Env
    seeds: int
    actor: rollout.ActorState  # after those rows
    rows: Trajectory  # [S, T, B, ...]
    step: Callable[[], Any]  # a job: T more rows under the same actions


class Prepared(NamedTuple):
    """An agent ready to learn in an arena."""

    agent: Agent
    memory: Replay
    source: Source
    state: loop.RunState


def settings(name: str, preset: str, **changes: Any) -> ConfigDict:
    """The config of agent `name` at `preset`, with `changes` (GROUP__NAME=value)."""
    texts = [(path.replace("__", "."), str(value)) for path, value in {"env__starts": STARTS, **changes}.items()]
    return cli.load_config(f"{agents.TRANSFER}:{preset},agent={name},reward=sparse_staged", texts)[0]


def system(config: ConfigDict, preset: str, env: Env) -> Agent:
    """The agent of `config` in worlds like `env`; its skills have the sizes that `preset` gives them."""
    return agents.online(config, preset, env.spec)


def each(job: Callable, seeds: int) -> Callable:
    """`job` for every seed at once, compiled."""
    return jax.jit(jax.vmap(job) if seeds > 1 else job)


def per_seed(key: jax.Array, seeds: int) -> jax.Array:
    return jax.random.split(key, seeds) if seeds > 1 else key


def arena(env: Env, rows: int, seeds: int) -> Arena:
    """Opens the worlds of `env` and steps them `rows` times."""
    policy, keys = physics.playing(), per_seed(jax.random.key(0), seeds)
    acts = each(lambda key: physics.drawn(env, rows, key), seeds)(keys)
    run = each(lambda actor, acts, key: rollout.rollout(env, policy, acts, actor, key, rows), seeds)
    held = [each(lambda key: rollout.start(env, policy, key), seeds)(keys)]

    def step() -> Trajectory:
        again = held[0]._replace(carry=jnp.zeros_like(held[0].carry))
        held[0], rows = run(again, acts, keys)
        return rows

    first = step()
    return Arena(env, seeds, held[0], first, step)


def among(place: Arena, seeds: int) -> Arena:
    """The worlds of `place`, of one seed, for each of `seeds`: alike at first."""
    if seeds == 1:
        return place
    actor, rows = jax.tree.map(lambda x: jnp.repeat(x[None], seeds, 0), (place.actor, place.rows))
    return place._replace(seeds=seeds, actor=actor, rows=rows)


def full(memory: Replay, chunk: Trajectory) -> ReplayState:
    """A replay in which every row is written: `chunk` [T, B, ...], which opens an episode, over and over."""
    place = jnp.arange(memory.rows) % len(chunk.step.first)
    written = jnp.int32(memory.rows)
    return memory.init()._replace(rows=jax.tree.map(lambda x: x[place], chunk), filled=written, next_row=written)


def noted(agent: Agent, rows: Trajectory) -> Trajectory:
    """`rows` with blank notes of the agent's policy."""
    shape = rows.step.first.shape
    return rows._replace(
        extras={name: jnp.zeros((*shape, *x.shape), x.dtype) for name, x in agent.replay_extras.items()}
    )


def source_of(
    config: ConfigDict, env: Env, agent: Agent, memory: Replay, first_params: Callable[[Key], Params] | None = None
) -> Source:
    """Rows of `agent` in `env` and batches from them, as often as `config` says; first_params as in data.online."""
    train = config.train
    return online.online(
        env, agent.explore, memory, unroll_length=train.unroll_length, updates_per_collect=train.updates_per_collect,
        batch_size=train.batch_size, sequence_length=train.sequence_length, prefill=config.replay.prefill,
        **({"first_params": first_params} if first_params else {}),
    )  # fmt: skip


def prepare(config: ConfigDict, agent: Agent, place: Arena) -> Prepared:
    """`agent` in the worlds of `place`, its replay full."""
    env = place.env
    memory = online_run.make_replay(config, env.spec, agent.replay_extras)
    source = source_of(config, env, agent, memory)

    def begin(actor: rollout.ActorState, rows: Trajectory, key: jax.Array) -> loop.RunState:
        k_learner, k_run = jax.random.split(key)
        replay = full(memory, memory.frames(noted(agent, rows)))
        actor = actor._replace(carry=agent.explore.init(env.spec.worlds))
        stats = episode_stats.init(env.spec.worlds)._replace(rows=replay.next_row)
        state = loop.RunState(
            agent.learner.init(k_learner), online.OnlineState(actor, replay, stats, jnp.zeros((), jnp.int32)), k_run
        )
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=leaf.dtype), state)  # no weak types

    state = each(begin, place.seeds)(place.actor, place.rows, per_seed(jax.random.key(1), place.seeds))
    return Prepared(agent, memory, source, jax.tree.map(jnp.copy, state))  # the arena keeps its own: epochs take theirs


def together(of: Prepared, updates: int, seeds: int) -> Callable[[], Any]:
    """A job of `updates` updates as a run makes them; it goes on where it stopped."""
    run = loop.epoch(of.agent.learner, of.source, updates, seeds > 1)
    held = [jax.tree.map(jnp.copy, of.state)]

    def job() -> Any:
        held[0], metrics, _ = run(held[0])
        return metrics

    return job


def apart(of: Prepared, place: Arena, config: ConfigDict, updates: int) -> dict[str, Callable[[], Any]]:
    """The parts of `updates` updates as jobs by themselves, but for the worlds."""
    train, learner, seeds = config.train, of.agent.learner, place.seeds
    keys = each(lambda key: jax.random.split(key, updates), seeds)(per_seed(jax.random.key(2), seeds))

    def act(params, steps, key):
        def row(carry, now):
            carry, action, notes = of.agent.explore.act(params, carry, *now)
            return carry, (action, notes)

        keys = jax.random.split(key, len(steps.first))
        return jax.lax.scan(row, of.agent.explore.init(place.env.spec.worlds), (steps, keys))[1]

    def remember(replay, rows, keys):
        chunk = of.memory.frames(noted(of.agent, jax.tree.map(lambda x: x[: train.unroll_length], rows)))

        def draw(replay, now):
            turn, key = now
            replay = of.memory.add(replay, chunk, due=turn % train.updates_per_collect == 0)
            sizes = {"batch_size": train.batch_size, "sequence_length": train.sequence_length}
            return replay, of.memory.sample(replay, key, **sizes)

        return jax.lax.scan(draw, replay, (jnp.arange(len(keys)), keys))

    def learn(state, batches, keys):
        return jax.lax.scan(lambda state, now: learner.update(state, *now), state, (batches, keys))

    jobs = {"act": each(act, seeds)}
    for name, job in {"remember": remember, "learn": learn}.items():
        jobs[name] = jax.jit(jax.vmap(job) if seeds > 1 else job, donate_argnums=0)
    filled, batches = jobs["remember"](jax.tree.map(jnp.copy, of.state.source.replay), place.rows, keys)
    held = {"replay": filled, "state": jax.tree.map(jnp.copy, of.state.learner)}
    params, chosen = jax.tree.map(jnp.copy, of.state.learner.params), per_seed(jax.random.key(3), seeds)

    def replay() -> Trajectory:
        held["replay"], drawn = jobs["remember"](held["replay"], place.rows, keys)
        return drawn

    def learning() -> Any:
        held["state"], metrics = jobs["learn"](held["state"], batches, keys)
        return metrics

    return {"acting": lambda: jobs["act"](params, place.rows.step, chosen), "replay": replay, "learning": learning}

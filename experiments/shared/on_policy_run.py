"""Runs of agents that learn from what they have just done, registry.BY_PPO: their settings, and training.

A config file calls `add_settings(config)` and `check(config)` for them, in place of online_settings.check_replay; its
entry point then does

    worlds = online_run.open_worlds(run)
    agent = on_policy_run.make_agent(run, worlds.env.spec)
    on_policy_run.train(run, worlds, agent)

An update is one batch, of train.unroll_length rows in each of env.worlds worlds, and all that agent.epochs and
agent.minibatches make of it.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ml_collections import ConfigDict

from experiments.shared import cli, frames, learning, online_run, skill_trial, start_settings
from skillhier.data import on_policy
from skillhier.types import Agent, Spec

REPLAYED = ("pretrain", "updates_per_collect", "batch_size", "sequence_length")  # settings about a replay
TERMS = ("episodes/return", "eval/return")


def add_settings(config: ConfigDict) -> None:
    """Leaves of online_settings.config the settings that mean something without a replay, for batches of 2048 rows."""
    del config.replay
    for name in REPLAYED:
        del config.train[name]
    config.env.worlds = 32
    config.train.update(unroll_length=64, updates=1000, updates_per_epoch=10, eval_every=50, save_every=50)


def check(config: ConfigDict) -> None:
    """Refuses worlds that make no equal minibatches, and a beginning that only a replay could have. Raises Refused."""
    worlds, minibatches = config.env.worlds, config.agent.minibatches
    if worlds % minibatches:
        raise cli.Refused(
            f"config.env.worlds={worlds} is no multiple of config.agent.minibatches={minibatches}; set either"
        )
    if "data" in config and config.data.path:
        raise cli.Refused(
            f"{config.agent.name} learns from what it has just done, not from data; leave config.data.path out"
        )
    if "transfer" in config and config.transfer.replay != start_settings.NO_REPLAY:
        raise cli.Refused(
            f"{config.agent.name} learns from what it has just done and has no replay; leave "
            f"config.transfer.replay={config.transfer.replay} out"
        )


def make_agent(run: cli.Run, spec: Spec) -> Agent:
    """The config's agent for worlds of `spec`, with what --init_from gives it. Raises Refused, CheckpointError."""
    agent = online_run.make_agent(run.config, spec)
    agent = agent._replace(learner=learning.with_init_from(run, agent.learner))
    return skill_trial.with_best_skill(run, agent)


def train(
    run: cli.Run,
    worlds: online_run.Worlds,
    agent: Agent,
    *,
    terms: tuple[str, ...] = TERMS,
    measured: Mapping[str, str] | None = None,
    **settings: Any,
) -> None:
    """Trains to the config's budget in the run folder; measured as online_run.returns, further settings as
    online_run.train. Raises RunStopped.
    """
    config = run.config
    source = on_policy.on_policy(worlds.env, agent.explore, unroll_length=config.train.unroll_length)
    source = frames.counted(source, config.env.get("repeat", 1))
    summarise = partial(online_run.returns, measured=measured)
    online_run.train(run, worlds, agent, source, terms=terms, **{"summarise": summarise, **settings})

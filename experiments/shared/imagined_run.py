"""A run of an agent that learns from a replay, most of them in the imagination of a world model: the main of its entry
points.
"""

from collections.abc import Mapping
from functools import partial

from experiments.shared import cli, learning, online_run, replay_start, skill_trial, warm_start
from skillhier.agents import registry
from skillhier.policies import open_loop

TERMS = ("episodes/return", "eval/return", "world/kl", "world/reward_loss")


def train(run: cli.Run, measured: Mapping[str, str] | None = None) -> None:
    """Trains the agent of the run's config. measured: numbers of the summary, their means over the last tenth of the
    updates, from names to metrics.
    """
    config = run.config
    beginning = replay_start.open_beginning(run)
    worlds, spec = beginning.worlds, beginning.spec
    settings = {}
    if config.agent.name in (*registry.BY_TD3, *registry.BY_DDPG):  # its networks whiten what they see
        settings["statistics"] = warm_start.statistics(warm_start.random_rollout(worlds.env))
    agent = online_run.make_agent(config, spec, **settings)
    agent = agent._replace(learner=learning.with_init_from(run, agent.learner))
    agent = skill_trial.with_best_skill(run, agent)
    random = open_loop.uniform(spec.action)
    prefill = open_loop.noting(random, agent.explore) if agent.replay_extras else random
    if run.init_from:  # an agent that has learned something begins with what it does itself
        prefill = None
    source, about = replay_start.make_source(run, beginning, agent.explore, agent, prefill_policy=prefill)

    summarise = partial(online_run.returns, measured=measured)
    online_run.train(run, worlds, agent, source, spec=spec, terms=TERMS, summarise=summarise, about=about)

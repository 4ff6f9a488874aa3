"""A run of an agent that learns in the imagination of a world model: the main of its entry points."""

from ml_collections import ConfigDict

from experiments.shared import cli, learning, online_run, replay_start, warm_start
from skillhier.agents import registry
from skillhier.policies import open_loop
from skillhier.train import metrics

TERMS = ("episodes/return", "eval/return", "world/kl", "world/reward_loss")


def train(run: cli.Run, measured: dict[str, str] | None = None) -> None:
    """Trains the agent of the run's config. measured: numbers of the summary, their means over the last tenth of the
    updates, from names to metrics.
    """
    config = run.config
    beginning = replay_start.open_beginning(run)
    worlds, spec = beginning.worlds, beginning.spec
    settings = {}
    if config.agent.name in registry.BY_TD3:  # its networks whiten what they see
        settings["statistics"] = warm_start.statistics(warm_start.random_rollout(worlds.env))
    agent = online_run.make_agent(config, spec, **settings)
    agent = agent._replace(learner=learning.with_init_from(run, agent.learner))
    random = open_loop.uniform(spec.action)
    prefill = open_loop.noting(random, agent.explore) if agent.replay_extras else random
    if run.init_from:  # an agent that has learned something begins with what it does itself
        prefill = None
    source, about = replay_start.make_source(run, beginning, agent.explore, agent, prefill_policy=prefill)

    def summarise(rows: list[dict], config: ConfigDict) -> dict:
        """What came out, in numbers: `rows` are the lines of metrics.jsonl. Tenths are of the updates."""
        return online_run.totals(rows) | {
            "frames": rows[-1].get(metrics.FRAMES, 0),
            "return_last_tenth": online_run.late(rows, "episodes/return"),
            "eval_return": rows[-1].get("eval/return"),
            **{name: online_run.late(rows, metric) for name, metric in (measured or {}).items()},
        }

    online_run.train(run, worlds, agent, source, spec=spec, terms=TERMS, summarise=summarise, about=about)

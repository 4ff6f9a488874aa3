"""Behaviour cloning while the expert works: it collects into a replay, the clone learns from there and is tried out.

python -m experiments.imitate --config=experiments/configs/imitate.py:debug                      # under a minute
python -m experiments.imitate --config=experiments/configs/imitate.py:quickstart --workdir=runs/clone
python -m experiments.imitate --config=experiments/configs/imitate.py:cpu,agent=hierarchical_bc --config.seed=1
python -m experiments.imitate --config=experiments/configs/imitate.py:quickstart,task=dmc.walker_walk --run=runs/walker

The expert is the scripted one of stacking, or the agent of a run (--run) in a world like its own; it acts greedily.

Writes a run folder: config.json, metrics.jsonl, tensorboard/, checkpoints/, summary.json, report.html. The same
command on the same --workdir continues the run: worlds, expert and replay are in its checkpoints, so it goes on as
if it had never been stopped (unless --config.replay.in_checkpoint=false).
"""

from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.shared import cli, learning, online_run, saved, scripted
from skillhier.data import dataset
from skillhier.train import loop, run_folder
from skillhier.types import Env, Learner, Policy, Source

FIGURES = {  # of the summary, where they are known
    "expert_return": "episodes/return",
    "expert_success": "episodes/success",
    "clone_success": "eval/success",
    "clone_return": "eval/return",
}


def main(run: cli.Run) -> None:
    config = run.config
    worlds = online_run.open_worlds(run)
    source = online_run.make_source(
        config,
        worlds.env,
        expert(config, worlds.env),
        lookahead=config.agent.lookahead,
        crossing=False,  # a clone must not see what comes after an episode
    )
    agent = online_run.make_agent(config, worlds.env.spec, statistics=statistics(source))
    agent = agent._replace(learner=learning.with_init_from(run, agent.learner))
    online_run.train(
        run,
        worlds,
        agent,
        source,
        terms=("imitation/log_likelihood", "elbo/log_likelihood", "eval/return", "eval/success"),
        summarise=summarise,
        gap="the expert's first rows",
    )


def expert(config: ConfigDict, env: Env) -> Policy:
    """Who is imitated, without parameters of its own. Raises Refused, CheckpointError."""
    if not config.run:
        return scripted.make("expert", config.env.name, env)
    agent = saved.agent(Path(config.run), run_folder.settings(Path(config.run)), env)
    policy = agent.act()
    return Policy(policy.init, lambda _, carry, step, key: policy.act(agent.params, carry, step, key))


def statistics(source: Source) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Entry -> (mean [d], standard deviation [d]) over the rows that a source starts with: of run and seed 0, always.

    They are what a data set's statistics are offline: the same for every seed, known before the first update.
    """
    no_learner = Learner(lambda key: (), lambda *_: ((), {}))  # so that it is the very program that opens a run
    state = loop.start(no_learner, source, jax.random.key(0)).source.replay
    return dataset.scales({name: ring[: int(state.filled)] for name, ring in state.rows.step.obs.items()})


def summarise(rows: list[dict], config: ConfigDict) -> dict:
    """What came out, in numbers: `rows` are the lines of metrics.jsonl."""
    first, last = rows[0], rows[-1]
    likelihood = "elbo/log_likelihood" if "elbo/log_likelihood" in last else "imitation/log_likelihood"
    return online_run.totals(rows) | {
        "log_likelihood_first": first[likelihood],
        "log_likelihood_last": last[likelihood],
        **{name: last[metric] for name, metric in FIGURES.items() if metric in last},
    }


if __name__ == "__main__":
    cli.run(main, learns=True)

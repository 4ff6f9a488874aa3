"""Which skill a task is begun with, where an agent has learned skills without its reward (agents/phases.py).

A config file of such agents defines `LIMITS = {..., **skill_trial.LIMITS}` and calls `add_settings(config)`. Where
--init_from names a run and agent.phase is `task`, every skill of that run is tried in the task's worlds, and the one of
the best return is the agent's `chosen`. These episodes are no part of the run's budget.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.shared import cli, learning, online_run
from skillhier.agents import phases
from skillhier.agents.learner import with_init_params
from skillhier.train import checkpoint, evaluate
from skillhier.types import Agent, Env, Params

LIMITS = {"trial.episodes": (0, 10**4)}


def add_settings(config: ConfigDict) -> None:
    """Adds the group `trial`, where the agent has skills of this kind."""
    if "phase" in config.agent:
        config.trial = ConfigDict()
        config.trial.episodes = 4  # greedy ones of every skill; 0: the one chosen before goes on, or the first


def with_best_skill(run: cli.Run, agent: Agent) -> Agent:
    """`agent`, which begins with the parameters of --init_from, with the best of their skills chosen if it is due.

    A run that goes on has chosen already. Raises Refused, CheckpointError.
    """
    config = run.config
    if "phase" not in config.agent or config.agent.phase != phases.TASK or not run.init_from:
        return agent
    if not config.trial.episodes or (run.workdir and checkpoint.steps(Path(run.workdir) / "checkpoints")):
        return agent
    _, part = learning.split_init_from(run.init_from)
    if part != "all":
        raise cli.Refused(
            f"--init_from={run.init_from} names a part, and skills are tried as a whole; give RUN:all, or set "
            "config.trial.episodes=0"
        )
    env = online_run.make_worlds(config.env, config.trial.episodes)
    measure = trial(env, agent)
    best = []
    for folder in learning.source_folders(run):
        earned = measure(checkpoint.read(folder, "learner/params"))
        best.append(int(np.argmax(earned)))
        returns = ", ".join(f"{value:.4g}" for value in earned)
        print(f"{folder}: skill {best[-1]} is chosen; the return of each: {returns}", file=sys.stderr)
    chosen = [{phases.CHOSEN: jnp.asarray(skill, jnp.float32)} for skill in best]
    return agent._replace(learner=with_init_params(agent.learner, *chosen))


def trial(env: Env, agent: Agent) -> Callable[[Params], np.ndarray]:
    """A function of parameters: the mean return of a greedy episode of each skill in every world of `env`, [K].

    All are tried from the same starts. The agent is one of the phase `task`, which acts by the chosen skill.
    """
    run, key = evaluate.episodes(env, agent.exploit), jax.random.key(0)

    def measure(params: Params) -> np.ndarray:
        each = ({**params, phases.CHOSEN: jnp.asarray(skill, jnp.float32)} for skill in range(agent.skills))
        return np.array([float(run(one, key)["return"]) for one in each])

    return measure

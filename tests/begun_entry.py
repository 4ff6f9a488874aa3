"""An entry point whose runs begin with data, or with another run: what experiments/shared/replay_start.py is for."""

import jax
import jax.numpy as jnp

from experiments.shared import cli, learning, online_run, replay_start
from skillhier.agents import registry
from skillhier.agents.learner import learner, stateless
from skillhier.agents.optimisers import adam
from skillhier.policies import open_loop
from skillhier.types import Agent, Spec

SEES = "torso_upright"


def regression(spec: Spec) -> Agent:
    """Regresses the reward of a row on one of its entries, and acts at random."""

    def init(key):
        weight = 0.1 * jax.random.normal(key, spec.obs[SEES].shape[1:])
        return {"world": {"reward": {"w": weight, "b": jnp.zeros(())}}, "worker": {"scale": jnp.ones(())}}

    def loss(params, batch, key):
        reward = params["world"]["reward"]
        guess = (batch.step.obs[SEES][:, :, 0] @ reward["w"] + reward["b"]) * params["worker"]["scale"]
        value = jnp.square(guess - batch.step.reward).mean()
        return value, {"world/error": value, "world/paid": batch.step.reward.mean()}

    regressor = learner(init, stateless(loss), adam({"world": 1e-2, "worker": 1e-2}))
    policy = open_loop.uniform(spec.action)
    return Agent(regressor, policy, policy)


if "regression" not in registry.AGENTS:
    registry.register("regression", regression)


def main(run: cli.Run) -> None:
    beginning = replay_start.open_beginning(run)
    agent = online_run.make_agent(run.config, beginning.spec)
    agent = agent._replace(learner=learning.with_init_from(run, agent.learner))
    source, about = replay_start.make_source(run, beginning, agent.explore, agent)
    online_run.train(
        run, beginning.worlds, agent, source, terms=(), about=about,
        summarise=lambda rows, config: online_run.totals(rows),
    )  # fmt: skip


if __name__ == "__main__":
    cli.run(main, learns=True)

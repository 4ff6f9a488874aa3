"""An entry point for agents that learn by PPO: what experiments/shared/on_policy_run.py is for."""

from experiments.shared import cli, on_policy_run, online_run


def main(run: cli.Run) -> None:
    worlds = online_run.open_worlds(run)
    agent = on_policy_run.make_agent(run, worlds.env.spec)
    on_policy_run.train(run, worlds, agent)


if __name__ == "__main__":
    cli.run(main, learns=True)

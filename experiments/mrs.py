"""Skills that are goals in a world model's memory: at one resolution (Director) or several (MRS), and their rivals.

python -m experiments.mrs --config=experiments/configs/mrs.py:debug
python -m experiments.mrs --config=experiments/configs/mrs.py:cpu,task=walker_walk,agent=mrs --workdir=runs/mrs
python -m experiments.mrs --config=experiments/configs/mrs.py:cpu,agent=mrs --config.agent.resolutions=8, \\
    --config.agent.infinity=false

Agents: mrs, director, dreamerv3 (flat); ppo and hippo (sub-policies held for random times), which have no model and
learn from what they have just done. Variants are settings: config.agent.resolutions and infinity (which goals there
are), novelty (what exploration is paid for), task_weight and novelty_weight (0 and 1: exploration alone; then
--init_from).
Any world of experiments/envs.py: from its entries, from pictures (NAME@pixels), or both (--config.env.entries=true).
--init_from, config.transfer and config.data are as in experiments.lsp.
Writes a run folder: config.json, metrics.jsonl, tensorboard/, checkpoints/, summary.json, report.html. The same command
on the same --workdir continues the run.
"""

from experiments.shared import cli, imagined_run, on_policy_run, online_run
from skillhier.agents import registry


def main(run: cli.Run) -> None:
    if run.config.agent.name in registry.BY_PPO:
        worlds = online_run.open_worlds(run)
        on_policy_run.train(run, worlds, on_policy_run.make_agent(run, worlds.env.spec))
        return
    imagined_run.train(run, {"goals_reached_last_tenth": "manager/success"})


if __name__ == "__main__":
    cli.run(main, learns=True)

"""Skills that are goals in a world model's memory: at one resolution (Director) or several (MRS), and their rivals.

python -m experiments.mrs --config=experiments/configs/mrs.py:debug
python -m experiments.mrs --config=experiments/configs/mrs.py:cpu,task=walker_walk,agent=mrs --workdir=runs/mrs
python -m experiments.mrs --config=experiments/configs/mrs.py:cpu,agent=mrs --config.agent.resolutions=8, \\
    --config.agent.infinity=false

Agents: mrs, director, dreamerv3 (flat). Without a model: ppo and hippo (sub-policies held for random times), which
learn from what they have just done; diayn and rest, which learn skills without the task's reward first:

python -m experiments.mrs --config=experiments/configs/mrs.py:cpu,task=walker_walk,agent=diayn --workdir=runs/skills
python -m experiments.mrs --config=experiments/configs/mrs.py:cpu,task=walker_walk,agent=diayn \\
    --config.agent.phase=task --init_from=runs/skills:all --config.transfer.anew=control/critic --workdir=runs/tuned

The second tries every skill in the task (config.trial.episodes), and goes on with the best one for its reward.

Variants are settings: config.agent.resolutions and infinity (which goals there are), novelty (what exploration is paid
for), task_weight and novelty_weight (0 and 1: exploration alone; then --init_from).
Any world of experiments/envs.py: from its entries, from pictures (NAME@pixels), or both (--config.env.entries=true).
--init_from, config.transfer and config.data are as in experiments.lsp.
Writes a run folder: config.json, metrics.jsonl, tensorboard/, checkpoints/, summary.json, report.html. The same command
on the same --workdir continues the run.
"""

from ml_collections import ConfigDict

from experiments.shared import cli, imagined_run, on_policy_run, online_run
from skillhier.agents import phases, registry


def measured(config: ConfigDict) -> dict[str, str]:
    """What the summary says of an agent beside its returns: names of numbers to metrics."""
    agent = config.agent
    if "phase" in agent and agent.phase == phases.TASK:
        return {"skill": "skills/chosen"}
    if agent.name in registry.BY_DDPG:
        return {"information_last_tenth": "skills/information", "accuracy_last_tenth": "skills/accuracy"}
    if "phase" in agent:
        return {"skill_reward_last_tenth": "skills/reward"}
    return {} if agent.name in registry.BY_PPO else {"goals_reached_last_tenth": "manager/success"}


def main(run: cli.Run) -> None:
    names = measured(run.config)
    if run.config.agent.name in registry.BY_PPO:
        worlds = online_run.open_worlds(run)
        on_policy_run.train(run, worlds, on_policy_run.make_agent(run, worlds.env.spec), measured=names)
        return
    imagined_run.train(run, names)


if __name__ == "__main__":
    cli.run(main, learns=True)

"""Skills that are goals in a world model's memory: at one resolution (Director) or several (MRS), and a flat agent.

python -m experiments.mrs --config=experiments/configs/mrs.py:debug
python -m experiments.mrs --config=experiments/configs/mrs.py:cpu,task=walker_walk,agent=mrs --workdir=runs/mrs
python -m experiments.mrs --config=experiments/configs/mrs.py:cpu,agent=mrs --config.agent.resolutions=8, \\
    --config.agent.infinity=false

Agents: mrs, director, dreamerv3. Variants are settings: config.agent.resolutions and infinity (which goals there are),
novelty (what exploration is paid for), task_weight and novelty_weight (0 and 1: exploration alone; then --init_from).
Any world of experiments/envs.py: from its entries, from pictures (NAME@pixels), or both (--config.env.entries=true).
--init_from, config.transfer and config.data are as in experiments.lsp.
Writes a run folder: config.json, metrics.jsonl, tensorboard/, checkpoints/, summary.json, report.html. The same command
on the same --workdir continues the run.
"""

from experiments.shared import cli, imagined_run


def main(run: cli.Run) -> None:
    imagined_run.train(run, {"goals_reached_last_tenth": "manager/success"})


if __name__ == "__main__":
    cli.run(main, learns=True)

"""A world model, and what is learned in its imagination: Dreamer, and skills planned by the cross-entropy method (LSP).

python -m experiments.lsp --config=experiments/configs/lsp.py:debug,agent=dreamer
python -m experiments.lsp --config=experiments/configs/lsp.py:cpu,task=walker_walk,agent=lsp --workdir=runs/lsp
python -m experiments.lsp --config=experiments/configs/lsp.py:cpu,task=cartpole_swingup@pixels,agent=dreamer
python -m experiments.lsp --config=experiments/configs/lsp.py:cpu --config.env.name=gymnasium:Pendulum-v1 \\
    --config.seeds=1 --config.replay.in_checkpoint=false

Agents: dreamer, dreamerv3, lsp; no_mi (no intrinsic reward), random_skills (no planning), rand_skills_init (neither);
hiro and hiro_mi, hierarchies without a model.
--init_from=RUN:all begins with another run: --config.transfer.replay=keep or relabel takes its replay along too,
--config.transfer.freeze=worker/actor,skills keeps the policy, --config.transfer.anew=world/heads/reward begins a part
anew. --config.data.path=FOLDER fills the replay with a data set first; with --config.data.alone=true there is no world.
Any world of experiments/envs.py: from its entries, from pictures (NAME@pixels), or both (--config.env.entries=true).
Writes a run folder: config.json, metrics.jsonl, tensorboard/, checkpoints/, summary.json, report.html. The same command
on the same --workdir continues the run.
"""

from experiments.shared import cli, imagined_run


def main(run: cli.Run) -> None:
    imagined_run.train(run, {"information_last_tenth": "skills/information"})


if __name__ == "__main__":
    cli.run(main, learns=True)

"""A world model, and what is learned in its imagination: Dreamer, and skills planned by the cross-entropy method (LSP).

python -m experiments.lsp --config=experiments/configs/lsp.py:debug,agent=dreamer
python -m experiments.lsp --config=experiments/configs/lsp.py:cpu,task=walker_walk,agent=lsp --workdir=runs/lsp
python -m experiments.lsp --config=experiments/configs/lsp.py:cpu,task=cartpole_swingup@pixels,agent=dreamer
python -m experiments.lsp --config=experiments/configs/lsp.py:cpu --config.env.name=gymnasium:Pendulum-v1 \\
    --config.seeds=1 --config.replay.in_checkpoint=false

Agents: dreamer, dreamerv3, lsp; no_mi (no intrinsic reward), random_skills (no planning), rand_skills_init (neither).
Any world of experiments/envs.py: from its entries, from pictures (NAME@pixels), or both (--config.env.entries=true).
Writes a run folder: config.json, metrics.jsonl, tensorboard/, checkpoints/, summary.json, report.html. The same command
on the same --workdir continues the run.
"""

from ml_collections import ConfigDict

from experiments.shared import cli, online_run
from skillhier.policies import open_loop
from skillhier.train import metrics


def main(run: cli.Run) -> None:
    config = run.config
    worlds = online_run.open_worlds(run)
    agent = online_run.make_agent(config, worlds.env.spec)
    source = online_run.make_source(
        config, worlds.env, agent.explore, agent, prefill_policy=open_loop.uniform(worlds.env.spec.action)
    )
    terms = ("episodes/return", "eval/return", "world/kl", "world/reward_loss")
    online_run.train(run, worlds, agent, source, terms=terms, summarise=summarise)


def summarise(rows: list[dict], config: ConfigDict) -> dict:
    """What came out, in numbers: `rows` are the lines of metrics.jsonl. Tenths are of the updates."""
    totals = online_run.totals(rows)
    return totals | {
        "frames": rows[-1][metrics.FRAMES],
        "return_last_tenth": online_run.late(rows, "episodes/return"),
        "eval_return": rows[-1].get("eval/return"),
        "information_last_tenth": online_run.late(rows, "skills/information"),
    }


if __name__ == "__main__":
    cli.run(main, learns=True)

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

from ml_collections import ConfigDict

from experiments.shared import cli, learning, online_run, replay_start, warm_start
from skillhier.agents import registry
from skillhier.policies import open_loop
from skillhier.train import metrics


def main(run: cli.Run) -> None:
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
    terms = ("episodes/return", "eval/return", "world/kl", "world/reward_loss")
    online_run.train(run, worlds, agent, source, spec=spec, terms=terms, summarise=summarise, about=about)


def summarise(rows: list[dict], config: ConfigDict) -> dict:
    """What came out, in numbers: `rows` are the lines of metrics.jsonl. Tenths are of the updates."""
    totals = online_run.totals(rows)
    return totals | {
        "frames": rows[-1].get(metrics.FRAMES, 0),
        "return_last_tenth": online_run.late(rows, "episodes/return"),
        "eval_return": rows[-1].get("eval/return"),
        "information_last_tenth": online_run.late(rows, "skills/information"),
    }


if __name__ == "__main__":
    cli.run(main, learns=True)

"""Skills put to work: reinforcement learning by MPO, over skills that data taught or without any.

python -m experiments.helms_transfer --config=experiments/configs/helms_transfer.py:debug,agent=helms_mix
python -m experiments.helms_transfer --config=experiments/configs/helms_transfer.py:cpu,agent=helms_cat \\
    --init_from=runs/skills:all --config.env.stack=3 --workdir=runs/stack
python -m experiments.helms_transfer --config=experiments/configs/helms_transfer.py:cpu,agent=mpo,reward=sparse_staged

--init_from names a run of experiments/helms_offline.py or imitate.py whose agent suits: helms for helms_cat and
helms_mix (helms_discrete for helms_cat too), npmp or npmp_ar1 for npmp_kl, bc for bc_finetuned, hierarchical_bc for
hierarchical_bc_finetuned. A run of the same online agent gives it that run's parameters (RUN:all, or a part).
Writes a run folder: config.json, origin.json (how its skills were made), metrics.jsonl, tensorboard/, checkpoints/,
summary.json, report.html. The same command on the same --workdir continues the run: worlds and replay are in its
checkpoints (unless --config.replay.in_checkpoint=false).
"""

from ml_collections import ConfigDict

from experiments.shared import cli, learning, online_run, warm_start


def main(run: cli.Run) -> None:
    config = run.config
    start = warm_start.start(run)
    worlds = online_run.open_worlds(run)
    practice = next(iter(worlds.evals.values()), worlds.env)
    rows = warm_start.random_rollout(practice)
    source = start.source
    if start.settings and source is None:
        source = warm_start.made_up(start.settings, practice.spec, rows, config.source.updates)
    agent = online_run.make_agent(
        config,
        worlds.env.spec,
        statistics=warm_start.statistics(rows),
        units=start.units,
        **start.skills,
        **({} if source is None else {"source": source}),
    )
    if start.resumed:
        agent = agent._replace(learner=learning.with_init_from(run, agent.learner))
    online_run.train(
        run,
        worlds,
        agent,
        online_run.make_source(config, worlds.env, agent.explore, agent),
        terms=("episodes/return", "eval/staged", "eval/success", "control/critic_loss"),
        summarise=summarise,
        origin=start.skills,
    )


def summarise(rows: list[dict], config: ConfigDict) -> dict:
    """What came out, in numbers: `rows` are the lines of metrics.jsonl. Tenths are of the updates."""
    last = rows[-1]
    known = {
        "success_last_tenth": online_run.late(rows, "episodes/success"),
        "eval_staged": last.get("eval/staged"),
        "eval_success": last.get("eval/success"),
    }
    return {
        **online_run.totals(rows),
        "return_last_tenth": online_run.late(rows, "episodes/return"),
        "eval_return": last.get("eval/return"),
        **{name: value for name, value in known.items() if value is not None},
    }


if __name__ == "__main__":
    cli.run(main, learns=True)

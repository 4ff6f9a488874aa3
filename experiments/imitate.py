"""Behaviour cloning while the expert works: it collects into a replay, the clone learns from there and is tried out.

python -m experiments.imitate --config=experiments/configs/imitate.py:debug                      # under a minute
python -m experiments.imitate --config=experiments/configs/imitate.py:quickstart --workdir=runs/clone
python -m experiments.imitate --config=experiments/configs/imitate.py:cpu,agent=hierarchical_bc --config.seed=1

Writes a run folder: config.json, metrics.jsonl, tensorboard/, checkpoints/, summary.json, report.html. The same
command on the same --workdir continues the run: worlds, expert and replay are in its checkpoints, so it goes on as
if it had never been stopped (unless --config.replay.in_checkpoint=false).
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.shared import cli, online_run
from skillhier.agents import offline
from skillhier.data import dataset, online
from skillhier.envs.sawyer import expert
from skillhier.train import loop
from skillhier.types import Learner, Source

SUCCESS = "task.success"  # the public success test


def main(run: cli.Run) -> None:
    config = run.config
    cli.check_divisible(run, "env.worlds", "eval.episodes", "train.batch_size")
    teacher = expert.make(int(config.env.name.rpartition("set")[2]))
    try:
        env, arena = (online_run.make_worlds(config, count) for count in (config.env.worlds, config.eval.episodes))
        memory = online_run.make_replay(config, env.spec)
    except ValueError as error:
        raise cli.Refused(str(error)) from None
    source = online.online(
        env,
        teacher,
        memory,
        unroll_length=config.train.unroll_length,
        updates_per_collect=config.train.updates_per_collect,
        batch_size=config.train.batch_size,
        sequence_length=config.train.sequence_length,
        lookahead=config.agent.lookahead,
        crossing=False,  # a clone must not see what comes after an episode
        prefill=config.replay.prefill,
        success=SUCCESS,
    )
    path, about = cli.open_run(run)
    print(f"{path}: {config.agent.name} of the expert in {config.env.worlds} worlds {config.env.name}", file=sys.stderr)
    action = jax.ShapeDtypeStruct(env.spec.action.shape, jnp.float32)
    clone = offline.make(env.spec.obs, action, statistics=statistics(source), **config.agent)
    online_run.train(
        run,
        path,
        about,
        cli.with_init_from(run, clone.learner),
        source,
        assess=online_run.make_evaluator(arena, clone.act(), config.eval.seed, success=SUCCESS),
        terms=("imitation/log_likelihood", "elbo/log_likelihood", "eval/return", "eval/success"),
        summarise=summarise,
        rows="the expert's first rows",
    )


def statistics(source: Source) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Entry -> (mean [d], standard deviation [d]) over the rows that a source starts with: of run and seed 0, always.

    They are what a data set's statistics are offline: the same for every seed, known before the first update.
    """
    nobody = Learner(lambda key: (), lambda *_: ((), {}))  # so it is the very program that opens a run
    kept = loop.start(nobody, source, jax.random.key(0)).source.replay
    return dataset.scales({name: ring[: int(kept.filled)] for name, ring in kept.rows.step.obs.items()})


def summarise(rows: list[dict], config: ConfigDict) -> dict:
    """What came out, in numbers: `rows` are the lines of metrics.jsonl."""
    first, last = rows[0], rows[-1]
    likelihood = "elbo/log_likelihood" if "elbo/log_likelihood" in last else "imitation/log_likelihood"
    seconds = sum(row["time/epoch_seconds"] for row in rows)
    return {
        "train_steps": last["step"],
        "env_steps": online_run.env_steps(config, last["step"]),
        "log_likelihood_first": first[likelihood],
        "log_likelihood_last": last[likelihood],
        "expert_success": last["episodes/success"],
        "clone_success": last["eval/success"],
        "clone_return": last["eval/return"],
        "updates_per_second": last["step"] / seconds,
        "seconds": {"train": seconds},
    }


if __name__ == "__main__":
    cli.run(main, learns=True)

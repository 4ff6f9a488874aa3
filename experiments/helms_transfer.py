"""Skills put to work: reinforcement learning by MPO, over skills that data taught or without any.

python -m experiments.helms_transfer --config=experiments/configs/helms_transfer.py:debug,agent=helms_mix
python -m experiments.helms_transfer --config=experiments/configs/helms_transfer.py:cpu,agent=helms_cat \\
    --init_from=runs/skills:skills --config.env.stack=3 --workdir=runs/stack
python -m experiments.helms_transfer --config=experiments/configs/helms_transfer.py:cpu,agent=mpo,reward=sparse_staged

--init_from names a run of experiments/helms_offline.py or imitate.py whose system suits the agent: helms for helms_cat
and helms_mix (helms_discrete for helms_cat too), npmp or npmp_ar1 for npmp, bc for bc, hierarchical_bc for its own;
mpo takes none.
Writes a run folder: config.json, origin.json (how its skills were made), metrics.jsonl, tensorboard/, checkpoints/,
summary.json, report.html. The same command on the same --workdir continues the run: worlds and replay are in its
checkpoints (unless --config.replay.in_checkpoint=false).
"""

import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.shared import cli, online_run, warm_start
from skillhier.agents import offline, transfer
from skillhier.data import online
from skillhier.distributed import hosts
from skillhier.train import metrics, run_folder
from skillhier.types import Env, Trajectory

SUCCESS, STAGED = "task.success", "task.staged"  # the public success test, the sparse staged reward


def main(run: cli.Run) -> None:
    config = run.config
    cli.check_divisible(run, "env.worlds", "eval.episodes", "train.batch_size")
    kind, origin, found = origin_of(run)
    try:
        env, arena = (online_run.make_worlds(config, count) for count in (config.env.worlds, config.eval.episodes))
        rows = warm_start.random_rollout(arena)
        made = {"statistics": warm_start.statistics(rows), **config.agent}
        if kind and found is None:
            found = made_up(origin, arena, rows, made["statistics"], config.source.updates)
        skills = warm_start.skill_kwargs(config.agent.name, origin) if kind else {}
        agent = transfer.make(
            env.spec.obs, warm_start.action(env), **made, **skills, **({"source": found} if found else {})
        )
        jax.eval_shape(agent.learner.init, jax.random.key(0))
    except ValueError as error:
        raise cli.Refused(error.args[0]) from None
    try:
        memory = online_run.make_replay(config, env.spec, agent.kept)
    except ValueError as error:
        raise cli.Refused(str(error)) from None
    source = online.online(
        env,
        agent.explore,
        memory,
        unroll_length=config.train.unroll_length,
        updates_per_collect=config.train.updates_per_collect,
        batch_size=config.train.batch_size,
        sequence_length=config.train.sequence_length,
        prefill=config.replay.prefill,
        first_params=lambda key: agent.learner.init(key).params,
        success=SUCCESS,
    )
    path, about = cli.open_run(run)
    if hosts.is_main_host():
        metrics.write_json(path / run_folder.ORIGIN, skills)
    print(f"{path}: {config.agent.name} in {config.env.worlds} worlds {config.env.name}", file=sys.stderr)
    policy = agent.explore if config.eval.stochastic else agent.exploit
    online_run.train(
        run,
        path,
        about,
        agent.learner,
        source,
        # `eval/staged` whatever it is paid
        assess=online_run.make_evaluator(arena, policy, config.eval.seed, success=SUCCESS, totals={"staged": STAGED}),
        terms=("episodes/return", "eval/staged", "eval/success", "control/critic_loss"),
        summarise=summarise,
    )


def origin_of(run: cli.Run) -> tuple[str | None, dict[str, Any], dict | None]:
    """Which offline system the agent's skills are of, with its settings, and their parameters.

    None for an agent from scratch; no parameters where skills are to be made on the spot. Raises Refused, Broken.
    """
    config, given = run.config, run.init_from
    name = config.agent.name
    kinds = transfer.SOURCES[name]
    if not kinds:
        if given:
            raise cli.Refused(f"--init_from={given}: {name} begins from scratch; leave it out, or choose another agent")
        return None, {}, None
    if not given:
        if not config.source.updates:
            raise cli.Refused(
                f"--init_from is missing: {name} begins with skills of a run of experiments.helms_offline with agent="
                f"{' or '.join(kinds)}; for example --init_from=runs/skills:skills"
            )
        return kinds[0], {"name": kinds[0], **small(kinds[0], config)}, None
    source, _, subtree = given.rpartition(":")
    if not source or subtree != "skills":
        raise cli.Refused(f"--init_from={given} is not RUN:skills, for example runs/skills:skills")
    told, found = warm_start.load_skills(Path(source))
    if told["name"] not in kinds:
        raise cli.Refused(
            f"--init_from={given} is a run of {told['name']}; {name} begins with one of experiments.helms_offline with "
            f"agent={' or '.join(kinds)}"
        )
    seen = warm_start.skill_stack(Path(source))
    if seen != config.env.stack:
        raise cli.Refused(
            f"--init_from={given}: those skills see {seen} frames, and config.env.stack={config.env.stack}; set it to "
            f"{seen}, or learn skills of another config.data.stack"
        )
    return told["name"], told, found


def small(kind: str, config: ConfigDict) -> dict[str, Any]:
    """The settings of skills made on the spot; they see what the agent's critic sees."""
    names = config.agent.critic
    told = {"low": names[:1], "mid": names, "hidden": (32, 32), "scale": 0.1, "lookahead": 1}
    told |= {} if kind == "bc" else {"latent": 4}
    return told | ({"skills": 3} if kind.startswith("helms") else {})


def made_up(told: dict, arena: Env, rows: Trajectory, scales: dict, updates: int) -> dict:
    """Parameters of an offline system after some updates on random actions: enough to begin with, good for nothing."""
    learner = offline.make(arena.spec.obs, warm_start.action(arena), statistics=scales, **told).learner
    update = jax.jit(learner.update)
    state = jax.jit(learner.init)(jax.random.key(0))
    for i in range(updates):
        state, _ = update(state, rows, jax.random.key(i))
    return state.params


def summarise(rows: list[dict], config: ConfigDict) -> dict:
    """What came out, in numbers: `rows` are the lines of metrics.jsonl. Tenths are of the updates."""
    last = rows[-1]
    seconds = sum(row["time/epoch_seconds"] for row in rows)
    tenth = [row for row in rows if row["step"] > 0.9 * last["step"]]

    def late(name: str) -> float | None:
        known = [row[name] for row in tenth if row.get(name) is not None and np.isfinite(row[name])]
        return float(np.mean(known)) if known else None

    return {
        "train_steps": last["step"],
        "env_steps": online_run.env_steps(config, last["step"]),
        "return_last_tenth": late("episodes/return"),
        "success_last_tenth": late("episodes/success"),
        "eval_return": last["eval/return"],
        "eval_staged": last["eval/staged"],
        "eval_success": last["eval/success"],
        "updates_per_second": last["step"] / seconds,
        "seconds": {"train": seconds},
    }


if __name__ == "__main__":
    cli.run(main, learns=True)

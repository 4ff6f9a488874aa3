"""Skills put to work: reinforcement learning by MPO, over skills that data taught or without any.

python -m experiments.helms_transfer --config=experiments/configs/helms_transfer.py:debug,agent=helms_mix
python -m experiments.helms_transfer --config=experiments/configs/helms_transfer.py:cpu,agent=helms_cat \\
    --init_from=runs/skills:skills --workdir=runs/stack
python -m experiments.helms_transfer --config=experiments/configs/helms_transfer.py:cpu,agent=mpo,reward=sparse_staged

--init_from names a run of experiments/helms_offline.py or imitate.py whose system suits the agent: helms for helms_cat
and helms_mix (helms_discrete for helms_cat too), npmp or npmp_ar1 for npmp, bc for bc, hierarchical_bc for its own;
mpo takes none.
Writes a run folder: config.json, origin.json (how its skills were made), metrics.jsonl, tensorboard/, checkpoints/,
summary.json, report.html. The same command on the same --workdir continues the run: worlds and replay are in its
checkpoints (unless --config.replay.saved=false).
"""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments import cli
from experiments.online import running
from skillhier import rollout
from skillhier.agents import offline, transfer
from skillhier.data import dataset, online
from skillhier.policies import blind
from skillhier.train import checkpoint, folder, hosts, metrics
from skillhier.types import Env, Trajectory

SUCCESS, STAGED = "task.success", "task.staged"  # the public success test, the sparse staged reward
PRACTICE = 100  # rows of random actions in every world of the evaluation, from which new nets get their scales
# what an agent must know of how its skills were made
ASKED = {
    "helms_cat": ("low", "mid", "skills", "latent", "hidden", "scale"),
    "helms_mix": ("low", "mid", "skills", "latent", "hidden", "scale"),
    "npmp": ("low", "latent", "hidden", "scale"),
    "bc": ("low", "mid", "hidden"),
    "hierarchical_bc": ("low", "mid", "latent", "hidden"),
}


def main(run: cli.Run) -> None:
    config = run.config
    cli.shared_out(run, "env.worlds", "eval.episodes", "train.batch")
    kind, origin, found = origin_of(run)
    try:
        env, arena = (running.worlds(config, count) for count in (config.env.worlds, config.eval.episodes))
        rows = practice(arena)
        made = {"statistics": statistics(rows), **config.agent}
        action = jax.ShapeDtypeStruct(env.spec.action.shape, jnp.float32)
        if kind and found is None:
            found = made_up(kind, origin, arena, rows, made["statistics"], config.source.updates)
        skills = borrowed(config.agent.name, kind, origin)
        agent = transfer.make(env.spec.obs, action, **made, **skills, **({"source": found} if found else {}))
        jax.eval_shape(agent.learner.init, jax.random.key(0))
    except ValueError as error:
        raise cli.Refused(error.args[0]) from None
    try:
        memory = running.memory(config, env.spec, agent.kept)
    except ValueError as error:
        raise cli.Refused(str(error)) from None
    source = online.online(
        env,
        agent.explore,
        memory,
        collect=config.train.collect,
        draws=config.train.draws,
        batch=config.train.batch,
        length=config.train.length,
        prefill=config.replay.prefill,
        first_params=lambda key: agent.learner.init(key).params,
        success=SUCCESS,
    )
    path, about = cli.open_run(run)
    if hosts.first():
        metrics.write_json(path / folder.ORIGIN, skills)
    print(f"{path}: {config.agent.name} in {config.env.worlds} worlds {config.env.name}", file=sys.stderr)
    policy = agent.explore if config.eval.sample else agent.exploit
    running.train(
        run,
        path,
        about,
        agent.learner,
        source,
        # `eval/staged` whatever it is paid
        assess=running.tried_out(arena, policy, config.eval.seed, success=SUCCESS, totals={"staged": STAGED}),
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
        return kinds[0], small(kinds[0], config), None
    source, _, subtree = given.rpartition(":")
    if not source or subtree != "skills":
        raise cli.Refused(f"--init_from={given} is not RUN:skills, for example runs/skills:skills")
    place = Path(source)
    told = folder.settings(place if (place / "config.json").is_file() else place.parent).get("agent", {})
    if told.get("name") not in kinds or "hidden" not in told or "high" in told:
        raise cli.Refused(
            f"--init_from={given} is a run of {told.get('name', 'no agent')}; {name} begins with one of "
            f"experiments.helms_offline with agent={' or '.join(kinds)}"
        )
    return told["name"], told, checkpoint.read(place, "learner/params")


def small(kind: str, config: ConfigDict) -> dict[str, Any]:
    """The settings of skills made on the spot; they see what the agent's critic sees."""
    names = config.agent.critic
    told = {"low": names[:1], "mid": names, "hidden": (32, 32), "scale": 0.1, "lookahead": 1}
    told |= {} if kind == "bc" else {"latent": 4}
    return told | ({"skills": 3} if kind.startswith("helms") else {})


def made_up(kind: str, told: dict, arena: Env, rows: Trajectory, scales: dict, updates: int) -> dict:
    """Parameters of an offline system after some updates on random actions: enough to begin with, good for nothing."""
    action = jax.ShapeDtypeStruct(arena.spec.action.shape, jnp.float32)
    learner = offline.make(arena.spec.obs, action, name=kind, statistics=scales, **told).learner
    update = jax.jit(learner.update)
    state = jax.jit(learner.init)(jax.random.key(0))
    for i in range(updates):
        state, _ = update(state, rows, jax.random.key(i))
    return state.params


def borrowed(name: str, kind: str | None, told: dict) -> dict[str, Any]:
    """What transfer.make must be told of the skills that an agent begins with, beside their parameters."""
    if kind is None:
        return {}
    taken = {"skill_hidden" if asked == "hidden" else asked: told[asked] for asked in ASKED[name]}
    return taken | ({"discrete": kind == "helms_discrete"} if "skills" in taken else {})


def practice(arena: Env) -> Trajectory:
    """Random actions in every world: [T, B, ...], the same for every agent and seed."""
    key, policy = jax.random.key(0), blind.uniform(arena.spec.action)
    length = min(PRACTICE, arena.spec.limit + 1)

    @jax.jit
    def rows():
        return rollout.rollout(arena, policy, (), rollout.start(arena, policy, key), key, length)[1]

    return rows()


def statistics(rows: Trajectory) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Entry -> (mean [d], standard deviation [d]) of the newest frames."""
    return dataset.scales({name: entry[:, :, 0] for name, entry in rows.step.obs.items()})


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
        "env_steps": running.env_steps(config, last["step"]),
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

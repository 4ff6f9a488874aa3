"""Skills from demonstrations: HeLMS, or one of its rivals (NPMP, behaviour cloning).

python -m experiments.helms_offline --config=experiments/configs/helms_offline.py:debug          # under a minute
python -m experiments.helms_offline --config=experiments/configs/helms_offline.py:quickstart --workdir=runs/skills
python -m experiments.helms_offline --config=experiments/configs/helms_offline.py:cpu,task=all_pairs,agent=npmp
python -m experiments.helms_offline --config=experiments/configs/helms_offline.py:rgb_stacking --config.data.path=LOGS

Writes a run folder: config.json, metrics.jsonl, tensorboard/, checkpoints/, summary.json, report.html.
The same command on the same --workdir continues the run.
"""

import hashlib
import sys
from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.shared import cli, run_report
from skillhier.agents import offline
from skillhier.data import dataset, sources, toy
from skillhier.envs.sawyer.observations import OBJECTS, PROPRIO
from skillhier.train import session
from skillhier.types import LearnerState, Trajectory

WIDTHS = {**PROPRIO, **OBJECTS}  # what entries must have, where we know them
SUCCESS = "task.success"  # the public success test, in data that our worlds recorded
STACKED = 0.75  # in other data: a dense reward this high on the last row means a stack


def main(run: cli.Run) -> None:
    config = run.config
    cli.check_divisible(run, "train.batch_size")
    found, told = demonstrations(config)
    train, held_out = dataset.split(found, config.data.held_out, config.data.seed)
    obs = {name: jax.ShapeDtypeStruct((config.data.stack, x.shape[-1]), x.dtype) for name, x in train.obs.items()}
    action = jax.ShapeDtypeStruct(train.action.shape[1:], train.action.dtype)
    system = offline.make(obs, action, statistics=dataset.statistics(train), **config.agent)
    window = {
        "sequence_length": config.train.sequence_length,
        "lookahead": config.agent.lookahead,
        "stack": config.data.stack,
    }
    learner = cli.with_init_from(run, system.learner)
    path, about = cli.open_run(run)
    episodes = f"{len(train.length)} episodes, {len(held_out.length)} held out"
    print(f"{path}: {config.agent.name} on {episodes}", file=sys.stderr)

    outcome = session.execute(
        path,
        learner,
        sources.offline(train, batch_size=config.train.batch_size, **window),
        seed=config.seed,
        seeds=config.seeds,
        budget=config.train.updates,
        updates=config.train.updates_per_epoch,
        save_every=config.train.save_every,
        assess=assessment(system.assess, list(sources.windows(held_out, **window)), config.seed),
        assess_every=config.train.eval_every,
        terms=("elbo/bound", "elbo/log_likelihood", "elbo/skill_kl", "imitation/log_likelihood", "heldout/action_mse"),
        label=config.agent.name,
        about={**about, "data": digest(train)},  # the data is not saved: it is held to be the same by this
        mesh=run.mesh,
    )
    if outcome.stopped:
        raise cli.RunStopped(outcome.stopped, f"stopped at update {outcome.done}; the same command continues {path}")
    session.finish(path, config.seed, config.seeds, lambda rows: told | summarise(rows), run_report.write)


def demonstrations(config: ConfigDict) -> tuple[dataset.Dataset, dict[str, float]]:
    """What there is to learn from, and how many episodes of what worth it holds."""
    widths = {name: WIDTHS.get(name) for name in (*config.agent.low, *config.agent.mid)}
    if config.data.path == "toy":
        found = toy.demonstrations({name: d or 4 for name, d in widths.items()}, steps=4 * config.train.sequence_length)
    else:
        asked = {"optional": (SUCCESS,), "min_length": config.train.sequence_length, "pictures": False}
        found = dataset.load(config.data.path, widths, **asked)
    ends = found.start + found.length
    stacked = found.obs[SUCCESS][ends, 0] > 0.5 if SUCCESS in found.obs else found.reward[ends] >= STACKED
    obs = {name: values for name, values in found.obs.items() if name in widths}
    return found._replace(obs=obs), {"episodes": len(ends), "expert_success": float(stacked.mean())}


def digest(data: dataset.Dataset) -> str:
    """SHA-256 of all that a learner sees of a data set."""
    found = hashlib.sha256()
    for name, values in sorted({**data.obs, "action": data.action, "start": data.start, "length": data.length}.items()):
        found.update(f"{name} {values.shape} {values.dtype}".encode())
        found.update(np.ascontiguousarray(values))
    return found.hexdigest()


def assessment(assess: Callable, windows: list[Trajectory], seed: int) -> Callable[[LearnerState], dict[str, float]]:
    """Figures of a learner on held-out windows: the same windows and the same noise every time."""
    assess = jax.jit(assess)
    keys = jax.random.split(jax.random.key(seed), len(windows))

    def figures(state: LearnerState) -> dict[str, float]:
        told = [assess(state.params, batch, key) for batch, key in zip(windows, keys, strict=True)]
        means = jax.tree.map(lambda *each: np.mean(each, axis=0), *jax.device_get(told))
        return {
            "/".join(["heldout", name.removeprefix("heldout_"), *map(str, at)]): float(value)
            for name, values in means.items()
            for at, value in np.ndenumerate(values)
        }

    return figures


def summarise(rows: list[dict]) -> dict:
    """What came out, in numbers: `rows` are the lines of metrics.jsonl."""
    first, last = rows[0], rows[-1]
    bound = "elbo/bound" if "elbo/bound" in last else "imitation/log_likelihood"
    seconds = sum(row["time/epoch_seconds"] for row in rows)
    summary = {
        "train_steps": last["step"],
        "elbo_first": first[bound],
        "elbo_last": last[bound],
        "heldout_action_mse": last["heldout/action_mse"],
        "updates_per_second": last["step"] / seconds,
        "seconds": {"train": seconds},
    }
    if "heldout/transition_diagonal" in last:
        shares = [value for name, value in last.items() if name.startswith("heldout/skill_usage/")]
        summary |= {"skill_usage": shares, "transition_diagonal": last["heldout/transition_diagonal"]}
        if len(shares) > 1:
            summary["skill_entropy"] = last["heldout/elbo/skill_entropy"] / float(np.log(len(shares)))
    return summary


if __name__ == "__main__":
    cli.run(main, learns=True)

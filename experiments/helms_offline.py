"""Skills from demonstrations: HeLMS, or one of its rivals (NPMP, behaviour cloning).

python -m experiments.helms_offline --config=experiments/configs/helms_offline.py:debug          # under a minute
python -m experiments.helms_offline --config=experiments/configs/helms_offline.py:quickstart --workdir=runs/skills
python -m experiments.helms_offline --config=experiments/configs/helms_offline.py:cpu,task=all_pairs,agent=npmp
python -m experiments.helms_offline --config=experiments/configs/helms_offline.py:rgb_stacking --config.data.path=LOGS

Of data of your own `python -m experiments.data --path=DATA` prints the command that learns skills from them.
Writes a run folder: config.json, metrics.jsonl, tensorboard/, checkpoints/, summary.json, report.html.
The same command on the same --workdir continues the run.
"""

import sys
from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.shared import cli, data_settings, learning, run_report
from experiments.stacking import demonstrations as stacking
from skillhier.agents import registry
from skillhier.agents import units as agent_units
from skillhier.data import contents, dataset, sources, toy
from skillhier.data import units as data_units
from skillhier.train import session
from skillhier.train.evaluate import Evaluation
from skillhier.types import LearnerState, Trajectory


def main(run: cli.Run) -> None:
    config = run.config
    learning.check_divisible(run, "train.batch_size")
    data, about_data = demonstrations(config)
    train, held_out = dataset.split(data, config.data.held_out, config.data.seed)
    units = data_units.measure(train, config.data.actions, config.data.quaternions)
    statistics = dataset.statistics(data_units.continuous(train, units), config.data.least_deviation)
    known = {"binary": data_units.two_valued(data_units.acted(train))} if "binary_stddev" in config.agent else {}
    agent = learning.make_agent(
        registry.make,
        **config.agent,
        **known,
        spec=dataset.spec(train, config.data.stack),
        statistics=statistics,
        units=units,
    )
    for note in (*data.notes, *data_settings.describe_units(train, units, config.data.least_deviation)):
        print(note, file=sys.stderr)
    window = {
        "sequence_length": config.train.sequence_length,
        "lookahead": config.agent.lookahead,
        "stack": config.data.stack,
    }
    learner = learning.with_init_from(run, agent.learner)
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
        evaluations=[
            held_out_evaluation(
                agent.assess, list(sources.windows(held_out, **window)), config.train.eval_every, config.seed, units
            )
        ],
        terms=("elbo/bound", "elbo/log_likelihood", "elbo/skill_kl", "imitation/log_likelihood", "heldout/action_mse"),
        label=config.agent.name,
        about={**about, "data": dataset.digest(train)},  # the data is not saved: it is held to be the same by this
        mesh=run.mesh,
        tracker=run.tracker,
    )
    learning.check_stopped(outcome, path)
    session.finish(path, config.seed, config.seeds, lambda rows: about_data | summarise(rows), run_report.write)


def demonstrations(config: ConfigDict) -> tuple[dataset.Dataset, dict[str, float]]:
    """The data to learn from, and how many episodes of what worth it holds."""
    widths = {name: stacking.WIDTHS.get(name) for name in (*config.agent.low, *config.agent.mid)}
    length, worth = config.train.sequence_length, {}
    if config.data.path == "toy":
        data = toy.demonstrations({name: d or 4 for name, d in widths.items()}, steps=4 * length)
    else:
        data = data_settings.load(config.data, widths, optional=(stacking.SUCCESS,), min_length=length, pictures=False)
        worth["expert_success"] = stacking.share_successful(data)
        worth["expert_return"] = float(contents.returns(data).mean()) if data.reward.any() else None
        data = stacking.without_rest(data, config.data.linger, length)
    known = {name: value for name, value in worth.items() if value is not None}
    data = data._replace(obs={name: values for name, values in data.obs.items() if name in widths})
    return data, {"episodes": len(data.length), **known}


def held_out_evaluation(
    assess: Callable, windows: list[Trajectory], every: int, seed: int, units: dict | None = None
) -> Evaluation:
    """Means of `assess` over held-out windows: the same windows and the same noise every time.

    Errors are in the agent's units. `explained_variance` is 1 - error / variance of these windows' actions: 1 for a
    perfect guess, 0 for their mean; NaN where they do not vary.
    """
    variance = action_variance(windows, units or {})
    assess = jax.jit(assess)
    keys = jax.random.split(jax.random.key(seed), len(windows))

    def measure(state: LearnerState, batch: Callable[[], Trajectory]) -> dict[str, float]:
        values = [assess(state.params, window, key) for window, key in zip(windows, keys, strict=True)]
        means = jax.tree.map(lambda *each: np.mean(each, axis=0), *jax.device_get(values))
        error = means["heldout_action_mse"]
        means["explained_variance"] = 1 - error / variance if variance > 0 else np.array(np.nan)
        return {
            "/".join([name.removeprefix("heldout_"), *map(str, at)]): float(value)
            for name, values in means.items()
            for at, value in np.ndenumerate(values)
        }

    return Evaluation("heldout", every, measure)


def action_variance(windows: list[Trajectory], units: dict) -> float:
    """The variance of the windows' actions in the agent's units, the mean over action dimensions."""
    actions = [
        np.asarray(agent_units.normalised(units, window.action), np.float64)[~np.asarray(window.step.last)]
        for window in windows
    ]
    return float(np.concatenate(actions).var(0).mean())


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
        "heldout_explained_variance": last["heldout/explained_variance"],
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

"""What a trained agent earns when its choice among resolutions is its own, drawn at random, or always the same.

python -m experiments.mrs_choices --run=runs/mrs
python -m experiments.mrs_choices --run=runs/mrs/seed_0 --episodes=10

For runs of mrs: --episodes episodes for each way of choosing, from the same starts, the worker always as it thinks
best. Writes RUN/choices/choices.json, and RUN/report.html again. MRS, Table 3.
"""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments.imagined_goals import sections
from experiments.imagined_skills import opening
from experiments.shared import (
    acting_flags,  # noqa: F401  defines the flags
    cli,
    run_report,
    saved,
)
from skillhier import files
from skillhier.report import statistics
from skillhier.rollout import rollout, start
from skillhier.train import evaluate
from skillhier.types import Env, Key

EPISODES = 10  # unless --episodes says otherwise


check = opening.check


def main(run: cli.Run) -> None:
    args = flags.FLAGS
    begin = time.perf_counter()
    path, settings, name, _, env = opening.open_run(EPISODES)
    coders = saved.agent(path, settings, env).coders
    if len(coders) < 2:
        own = settings["agent"]["name"]
        raise cli.Refused(f"{path} is a run of {own}, which has no choice; give one of mrs with several resolutions")
    ways = ("learned", "uniform", *coders)
    key = jax.random.key(args.rollout_seed)
    returns = {way: earned(path, settings, env, way, key) for way in ways}
    content = {
        "env": name,
        "episodes": env.spec.worlds,
        "rollout_seed": args.rollout_seed,
        "ways": {way: summary(values) for way, values in returns.items()},
    }
    folder = path / sections.CHOICE_FOLDER
    folder.mkdir(exist_ok=True)
    files.write_json(folder / sections.CHOICE_JSON, content)
    run_report.write(path)
    for way, of in content["ways"].items():
        print(f"{way}: {of['return']:.4g} ({of['low']:.4g} to {of['high']:.4g})")
    print(f"in {folder}, in {time.perf_counter() - begin:.0f} s; report: {path / 'report.html'}")


def earned(path: Path, settings: dict[str, Any], env: Env, way: str, key: Key) -> np.ndarray:
    """Returns [B] of an episode in every world, choosing in that way; the same starts at every call."""
    agent = saved.agent(path, {**settings, "agent": {**settings["agent"], "choice": way}}, env)
    policy = agent.act(None)
    start_key, key = jax.random.split(key)

    @jax.jit
    def episodes(params):
        _, seen = rollout(env, policy, params, start(env, policy, start_key), key, env.spec.limit + 1)
        return evaluate.returns(seen)

    return np.asarray(episodes(agent.params))


def summary(returns: np.ndarray) -> dict[str, Any]:
    """The mean of returns [B] with its bootstrap interval, for JSON."""
    mean, low, high = statistics.mean_with_interval(returns)
    return {"return": mean, "low": low, "high": high, "returns": returns.tolist()}


if __name__ == "__main__":
    cli.run(main, needs_config=False)

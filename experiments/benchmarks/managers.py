"""Agents whose manager names goals: updates beside those of one resolution, steps with learning beside a flat agent.

What is timed and how stands in imagination.py; here the agents are those of experiments.mrs.
"""

from collections.abc import Callable
from typing import Any

import jax

from experiments.benchmarks import imagination, timing
from experiments.shared import online_run
from skillhier.train import loop

NAMES = ("mrs", "director", "dreamerv3")
ENTRY, TASK = "mrs", "cartpole_swingup"
HERE = {"entry": ENTRY, "task": TASK}
DEAREST = 1.15  # of Director's update at the paper's sizes, what one over five resolutions may take
STEPS = 0.95  # of flat DreamerV3's environment steps a second with learning, at the same sizes


def beside(name: str, rival: str, preset: str, repeats: int, most: float | None = None) -> dict[str, Any]:
    """Updates a second of one agent beside those of another, in turns. most: of the rival's time, as a target."""
    jobs = [imagination.update(imagination.prepare(which, preset, **HERE)).job for which in (name, rival)]
    ours, theirs = timing.in_turns(repeats, *jobs)
    return {
        "agent": name,
        "rival": rival,
        "preset": preset,
        "updates_per_second": timing.rate(1, ours),
        "rival_updates_per_second": timing.rate(1, theirs),
        "target": most and 1 / most,
        **timing.shares(ours, theirs),
    }


def stepping(name: str, rival: str, preset: str, repeats: int, updates: int) -> dict[str, Any]:
    """Environment steps a second while learning, as a run has it, beside another agent's at the same ratio."""
    ready = {which: imagination.prepare(which, preset, **HERE) for which in (name, rival)}
    ours, theirs = timing.in_turns(repeats, *(epochs(of, updates) for of in ready.values()))
    config = ready[name].config
    steps = updates / config.train.updates_per_collect * config.train.unroll_length * config.env.worlds
    return {
        "agent": name,
        "rival": rival,
        "preset": preset,
        "steps_per_second": timing.rate(steps, ours),
        "rival_steps_per_second": timing.rate(steps, theirs),
        "target": STEPS,
        **timing.shares(ours, theirs),
    }


def epochs(of: imagination.Prepared, updates: int) -> Callable[[], Any]:
    """Epochs of `updates` updates with what is collected for them; each call goes on where the last one stopped."""
    env = online_run.make_worlds(of.config.env, of.config.env.worlds)
    source = online_run.make_source(of.config, env, of.agent.explore, of.agent)
    state = [loop.start(of.agent.learner, source, jax.random.key(0))]
    run = loop.epoch(of.agent.learner, source, updates)

    def job() -> Any:
        state[0], metrics, _ = run(state[0])
        return metrics

    return job


def suite(quick: bool, measured: Callable[..., Any]) -> dict[str, Any]:
    """All of it; `measured(what, job, *arguments)` says what is being done, and does it."""
    presets, repeats, decisions = (("debug",), 1, 4) if quick else (("cpu", "paper"), 5, 100)
    amount = 1e8 if quick else 3e10
    names = NAMES[:2] if quick else NAMES
    small, updates = presets[0], 4 if quick else 50
    results: dict[str, Any] = {"updates": [], "answers": [], "beside": [], "stepping": []}
    for preset in presets:
        for name in names:
            what = f"{name} at {preset}"
            results["updates"].append(
                measured(f"updates of {what}", imagination.updates, name, preset, repeats, amount, **HERE)
            )
            results["answers"].append(
                measured(f"decisions of {what}", imagination.answers, name, preset, decisions, **HERE)
            )
        most = DEAREST if preset == "paper" else None
        what = f"mrs beside director at {preset}"
        results["beside"].append(measured(what, beside, "mrs", "director", preset, repeats, most))
    for name in names[: 1 if quick else 2]:
        what = f"steps of {name} beside dreamerv3"
        results["stepping"].append(measured(what, stepping, name, "dreamerv3", small, repeats, updates))
    seeds = (1, 2) if quick else (1, 2, 4)
    results["by"] = measured("mrs by seeds", imagination.by, "mrs", small, "seeds", seeds, repeats, **HERE)
    return results


def table(results: dict[str, Any], row: Callable[..., None], lines: list[str]) -> None:
    """The lines of the suite `managers`; rates with a reference go through `row`."""
    imagination.table(results, row, lines)
    for of in results["beside"]:
        ours, theirs = (f"{of[name]:,.2f}/s" for name in ("updates_per_second", "rival_updates_per_second"))
        row(f"{of['agent']} beside {of['rival']} at {of['preset']}", ours, theirs, of, None)
    for of in results["stepping"]:
        ours, theirs = (f"{of[name]:,.1f}/s" for name in ("steps_per_second", "rival_steps_per_second"))
        row(f"{of['agent']} beside {of['rival']}, steps with learning", ours, theirs, of, None)

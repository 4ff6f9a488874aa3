"""Stacking skills tried from rows of demonstrations: where those begin to use each, and at the same moments for all."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from experiments.fixed_skills import own_starts
from experiments.shared import data_settings
from experiments.shared.saved import Agent
from experiments.stacking import demonstrations, moments, own_measures, skill_rollouts
from experiments.stacking.own_measures import FILE, PATHS
from experiments.stacking.skill_rollouts import SkillRollouts
from skillhier import files
from skillhier.data import dataset, sources
from skillhier.envs.batch import Task
from skillhier.types import Key

EPISODES = 100  # of the demonstrations that starts are drawn from, at most
OWN, AT, IN_HAND = "own", "at", "in_hand"  # kinds of starts


class Starts(NamedTuple):
    """Rows of demonstrations, as frames of entries."""

    frames: dict[str, dict[str, np.ndarray]]  # kind -> entry -> [K, E, D]
    number: np.ndarray  # [K] how many beginnings of each skill there are
    share: np.ndarray  # [K] of all rows, those where the posterior chooses it


def starts(agent: Agent, settings: dict[str, Any], episodes: int, seed: int = 0) -> Starts:
    """`episodes` of each kind for each skill, from the data that the run with these settings learned from.

    Kinds whose moments do not occur are left out. Raises DataFault where the data are no longer to be read.
    """
    own, train = settings["agent"], settings["train"]
    names = {name: demonstrations.WIDTHS.get(name) for name in (*own["low"], *own["mid"], *demonstrations.WIDTHS)}
    data = data_settings.load(
        ConfigDict(settings["data"]),
        names,
        optional=(demonstrations.SUCCESS,),
        min_length=train["sequence_length"],
        pictures=False,
    )
    data = demonstrations.without_rest(data, settings["data"].get("linger", 0), train["sequence_length"])
    rng = np.random.default_rng(seed)
    some = dataset.select(data, np.sort(rng.permutation(len(data.length))[:EPISODES]))
    shown = some._replace(obs={name: values for name, values in some.obs.items() if name in names})
    windows = sources.windows(
        shown, sequence_length=train["sequence_length"], lookahead=own["lookahead"], stack=settings["data"]["stack"]
    )
    begun = own_starts.beginnings(agent.infer, agent.params, windows, episodes, seed)
    frames = {OWN: begun.frames}
    for kind, rows in moments.moments(some)._asdict().items():
        if len(rows):
            drawn = np.resize(rng.permutation(rows), episodes)
            every = {name: np.broadcast_to(entry[drawn], (agent.skills, *entry[drawn].shape))
                     for name, entry in shown.obs.items()}  # fmt: skip
            frames[kind] = every
    return Starts(frames, begun.number, begun.share)


def collect(task: Task, agent: Agent, begin: Starts, stack: int, key: Key) -> dict[str, SkillRollouts]:
    """Rollouts of each kind, lane k of skill k."""
    kinds, skills = list(begin.frames), agent.skills
    names = begin.frames[OWN].keys()
    frames = {name: np.concatenate([begin.frames[kind][name] for kind in kinds]) for name in names}
    numbers = np.tile(np.arange(skills), len(kinds))
    arrays = own_starts.collect(task, frames, numbers, agent.act, agent.params, key, skill_rollouts.select, stack=stack)
    one = lambda i: {name: values[i * skills : (i + 1) * skills] for name, values in arrays.items()}  # noqa: E731
    interval = np.float32(task.interval)
    return {k: SkillRollouts(skill=np.arange(skills), **one(i), interval=interval) for i, k in enumerate(kinds)}


def measure(rollouts: dict[str, SkillRollouts], begin: Starts) -> list[dict[str, Any]]:
    """A row for each skill: figures from its own beginnings, and `at` and `in_hand`, those from these moments."""
    rows = []
    for k in range(len(begin.number)):
        of = {kind: _figures(each, k) for kind, each in rollouts.items()}
        row = {"skill": k, "beginnings": int(begin.number[k]), "share": round(float(begin.share[k]), 4)}
        row |= of.pop(OWN) if begin.number[k] else {"word": "not used"}
        rows.append(row | {f"from_{kind}": {n: figures[n] for n in ("holds", "lifts", "keeps", "releases")}
                           for kind, figures in of.items()})  # fmt: skip
    return rows


def _figures(rollouts: SkillRollouts, skill: int) -> dict[str, Any]:
    episodes = {name: getattr(rollouts, name)[skill] for name in ("pinch", "objects", "closed", "grasping", "valid")}
    return own_measures.figures_of(episodes, float(rollouts.interval))


def write(path: Path, rollouts: dict[str, SkillRollouts], begin: Starts, about: dict[str, Any]) -> dict[str, Any]:
    """Writes FILE and PATHS, those from own starts, into the run folder; returns the former's content."""
    own = rollouts[OWN]
    skill_rollouts.save(own, path, PATHS)
    seconds = float(own.interval) * (own.pinch.shape[2] - 1)
    content = {**about, "episodes": own.pinch.shape[1], "seconds_each": round(seconds, 3)}
    content["skills"] = measure(rollouts, begin)
    files.write_json(path / FILE, content)
    return content


def table(content: dict[str, Any]) -> str:
    """The rows as text for a terminal."""
    columns = {"far": "far", "at": "at", "in_hand": "in hand", "reaches": "reaches", "grasps": "grasps",
               "lifts": "lifts", "carries": "carries", "releases": "releases"}  # fmt: skip
    heads = [*columns.values(), "at: holds", "held: lifts"]
    lines = [f"{'skill':<7}{'what it does':<26}{'rows':>6}" + "".join(f"{name:>12}" for name in heads)]
    for row in content["skills"]:
        values = [row.get(name) for name in columns]
        values += [row.get("from_at", {}).get("holds"), row.get("from_in_hand", {}).get("lifts")]
        cells = "".join(f"{'' if value is None else format(value, '.0%'):>12}" for value in values)
        lines.append(f"{row['skill']:<7}{row['word']:<26}{row['share']:>6.0%}{cells}")
    return "\n".join(lines)

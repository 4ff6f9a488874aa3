"""Where a robot went over ground, episode by episode: paths, cells that it visited, targets that it reached (LSP, E7).

Worlds show it by the privileged entries `task.torso` and `task.target`.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.shared import cli, lanes, saved
from skillhier.envs.dmc.quadruped_model import PARKED
from skillhier.envs.render import viewer
from skillhier.train import checkpoint
from skillhier.types import Env, Key, Trajectory

TORSO, TARGET = "task.torso", "task.target"
CELL = 0.5  # m, the side of a cell of the ground
REPLAY = "source/replay"
POINTS = 120  # of a path, at most


class Roamed(NamedTuple):
    """One episode."""

    torso: np.ndarray  # [T, 2] m
    target: np.ndarray  # [2] m
    marks: np.ndarray  # rows at which a skill was chosen; empty where that is not known
    pillars: np.ndarray  # [P, 2] m


def training(path: Path, settings: dict[str, Any], count: int) -> list[Roamed]:
    """The first `count` episodes of the agent's own actions that the replay in the run's checkpoint still holds.

    Skills are not stored with rows, so nothing is marked. Raises Refused, CheckpointError.
    """
    if checkpoint.was_left_out(_checkpoint_home(path), REPLAY):
        raise cli.Refused(f"{path}: its checkpoint holds no replay (config.replay.in_checkpoint=false), so no rows")
    rows = checkpoint.read(path, f"{REPLAY}/rows/step")
    if TORSO not in rows["obs"]:
        raise cli.Refused(f"{path}: its world shows no {TORSO}; give a run in a quadruped's world")
    head, filled, following = (
        int(checkpoint.read(path, f"{REPLAY}/{name}")) for name in ("head", "filled", "next_row")
    )
    at = (head - filled + np.arange(filled)) % len(rows["first"])
    chunk = settings["train"]["unroll_length"]
    random = -(-settings["replay"]["prefill"] // chunk) * chunk  # rows of random actions, with which a run begins
    at = at[max(0, random - (following - filled)) :]
    torso, target, first = (np.asarray(leaf)[at] for leaf in (rows["obs"][TORSO], rows["obs"][TARGET], rows["first"]))
    return split(torso, target, first)[:count]


def _checkpoint_home(path: Path) -> Path:
    return path if (path / "checkpoints").is_dir() else path.parent


def split(torso: np.ndarray, target: np.ndarray, first: np.ndarray) -> list[Roamed]:
    """Episodes in rows [T, B, ...] of several worlds, in the order of their first rows; the last ones may go on."""
    episodes = []
    for world in range(first.shape[1]):
        opens = np.flatnonzero(first[:, world]).tolist()
        for begin, end in zip(opens, [*opens[1:], len(first)], strict=True):
            own = slice(begin, end)
            none = np.zeros(0, int)
            episode = Roamed(torso[own, world, :2], target[begin, world, :2], none, np.zeros((0, 2)))
            episodes.append((begin, world, episode))
    return [episode for _, _, episode in sorted(episodes, key=lambda one: one[:2])]


def record(env: Env, agent: saved.Agent, key: Key) -> list[Roamed]:
    """An episode of `agent` in every world of `env`, as it explores, with its choices of skills marked."""

    def select(trajectory: Trajectory) -> dict[str, Any]:
        obs = trajectory.step.obs
        return {
            "torso": obs[TORSO][:, :, 0],
            "target": obs[TARGET][:, :, 0],
            "bodies": obs[viewer.RECORD].state.mocap_pos,
        }

    act = lambda skill: viewer.unaware(agent.act(skill))  # noqa: E731
    shown = viewer.shown(env)
    arrays = lanes.collect_lanes(shown, act, agent.params, [lanes.PRIOR], key, select, has_skills=False)
    valid, _ = lanes.validity(arrays["first"], arrays["last"])
    episodes = []
    for e, rows in enumerate(valid[0].sum(-1)):
        marks = np.flatnonzero(arrays["renewed"][0, e, :rows]) if "renewed" in arrays else np.zeros(0, int)
        bodies = arrays["bodies"][0, e, 0, :-1]  # the last one is the target
        pillars = bodies[bodies[:, 2] > PARKED / 2, :2]
        episodes.append(Roamed(arrays["torso"][0, e, :rows, :2], arrays["target"][0, e, 0, :2], marks, pillars))
    return episodes


def measure(episodes: list[Roamed], radius: float) -> dict[str, Any]:
    """The figures of episodes, for JSON: lists with an item for each.

    cells    cells of the ground visited in all episodes so far
    reached  whether the torso came within `radius` m of the target
    closest  how near it came, m
    """
    visited: set[tuple[int, int]] = set()
    cells, closest = [], []
    for episode in episodes:
        visited |= {tuple(cell) for cell in np.floor(episode.torso / CELL).astype(int).tolist()}
        cells.append(len(visited))
        closest.append(float(np.linalg.norm(episode.torso - episode.target, axis=-1).min()))
    return {
        "cells": cells,
        "reached": [distance <= radius for distance in closest],
        "closest": closest,
        "episodes": [_drawn(episode) for episode in episodes],
    }


def _drawn(episode: Roamed) -> dict[str, Any]:
    """An episode with a path of at most about POINTS points, the marked ones among them."""
    rows = len(episode.torso)
    kept = sorted({*range(0, rows, max(1, rows // POINTS)), rows - 1, *episode.marks.tolist()})
    return {
        "path": episode.torso[kept].round(3).tolist(),
        "marks": [kept.index(mark) for mark in episode.marks.tolist()],
        "target": episode.target.round(3).tolist(),
        "pillars": episode.pillars.round(3).tolist(),
    }

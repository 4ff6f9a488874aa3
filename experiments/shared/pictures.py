"""Watched episodes as pictures: a film, and some instants side by side."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import mujoco
import numpy as np

from experiments.stacking.skill_rollouts import PRIOR
from skillhier.envs.render import rays
from skillhier.report import drawing, film
from skillhier.report.episode_page import Episode
from skillhier.train import metrics

INSTANTS = 8  # pictures of an episode in a strip


class Watched(NamedTuple):
    """Episodes of one lane (a skill, or the agent as it is); each cut to its own rows."""

    name: str
    episodes: list[Episode]
    records: list[Any]  # physics.Data [T, ...]
    success: list[bool]  # empty where the world does not say
    broken: list[bool]


def drawer(model: mujoco.MjModel, camera: int, height: int, width: int, shadows: bool, samples: int) -> Callable:
    """A function from one record to its picture, uint8 [height, width, 3], numpy. One at a time: it fits a cache."""
    draw = jax.jit(rays.renderer(model, camera, height, width, shadows=shadows, reflections=shadows, samples=samples))
    return lambda record: np.asarray(draw(record)["rgb"])


def shoot(path: Path, draw: Callable, watched: list[Watched], interval: float) -> None:
    """Films the episodes one after the other, lanes side by side, in real time."""
    step, rate = film.pace(interval)
    ends = [max(len(lane.episodes[e].reward) for lane in watched) for e in range(len(watched[0].episodes))]
    wanted = [(e, row) for e, end in enumerate(ends) for row in range(0, end, step)]
    bar = metrics.progress(len(wanted), label="film", unit="pictures")

    def reel() -> Iterator[np.ndarray]:
        for done, (e, row) in enumerate(wanted):
            yield film.tiled([pictured(draw, lane, e, row) for lane in watched])
            bar.write(done + 1, {})

    try:
        film.write(path, reel(), rate)
    finally:
        bar.close()


def instants(draw: Callable, watched: list[Watched]) -> list[list[np.ndarray]]:
    """Some pictures of the first episode of every lane, evenly over its time."""
    ends = [len(lane.episodes[0].reward) - 1 for lane in watched]
    rows = [np.linspace(0, end, INSTANTS).round().astype(int).tolist() for end in ends]
    return [[pictured(draw, lane, 0, row) for row in own] for lane, own in zip(watched, rows, strict=True)]


def pictured(draw: Callable, lane: Watched, e: int, row: int) -> np.ndarray:
    """The picture of a row of an episode (the last one where it is over) with time, return so far and skill."""
    episode = lane.episodes[e]
    row = min(row, len(episode.reward) - 1)
    picture = draw(jax.tree.map(lambda leaf: leaf[row], lane.records[e]))
    words = [f"{row * episode.interval:.1f} s", f"return {episode.reward[: row + 1].sum():.1f}"]
    words[:0] = [lane.name] if lane.name else []
    skill = None if episode.skill is None or episode.skill[row] == PRIOR else int(episode.skill[row])
    return film.caption(picture, " · ".join(words), None if skill is None else drawing.hex_colour(skill))

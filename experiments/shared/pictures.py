"""Recorded episodes as images: a film, and a strip of frames."""

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

FRAMES = 8  # of an episode in a strip


class RecordedEpisodes(NamedTuple):
    """Episodes of one skill, or of the agent without a fixed skill; each cut to its own rows."""

    name: str
    episodes: list[Episode]
    records: list[Any]  # physics.Data [T, ...]
    success: list[bool]  # empty where the env's spec names no entry for it
    broken: list[bool]


def drawer(model: mujoco.MjModel, camera: int, height: int, width: int, shadows: bool, samples: int) -> Callable:
    """A function from one record to its image, uint8 [height, width, 3], numpy. One at a time, which fits the cache."""
    draw = jax.jit(rays.renderer(model, camera, height, width, shadows=shadows, reflections=shadows, samples=samples))
    return lambda record: np.asarray(draw(record)["rgb"])


def write_film(path: Path, draw: Callable, recordings: list[RecordedEpisodes], interval: float) -> None:
    """Writes a film of the episodes in real time, one after the other, with the recordings side by side."""
    step, rate = film.pace(interval)
    ends = [max(len(each.episodes[e].reward) for each in recordings) for e in range(len(recordings[0].episodes))]
    rows = [(e, row) for e, end in enumerate(ends) for row in range(0, end, step)]
    bar = metrics.progress(len(rows), label="film", unit="frames")

    def frames() -> Iterator[np.ndarray]:
        for done, (e, row) in enumerate(rows):
            yield film.tiled([draw_row(draw, each, e, row) for each in recordings])
            bar.write(done + 1, {})

    try:
        film.write(path, frames(), rate)
    finally:
        bar.close()


def frames_of(draw: Callable, recordings: list[RecordedEpisodes]) -> list[list[np.ndarray]]:
    """`FRAMES` images of the first episode of every recording, evenly spaced in time."""
    ends = [len(each.episodes[0].reward) - 1 for each in recordings]
    rows = [np.linspace(0, end, FRAMES).round().astype(int).tolist() for end in ends]
    return [[draw_row(draw, each, 0, row) for row in own] for each, own in zip(recordings, rows, strict=True)]


def draw_row(draw: Callable, recording: RecordedEpisodes, e: int, row: int) -> np.ndarray:
    """The image of a row of episode `e` (of its last row if it is shorter) with time, return so far and skill."""
    episode = recording.episodes[e]
    row = min(row, len(episode.reward) - 1)
    image = draw(jax.tree.map(lambda leaf: leaf[row], recording.records[e]))
    words = [f"{row * episode.interval:.1f} s", f"return {episode.reward[: row + 1].sum():.1f}"]
    words[:0] = [recording.name] if recording.name else []
    skill = None if episode.skill is None or episode.skill[row] == PRIOR else int(episode.skill[row])
    return film.caption(image, " · ".join(words), None if skill is None else drawing.hex_colour(skill))

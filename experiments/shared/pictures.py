"""Recorded episodes as images: a film, and a strip of frames."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import mujoco
import numpy as np

from experiments.shared.lanes import PRIOR
from skillhier.envs.render import rays, viewer
from skillhier.report import drawing, film
from skillhier.report.episode_page import Episode
from skillhier.train import metrics

FRAMES = 8  # of an episode in a strip
NUMBERS = 4  # of a continuous skill in a caption, at most


class RecordedEpisodes(NamedTuple):
    """Episodes of one skill, or of the agent without a fixed skill; each cut to its own rows."""

    name: str
    episodes: list[Episode]
    records: list[Any]  # physics.Data [T, ...]
    success: list[bool]  # empty where the env's spec names no entry for it
    broken: list[bool]
    choices: list["Choices | None"]  # of continuous skills; None where there are none


class Choices(NamedTuple):
    """The continuous skills of an episode."""

    skill: np.ndarray  # [T, Z] in force at each row
    count: np.ndarray  # [T] int: how many were chosen before it


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


def held_strip(
    model: mujoco.MjModel,
    size: tuple[int, int],
    names: Sequence[tuple[str, str | None]],
    records: Any,
    times: np.ndarray,
) -> bytes:
    """A JPEG with a line of frames for each of `names` (name, colour of its mark).

    size: height and width of a frame; records: physics, leaves [names, frames, ...]; times: of the frames, s
    """
    draw = drawer(model, max(viewer.filmed(model), 0), *size, shadows=True, samples=2)
    lines = []
    for lane, (name, tint) in enumerate(names):
        row = [draw(jax.tree.map(lambda leaf, i=i, lane=lane: leaf[lane, i], records)) for i in range(len(times))]
        lines.append([film.caption(frame, f"{name}, {t:.1f} s", tint) for frame, t in zip(row, times, strict=True)])
    return film.strip(lines, size[1])


def draw_row(draw: Callable, recording: RecordedEpisodes, e: int, row: int) -> np.ndarray:
    """The image of a row of episode `e` (of its last row if it is shorter) with time, return so far and skill."""
    episode = recording.episodes[e]
    row = min(row, len(episode.reward) - 1)
    image = draw(jax.tree.map(lambda leaf: leaf[row], recording.records[e]))
    words = [f"{row * episode.interval:.1f} s", f"return {episode.reward[: row + 1].sum():.1f}"]
    words[:0] = [recording.name] if recording.name else []
    skill = None if episode.skill is None or episode.skill[row] == PRIOR else int(episode.skill[row])
    choices = recording.choices[e]
    if choices is not None:
        words.append(choice_words(choices, row))
        skill = int(choices.count[row]) if skill is None else skill
    return film.caption(image, " · ".join(words), None if skill is None else drawing.hex_colour(skill))


def choice_words(choices: Choices, row: int) -> str:
    """The skill in force at a row in a few letters: its numbers, or where they are too many which choice it is."""
    skill = choices.skill[row]
    if len(skill) > NUMBERS:
        return f"choice {choices.count[row] + 1}"
    return " ".join(f"{round(float(value), 1) + 0.0:+.1f}" for value in skill)


def choices_of(rows: dict[str, np.ndarray]) -> Choices | None:
    """The choices in an episode's rows, of which `lanes.choices` gave skill and renewed; None without, or if every
    row has a choice of its own.
    """
    if "skill" not in rows or (len(rows["renewed"]) > 1 and rows["renewed"].all()):
        return None
    return Choices(rows["skill"], np.maximum(np.cumsum(rows["renewed"]) - 1, 0))

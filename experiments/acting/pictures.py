"""Watched episodes as pictures: a film, and some instants side by side."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import mujoco
import numpy as np

from skillhier.envs import render
from skillhier.train import drawing, film, metrics
from skillhier.train.episode_page import Episode
from skillhier.train.skill_rollouts import PRIOR

TOGETHER = 8  # pictures drawn by one call
INSTANTS = 8  # pictures of an episode in a strip


class Watched(NamedTuple):
    """Episodes of one lane (a skill, or the agent as it is); each cut to its own rows."""

    name: str
    episodes: list[Episode]
    records: list[Any]  # physics.Data [T, ...]
    success: list[bool]  # empty where the world does not say
    broken: list[bool]


def drawer(model: mujoco.MjModel, camera: int, height: int, width: int, shadows: bool, samples: int) -> Callable:
    """A function from records [n, ...] to pictures, uint8 [n, height, width, 3], numpy."""
    draw = render.renderer(model, camera, height, width, shadows=shadows, reflections=shadows, samples=samples)
    draw = jax.jit(jax.vmap(draw))
    return lambda records: np.asarray(draw(records)["rgb"])


def shoot(path: Path, draw: Callable, watched: list[Watched], interval: float) -> None:
    """Films the episodes one after the other, lanes side by side, in real time."""
    step, rate = film.pace(interval)
    ends = [max(len(lane.episodes[e].reward) for lane in watched) for e in range(len(watched[0].episodes))]
    wanted = [(e, row) for e, end in enumerate(ends) for row in range(0, end, step)]
    bar = metrics.progress(len(wanted), label="film", unit="pictures")

    def reel() -> Iterator[np.ndarray]:
        for begin in range(0, len(wanted), TOGETHER):
            part = wanted[begin : begin + TOGETHER]
            part += [part[-1]] * (TOGETHER - len(part))  # one compiled program serves all
            each = [draw(gathered(lane, part)) for lane in watched]
            for i, (e, row) in enumerate(part[: len(wanted) - begin]):
                yield film.tiled(
                    [captioned(pictures[i], lane, e, row) for lane, pictures in zip(watched, each, strict=True)]
                )
                bar.write(begin + i + 1, {})

    try:
        film.write(path, reel(), rate)
    finally:
        bar.close()


def instants(draw: Callable, watched: list[Watched]) -> list[list[np.ndarray]]:
    """Some pictures of the first episode of every lane, evenly over its time."""
    found = []
    for lane in watched:
        rows = np.linspace(0, len(lane.episodes[0].reward) - 1, INSTANTS).round().astype(int).tolist()
        pictures = draw(gathered(lane, [(0, row) for row in rows]))
        found.append([captioned(picture, lane, 0, row) for picture, row in zip(pictures, rows, strict=True)])
    return found


def gathered(lane: Watched, wanted: list[tuple[int, int]]) -> Any:
    """The records of (episode, row), stacked; the last row of an episode that is over."""
    rows = [jax.tree.map(lambda leaf, row=row: leaf[min(row, len(leaf) - 1)], lane.records[e]) for e, row in wanted]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


def captioned(picture: np.ndarray, lane: Watched, e: int, row: int) -> np.ndarray:
    """A picture with its time, the return so far and the skill in charge."""
    episode = lane.episodes[e]
    row = min(row, len(episode.reward) - 1)
    words = [f"{row * episode.interval:.1f} s", f"return {episode.reward[: row + 1].sum():.1f}"]
    words[:0] = [lane.name] if lane.name else []
    skill = None if episode.skill is None or episode.skill[row] == PRIOR else int(episode.skill[row])
    return film.caption(picture, " · ".join(words), None if skill is None else drawing.pigment(skill))

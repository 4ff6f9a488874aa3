"""Worlds of gymnasium that keep the pictures they draw of themselves, as JPEG files in memory."""

import io
from typing import Any

import gymnasium
import numpy as np
from PIL import Image

from experiments.shared import cli, saved
from skillhier.types import Env

QUALITY = 92  # of the pictures kept


class Recording(gymnasium.Wrapper):
    """Keeps a picture of every row of the episodes that a seed opens: `episodes`, in the order of their resets."""

    def __init__(self, env: gymnasium.Env, size: tuple[int, int]) -> None:
        super().__init__(env)
        self.size = size  # height, width in pixels
        self.episodes: list[list[bytes]] = []
        self.trouble = ""  # why there are no pictures, in one line
        self.under_way = False

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        opened = self.env.reset(seed=seed, options=options)
        self.under_way = seed is not None  # else it follows on an episode that is over
        if self.under_way:
            self.episodes.append([])
            self._keep()
        return opened

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        if self.under_way:
            self._keep()
            self.under_way = not (terminated or truncated)
        return obs, reward, terminated, truncated, info

    def _keep(self) -> None:
        if self.trouble:
            return
        try:
            picture = Image.fromarray(np.asarray(self.env.render(), np.uint8))
        except Exception as error:  # whatever its renderer lacks; episodes go on without pictures
            self.trouble = " ".join(f"{type(error).__name__}: {error}".split())
            return
        file = io.BytesIO()
        picture.convert("RGB").resize(self.size[::-1], Image.Resampling.LANCZOS).save(file, "JPEG", quality=QUALITY)
        self.episodes[-1].append(file.getvalue())


def worlds(name: str, count: int, size: tuple[int, int], **settings: Any) -> tuple[Env, list[Recording]]:
    """`count` worlds `gymnasium:ID`, and what each of them keeps, pictures of `size` (height, width). Raises Refused.

    The settings are those of registry.make. Worlds that cannot be asked for pictures are made without.
    """
    recordings: list[Recording] = []

    def record(env: gymnasium.Env) -> Recording:
        recordings.append(Recording(env, size))
        return recordings[-1]

    try:
        return saved.worlds(name, count, render_mode="rgb_array", wrap=record, **settings), recordings
    except cli.Refused:
        recordings.clear()
        return saved.worlds(name, count, wrap=record, **settings), recordings


def draw(picture: bytes) -> np.ndarray:
    """uint8 [height, width, 3] of what a Recording keeps."""
    return np.asarray(Image.open(io.BytesIO(picture)))

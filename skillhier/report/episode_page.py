"""Episodes as one self-contained HTML page with a small 3-D viewer: nothing is fetched.

The page is assembled from the files in player/: page.html, page.css, shapes.js (triangles), viewer.js (WebGL 2),
player.js (controls). The page does not depend on MuJoCo: the scene arrives as plain data (see `Episode` and `page`).
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import numpy as np

from skillhier.report import drawing

PARTS = Path(__file__).parent / "player"
SCRIPTS = ("shapes.js", "viewer.js", "player.js")


class Episode(NamedTuple):
    """One episode of T rows."""

    name: str  # in the page's list of episodes
    interval: float  # s between rows
    poses: np.ndarray  # [T, bodies, 7] x y z (m), w x y z
    reward: np.ndarray  # [T]
    skill: np.ndarray | None = None  # [T] int: the active skill, -1 for none


def page(title: str, subtitle: str, scene: dict[str, Any], episodes: Sequence[Episode]) -> str:
    """The HTML of `episodes` in `scene`, as envs.render.viewer.scene describes one.

    Raises ValueError where poses are not finite [T, bodies, 7].
    """
    for episode in episodes:
        rows, wanted = len(episode.reward), (len(episode.reward), len(scene["bodies"]), 7)
        if episode.poses.shape != wanted or rows < 1 or not np.isfinite(episode.poses).all():
            raise ValueError(
                f"episode {episode.name}: poses {episode.poses.shape} are not finite [T, bodies, 7] {wanted}"
            )
    data = {
        "title": title,
        "subtitle": subtitle,
        "scene": scene,
        "episodes": [_plain(episode) for episode in episodes],
    }
    script = "\n".join((PARTS / name).read_text(encoding="utf-8") for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(f"\n{script}\n".encode()).digest()).decode()
    return Template((PARTS / "page.html").read_text(encoding="utf-8")).substitute(
        HASH=f"sha256-{digest}",
        TITLE=escape(title),
        STYLE=drawing.STYLE + (PARTS / "page.css").read_text(encoding="utf-8"),
        DATA=_escaped(json.dumps(data, separators=(",", ":"), allow_nan=False)),
        SCRIPT=f"\n{script}\n",
    )


def unpack(text: str, bodies: int) -> np.ndarray:
    """The poses [T, bodies, 7] from their text in a page."""
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, bodies, 7)


def _plain(episode: Episode) -> dict[str, Any]:
    return {
        "name": episode.name,
        "interval": float(episode.interval),
        "poses": base64.b64encode(np.ascontiguousarray(episode.poses, "<f4").tobytes()).decode(),
        "reward": [round(float(value), 6) for value in np.nan_to_num(episode.reward)],
        "skill": None if episode.skill is None else [int(value) for value in episode.skill],
    }


def _escaped(text: str) -> str:
    """JSON whose strings cannot end the HTML element that contains it."""
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text

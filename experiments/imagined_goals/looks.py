"""Pictures of goals and of rows: as the world is seen, or the world posed at what its model imagines."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.imagined_goals.visits import Visits
from experiments.shared import pictures, saved
from skillhier.envs import batch
from skillhier.envs.pose import poser
from skillhier.envs.render import viewer
from skillhier.report import film
from skillhier.types import Env, Key

GOALS, STARTS = 2, 5  # of each coder from one start, and starts
EACH = 8  # rows that are shown of each choice
SIZE, WIDTH = (120, 160), 112  # height and width that rows are drawn at, and the width on the sheet

Image = np.ndarray  # uint8 [H, W, 3]
Draw = Callable[[Any], Image]  # of one record


class Goals(NamedTuple):
    """Random goals of every coder from some rows; entries are single frames as the model decodes them."""

    rows: list[tuple[int, int]]  # (t, b) of the starts
    entries: dict[str, list[dict[str, np.ndarray]]]  # coder -> its GOALS draws -> entry -> [STARTS, ...]


class Artist(NamedTuple):
    """How rows (t, b) of some visits are drawn, and goals that were imagined there."""

    seen: Callable[[tuple[int, int]], Image]
    imagined: Callable[[tuple[int, int], Mapping[str, np.ndarray]], Image]


def draw_goals(agent: saved.Agent, visits: Visits, key: Key, seed: int) -> Goals:
    """Goals of codes drawn uniformly, from rows drawn at random."""
    rng = np.random.default_rng(seed)
    flat = rng.choice(visits.choice.size, STARTS, replace=False)
    rows = [divmod(int(row), visits.choice.shape[1]) for row in flat]
    deter = np.stack([visits.deter[row] for row in rows])
    proposed = jax.jit(lambda params, key: agent.propose(params, deter, key))
    drawn = [jax.device_get(proposed(agent.params, k)) for k in jax.random.split(key, GOALS)]
    newest = lambda name, value: value if value.ndim == 4 else value[:, : visits.obs[name].shape[-1]]  # noqa: E731
    return Goals(
        rows,
        {
            coder: [{n: newest(n, v) for n, v in one[coder].items() if n in visits.obs} for one in drawn]
            for coder in agent.coders
        },
    )


def spreads(visits: Visits) -> dict[str, np.ndarray]:
    """The standard deviation of every number that is seen, over all rows; pictures have none."""
    return {name: rows.std((0, 1)) for name, rows in visits.obs.items() if rows.ndim == 3}


def apart(goals: Goals, visits: Visits) -> dict[str, float]:
    """How far goals of one coder lie from each other, from the same start: the root mean square over all numbers seen,
    each over its spread; of pictures, of their values between 0 and 1.
    """
    scale = spreads(visits)
    result = {}
    for coder, drawn in goals.entries.items():
        first, second = drawn[:2]
        gaps = []
        for name in first:
            gap = first[name] - second[name]
            if name in scale:
                moves = scale[name] > 0
                gap = gap[:, moves] / scale[name][moves]
            gaps.append(gap.reshape(len(gap), -1))
        result[coder] = float(np.sqrt(np.mean(np.square(np.concatenate(gaps, 1)))))
    return result


def artist(env: Env, visits: Visits, task: batch.Task | None) -> Artist | None:
    """Draws what is seen where it is a picture, else the world's model; None where there is neither."""
    picture = next((name for name in env.spec.visible if visits.obs[name].ndim == 5), None)
    if picture is not None:
        return Artist(
            lambda row: _enlarged(visits.obs[picture][row]),
            lambda row, goal: _enlarged((np.clip(goal[picture], 0, 1) * 255).astype(np.uint8)),
        )
    if visits.records is None or task is None:
        return None
    model = task.physics.model
    draw = pictures.drawer(model, max(viewer.filmed(model), 0), *SIZE, shadows=True, samples=2)
    pose = poser(task, spreads(visits))
    record = lambda row: jax.tree.map(lambda leaf: leaf[row], visits.records)  # noqa: E731
    return Artist(lambda row: draw(record(row)), lambda row, goal: draw(pose(record(row), goal)))


def goal_sheet(artist: Artist, goals: Goals) -> bytes:
    """A JPEG: a line for each start, its row and the goals of every coder from there."""
    lines = []
    for i, row in enumerate(goals.rows):
        line = [film.caption(artist.seen(row), "here")]
        for coder, drawn in goals.entries.items():
            for one in drawn:
                goal = {name: values[i] for name, values in one.items()}
                line.append(film.caption(artist.imagined(row, goal), coder))
        lines.append(line)
    return film.strip(lines, WIDTH)


def choice_sheet(artist: Artist, visits: Visits, names: Sequence[str], seed: int) -> bytes | None:
    """A JPEG: a line for each coder, rows at which its goal was in force; None where none was."""
    rng, lines = np.random.default_rng(seed), []
    for i, name in enumerate(names):
        rows = np.argwhere(visits.choice == i)
        if len(rows) < EACH:
            continue
        shown = rng.choice(len(rows), EACH, replace=False)
        lines.append([film.caption(artist.seen(tuple(rows[j])), name) for j in shown])
    return film.strip(lines, WIDTH) if lines else None


def _enlarged(picture: Image) -> Image:
    times = max(1, SIZE[0] // picture.shape[0])
    return np.repeat(np.repeat(picture, times, 0), times, 1)

"""Layouts of the ant mazes and what a model needs of them: positions in metres, walls as few rectangles.

Source: the mazes that Director is evaluated on (fact sheet of MRS, section 5.3); s and xl from its public environment.
A digit is a wall of that colour, `.` floor, a blank nothing, P where the ant starts and G the target's centre.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

CELL = 1.2  # m, side of a cell
START, GOAL = "P", "G"
LAYOUTS = {
    "s": (
        "      66666",
        "      6...6",
        "      6.G.6",
        "      6...6",
        "      5...4",
        "      5...4",
        "1111555...4",
        "1.........3",
        "1.P.......3",
        "1.........3",
        "11112223333",
    ),
    "m": (
        "66668887777",
        "6.........7",
        "6.G.......7",
        "6.........7",
        "6665555...4",
        "      5...4",
        "1111555...4",
        "1.........3",
        "1.P.......3",
        "1.........3",
        "11112223333",
    ),
    "l": (
        "88887776666...",
        "8.........6...",
        "8.G.......6...",
        "8.........6555",
        "8888777......5",
        "......7......5",
        "11111.7......5",
        "1...1.7999...5",
        "1...1....9...5",
        "1...111999...5",
        "2............4",
        "2....P.......4",
        "2............4",
        "22223333334444",
    ),
    "xl": (
        "99999998888.44444",
        "9.........8.4...4",
        "9.......G.8.4...4",
        "9.........8.4...4",
        "6...7778888.5...3",
        "6...7.......5...3",
        "6...777555555...3",
        "5...............3",
        "5...............3",
        "5...............3",
        "5555444...666...3",
        "......4...6.6...3",
        "1111444...6.6...3",
        "1.........2.1...1",
        "1.P.......2.1...1",
        "1.........2.1...1",
        "11111112222.11111",
    ),
}


class Rectangle(NamedTuple):
    """Whole cells of a layout: rows `top` to `bottom`, columns `left` to `right`, the last ones included."""

    top: int
    left: int
    bottom: int
    right: int


def find(layout: tuple[str, ...], token: str) -> tuple[int, int]:
    """(row, column) of the only `token` of a layout."""
    ((row, column),) = np.argwhere(cells(layout) == token)
    return int(row), int(column)


def centre(layout: tuple[str, ...], row: float, column: float) -> tuple[float, float]:
    """x and y (m) of a cell's centre: the middle of the layout is the origin, rows run along -y."""
    return (column - (len(layout[0]) - 1) / 2) * CELL, -(row - (len(layout) - 1) / 2) * CELL


def cells(layout: tuple[str, ...]) -> np.ndarray:
    """[H, W] the characters of a layout."""
    return np.array([list(row) for row in layout])


def walls(layout: tuple[str, ...]) -> np.ndarray:
    """[H, W] bool: which cells are walls."""
    return np.char.isdigit(cells(layout))


def rectangles(filled: np.ndarray) -> Iterator[Rectangle]:
    """Covers the cells that are `filled` [H, W] with rectangles that do not overlap, each as large as it can be there.

    Greedy from the top left. Few boxes are what makes an ant cheap to collide with a maze.
    """
    left = filled.copy()
    while left.any():
        row, column = np.argwhere(left)[0]
        best, width = None, left.shape[1] - column
        for height in range(1, left.shape[0] - row + 1):
            run = left[row + height - 1, column : column + width]
            width = len(run) if run.all() else int(np.argmin(run))
            if width == 0:
                break
            if best is None or height * width > best[0]:
                best = (height * width, height, width)
        _, height, width = best
        left[row : row + height, column : column + width] = False
        yield Rectangle(int(row), int(column), int(row + height - 1), int(column + width - 1))

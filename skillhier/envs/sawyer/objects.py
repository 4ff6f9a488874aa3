"""The thirteen RGB-stacking test objects: prisms from a formula, their solid properties, the five sets.

Source: the RGB-objects family of DeepMind's RGB-stacking benchmark (parameters and formula as released;
draft, hollow and x-shear are zero for all of these).
"""

from typing import NamedTuple

import numpy as np

MASS = 0.2  # kg, uniform density
FRICTION = (0.5, 0.005, 0.0001)  # sliding, torsional (m), rolling (m)
COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}  # in the order of every set

# id -> sides, shrink (fraction), shear (degrees), scale x, y, z (m)
PARAMETERS = {
    "s0": (4, 0.0, 0, (0.050, 0.050, 0.050)),
    "r2": (10, 0.0, 0, (0.045, 0.045, 0.050)),
    "b2": (8, 0.0, 0, (0.045, 0.045, 0.050)),
    "g2": (6, 0.0, 0, (0.046, 0.046, 0.050)),
    "r3": (4, 0.75, 0, (0.041, 0.049, 0.071)),
    "b3": (4, 0.48, 0, (0.046, 0.049, 0.063)),
    "g3": (4, 0.25, 0, (0.051, 0.051, 0.060)),
    "r5": (4, 0.0, 42, (0.050, 0.050, 0.050)),
    "b5": (4, 0.0, 31, (0.050, 0.050, 0.050)),
    "g5": (4, 0.0, 20, (0.050, 0.050, 0.050)),
    "r6": (4, 0.0, 0, (0.029, 0.029, 0.150)),
    "b6": (4, 0.0, 0, (0.032, 0.048, 0.096)),
    "g6": (4, 0.0, 0, (0.040, 0.056, 0.080)),
}

# set number -> (red, green, blue)
OBJECT_SETS = {
    1: ("r3", "s0", "b2"),
    2: ("r5", "g2", "b3"),
    3: ("r6", "g3", "b5"),
    4: ("s0", "g5", "b6"),
    5: ("r2", "g6", "s0"),
}


class Face(NamedTuple):
    """One flat side on which a body can lie."""

    normal: np.ndarray  # [3] outward unit vector, object frame
    height: float  # m from the face to the object's origin along the inward normal
    corners: np.ndarray  # [m, 3] m, in order round the face, counterclockwise from outside
    stable: bool  # the centre of mass stands above the inside of the face


class Solid(NamedTuple):
    """A convex object, in its own frame (origin: centre of the bounding box)."""

    name: str
    vertices: np.ndarray  # [v, 3] m; the first half is the bottom ring, the second half the top ring
    half_extents: np.ndarray  # [3] m of the bounding box
    box: bool  # whether the object is its bounding box
    volume: float  # m^3
    com: np.ndarray  # [3] m
    inertia: np.ndarray  # [3, 3] kg m^2 about the centre of mass, for MASS
    faces: tuple[Face, ...]  # bottom, top, then the sides


def known(name: str) -> str:
    """`name` itself if it is one of the thirteen objects, else a ValueError that lists them."""
    if name not in PARAMETERS:
        raise ValueError(f"object '{name}' is not known; choose from {', '.join(PARAMETERS)} in `objects`")
    return name


def vertices(name: str) -> np.ndarray:
    """Corners of an object: [2 n, 3] m, bottom ring then top ring, each counterclockwise seen from above."""
    n, shrink, shear, (width, depth, height) = PARAMETERS[known(name)]
    theta = (2 * np.arange(n) + 1) * np.pi / n
    unit = 1 / np.sqrt(n / 2 * np.sin(2 * np.pi / n))  # the unsheared prism of scale 1 has unit base area
    if n == 4:
        unit *= (1 + shrink**2 / 2) ** -0.25
    x = unit * np.cos(theta) * width
    y = unit * np.sin(theta) * (1 - shrink * np.cos(theta)) * depth
    lean = height / 2 * np.tan(np.radians(shear))
    bottom = np.stack([x, y - lean, np.full(n, -height / 2)], -1)
    top = np.stack([x, y + lean, np.full(n, height / 2)], -1)
    return np.concatenate([bottom, top])


def solid(name: str) -> Solid:
    """Everything about one object; volume, centre of mass and inertia are exact sums over tetrahedra."""
    points = vertices(name)
    rings = _rings(len(points) // 2)
    volume, com, inertia = _moments(points, rings)
    faces = tuple(_face(points[ring], com) for ring in rings)
    box = name in ("s0", "r6", "b6", "g6")
    half = (points.max(0) - points.min(0)) / 2
    return Solid(name, points, half, box, volume, com, inertia * MASS / volume, faces)


def _rings(n: int) -> list[list[int]]:
    """Vertex indices of each face of a prism, counterclockwise from outside: bottom, top, sides."""
    sides = [[i, (i + 1) % n, n + (i + 1) % n, n + i] for i in range(n)]
    return [list(range(n))[::-1], list(range(n, 2 * n)), *sides]


def _moments(points: np.ndarray, rings: list[list[int]]) -> tuple[float, np.ndarray, np.ndarray]:
    """Volume, centroid and second-moment inertia (unit density, about the centroid) of a closed surface."""
    triangles = np.array([points[[r[0], r[i], r[i + 1]]] for r in rings for i in range(1, len(r) - 1)])
    volumes = np.linalg.det(triangles) / 6  # signed, of the tetrahedra with the origin
    volume = volumes.sum()
    corners = np.concatenate([triangles, np.zeros_like(triangles[:, :1])], 1)  # [t, 4, 3]
    com = (volumes[:, None] * corners.mean(1)).sum(0) / volume
    total = corners.sum(1)
    second = np.einsum(
        "t,tij->ij", volumes / 20, np.einsum("tci,tcj->tij", corners, corners) + np.einsum("ti,tj->tij", total, total)
    )
    second -= volume * np.outer(com, com)
    return float(volume), com, np.trace(second) * np.eye(3) - second


def _face(corners: np.ndarray, com: np.ndarray) -> Face:
    edges = np.roll(corners, -1, 0) - corners
    normal = np.cross(edges[0], edges[1])
    normal /= np.linalg.norm(normal)
    inward = np.cross(normal, edges) / np.linalg.norm(edges, axis=1, keepdims=True)
    inside = ((com - corners) * inward).sum(-1) > 1e-6
    return Face(normal, float(corners[0] @ normal), corners, bool(inside.all()))

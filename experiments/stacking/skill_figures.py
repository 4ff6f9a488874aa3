"""Figures of skill rollouts: each skill's paths from above and from the side, and curves over an episode."""

import numpy as np

from experiments.fixed_skills.measures import mean_along
from experiments.shared.lanes import PRIOR, lane_name
from experiments.stacking.skill_measures import mean_paths
from experiments.stacking.skill_rollouts import OBJECTS, SkillRollouts
from skillhier.report import figures
from skillhier.report.drawing import colour, path, rect, stroke, svg, text

BASKET = ((0.48, 0.72), (-0.12, 0.12))  # m, x and y of the flat floor, drawn for orientation
FLOOR = 0.0498  # m, its height
WIDE, TOP, SIDE, GAP = 200, 180, 190, 12  # pixels: a lane's width, the heights of its two views, the space between


def paint(skill: int) -> str:
    return colour(None if skill == PRIOR else int(skill))


def sheet(rollouts: SkillRollouts, measures: dict, per_row: int = 6) -> str:
    """All lanes side by side, the prior last. measures: the content of skills.json."""
    lanes = [*np.flatnonzero(rollouts.skill != PRIOR), *np.flatnonzero(rollouts.skill == PRIOR)]
    per_row = min(per_row, -(-len(lanes) // -(-len(lanes) // per_row)))  # rows of equal length
    box, tall = _box(rollouts), TOP + SIDE + 124
    parts = []
    for i, lane in enumerate(lanes):
        x, y = GAP + (i % per_row) * (WIDE + GAP), GAP + (i // per_row) * tall
        parts += [f'<g transform="translate({x} {y})">', *_panel(rollouts, lane, measures["skills"][lane], box), "</g>"]
    rows = -(-len(lanes) // per_row)
    return svg(GAP + per_row * (WIDE + GAP), rows * tall, parts, "rollouts of each fixed skill")


def over_time(rollouts: SkillRollouts) -> list[str]:
    """Curves of each lane's means over an episode: distances from the pinch, heights, the gripper."""
    distance = np.linalg.norm(rollouts.objects - rollouts.pinch[:, :, :, None], axis=-1)  # [L, E, T, O]
    objects = list(OBJECTS)
    red = rollouts.objects[..., objects.index("red"), :]
    quantities = {
        "pinch to red, m": distance[..., objects.index("red")],
        "pinch to blue, m": distance[..., objects.index("blue")],
        "height of red over its start, m": red[..., 2] - red[:, :, :1, 2],
        "height of the pinch, m": rollouts.pinch[..., 2],
        "gripper: 0 open, 1 closed": rollouts.closed,
        "episodes that hold something": rollouts.grasping.astype(float),
    }
    seconds = np.arange(rollouts.pinch.shape[2]) * float(rollouts.interval)
    every = slice(None, None, max(1, len(seconds) // 200))
    drawn = []
    for title, values in quantities.items():
        means = mean_along(values[..., None], rollouts.valid, 1)[..., 0]  # [L, T]
        series = {
            lane_name(skill).removeprefix("skill "): (seconds[every], means[lane][every], paint(skill))
            for lane, skill in enumerate(rollouts.skill)
        }
        limits = {"low": 0.0, "high": 1.0} if "gripper" in title or "episodes" in title else {}
        drawn.append(figures.curves(series, title, "s", **limits))
    return drawn


def _box(rollouts: SkillRollouts) -> np.ndarray:
    """[3, 2] m: the extent of both views in every lane: the whole basket and all but the outermost 0.2 % of points."""
    points = np.concatenate([rollouts.pinch[rollouts.valid], rollouts.objects[rollouts.valid].reshape(-1, 3)])
    box = np.stack([np.quantile(points, 0.002, axis=0), np.quantile(points, 0.998, axis=0)], -1)
    least = np.array([*BASKET, (FLOOR - 0.01, 0.3)])
    box = np.stack([np.minimum(box[:, 0], least[:, 0]), np.maximum(box[:, 1], least[:, 1])], -1)
    return box + np.array([-0.01, 0.01])


def _panel(rollouts: SkillRollouts, lane: int, row: dict, box: np.ndarray) -> list[str]:
    """Header, view from above (the robot's base is below it), view from the side (the base is to the left), bars."""
    skill = int(rollouts.skill[lane])
    parts = [
        rect(2, 6, 10, 10, paint(skill), corner=3),
        text(18, 15, lane_name(skill), kind="name"),
        text(2, 32, row["word"], kind="ink"),
    ]
    parts += _view(rollouts, lane, box, (1, 0), 42, TOP, flip=True, ground=False)
    parts += _view(rollouts, lane, box, (0, 2), 42 + TOP + 8, SIDE, flip=False, ground=True)
    y = 42 + TOP + 8 + SIDE + 16
    for label, share in (("holds", row["grasping"]), ("closed", row["closed"])):
        parts += [
            text(2, y + 8, label),
            rect(46, y, 112, 8, "var(--line)", corner=4),
            rect(46, y, 112 * share, 8, paint(skill), corner=4),
            text(WIDE, y + 8, f"{share:.0%}", "end", "ink"),
        ]
        y += 17
    parts.append(text(2, y + 8, f"lifts red by {100 * row['lift_red']:.1f} cm"))
    return parts


def _view(
    rollouts: SkillRollouts,
    lane: int,
    box: np.ndarray,
    axes: tuple[int, int],
    top: float,
    tall: float,
    flip: bool,
    ground: bool,
) -> list[str]:
    """One view in its frame. flip: mirror the horizontal axis, so that the robot faces up the page."""
    across, up = axes
    scale = min(WIDE / np.ptp(box[across]), tall / np.ptp(box[up]))
    middle = box.mean(1)

    def place(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sign = -1 if flip else 1
        return (
            WIDE / 2 + sign * scale * (points[..., across] - middle[across]),
            tall / 2 - scale * (points[..., up] - middle[up]),
        )

    parts = [
        f'<svg x="0" y="{top}" width="{WIDE}" height="{tall}" viewBox="0 0 {WIDE} {tall}">',
        f'<rect class="grid" x=".5" y=".5" width="{WIDE - 1}" height="{tall - 1}" rx="6"/>',
    ]
    corners = np.array([(BASKET[0][i], BASKET[1][i], FLOOR) for i in (0, 1)])
    (xa, xb), (ya, yb) = place(corners)
    if ground:
        parts.append(stroke(f"M{xa:.1f} {ya:.1f}H{xb:.1f}", paint="var(--dim)", style="stroke-width:2"))
    else:
        floor = f"M{xa:.1f} {ya:.1f}H{xb:.1f}V{yb:.1f}H{xa:.1f}Z"
        parts.append(stroke(floor, "grid", style="stroke-width:1.5;stroke-dasharray:4 3"))
    half = 0.011 * scale  # a quarter of an object's size: it marks the centre, not the extent
    for index, tint in enumerate(OBJECTS):
        for x, y in zip(*place(rollouts.objects[lane, : len(rollouts.valid[lane]) // 2, 0, index]), strict=True):
            parts.append(rect(x - half, y - half, 2 * half, 2 * half, f"var(--{tint})", opacity=0.3))
    skill = int(rollouts.skill[lane])
    for pinch, valid in zip(rollouts.pinch[lane], rollouts.valid[lane], strict=True):
        x, y = place(pinch[valid][::6])
        parts.append(stroke(path(x, y), "thin", paint=paint(skill)))
    mean = mean_paths(rollouts)[lane]
    mean = mean[np.isfinite(mean).all(-1)]
    x, y = place(mean)
    line = path(x[::2], y[::2])
    parts += [
        stroke(
            line, "bold", paint="var(--card)", style="stroke-width:5;opacity:.75"
        ),  # an outline against the faint paths
        stroke(line, "bold", paint=paint(skill)),
        _dot(x[0], y[0], 3.5, "var(--card)", paint(skill)),
        _dot(x[-1], y[-1], 4.5, paint(skill), "var(--card)"),
        text(8, 16, "from the side" if ground else "from above"),
        "</svg>",
    ]
    return parts


def _dot(x: float, y: float, radius: float, fill: str, edge: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" style="fill:{fill};stroke:{edge};stroke-width:2"/>'

"""Fixed-skill rollouts as pictures: every skill's paths from above and from the side, and what happens over time."""

import numpy as np

from experiments.stacking.skill_measures import mean_along, mean_paths
from experiments.stacking.skill_rollouts import OBJECTS, PRIOR, Study
from skillhier.report import figures
from skillhier.report.drawing import colour, path, rect, stroke, svg, text

BASKET = ((0.48, 0.72), (-0.12, 0.12))  # m, x and y of the flat floor, drawn for orientation
FLOOR = 0.0498  # m, its height
WIDE, TOP, SIDE, GAP = 200, 180, 190, 12  # a lane's width, the heights of its two views, what is between


def name(skill: int) -> str:
    return "prior" if skill == PRIOR else f"skill {skill}"


def paint(skill: int) -> str:
    return colour(None if skill == PRIOR else int(skill))


def sheet(study: Study, found: dict, per_row: int = 6) -> str:
    """All lanes side by side: fixed skills first, the prior-driven lane last."""
    lanes = [*np.flatnonzero(study.skill != PRIOR), *np.flatnonzero(study.skill == PRIOR)]
    per_row = min(per_row, -(-len(lanes) // -(-len(lanes) // per_row)))  # rows of equal length
    box, tall = _box(study), TOP + SIDE + 124
    parts = []
    for i, lane in enumerate(lanes):
        x, y = GAP + (i % per_row) * (WIDE + GAP), GAP + (i // per_row) * tall
        parts += [f'<g transform="translate({x} {y})">', *_panel(study, lane, found["skills"][lane], box), "</g>"]
    rows = -(-len(lanes) // per_row)
    return svg(GAP + per_row * (WIDE + GAP), rows * tall, parts, "what each skill does when it is held fixed")


def over_time(study: Study) -> list[str]:
    """Curves of the lanes' means over an episode: distances from the pinch, the object's height, the gripper."""
    distance = np.linalg.norm(study.objects - study.pinch[:, :, :, None], axis=-1)  # [L, E, T, O]
    objects = list(OBJECTS)
    red = study.objects[..., objects.index("red"), :]
    shown = {
        "pinch to red, m": distance[..., objects.index("red")],
        "pinch to blue, m": distance[..., objects.index("blue")],
        "height of red over its start, m": red[..., 2] - red[:, :, :1, 2],
        "height of the pinch, m": study.pinch[..., 2],
        "gripper: 0 open, 1 closed": study.closed,
        "episodes that hold something": study.grasping.astype(float),
    }
    seconds = np.arange(study.pinch.shape[2]) * float(study.interval)
    keep = slice(None, None, max(1, len(seconds) // 200))
    found = []
    for title, values in shown.items():
        means = mean_along(values[..., None], study.valid, 1)[..., 0]  # [L, T]
        series = {
            name(skill).removeprefix("skill "): (seconds[keep], means[lane][keep], paint(skill))
            for lane, skill in enumerate(study.skill)
        }
        limits = {"low": 0.0, "high": 1.0} if "gripper" in title or "episodes" in title else {}
        found.append(figures.curves(series, title, "s", **limits))
    return found


def _box(study: Study) -> np.ndarray:
    """[3, 2] m: what both views show, the same in every lane: all of the basket and all but the wildest paths."""
    seen = np.concatenate([study.pinch[study.valid], study.objects[study.valid].reshape(-1, 3)])
    box = np.stack([np.quantile(seen, 0.002, axis=0), np.quantile(seen, 0.998, axis=0)], -1)
    least = np.array([*BASKET, (FLOOR - 0.01, 0.3)])
    box = np.stack([np.minimum(box[:, 0], least[:, 0]), np.maximum(box[:, 1], least[:, 1])], -1)
    return box + np.array([-0.01, 0.01])


def _panel(study: Study, lane: int, row: dict, box: np.ndarray) -> list[str]:
    """Header, view from above (the robot's base is below the picture), view from the side (it is to the left), bars."""
    skill = int(study.skill[lane])
    parts = [
        rect(2, 6, 10, 10, paint(skill), corner=3),
        text(18, 15, name(skill), kind="name"),
        text(2, 32, row["word"], kind="ink"),
    ]
    parts += _view(study, lane, box, (1, 0), 42, TOP, flip=True, ground=False)
    parts += _view(study, lane, box, (0, 2), 42 + TOP + 8, SIDE, flip=False, ground=True)
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
    study: Study, lane: int, box: np.ndarray, axes: tuple[int, int], top: float, tall: float, flip: bool, ground: bool
) -> list[str]:
    """One view in its frame; `flip` mirrors the horizontal axis, so that the robot looks up the page."""
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
    half = 0.011 * scale  # a quarter of an object's size: where it is, not how far it reaches
    for index, tint in enumerate(OBJECTS):
        for x, y in zip(*place(study.objects[lane, : len(study.valid[lane]) // 2, 0, index]), strict=True):
            parts.append(rect(x - half, y - half, 2 * half, 2 * half, f"var(--{tint})", opacity=0.3))
    skill = int(study.skill[lane])
    for pinch, valid in zip(study.pinch[lane], study.valid[lane], strict=True):
        x, y = place(pinch[valid][::6])
        parts.append(stroke(path(x, y), "thin", paint=paint(skill)))
    mean = mean_paths(study)[lane]
    mean = mean[np.isfinite(mean).all(-1)]
    x, y = place(mean)
    line = path(x[::2], y[::2])
    parts += [
        stroke(
            line, "bold", paint="var(--card)", style="stroke-width:5;opacity:.75"
        ),  # sets it off from the faint ones
        stroke(line, "bold", paint=paint(skill)),
        _dot(x[0], y[0], 3.5, "var(--card)", paint(skill)),
        _dot(x[-1], y[-1], 4.5, paint(skill), "var(--card)"),
        text(8, 16, "from the side" if ground else "from above"),
        "</svg>",
    ]
    return parts


def _dot(x: float, y: float, radius: float, fill: str, edge: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" style="fill:{fill};stroke:{edge};stroke-width:2"/>'

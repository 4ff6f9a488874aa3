"""Small demonstrations for tests: counters as observations, so that every window says where it is from."""

import h5py
import numpy as np

WIDTHS = {"arm.angle": 2, "object.pose": 3}


def episode(index: int = 0, steps: int = 30) -> dict:
    """One episode: every entry of row t holds 1000 * index + t (+ 0.25 * column); actions t / 1000; reward t + 1."""
    rows = np.arange(steps + 1, dtype=np.float32)[:, None] + 1000 * index
    return {
        "observations": {name: rows + 0.25 * np.arange(d, dtype=np.float32) for name, d in WIDTHS.items()}
        | {"grip": rows[:, 0]},  # a scalar without its last axis, as in the expert logs
        "actions": np.repeat(np.arange(steps, dtype=np.float32)[:, None] / 1000, 2, axis=1),
        "rewards": np.arange(1, steps + 1, dtype=np.float32),
        "terminations": np.arange(steps) == -1,
        "truncations": np.arange(steps) == steps - 1,
    }


def put(group: h5py.Group, tree: dict) -> None:
    for name, value in tree.items():
        if isinstance(value, dict):
            put(group.create_group(name), value)
        else:
            group[name] = value


def write(path, episodes: list[dict]) -> None:
    with h5py.File(path, "w") as file:
        for index, tree in enumerate(episodes):
            put(file.create_group(f"episode_{index}"), tree)
            file[f"episode_{index}"].attrs.update({"total_steps": len(tree["rewards"]), "success": float(index % 2)})

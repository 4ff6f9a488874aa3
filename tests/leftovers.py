"""What a run left in its folder, in a form that can be compared to the bit."""

from pathlib import Path

import jax
import numpy as np

from skillhier.train import checkpoint, metrics


def record(folder: Path) -> list[dict]:
    """The lines of metrics.jsonl without the clock's figures."""
    rows = metrics.rows(folder / "metrics.jsonl")
    return [{name: value for name, value in row.items() if not name.startswith("time/")} for row in rows]


def plain(leaf: jax.Array) -> np.ndarray:
    """A leaf as numbers, random keys too."""
    return np.asarray(jax.random.key_data(leaf) if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)


def leaves(folder: Path, step: int, parts: tuple[str, ...] = ("learner", "key")) -> dict[str, bytes]:
    """Every leaf of a checkpoint, as bytes."""
    tree = {part: checkpoint.read(folder, part, step) for part in parts}
    return {str(path): plain(leaf).tobytes() for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def same(one, other) -> bool:
    """Whether two trees hold the same bits."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(a.dtype == b.dtype and np.array_equal(plain(a), plain(b)) for a, b in pairs)

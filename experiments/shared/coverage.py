"""What a table of episodes measures in worlds of any kind: groups of entries, returns, and the columns of both."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp

from skillhier.report.coverage_page import Column
from skillhier.types import Spec


class Measures(NamedTuple):
    """Arguments of coverage.episodes, and the columns of what it gives."""

    groups: Mapping[str, Sequence[str]]
    totals: Mapping[str, tuple[str, int]]
    poses: Sequence[str]
    columns: Sequence[Column]


def measures(spec: Spec) -> Measures:
    """The variance of every entry that agents see, pictures left out; returns; success where it is known."""
    seen = {name: spec.obs[name] for name in spec.visible if spec.obs[name].dtype != jnp.uint8}
    columns = [
        Column(f"variance/{name}", f"{name} variance", f"of the {math.prod(entry.shape[1:])} numbers of {name}")
        for name, entry in seen.items()
    ]
    columns.append(Column("return", "return", "sum of rewards over an episode"))
    if spec.success is not None:
        columns.append(Column("success", "success", "share of episodes that end in success"))
    return Measures({name: (name,) for name in seen}, {}, (), columns)

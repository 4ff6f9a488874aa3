"""Systems that learn online by MPO, by name: what a config and a figure call them by.

All give back Control. What each is made from, and by which offline system of agents/offline.py, stands in SOURCES.
Read next: agents/mpo.py, agents/helms_transfer.py, agents/npmp_transfer.py, agents/bc_transfer.py.
"""

from functools import partial

from skillhier.agents import bc_transfer, helms_transfer, mpo, npmp_transfer
from skillhier.agents.learner import Control

SYSTEMS = {
    "helms_cat": partial(helms_transfer.make, mixed=False),
    "helms_mix": partial(helms_transfer.make, mixed=True),
    "mpo": mpo.make,
    "npmp": npmp_transfer.make,
    "bc": bc_transfer.make,
    "hierarchical_bc": bc_transfer.hierarchical,
}
SOURCES: dict[str, tuple[str, ...]] = {  # none: from scratch
    "helms_cat": ("helms", "helms_discrete"),
    "helms_mix": ("helms",),
    "mpo": (),
    "npmp": ("npmp", "npmp_ar1"),
    "bc": ("bc",),
    "hierarchical_bc": ("hierarchical_bc",),
}


def make(obs: dict, action, *, name: str, **settings) -> Control:
    """The system of that name; obs, action and settings as for its own `make`."""
    if name not in SYSTEMS:
        raise ValueError(f"agent '{name}' is not known; choose {', '.join(SYSTEMS)}")
    return SYSTEMS[name](obs, action, **settings)

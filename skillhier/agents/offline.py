"""Systems that learn from demonstrations alone, by name: what a config, a checkpoint and a figure call them by.

All are made as agents.helms.make is, and give back Skills. Read next: agents/helms.py, agents/npmp.py, agents/bc.py.
"""

from functools import partial

from skillhier.agents import bc, helms, npmp
from skillhier.agents.learner import Skills

SYSTEMS = {
    "helms": helms.make,
    "helms_discrete": partial(helms.make, discrete=True),  # the skill alone: z at its component's mean
    "npmp": partial(npmp.make, ar_coefficient=0.0),  # prior N(0, I)
    "npmp_ar1": npmp.make,  # prior N(0.95 z, (1 - 0.95^2) I)
    "bc": bc.make,
    "hierarchical_bc": bc.hierarchical,
}


def make(obs: dict, action, *, name: str, **settings) -> Skills:
    """The system of that name; obs, action and settings as for agents.helms.make."""
    if name not in SYSTEMS:
        raise ValueError(f"agent '{name}' is not known; choose {', '.join(SYSTEMS)}")
    return SYSTEMS[name](obs, action, **settings)

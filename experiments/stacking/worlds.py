"""Settings of stacking worlds that other worlds do not have."""

from ml_collections import ConfigDict

from skillhier.envs.sawyer.rewards import PAIRS

__all__ = ["LIMITS", "PAIRS", "add_settings"]

LIMITS = {
    "env.timestep": (0.0, 0.05),
    "env.starts": (1, 10**6),
}


def add_settings(config: ConfigDict) -> None:
    """Adds them to config.env, with three frames."""
    config.env.timestep = 0.0  # s of the physics; 0 for the engine's own (envs/sawyer/model.py)
    config.env.randomise = False  # masses, frictions, ... drawn anew for every episode
    config.env.starts = 1000  # states in which episodes open; computed at first use and cached
    config.env.stack = 3

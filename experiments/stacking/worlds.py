"""Settings of stacking worlds that other worlds do not have."""

from typing import Any

from ml_collections import ConfigDict

from experiments.shared import cli
from skillhier.envs.render import pixels
from skillhier.envs.sawyer.rewards import PAIRS

__all__ = ["LIMITS", "PAIRS", "add_settings", "change", "check_settings", "is_stacking"]

ADDED = ("timestep", "randomise", "starts")  # by add_settings
LIMITS = {
    "env.timestep": (0.0, 0.05),
    "env.starts": (1, 10**6),
}


def is_stacking(world: str, beside_pictures: bool = False) -> bool:
    """Whether it shows a Sawyer arm and its objects as entries; with pictures only if it shows them beside these."""
    return world.startswith("sawyer.") and (beside_pictures or not world.endswith(pixels.SUFFIX))


def change(config: ConfigDict, **settings: Any) -> None:
    """Sets them where the config is of a stacking world."""
    if has_settings(config):
        config.env.update(settings)


def has_settings(config: ConfigDict) -> bool:
    """Whether `add_settings` has added them."""
    return set(ADDED) <= set(config.env)


def check_settings(config: ConfigDict) -> None:
    """Refuses settings of stacking worlds for another one, and the other way round."""
    world = config.env.name
    if has_settings(config) != is_stacking(world, config.env.get("entries", False)):
        has = "has settings of stacking worlds" if has_settings(config) else "has no settings of stacking worlds"
        raise cli.Refused(
            f"config.env.name={world}, and this config {has}; give the world as option of --config instead, "
            f"PRESET,task={world}"
        )


def add_settings(config: ConfigDict) -> None:
    """Adds them to config.env, with three frames."""
    config.env.timestep = 0.0  # s of the physics; 0 for the engine's own (envs/sawyer/model.py)
    config.env.randomise = False  # masses, frictions, ... drawn anew for every episode
    config.env.starts = 1000  # states in which episodes open; computed at first use and cached
    config.env.stack = 3

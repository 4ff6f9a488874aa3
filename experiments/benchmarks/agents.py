"""The agents that benchmarks time, as the presets of their entry points describe them.

`make` is the only place here that calls the library's constructors of agents.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from experiments.shared import cli
from skillhier.agents import offline, transfer

OFFLINE, TRANSFER = (f"{cli.CONFIGS}/{name}.py" for name in ("helms_offline", "helms_transfer"))
OFFLINE_NAMES, ONLINE_NAMES = tuple(offline.SYSTEMS), tuple(transfer.SYSTEMS)
# Settings of an online agent that its pretrained skills decide -> what the config of those skills calls them.
BORROWED = {name: name for name in ("low", "mid", "skills", "latent", "action_stddev")} | {"skill_hidden": "hidden"}


def make(config: ConfigDict, obs: dict, action: Any, *, online: bool, **extra: Any) -> Any:
    """The agent of `config.agent`; `extra` settings come before those of the config.

    obs, action: shapes of one world, as the constructors of the library take them.
    """
    systems = transfer if online else offline
    return systems.make(obs, action, **{**config.agent, **extra})


def online(config: ConfigDict, preset: str, obs: dict, size: int, entries: Sequence[str] | None = None) -> Any:
    """The online agent of `config`, for actions [size]; its skills are random and as large as `preset` makes them.

    entries: what every level observes, instead of what the configs name: for worlds other than the stacking cell.
    """
    name = config.agent.name
    settings: dict[str, Any] = {}
    if kinds := transfer.SOURCES[name]:
        skills, _ = cli.load_config(f"{OFFLINE}:{preset},agent={kinds[0]}")
        accepted = inspect.signature(transfer.SYSTEMS[name]).parameters
        settings = {
            ours: skills.agent[theirs]
            for ours, theirs in BORROWED.items()
            if ours in accepted and theirs in skills.agent
        }
    if entries is not None:
        levels = {"low", "mid", "high", "critic"} & {*settings, *config.agent}
        settings |= dict.fromkeys(levels, tuple(entries))
    return make(config, obs, jax.ShapeDtypeStruct((size,), jnp.float32), online=True, **settings)

"""The agents that benchmarks time, as the presets of their entry points describe them.

`make` is the only place here that calls the library's constructors of agents.
"""

from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from experiments.shared import cli
from skillhier.agents import registry
from skillhier.types import Agent, Spec

OFFLINE, TRANSFER = (f"{cli.CONFIGS}/{name}.py" for name in ("helms_offline", "helms_transfer"))
OFFLINE_NAMES, ONLINE_NAMES = registry.OFFLINE, registry.BY_MPO


def make(config: ConfigDict, spec: Spec, **extra: Any) -> Agent:
    """The agent of `config.agent`; `extra` settings come before those of the config."""
    return registry.make(**{**config.agent, **extra}, spec=spec)


def online(config: ConfigDict, preset: str, spec: Spec, entries: Sequence[str] | None = None) -> Agent:
    """The online agent of `config`; its skills are random and as large as `preset` makes them.

    entries: what every level observes, instead of what the configs name: for worlds other than the stacking cell.
    """
    entry, settings = registry.entry(config.agent.name), {}
    if entry.sources:
        skills, _ = cli.load_config(f"{OFFLINE}:{preset},agent={entry.sources[0]}")
        settings = entry.settings_of(skills.agent)
    if entries is not None:
        levels = {"low", "mid", "high", "critic"} & {*settings, *config.agent}
        settings |= dict.fromkeys(levels, tuple(entries))
    return make(config, spec, **settings)

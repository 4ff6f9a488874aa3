"""Agents by name: what configs, checkpoints and figures call them by.

`make(name, spec, **settings)` gives an Agent, `defaults(name)` the settings that a config shows, `register` adds an
agent of one's own. Each agent's settings and defaults stand in its own file.
"""

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from skillhier.agents import (
    bc,
    bc_transfer,
    diayn,
    director,
    dreamer,
    helms,
    helms_transfer,
    hippo,
    hiro,
    hiro_mi,
    lsp,
    mpo,
    mrs,
    npmp,
    npmp_transfer,
    ppo,
    rest,
)
from skillhier.agents import units as agent_units
from skillhier.types import Agent, Spec


class Entry(NamedTuple):
    """An agent: how it is made, and what it begins with."""

    make: Callable[..., Agent]  # (spec, **settings)
    defaults: Mapping[str, Any]
    sources: tuple[str, ...] = ()  # offline agents whose parameters it may begin with; none: from scratch
    skill_settings: tuple[str, ...] = ()  # settings of those agents that it must share with them
    offline: bool = False  # it learns from demonstrations alone
    learns: str = ""  # how it does online: mpo, td3, ddpg, ppo (from what it has just done), imagination (of a model)

    def settings_of(self, source: Mapping[str, Any]) -> dict[str, Any]:
        """What `make` must be given of the settings `source` of the agent whose parameters it begins with."""
        settings = {"skill_hidden" if name == "hidden" else name: source[name] for name in self.skill_settings}
        return settings | ({"discrete": source["name"] == "helms_discrete"} if "skills" in settings else {})


def _transfer(make: Callable[..., Agent], defaults: Mapping, sources: tuple[str, ...], *settings: str) -> Entry:
    return Entry(make, defaults, sources, settings, learns="mpo")


_HELMS = ("low", "mid", "skills", "latent", "hidden", "action_stddev")
AGENTS: dict[str, Entry] = {
    # learn from demonstrations
    "helms": Entry(helms.make, helms.DEFAULTS, offline=True),
    "helms_discrete": Entry(partial(helms.make, discrete=True), helms.DEFAULTS, offline=True),  # z at its mean
    "npmp": Entry(partial(npmp.make, ar_coefficient=0.0), npmp.DEFAULTS, offline=True),  # prior N(0, I)
    "npmp_ar1": Entry(npmp.make, npmp.DEFAULTS, offline=True),  # prior N(0.95 z, (1 - 0.95^2) I)
    "bc": Entry(bc.make, bc.DEFAULTS, offline=True),
    "hierarchical_bc": Entry(bc.hierarchical, bc.HIERARCHICAL, offline=True),
    # learn online by MPO
    "helms_cat": _transfer(
        partial(helms_transfer.make, mixed=False), helms_transfer.DEFAULTS, ("helms", "helms_discrete"), *_HELMS
    ),
    "helms_mix": _transfer(partial(helms_transfer.make, mixed=True), helms_transfer.MIX, ("helms",), *_HELMS),
    "mpo": Entry(mpo.make, mpo.SCRATCH, learns="mpo"),
    "npmp_kl": _transfer(
        npmp_transfer.make, npmp_transfer.DEFAULTS, ("npmp", "npmp_ar1"), "low", "latent", "hidden", "action_stddev"
    ),
    "bc_finetuned": _transfer(bc_transfer.make, bc_transfer.DEFAULTS, ("bc",), "low", "mid", "hidden"),
    "hierarchical_bc_finetuned": _transfer(
        bc_transfer.hierarchical, bc_transfer.DEFAULTS, ("hierarchical_bc",), "low", "mid", "latent", "hidden"
    ),
    # learn online by TD3
    "hiro": Entry(hiro.make, hiro.DEFAULTS, learns="td3"),
    "hiro_mi": Entry(hiro_mi.make, hiro_mi.DEFAULTS, learns="td3"),
    # learn online by PPO, each batch from what they have just done
    "ppo": Entry(ppo.make, ppo.DEFAULTS, learns="ppo"),
    "hippo": Entry(hippo.make, hippo.DEFAULTS, learns="ppo"),
    # learn online skills without a reward, then a task by one of them
    "diayn": Entry(diayn.make, diayn.DEFAULTS, learns="ddpg"),
    "rest": Entry(rest.make, rest.DEFAULTS, learns="ppo"),
    # learn online in the imagination of a world model
    "dreamer": Entry(dreamer.make, dreamer.DEFAULTS, learns="imagination"),
    "dreamerv3": Entry(partial(dreamer.make, **dreamer.V3), dreamer.V3, learns="imagination"),
    "lsp": Entry(lsp.make, lsp.DEFAULTS, learns="imagination"),
    "no_mi": Entry(partial(lsp.make, intrinsic=False), lsp.DEFAULTS, learns="imagination"),
    "random_skills": Entry(partial(lsp.make, planned=False), lsp.DEFAULTS, learns="imagination"),
    "rand_skills_init": Entry(partial(lsp.make, planned=False, intrinsic=False), lsp.DEFAULTS, learns="imagination"),
    # learn there by goals in its memory
    "director": Entry(director.make, director.DEFAULTS, learns="goals"),
    "mrs": Entry(mrs.make, mrs.DEFAULTS, learns="goals"),
}
OFFLINE = tuple(name for name, entry in AGENTS.items() if entry.offline)
ONLINE = tuple(name for name, entry in AGENTS.items() if not entry.offline)
BY_MPO, BY_TD3, BY_DDPG, BY_PPO, IMAGINING, BY_GOALS = (
    tuple(name for name, entry in AGENTS.items() if entry.learns == how)
    for how in ("mpo", "td3", "ddpg", "ppo", "imagination", "goals")
)


def entry(name: str) -> Entry:
    """The agent of that name. Raises ValueError with the nearest one that there is."""
    if name not in AGENTS:
        near = difflib.get_close_matches(name, AGENTS, n=1, cutoff=0.5)
        guess = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"agent '{name}' is not known; {guess}choose {', '.join(AGENTS)} in agent.name")
    return AGENTS[name]


def make(name: str, spec: Spec, *, units: Mapping[str, Any] | None = None, **settings) -> Agent:
    """The agent of that name for worlds, or data, of `spec`; settings as for its own `make`. Raises ValueError.

    units: those that it learns in (agents/units.py); where it begins with a `source` that has units, they are that's.
    """
    source = settings.get("source")
    if agent_units.of(source) is not None:
        units, settings["source"] = agent_units.of(source), agent_units.without(source)
    if units is None:
        return entry(name).make(spec, **settings)
    return agent_units.with_units(entry(name).make(agent_units.inner_spec(spec, units), **settings), units)


def defaults(name: str) -> dict[str, Any]:
    """The settings of an agent that a config shows, by name, with their defaults."""
    return dict(entry(name).defaults)


def register(
    name: str,
    make: Callable[..., Agent],
    defaults: Mapping[str, Any] = MappingProxyType({}),
    *,
    offline: bool = False,
    sources: tuple[str, ...] = (),
    skill_settings: tuple[str, ...] = (),
) -> None:
    """Adds an agent of one's own: make(spec, **settings) -> Agent. Raises ValueError if the name is taken."""
    if name in AGENTS:
        raise ValueError(f"agent '{name}' is registered already; choose another name")
    AGENTS[name] = Entry(make, defaults, sources, skill_settings, offline)

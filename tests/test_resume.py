"""Every agent's real command, killed at any moment and started again, ends as the run that nobody touched: to the bit.

A hundred kills in all, each gone on from. A few are in the fast tests of each entry point.
"""

from pathlib import Path

import pytest
from kills import entry, run, survive

from experiments.shared import cli
from skillhier.agents import registry

KILLS = 4  # of each agent
SMALL = {
    "helms_offline": (),
    "imitate": ("--config.env.worlds=2", "--config.eval.episodes=2"),
    "helms_transfer": ("--config.env.worlds=2",),
    "lsp": (),
    "mrs": (),
}
ENTRY_OF = {
    **dict.fromkeys(registry.OFFLINE, "helms_offline"),
    **dict.fromkeys(registry.BY_MPO, "helms_transfer"),
    **dict.fromkeys((*registry.BY_TD3, *registry.IMAGINING), "lsp"),
    **dict.fromkeys((*registry.BY_DDPG, *registry.BY_PPO, *registry.BY_GOALS), "mrs"),
}


def command(name: str, agent: str) -> tuple:
    """The debug preset, with a checkpoint after every epoch."""
    address = f"experiments/configs/{name}.py:debug,agent={agent}"
    epoch = cli.load_config(address)[0].train.updates_per_epoch
    return name, f"--config={address}", f"--config.train.save_every={epoch}", *SMALL[name]


def hold(tmp_path: Path, name: str, agent: str, kills: int, seed: int = 0) -> int:
    """Kills and continues the command, and holds it to one that nobody touched; how many kills hit a save."""
    asked = command(name, agent)
    whole = tmp_path / "whole"
    completed = run(entry(*asked, f"--workdir={whole}"))
    assert completed.returncode == 0, completed.stderr
    parts = ("learner", "key") if name == "helms_offline" else ("learner", "source", "key")
    return survive(entry(*asked), whole, tmp_path / "run", kills, seed, parts)


@pytest.mark.slow
@pytest.mark.parametrize("agent", ENTRY_OF)
def test_kills_of_every_agent(tmp_path, agent):
    assert set(ENTRY_OF) == set(registry.AGENTS)
    hold(tmp_path, ENTRY_OF[agent], agent, KILLS)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "agent"), [("helms_offline", "helms"), ("imitate", "bc")])
def test_many_kills_of_which_some_hit_a_save(tmp_path, name, agent):
    assert hold(tmp_path, name, agent, 10, seed=1)

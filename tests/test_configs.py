"""Every config file: its presets hold, its settings are bounded and explained, and no misspelt one passes."""

import itertools
import re
import string
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.shared import cli, help_page, settings
from skillhier.agents import registry

ROOT = Path(__file__).parent.parent
FILES = sorted(path for path in cli.CONFIGS.glob("*.py") if path.stem != "__init__")
OPTIONS = {
    "helms_offline": {
        "agent": registry.OFFLINE,
        "task": ["red_on_blue", "all_pairs"],
    },
    "helms_transfer": {
        "agent": registry.BY_MPO,
        "task": ["red_on_blue", "pyramid"],
    },
    "imitate": {"agent": ["bc", "hierarchical_bc"]},
    "lsp": {"agent": registry.IMAGINING},
    "mrs": {"agent": [*registry.BY_GOALS, "dreamerv3", *registry.BY_PPO, *registry.BY_DDPG]},
}


def every():
    """(file, preset with options) of all there are."""
    for file in FILES:
        options = OPTIONS.get(file.stem, {})
        for preset in settings._load_module(file).PRESETS:
            for values in itertools.product(*options.values()):
                chosen = ",".join(f"{name}={value}" for name, value in zip(options, values, strict=True))
                yield pytest.param(
                    file, f"{preset},{chosen}".rstrip(","), id=f"{file.stem}:{preset},{chosen}".rstrip(",")
                )


@pytest.mark.parametrize(("file", "argument"), list(every()))
def test_every_preset_holds_and_bounds_its_numbers(file, argument):
    config, module = cli.load_config(f"{file}:{argument}")
    for name, value in cli.flat(config).items():
        first = value[0] if isinstance(value, tuple) and value else value
        if isinstance(first, int | float) and not isinstance(first, bool):
            assert name in module.LIMITS, f"{name} = {value} has no limits"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_typos_of_every_setting_of_every_preset_are_refused(file, monkeypatch):
    """A handful of each setting, all of one letter of the longest. Presets that have the same settings count once."""
    configs = [
        cli.load_config(f"{param.values[0]}:{param.values[1]}")[0] for param in every() if param.values[0] == file
    ]
    distinct = {frozenset(cli.flat(config)): config for config in configs}
    # searching for the nearest name takes a thousand times longer than refusing; the tests below search
    monkeypatch.setattr(settings, "unknown", lambda what, given, known: f"{what} {given} is not known")
    for known, config in distinct.items():
        asked = [name for name in known if not name.startswith("agents.") or name.startswith("agents.mpo.")]  # one
        handful = {name[1:] for name in asked} | {name[:-1] for name in asked} | {name + name[-1] for name in asked}
        handful |= {name[1] + name[0] + name[2:] for name in asked} | {name[:-2] + name[:-3:-1] for name in asked}
        handful |= typos(max(sorted(asked), key=len)) if known == next(iter(distinct)) else set()
        for typo in handful - known:
            with pytest.raises(cli.Refused, match="is not known|is a group"):
                cli.change(config, typo, "1")


def typos(name: str, letters: str = string.ascii_lowercase + string.digits + "._") -> set[str]:
    """All that one wrong, missing, added or swapped character makes of a name."""
    cuts = [(name[:at], name[at:]) for at in range(len(name) + 1)]
    found = {before + after[1:] for before, after in cuts if after}
    found |= {before + letter + after[1:] for before, after in cuts if after for letter in letters}
    found |= {before + letter + after for before, after in cuts for letter in letters}
    found |= {before + after[1] + after[0] + after[2:] for before, after in cuts if len(after) > 1}
    return found


def test_the_nearest_name_of_a_typo_is_the_name_that_was_meant():
    """Of names that are two letters or more apart; a word that is near none gets no guess."""
    known = ["seed", "train.batch_size", "train.unroll_length", "agent.learning_rate", "agent.gamma", "replay.rows"]
    for name in known:
        for typo in typos(name, "aq_7") - {name}:
            line = settings.unknown("setting", typo, known)
            assert line.startswith(f"setting {typo} is not known; did you mean {name}? choose seed, "), line
    assert "did you mean" not in settings.unknown("setting", "xyzzy", known)
    many = [*map(str, range(13))]
    assert settings.unknown("flag", "xyzzy", many).endswith("is not known; --help lists all")
    assert settings.unknown("setting", "xyzzy", many).endswith("is not known; --help with this --config lists all")
    assert settings.unknown("agent", "xyzzy", many).endswith(f"choose {', '.join(many)}")  # which --help does not list


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_nearest_name_is_told(file):
    module = settings._load_module(file)
    config, _ = cli.load_config(f"{file}:{next(iter(module.PRESETS))}")
    for name in cli.flat(config):
        with pytest.raises(cli.Refused, match="^[^\n]*$") as refused:
            cli.change(config, f"{name}x", "1")
        assert f"did you mean config.{name}?" in str(refused.value)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_setting_is_explained_where_it_is_defined(file):
    homes = [
        ROOT / "experiments" / place
        for place in (
            "shared/online_settings.py",
            "shared/data_settings.py",
            "shared/start_settings.py",
            "shared/skill_trial.py",
            "stacking/worlds.py",
        )
    ]
    homes += sorted((ROOT / "skillhier" / "agents").glob("*.py"))  # an agent's settings stand beside it
    texts = [home.read_text() for home in (file, *homes)]
    named = {
        name
        for param in every()
        if param.values[0] == file
        for name in cli.flat(cli.load_config(f"{file}:{param.values[1]}")[0])
    }
    bare = {name for name in named if not any(explained(name, text) for text in texts)}
    assert not bare


def explained(name: str, text: str) -> bool:
    name = name.rpartition(".")[2]
    return bool(re.search(rf'(\.{name} = |^    "{name}": )[^\n]*  # \S', text, re.MULTILINE))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_help_tells_every_preset_with_its_time(file):
    module = settings._load_module(file)
    told = help_page.text(file.stem, "")
    for preset, purpose in module.PRESETS.items():
        assert f"{preset} " in told and purpose in told
        assert re.search(r"second|minute|hour|accelerator", purpose), f"{preset} does not say how long it takes"


def test_the_real_command_refuses_a_typo_in_one_line():
    """With all that an entry point imports; tests/test_cli.py has what else a command refuses."""
    command = [sys.executable, "-m", "experiments.helms_transfer", "--config.agent.eta_yy=1"]
    command += ["--config=experiments/configs/helms_transfer.py:debug"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert process.returncode == 2 and process.stdout == "" and len(process.stderr.splitlines()) == 1
    assert "did you mean config.agent.eta_y?" in process.stderr

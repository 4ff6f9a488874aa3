"""A plain user's mistakes, drawn by chance: every command is accepted, or refused in exactly one line with code 2.

A seeded fuzzer changes one thing at a time of a valid command, of any entry point, to a value that nobody wants. All
commands run in this process, with --check. The fast suite takes a small sample, `-m slow` a large one.
"""

import errno
import functools
import importlib
import io
import json
import os
import random
import re
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from experiments.shared import cli, compilation_cache, help_page, settings
from skillhier.data import dataset
from skillhier.data.faults import DataFault
from skillhier.train import checkpoint, run_folder

ROOT = Path(__file__).parents[1]
HOSTILE = (
    "", "abc", "()", "(,)", "(0,)", "0", "-1", "nan", "inf", "-inf", "1e-320", "1e400", "1" + "0" * 40, "1,2,3",
    "(1,abc)", "None", "true", "ü", "\n", "a\nb", "'", '"', "a'b\"c", "$(id)", "; id", "<b>", "../..", "/", "x" * 300,
    "\udcff", "\x00", "0x10", "1_0", "1e9", "3.5", "[[1]]", "{}", " ", "1 2", "%s", "{0}",
)  # fmt: skip


class Entry(NamedTuple):
    """An entry point, and how it calls cli.run."""

    name: str
    main: object
    settings: dict  # needs_config, learns
    presets: tuple[str, ...]  # with the options that change which settings there are


@functools.cache
def entries() -> dict[str, Entry]:
    known = {}
    for file in sorted((ROOT / "experiments").glob("*.py")):
        call = re.search(r"cli\.run\(main(.*)\)", file.read_text())
        if call:
            module = importlib.import_module(f"experiments.{file.stem}")
            settings = {"needs_config": "needs_config=False" not in call[1], "learns": "learns=True" in call[1]}
            known[file.stem] = Entry(file.stem, module.main, settings, presets(file.stem))
    return known


def presets(name: str) -> tuple[str, ...]:
    """Every preset, and one of every agent."""
    known = tuple(settings.presets(name))
    if not known:
        return ()
    module = cli.load_config(address(name, known[0]))[1]
    agents = module.LIMITS.get("agent.name", []) if hasattr(module, "LIMITS") else []
    return known + tuple(f"{known[0]},agent={agent}" for agent in agents)


def address(name: str, preset: str) -> str:
    return f"{ROOT}/experiments/configs/{name}.py:{preset}"


@functools.cache
def settings_of(name: str, preset: str) -> tuple[str, ...]:
    return tuple(cli.flat(cli.load_config(address(name, preset))[0]))


def mistake(chance: random.Random) -> tuple[str, list[str]]:
    """(an entry point, a command line of it with one value that nobody wants)."""
    entry = entries()[chance.choice(sorted(entries()))]
    value, command = chance.choice(HOSTILE), []
    if entry.presets:
        preset = chance.choice(entry.presets)
        kind = chance.choice(("setting",) * 8 + ("option", "agent", "preset", "config", "name", "flag"))
        command = [f"--config={address(entry.name, preset)}"]
        if kind == "setting":
            name = chance.choice(settings_of(entry.name, preset))
            return entry.name, [*command, f"--config.{name}={value}"]
        if kind in ("option", "agent"):
            option = chance.choice(("task", "set", "reward", "manner", "skills")) if kind == "option" else "agent"
            return entry.name, [f"{command[0]},{chance.choice((f'{option}={value}', value))}"]
        if kind == "preset":
            return entry.name, [f"--config={address(entry.name, value)}"]
        if kind == "config":
            other = chance.choice(sorted(entries()))
            return entry.name, [chance.choice((f"--config={value}", f"--config={address(other, preset)}"))]
        if kind == "name":
            return entry.name, [*command, f"--config.{value}=1"]
    ours, _ = help_page.split_flags(entry.name)
    flag = chance.choice([flag.name for flag in ours if flag.name not in ("check", "check_each")])
    return entry.name, [*command, f"--{flag}={value}"]


def outcome(name: str, command: list[str]) -> str:
    """What is wrong with how a command ends; empty if nothing is."""
    entry, out, err = entries()[name], io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            cli.run(entry.main, argv=[name, *command, "--check"], **entry.settings)
    except SystemExit as end:
        lines = err.getvalue().splitlines()
        if end.code == 0 and not lines:
            return ""
        if end.code == 2 and len(lines) == 1 and not out.getvalue():
            return ""
        return f"code {end.code}: {err.getvalue()!r}"
    except BaseException:
        return traceback.format_exc()
    return "it ended without an exit code"


def failures(seed: int, count: int) -> list[str]:
    chance = random.Random(seed)
    wrong = []
    for _ in range(count):
        name, command = mistake(chance)
        said = outcome(name, command)
        if said:
            wrong.append(f"{name} {command}: {said.strip().splitlines()[-1]}")
    return wrong


def said(name: str, *arguments: str) -> str:
    """The one line with which a command is refused."""
    err = io.StringIO()
    with redirect_stderr(err), pytest.raises(SystemExit) as end:
        cli.run(entries()[name].main, argv=[name, *arguments, "--check"], **entries()[name].settings)
    assert end.value.code == 2 and err.getvalue().count("\n") == 1, err.getvalue()
    return err.getvalue()


LSP, MRS = f"--config={ROOT}/experiments/configs/lsp.py:debug", f"--config={ROOT}/experiments/configs/mrs.py:debug"


@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("mrs", [MRS, "--config.agent.actor_hidden=abc"], "wants a whole number, or several separated by commas"),
        ("lsp", [LSP + ",agent=dreamer", "--config.agent.continue_hidden=abc"], "wants a whole number, or several"),
        ("lsp", [LSP, "--config.env.delay=1"], "config.env.delay is (1,); it must have 2 numbers"),
        ("lsp", [LSP, "--config.env.delay="], "config.env.delay is (); it must have 2 numbers"),
        ("mrs", [MRS + ",director"], "option 'director' is a value of option agent; write agent=director"),
        ("lsp", ["--config=experiments/configs/helms_offline.py:cpu"], "is a config of helms_offline; lsp takes"),
        ("watch", [LSP], "means nothing to watch, which has no config"),
        ("lsp", [LSP, "--config.agent.learning_rate=1e-320"], "wants a finite number, not '1e-320'"),
        ("benchmark", ["--minutes=nan", "--suite=gpu"], "--minutes=nan: nan is no finite number"),
        ("lsp", [LSP, f"--workdir={'x' * 256}"], "File name too long; give a shorter name; file systems allow 255"),
        ("lsp", [f"--config={'x' * 256}:debug"], "File name too long"),
        ("lsp", [LSP, "--workdir=a\nb"], "holds the character '\\n'; arguments are one line of text"),
        ("lsp", [LSP, "--track_project=a\udcff"], "holds a byte that is no UTF-8"),
        ("lsp", [LSP, f"--workdir={__file__}"], "test_mistakes.py is a file; give a folder"),
        ("lsp", [LSP, "--init_from=/nowhere:all"], "there is no folder /nowhere; give RUN:all of a run"),
        ("watch", ["--run=/nowhere"], "/nowhere/config.json is no config of a run; give the folder of a run"),
        ("replay_fault", ["--file=/nowhere"], "there is nothing at this path; name a file that there is"),
        ("watch", ["--run=/nowhere", "--height=1000000000"], "--height=1000000000"),
        ("compare", [], "--runs is missing"),
    ],
)
def test_what_was_given_and_what_to_change(name, arguments, line):
    assert line in said(name, *arguments)


def test_numbers_of_a_tuple_that_is_empty_by_default_are_numbers():
    config, _ = cli.load_config(address("lsp", "debug,agent=dreamer"), [("agent.continue_hidden", "64,32")])
    assert config.agent.continue_hidden == (64, 32)


def run_of(folder: Path, done: int, **changes: int) -> list[str]:
    """A folder as a run of lsp leaves it after `done` updates; the arguments that continue it."""
    settings = cli.flat(cli.load_config(address("lsp", "debug"))[0])
    run_folder.open_run(folder, "lsp", settings | changes, ("train.updates",))
    saved = folder / "checkpoints" / str(done)
    saved.mkdir(parents=True)
    (saved / "manifest.json").write_text("{}")
    return [LSP, f"--workdir={folder}"]


def test_a_budget_below_what_is_done_is_refused(tmp_path):
    command = run_of(tmp_path / "run", 40)
    assert not outcome("lsp", command)
    line = said("lsp", *command, "--config.train.updates=20")
    assert "config.train.updates=20 is less than the 40 updates that" in line and "set it to at least that" in line


def test_other_settings_than_the_folder_was_begun_with_are_found_by_the_check(tmp_path):
    command = run_of(tmp_path / "run", 40)
    assert "was begun with config.seed=0, now it is 1" in said("lsp", *command, "--config.seed=1")


def test_a_refused_command_leaves_no_folder_that_refuses_the_corrected_one(tmp_path):
    def refused(run):
        cli.open_run(run)
        raise cli.Refused("the worlds do not have this entry; leave it out")

    refused.__module__ = "experiments.lsp"
    command = ["lsp", LSP, f"--workdir={tmp_path / 'run'}"]
    with redirect_stderr(io.StringIO()), pytest.raises(SystemExit) as end:
        cli.run(refused, learns=True, argv=[*command, "--config.seed=1"])
    assert end.value.code == 2 and not (tmp_path / "run").exists()
    assert not outcome("lsp", command[1:])


def test_worlds_that_show_other_things_are_refused_before_anything_is_recorded(tmp_path):
    command = [f"--config={address('collect', 'world')}", f"--workdir={tmp_path / 'data'}", "--config.env.worlds=1"]
    tasks = "--config.tasks=dmc.cartpole_swingup,dmc.cartpole_balance,dmc.pendulum_swingup"
    code, err = ended("collect", *command, tasks, "--config.episodes=3", "--config.env.limit=5")
    assert code == 2 and not (tmp_path / "data").exists()
    assert err.startswith("config.tasks: worlds of dmc.pendulum_swingup show")
    assert err.endswith("as dmc.cartpole_swingup; record them in a data set of their own\n")


def ended(name: str, *arguments: str) -> tuple[int, str]:
    """(the exit code, what stands on standard error) of a command that is not only checked."""
    err = io.StringIO()
    with redirect_stderr(err), redirect_stdout(io.StringIO()), pytest.raises(SystemExit) as end:
        cli.run(entries()[name].main, argv=[name, *arguments], **entries()[name].settings)
    return end.value.code, err.getvalue()


def test_runs_of_other_kinds_are_refused_where_an_agent_is_wanted(tmp_path):
    for name in ("collect", "skills", "zero_shot"):
        config = cli.load_config(address(name, "debug"))[0]
        run_folder.open_run(tmp_path / name, name, cli.flat(config))
    (tmp_path / "odd").mkdir()
    odd = {"entry": "lsp", "config": {"agent": "lsp", "env": 3}, "starts": []}
    (tmp_path / "odd" / "config.json").write_text(json.dumps(odd))
    acting = ("watch", "helms_skills", "lsp_skills", "lsp_paths", "lsp_noise", "mrs_goals", "mrs_choices")
    commands = [[name, "--run={}"] for name in acting]
    commands += [["collect", f"--config={address('collect', 'world')}", "--run={}"]]
    commands += [["helms_transfer", f"--config={address('helms_transfer', 'debug')}", "--init_from={}:all"]]
    commands += [["lsp", LSP, "--init_from={}:all"]]
    commands += [["zero_shot", f"--config={address('zero_shot', 'debug')}", "--skills={}"]]
    for kind in ("collect", "skills", "zero_shot", "odd"):
        for name, *arguments in commands:
            code, err = ended(name, *(argument.format(tmp_path / kind) for argument in arguments))
            assert code in (1, 2) and err.count("\n") == 1, (name, kind, err)


def test_names_that_are_no_tree_are_a_line(tmp_path):
    for leaves in ({"a": 1, "a/b": 2}, {"a/b": 2, "a": 1}, {"a": 1, "a/b/c": 2}):
        with pytest.raises(checkpoint.CheckpointError, match="an array and a group have one name"):
            checkpoint.nested(leaves)
    (tmp_path / "config.json").write_text('{"entry": "lsp", "config": {"a": 1, "a.b": 2}, "starts": []}')
    with pytest.raises(run_folder.RunFolderError, match="has a setting of the name of a group"):
        run_folder.settings(tmp_path)


def test_a_user_without_a_home_folder(monkeypatch, capsys):
    def nowhere(*_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    monkeypatch.setattr(Path, "expanduser", nowhere)
    compilation_cache.open_cache()
    assert capsys.readouterr().err.startswith("no compilation cache: this user has no home folder; set XDG_CACHE_HOME")
    with pytest.raises(DataFault, match="found no home folder of that user"):
        dataset.load("~somebody/data")


@pytest.mark.parametrize("setting", ["critic", "high"])
def test_a_misspelt_entry_is_a_line_at_the_start(tmp_path, setting):
    """What worlds show is known once they are built; nothing has been written by then."""
    config = f"--config={address('helms_transfer', 'debug')},task=dmc.cartpole_swingup,agent=npmp_kl"
    code, err = ended("helms_transfer", config, f"--config.agent.{setting}=positon", f"--workdir={tmp_path / 'run'}")
    assert code == 2 and err.count("\n") == 1 and "'positon' is not known; choose of position, velocity" in err
    assert not (tmp_path / "run").exists()


def test_what_a_run_has_learned_is_not_taken_back(tmp_path):
    run_of(tmp_path / "run", 40)
    run_folder.take_back(tmp_path / "run")
    assert (tmp_path / "run" / "config.json").is_file() and (tmp_path / "run" / "checkpoints" / "40").is_dir()


def test_missing_permission_names_the_path_and_what_is_needed(tmp_path, monkeypatch):
    """Whoever is root may read and write all; so the system's answers are made up here."""
    (tmp_path / "theirs").mkdir()
    command = run_of(tmp_path / "run", 40)
    denied = tmp_path / "theirs"
    access, opened = os.access, io.open

    def no_access(path, mode, **settings):
        return False if Path(path) == denied else access(path, mode, **settings)

    def no_open(file, *arguments, **settings):
        if str(file) == str(tmp_path / "run" / "config.json"):
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return opened(file, *arguments, **settings)

    monkeypatch.setattr(os, "access", no_access)
    assert f"no permission to write in {denied}" in said("lsp", LSP, f"--workdir={denied}/mine")
    assert f"{denied}: Permission denied; get permission" in said("lsp", LSP, f"--init_from={denied}:all")
    code, err = ended("compare", f"--runs={denied}/*")
    assert code == 2 and err == f"--runs={denied}/*: no permission to read {denied}; get it\n"
    monkeypatch.setattr(io, "open", no_open)  # which Path.read_text calls
    for name, arguments in (("lsp", command), ("watch", [f"--run={tmp_path / 'run'}"])):
        assert f"{tmp_path / 'run' / 'config.json'}: Permission denied" in said(name, *arguments)


def test_a_mistake_is_one_line():
    assert not failures(seed=0, count=80)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
def test_a_thousand_mistakes_are_a_line_each(seed):
    assert not failures(seed, count=250)

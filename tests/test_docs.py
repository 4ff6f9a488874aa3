"""What the documentation promises: its commands are accepted, its examples run, and whatever it names exists."""

import ast
import contextlib
import functools
import importlib
import importlib.util
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from unittest import mock
from xml.etree import ElementTree

import nbformat
import notebook
import numpy as np
import pytest
import test_house
from ml_collections import ConfigDict
from nbclient import NotebookClient

from experiments.shared import cli, settings, start_settings
from launch import sweep
from skillhier.data import minari
from skillhier.envs import registry

# Examples that wait for an interface that is not merged yet: page -> headings. The test of such an example is red once
# it runs: take it off this list then.
PENDING: dict[str, tuple[str, ...]] = {}

# Pages whose examples need what their commands make: one slow test runs all of both, in order.
WHOLE = ("docs/own_data.md",)

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "BUILD_NOTES.md", *sorted((ROOT / "docs").glob("*.md"))]
LONGEST = 50  # lines of an example in docs/add_your_own.md
SCREENS = 120  # lines of the README
RUN_BLOCKS = """
import json, sys, traceback
from experiments.shared import cli

cli.open_cache()
namespace, report, out = {"__name__": "__docs__"}, [], sys.stdout
sys.stdout = sys.stderr
for name, code in json.load(sys.stdin):
    try:
        exec(compile(code, name, "exec"), namespace)
        report.append(None)
    except BaseException:
        report.append(traceback.format_exc())
json.dump(report, out)
"""


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str  # relative to the root
    heading: str  # the nearest one above
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page}: {self.heading}"


@functools.cache
def blocks(page: Path) -> tuple[Block, ...]:
    result, heading, language, lines = [], "", None, []
    for line in page.read_text().splitlines():
        if line.startswith("```") and language is None:
            language, lines = line[3:], []
        elif line.startswith("```"):
            result.append(Block(str(page.relative_to(ROOT)), heading, language, "\n".join(lines) + "\n"))
            language = None
        elif language is not None:
            lines.append(line)
        elif line.startswith("#"):
            heading = line.lstrip("# ")
    assert language is None, f"{page}: a block is not closed"
    return tuple(result)


def of_language(*languages: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page) if block.language in languages]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"(?ms)^```.*?^```$", "", page.read_text())


# Commands


def commands() -> list[tuple[str, list[str]]]:
    """(where it stands, its words) of every command in the pages' bash blocks."""
    lines = [
        (block.name, line)
        for block in of_language("bash")
        for line in block.text.replace("\\\n", " ").splitlines()
        if line.strip() and not line.strip().startswith("#")
    ]
    return [(where, shlex.split(line, comments=True)) for where, line in lines]


def made_by_make(words: list[str]) -> list[list[str]]:
    """The `python -m experiments...` commands that a make command would run."""
    outer = {"MAKEFLAGS", *re.findall(r"^(\w+) \?=", (ROOT / "Makefile").read_text(), re.M)}  # of `make test ARGS=...`
    env = {name: value for name, value in os.environ.items() if name not in outer}
    result = subprocess.run([*words, "--dry-run"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.replace("\\\n", " ").splitlines()
    return [["python", *shlex.split(line)[1:]] for line in lines if re.match(r"\S*python -m experiments\.", line)]


@functools.cache
def refusals() -> dict[str, str | None]:
    """Command -> why its entry point refuses it; one process for each entry point checks all of its commands."""
    by_entry: dict[str, list[list[str]]] = {}
    for _, words in commands():
        for run in made_by_make(words) if words[0] == "make" else [words]:
            if run[:2] == ["python", "-m"] and run[2].startswith("experiments."):
                by_entry.setdefault(run[2], []).append(run[3:])

    def check(entry: str) -> list[str | None]:
        lines = "".join(json.dumps(arguments) + "\n" for arguments in by_entry[entry])
        result = subprocess.run(
            [sys.executable, "-m", entry, "--check_each"],
            cwd=ROOT, input=lines, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        if result.returncode:
            return [result.stderr.strip().splitlines()[-1]] * len(by_entry[entry])
        return [json.loads(line).get("refused") for line in result.stdout.splitlines()]

    with ThreadPoolExecutor(2) as pool:
        answers = dict(zip(by_entry, pool.map(check, by_entry), strict=True))
    return {
        shlex.join([entry, *arguments]): why
        for entry, given in by_entry.items()
        for arguments, why in zip(given, answers[entry], strict=True)
    }


def test_every_command_is_accepted_by_its_entry_point():
    assert refusals()
    refused = {command: why for command, why in refusals().items() if why is not None}
    assert not refused, refused


def test_a_wrong_command_would_be_refused(monkeypatch):
    wrong = ["python", "-m", "experiments.envs", "--nmae=dmc"]
    monkeypatch.setitem(globals(), "commands", lambda: [("nowhere", wrong)])
    ((command, why),) = refusals.__wrapped__().items()
    assert command == "experiments.envs --nmae=dmc" and "flag --nmae is not known; did you mean --name?" in why


def test_every_command_is_of_a_known_kind():
    unknown = []
    for where, words in commands():
        words = words[[("=" in word) for word in words].index(False) :]  # variables of the environment
        if words[0] == "make":
            continue
        known = words[:2] == ["python", "-m"] and re.match(r"experiments\.|launch\.sweep$", words[2])
        known = known or (words[0] == "sh" and (ROOT / words[1]).is_file())
        if not known:
            unknown.append(f"{where}: {shlex.join(words)}")
    assert not unknown, unknown


@pytest.mark.parametrize("words", [w for _, w in commands() if w[:3] == ["python", "-m", "launch.sweep"]])
def test_every_sweep_is_accepted(words, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert sweep.main([*words[3:], "--dry_run"]) == 0, capsys.readouterr().err


def test_the_readme_quotes_what_the_main_job_prints():
    """The names in the README's quotation are those of the summary that the main job prints."""
    source = ast.parse((ROOT / "experiments" / "skills.py").read_text())
    values = (
        node.value
        for node in ast.walk(source)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "summary"
    )
    printed = next([key.value for key in value.keys] for value in values if isinstance(value, ast.Dict))
    quoted = next(block.text for block in of_language("text") if block.text.startswith("episodes "))
    assert [line.split()[0] for line in quoted.splitlines()] == [*printed, "report:"]


# Examples


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[Block, str | None]:
    """Python block -> how it failed, or None. The blocks of a page run in one process, in order, in one namespace."""
    folder = tmp_path_factory.mktemp("docs")

    def run(page: Path) -> dict[Block, str | None]:
        code = [block for block in blocks(page) if block.language == "python"]
        place = folder / page.stem
        place.mkdir()
        if page.name == "README.md":
            record_demonstrations(place / "datasets" / "red_on_blue")
        result = subprocess.run(
            [sys.executable, "-c", RUN_BLOCKS], cwd=place, capture_output=True, text=True, timeout=600,
            input=json.dumps([(block.name, block.text) for block in code]), env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        return dict(zip(code, json.loads(result.stdout), strict=True))

    pages = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]
    pages = [page for page in pages if str(page.relative_to(ROOT)) not in WHOLE]
    with ThreadPoolExecutor(2) as pool:
        return {block: why for reports in pool.map(run, pages) for block, why in reports.items()}


def record_demonstrations(folder: Path) -> None:
    """What stands in for the demonstrations that `make skills` records: their entries, in a few episodes of noise."""
    spec = registry.make("sawyer.stack_red_on_blue.set4").spec
    dice = np.random.default_rng(0)
    noise = lambda *shape: dice.uniform(-1, 1, shape).astype(np.float32)  # noqa: E731
    with minari.Recorder(folder, spec) as recorder:
        for _ in range(3):
            obs = {name: noise(31, *shape.shape[1:]) for name, shape in spec.obs.items()}
            recorder.append([minari.Episode(obs, noise(30, *spec.action.shape), np.zeros(30, np.float32), False)])


def examples():
    for block in of_language("python"):
        if block.page in WHOLE:
            continue
        waits = block.heading in PENDING.get(block.page, ())
        needs_suite = "dmc." in block.text and importlib.util.find_spec("dm_control") is None
        marks = [pytest.mark.xfail(strict=True, reason="pending: remove it from PENDING")] * waits
        marks += [pytest.mark.skipif(needs_suite, reason="dm_control has no wheel for this Python")]
        yield pytest.param(block, marks=marks, id=block.name)


@pytest.mark.parametrize("block", list(examples()))
def test_every_example_runs(block, outcomes):
    assert outcomes[block] is None, outcomes[block]


def test_what_is_pending_is_there():
    headings = {page: {b.heading for b in of_language("python") if b.page == page} for page in PENDING}
    assert all(set(waiting) <= headings[page] for page, waiting in PENDING.items())


def test_the_notebook_is_the_page():
    kept = nbformat.read(notebook.NOTEBOOK, as_version=4)
    assert kept == notebook.of_page(), "renew it by `python tests/notebook.py`"
    nbformat.validate(kept)


@pytest.mark.slow
def test_the_notebook_runs_and_comes_to_what_the_page_says(tmp_path, monkeypatch):
    """Every cell, in an empty folder with the project's commands."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("JUPYTER_PATH", str(Path(sys.prefix) / "share" / "jupyter"))
    cells = nbformat.read(notebook.NOTEBOOK, as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(cells, timeout=1800, kernel_name="python3", resources=place).execute()
    skills = json.loads((tmp_path / "runs/my_skills/fixed_skills.json").read_text())
    prior = next(row["return"] for row in skills["skills"] if row["skill"] is None)
    agent = json.loads((tmp_path / "runs/my_agent/summary.json").read_text())
    assert skills["env"] == "gymnasium:MountainCarContinuous-v0" and prior > 50
    assert agent["eval_return"] > 80
    assert (tmp_path / "runs/my_skills/watch/episode.mp4").stat().st_size > 10_000
    printed = "".join(output.get("text", "") for cell in cells.cells for output in cell.get("outputs", []))
    assert "the demonstrator earns 92.3" in printed


@pytest.mark.parametrize("what", ["A world", "A skill", "A data set", "An agent", "An encoder"])
def test_adding_something_takes_few_lines(what):
    (block,) = [b for b in blocks(ROOT / "docs" / "add_your_own.md") if b.heading == what and b.language == "python"]
    assert len(block.text.splitlines()) < LONGEST


def test_the_readme_is_short_and_its_example_has_ten_lines():
    page = ROOT / "README.md"
    assert len(page.read_text().splitlines()) <= SCREENS
    (example,) = [block for block in blocks(page) if block.language == "python"]
    assert sum(not isinstance(node, ast.Import | ast.ImportFrom) for node in ast.parse(example.text).body) <= 10


# Names


@functools.cache
def setting_names() -> set[str]:
    """Every setting of every config file, whatever the preset and its options, and the groups they lie in."""
    beginning = ConfigDict()
    start_settings.add_settings(beginning)
    names = set(settings.flat(beginning))
    for file in cli.CONFIGS.glob("[!_]*.py"):
        module = settings._load_module(file)
        with mock.patch.object(cli, "choose", wraps=cli.choose) as choose:
            module.get_config(next(iter(module.PRESETS)))
        options = choose.call_args_list[0].kwargs  # name -> its default, or a list of the values allowed
        lists = {name: listed for name, listed in options.items() if isinstance(listed, list)}
        values = [f",{name}={value}" for name, listed in lists.items() for value in listed]
        pairs = [one + other for one, other in itertools.combinations(values, 2)]  # of one option: the later counts
        for preset, argument in itertools.product(module.PRESETS, ("", *values, *pairs)):
            with contextlib.suppress(cli.Refused):  # two that do not go together have no settings
                names |= set(settings.flat(module.get_config(preset + argument)))
    groups = {name.rsplit(".", depth)[0] for name in names for depth in range(1, name.count(".") + 1)}
    return names | groups | {"init_from"}  # --init_from stands in a run's config.json beside its settings


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_exists(page):
    text = page.read_text()
    named = set(re.findall(r"(?<![\w./])config[.:]([a-z_][\w.]*\w)", text)) - {"json"}
    named = {name for name in named if f"config:{name}" not in text}  # options of presets, which the commands check
    named |= {
        name
        for name in re.findall(r"`((?:agent|train|replay|eval|env|data)\.[a-z_]+)(?:=[^`]*)?`", prose(page))
        if not resolves(f"skillhier.{name}")
    }
    assert not named - setting_names()


def resolves(name: str) -> bool:
    """Whether a dotted name is a module of ours, or something inside one."""
    parts = name.split(".")
    for depth in range(len(parts), 0, -1):
        if not test_house.is_module(".".join(parts[:depth])):
            continue
        value = importlib.import_module(".".join(parts[:depth]))
        for part in parts[depth:]:
            if part in getattr(value, "__annotations__", {}):  # a field of a record
                return True
            if not hasattr(value, part):
                return False
            value = getattr(value, part)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_name_in_the_code_exists(page):
    """Dotted names in backticks that begin with a part of the library, `ops.messages.forward`."""
    named = re.findall(r"`((?:[a-z_]+\.)+(?!html|json)[A-Za-z_]+)(?:\(.*?\))?`", prose(page))
    parts = {path.stem for path in (ROOT / "skillhier").iterdir()} - {"__init__"}
    missing = [
        name
        for name in named
        if name.split(".")[0] in parts and not resolves(f"skillhier.{name}") and name not in setting_names()
        if not is_file(name)
    ]
    missing += [name for name in named if name.split(".")[0] in ("skillhier", "experiments") and not resolves(name)]
    assert not missing


def is_file(name: str) -> bool:
    return any((ROOT / place / name).exists() for place in ("", "skillhier", "docs", "experiments"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_and_every_file_exists(page):
    text = prose(page)
    links = re.findall(r"\]\(((?!https?:)[\w./:#-]+)\)", re.sub("`[^`]*`", "code", text))
    broken = []
    for link in links:
        target, _, anchor = link.partition("#")
        file = (page.parent / target) if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(link)
    written = re.findall(r"`([\w./-]+\.(?:py|md|sh|svg|toml|cfg))(?::[^`]*)?`", text)
    broken += [name for name in written if not is_file(name)]
    assert not broken


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"(?m)^#+ (.*)$", prose(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_linked():
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    }
    alone = [page.name for page in (ROOT / "docs").iterdir() if page.is_file() and page.resolve() not in linked]
    assert not alone


def test_no_page_names_a_path_of_one_machine():
    places = re.compile(r"(?<![\w.])/(work|root|home|Users|tmp)\b")
    lines = [f"{page.name}: {line}" for page in PAGES for line in page.read_text().splitlines() if places.search(line)]
    assert not lines


def test_the_figure_of_the_house_is_the_import_table():
    """Its arrows and foundations are allowed imports, and every allowed import can be reached along them."""
    tree = ElementTree.parse(ROOT / "docs" / "house.svg")
    drawn = {tuple(node.get("data-arrow").split()) for node in tree.iter() if node.get("data-arrow")}
    rooms = {node.get("data-room"): node.get("data-on").split() for node in tree.iter() if node.get("data-room")}
    drawn |= {(room, below) for room, stones in rooms.items() for below in stones}
    allowed = {(room, below) for room, (ours, _) in test_house.TABLE.items() for below in ours if room != "__init__"}
    assert set(rooms) == set(test_house.TABLE) - {"__init__"}
    assert drawn <= allowed, f"not in the table: {drawn - allowed}"
    reached = set(drawn)
    for _ in rooms:
        reached |= {(a, d) for a, b in reached for c, d in drawn if b == c}
    assert allowed <= reached, f"not in the figure: {allowed - reached}"
    said = dict(zip(rooms, map(stated, groups(tree)), strict=True))
    assert said == {room: set(stones) for room, stones in rooms.items()}


def groups(tree: ElementTree.ElementTree) -> list[ElementTree.Element]:
    return [node for node in tree.iter() if node.get("data-room")]


def stated(group: ElementTree.Element) -> set[str]:
    """The foundations that a room's visible text names."""
    text = " ".join(node.text for node in group.iter() if node.get("class") == "on")
    return set(re.findall(r"types|branch|files|distributed", text))

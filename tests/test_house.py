"""The house's rules, read from the source: who may import whom, and what may not stand anywhere.

An arrow added by accident is red here. Where the house itself has learnt better, change the table and say why.
"""

import ast
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEARNING = {"flax", "optax", "distrax", "orbax"}
PHYSICS = {"mujoco", "brax", "dm_control", "gymnasium"}
SETTINGS = {"ml_collections", "absl"}

# part: (what it may import of ours beside itself, what it must never import of others)
TABLE = {
    "types": (set(), LEARNING | PHYSICS | SETTINGS),
    "files": (set(), {"jax", "numpy"} | LEARNING | PHYSICS | SETTINGS),
    "distributed": (set(), LEARNING | PHYSICS | SETTINGS),
    "branch": ({"types"}, LEARNING | PHYSICS | SETTINGS),
    "rollout": ({"types"}, LEARNING | PHYSICS | SETTINGS),
    "ops": ({"types"}, {"flax", "optax"} | PHYSICS | SETTINGS),
    "nets": ({"types", "distributed", "ops"}, {"optax", "orbax"} | PHYSICS | SETTINGS),
    "losses": ({"types", "ops"}, {"flax", "optax", "orbax"} | PHYSICS | SETTINGS),
    "policies": ({"types", "branch", "rollout", "ops"}, {"flax", "optax", "orbax"} | PHYSICS | SETTINGS),
    "agents": (
        {"types", "branch", "distributed", "rollout", "ops", "nets", "losses", "policies"},
        {"orbax"} | PHYSICS | SETTINGS,
    ),
    "envs": ({"types", "branch", "distributed"}, LEARNING | SETTINGS),
    "data": ({"types", "files", "branch", "distributed", "rollout"}, LEARNING | PHYSICS | SETTINGS),
    "train": ({"types", "files", "distributed", "rollout"}, {"flax", "optax", "distrax"} | PHYSICS | SETTINGS),
    "report": (
        {"train", "files"},
        LEARNING | PHYSICS | SETTINGS,
    ),  # what a run folder holds is read where it is written
    "__init__": ({"envs"}, LEARNING | PHYSICS | SETTINGS),  # registration with gymnasium, which imports nothing itself
}
# Inside envs/ too arrows run one way: part -> the parts that it may import, `.` for the files beside the folders.
ENVS = {
    "physics": set(),
    "render": {"physics"},
    ".": {"physics", "render", "adapters", "antmaze", "dmc", "fetch", "sawyer"},  # the registry names every family
    "antmaze": {"physics", "dmc", "."},  # its ant is in the package that `dmc` reads its models from
    "dmc": {"physics", "."},
    "fetch": {"physics", "."},
    "sawyer": {"physics", "."},
    "adapters": {"physics", "render", "."},
}
# What a dependency is called on the package index, where that differs from what is imported.
PACKAGES = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "absl": "absl-py",
    "orbax": "orbax-checkpoint",
    "warp": "warp-lang",
    "yaml": "pyyaml",
    "mujoco_playground": "playground",
}


def sources(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


@cache
def imports(file: Path) -> list[tuple[str, bool]]:
    """Every module that `file` imports: (its dotted name, whether at the top of the file)."""
    tree = ast.parse(file.read_text())
    top = set(map(id, tree.body))
    package = (ROOT / file).relative_to(ROOT).parts[:-1]
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                inside = f"{origin}.{alias.name}"
                found.append((inside if is_module(inside) else origin, id(node) in top))
    return found


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path.is_dir() and any(path.glob("*.py")))


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def forbidden(file: Path) -> list[str]:
    """The imports of a file of the library that the table does not allow."""
    part = file.relative_to(ROOT / "skillhier").parts[0].removesuffix(".py")
    ours, never = TABLE[part]
    broken = []
    for name, _ in imports(file):
        top, _, rest = name.partition(".")
        if (top == "skillhier" and rest.split(".")[0] not in {part, *ours}) or top in {"experiments", "tests", *never}:
            broken.append(name)
    return broken


@pytest.mark.parametrize("part", TABLE)
def test_each_part_imports_only_what_stands_below_it(part):
    folder = ROOT / "skillhier" / part
    files = sources(f"skillhier/{part}") if folder.is_dir() else [folder.with_suffix(".py")]
    broken = [f"{module_of(file)} imports {name}" for file in files if file.is_file() for name in forbidden(file)]
    assert not broken, broken


def test_inside_envs_arrows_run_one_way():
    """But for the registry, which knows all families so that nobody else must: its imports are lazy."""
    place = lambda parts: parts[2] if len(parts) > 3 or (ROOT / Path(*parts[:3])).is_dir() else "."  # noqa: E731
    broken = []
    for file in sources("skillhier/envs"):
        mine = place(file.relative_to(ROOT).parts)
        for name, _ in imports(file):
            parts = name.split(".")
            if parts[:2] != ["skillhier", "envs"] or len(parts) < 3:
                continue
            other = place(parts)
            beside = (
                mine == "." and file.stem != "registry" and other in ("antmaze", "dmc", "fetch", "sawyer", "adapters")
            )
            if other not in {mine, *ENVS[mine]} or beside:
                broken.append(f"{module_of(file)} imports {name}")
    assert not broken, broken


def test_every_part_has_its_row():
    parts = {path.stem for path in (ROOT / "skillhier").iterdir() if path.suffix == ".py" or any(path.glob("*.py"))}
    assert parts <= set(TABLE), f"add to the table: {parts - set(TABLE)}"


def test_entry_points_do_not_import_each_other():
    """What several need lies in a room of its own: a folder. Rooms do not know entry points, nor `shared` configs."""
    broken = []
    for file in sources("experiments"):
        inside = file.relative_to(ROOT / "experiments").parts
        for name, _ in imports(file):
            top, _, rest = name.partition(".")
            other = rest.split(".")[0]
            allowed = (
                other == ""
                or (other == "configs" and inside[0] == "configs")
                or (other != "configs" and (ROOT / "experiments" / other).is_dir())
            )
            if (top == "experiments" and not allowed) or top == "tests":
                broken.append(f"{module_of(file)} imports {name}")
    assert not broken, broken


def test_nothing_imports_in_a_circle():
    """Imports inside functions count: they put a circle off, and do not undo it."""
    graph = {module_of(file): {name for name, _ in imports(file)} for file in sources("skillhier", "experiments")}
    state: dict[str, int] = {}

    def walk(module: str, path: list[str]) -> None:
        assert state.get(module) != 1, f"a circle: {' -> '.join([*path[path.index(module) :], module])}"
        if module in graph and module not in state:
            state[module] = 1
            for below in sorted(graph[module]):
                walk(below, [*path, module])
            state[module] = 2

    for module in graph:
        walk(module, [])


def test_launch_only_runs_commands():
    """It imports nothing of ours and nobody imports it: what it must know of an entry point, it asks by its flags."""
    never = {"launch": {"skillhier", "experiments", "tests"}, "skillhier": {"launch"}, "experiments": {"launch"}}
    broken = [
        f"{module_of(file)} imports {name}"
        for folder, others in never.items()
        for file in sources(folder)
        for name, _ in imports(file)
        if name.split(".")[0] in others
    ]
    assert sources("launch") and not broken, broken


def test_what_is_imported_is_installed_by_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[\[<>=~!; ]", line)[0].lower().replace("-", "_") for line in requirements}

    needed = names(project["dependencies"])
    extras = {name: names(lines) for name, lines in project["optional-dependencies"].items()}
    missing = []
    for file in sources("skillhier", "experiments", "launch", "tests"):
        here = {path.stem for path in file.parent.glob("*.py")}
        testing = file.is_relative_to(ROOT / "tests")
        for name, top in imports(file):
            package = name.split(".")[0]
            if package in sys.stdlib_module_names | {"skillhier", "experiments", "launch"} | (
                here if testing else set()
            ):
                continue
            allowed = needed | (extras["dev"] | extras["launch"] | extras["lerobot"] if testing else set())
            optional = ("warp", "playground", "launch", "lerobot", "dev")  # asked for only when it is used
            allowed |= set() if top else set().union(*(extras[name] for name in optional))
            if PACKAGES.get(package, package).lower().replace("-", "_") not in allowed:
                missing.append(f"{module_of(file)} imports {package}")
    assert not missing, missing


def test_no_file_grows_beyond_reading():
    long = {
        str(file.relative_to(ROOT)): lines
        for file in sources("skillhier", "experiments", "launch")
        if file.stem != "tasks" and (lines := len(file.read_text().splitlines())) > 350
    }
    assert not long, f"longer than 350 lines, each perhaps two things: {long}"


def test_no_module_is_a_drawer():
    drawers = {"utils", "util", "common", "base", "helpers", "misc"}
    modules = map(module_of, sources("skillhier", "experiments", "launch", "tests"))
    found = [module for module in modules if drawers & set(module.split("."))]
    assert not found, found


def test_names_say_what_things_are():
    """A variable called `found` says how its value came about, not what it is."""
    empty = {"told", "found", "made"}
    names = []
    for file in sources("skillhier", "experiments", "launch"):
        for node in ast.walk(ast.parse(file.read_text())):
            name = getattr(node, "id", None) or getattr(node, "arg", None) or getattr(node, "name", None)
            if isinstance(node, ast.Name | ast.arg | ast.FunctionDef | ast.ClassDef) and name in empty:
                names.append(f"{module_of(file)} line {node.lineno}: {name}")
    assert not names, names


def test_nothing_is_unpickled():
    """Whoever wrote a pickle can run code in whoever reads it."""
    unsafe = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    found = []
    for file in sources("skillhier", "experiments", "launch"):
        found += [f"{module_of(file)} imports {name}" for name, _ in imports(file) if name.split(".")[0] in unsafe]
        found += [
            f"{module_of(file)} line {node.value.lineno} says allow_pickle"
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False"
        ]
    assert not found, found


def test_no_path_of_one_machine():
    """The project runs anywhere: no absolute path of the machine it was written on."""
    texts = [
        ROOT / name for name in ("Makefile", "README.md", "BUILD_NOTES.md", "pyproject.toml", "setup.cfg", ".ci/run")
    ]
    places = re.compile(r"(?<![\w.])/(work|root|home|Users|tmp/[\w.])")
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in [*sources("skillhier", "experiments", "launch", "tests"), *filter(Path.is_file, texts)]
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if places.search(line)
    ]
    assert not found, found

"""What the generated job files of every kind of cluster share: their shell lines, and how they are written."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

from launch.grid import Refused
from launch.runs import Run

STORE = "/mnt/store"  # where what outlives a machine is found on it: the bucket, or the volume
STOPPED = 143  # exit code of a job that was told to go; a cluster would take 0 for the end of it


def install(extras: str) -> str:
    """Shell lines that make the environment of this project, in its folder."""
    return f"make install PYTHON=python3{f' EXTRAS={extras}' if extras else ''}\n"


def run(run: Run, folder: Path) -> str:
    """Shell lines that run it and pass a stop signal on.

    An entry point that was stopped has saved and ends with 0; these lines then end with 143, so that it is started
    again. A run finds data sets under its usual path: `datasets` is that of the store, unless the project has one.
    """
    where = f"{STORE}/{folder.name if folder.is_absolute() else folder}/{run.name}"
    return (
        f"[ -e datasets ] || [ -L datasets ] || ln -s {STORE}/datasets datasets\n"
        f"{run.shown('.venv/bin/python', where)} &\n"
        "child=$!\n"
        f"trap 'kill -TERM $child; wait $child; exit {STOPPED}' TERM INT\n"
        "wait $child\n"
    )


def show(asked: SimpleNamespace, files: Sequence[tuple[str, dict]]) -> str:
    folder = asked.folder / "jobs" / asked.to
    return "\n".join(f"# {folder}/{name}.yaml\n{text(content)}".rstrip() for name, content in files)


def write(asked: SimpleNamespace, files: Sequence[tuple[str, dict]]) -> Path:
    """Writes NAME.yaml for each, in place of all that a former start wrote; gives back their folder."""
    folder = asked.folder / "jobs" / asked.to
    folder.mkdir(parents=True, exist_ok=True)
    for former in folder.glob("*.yaml"):
        former.unlink()
    for name, content in files:
        (folder / f"{name}.yaml").write_text(text(content))
    return folder


def text(content: dict) -> str:
    """YAML as one would write it by hand: in the order given, several lines as they stand."""
    try:
        import yaml
    except ImportError:
        raise Refused("job files need PyYAML; install the extra `launch`: pip install -e '.[launch]'") from None

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    style = lambda dumper, text: dumper.represent_scalar(  # noqa: E731
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    )
    Dumper.add_representer(str, style)
    return yaml.dump(content, Dumper=Dumper, sort_keys=False, width=1000)

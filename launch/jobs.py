"""What the generated job files of every kind of cluster share: their shell lines, and how they are written."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

from launch.grid import Refused
from launch.runs import Run

STORE = "/mnt/store"  # where the bucket or volume that outlives a machine is mounted
STOPPED = 143  # exit code of a stopped job (128 + SIGTERM); with 0 the cluster would take it for finished


def install_lines(extras: str) -> str:
    """Shell lines that install this project, run in its folder."""
    return f"make install PYTHON=python3{f' EXTRAS={extras}' if extras else ''}\n"


def run_lines(run: Run, folder: Path) -> str:
    """Shell lines that start a run and forward a stop signal to it.

    An entry point that was stopped has saved and exits with 0; these lines then exit with 143, so that the cluster
    starts it again. A run reads data sets from their usual path: `datasets` links to the store, unless it exists.
    """
    workdir = f"{STORE}/{folder.name if folder.is_absolute() else folder}/{run.name}"
    return (
        f"[ -e datasets ] || [ -L datasets ] || ln -s {STORE}/datasets datasets\n"
        f"{run.shell_line('.venv/bin/python', workdir)} &\n"
        "child=$!\n"
        f"trap 'kill -TERM $child; wait $child; exit {STOPPED}' TERM INT\n"
        "wait $child\n"
    )


def show(options: SimpleNamespace, files: Sequence[tuple[str, dict]]) -> str:
    """The files as they would be written, each under a comment with its path."""
    folder = options.folder / "jobs" / options.to
    return "\n".join(f"# {folder}/{name}.yaml\n{to_yaml(content)}".rstrip() for name, content in files)


def write(options: SimpleNamespace, files: Sequence[tuple[str, dict]]) -> Path:
    """Writes NAME.yaml for each in place of the files of an earlier call; returns their folder."""
    folder = options.folder / "jobs" / options.to
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.yaml"):
        stale.unlink()
    for name, content in files:
        (folder / f"{name}.yaml").write_text(to_yaml(content))
    return folder


def to_yaml(content: dict) -> str:
    """YAML as one would write it by hand: keys in their order, text of several lines as a block."""
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

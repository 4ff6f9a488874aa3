"""A byte of any file of a run folder is changed, the file is cut, or it is gone: refused in one line, or made again.

The same command on the folder either ends with one line that names the file, or with all that the run had left before.
"""

import shutil
from pathlib import Path

import pytest
from faulty import regression, spoiling
from leftovers import leaves, record

from skillhier.report import run_page
from skillhier.train import checkpoint, metrics, run_folder, session

VERIFIED = ("config.json", "checkpoints")  # without these a run cannot go on; all else follows from them
OLD = "checkpoints/4/"  # the one before the last, from which nothing is read


def command(folder: Path) -> None:
    """What an entry point does with its folder: opens it, trains to the budget, writes page and summary."""
    path, about = run_folder.open_run(folder, "regression", {"agent.name": "regression", "seed": 0})
    session.execute(
        path, regression(), spoiling(), seed=0, budget=6, updates=1, save_every=2, about=about, label="regression"
    )
    session.finish(
        path,
        0,
        1,
        lambda rows: {"error": rows[-1]["guess/error"]},
        lambda place, one: run_page.write(place, summary=one),
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("done") / "run"
    command(folder)
    return folder


def files_of(folder: Path) -> list[str]:
    everything = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return sorted(str(path.relative_to(folder)) for path in everything)


def damage(file: Path, form: str, at: float) -> None:
    data = file.read_bytes()
    place = min(int(at * len(data)), len(data) - 1)
    if form == "remove":
        file.unlink()
    elif form == "cut":
        file.write_bytes(data[:place])
    else:
        file.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])


def outcome(done: Path, folder: Path, name: str) -> str:
    """'refused' or 'made again', having been held to what that means."""
    try:
        command(folder)
    except (run_folder.RunFolderError, checkpoint.CheckpointError) as error:
        assert str(folder / name) in str(error) and "\n" not in str(error)
        return "refused"
    ours = lambda place: [file for file in files_of(place) if not file.startswith(("tensorboard", OLD))]  # noqa: E731
    assert ours(folder) == ours(done)
    assert record(folder) == record(done) and leaves(folder, 6) == leaves(done, 6)
    assert run_folder.read_summary(folder) == run_folder.read_summary(done)
    assert len(list((folder / "tensorboard").iterdir())) == 1
    assert (folder / "report.html").stat().st_size > 5000
    return "made again"


def tried(done: Path, tmp_path: Path, form: str, at: float) -> None:
    for i, name in enumerate(files_of(done)):
        folder = tmp_path / f"{i}"
        shutil.copytree(done, folder)
        damage(folder / name, form, at)
        removed = form == "remove" and name == "config.json"  # which is that of a new folder
        expected = "refused" if name.startswith(VERIFIED) and not name.startswith(OLD) and not removed else "made again"
        assert outcome(done, folder, name) == expected, (name, form, at)
        shutil.rmtree(folder)


def test_a_byte_is_changed_in_the_middle_of_each_file(done, tmp_path):
    assert {"config.json", "metrics.jsonl", "report.html", "summary.json"} < set(files_of(done))
    tried(done, tmp_path, "flip", 0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "at"),
    [*(("flip", at) for at in (0.0, 0.01, 0.2, 0.35, 0.65, 0.8, 0.97, 1.0)), ("cut", 0.0), ("cut", 0.5), ("cut", 1.0),
     ("remove", 0.0)],
)  # fmt: skip
def test_each_file_is_damaged_elsewhere(done, tmp_path, form, at):
    tried(done, tmp_path, form, at)


@pytest.mark.slow
def test_every_byte_of_the_small_files(done, tmp_path):
    """As readers see it: what is damaged is refused, or reads as before."""
    for name, read, error in (
        ("config.json", lambda f: run_folder.read_config(f.parent), run_folder.RunFolderError),
        ("metrics.jsonl", metrics.rows, metrics.RecordError),
        ("checkpoints/6/manifest.json", lambda f: checkpoint.verify(f.parent), checkpoint.CheckpointError),
    ):
        file = tmp_path / "run" / name
        shutil.copytree(done, tmp_path / "run")
        data, before = file.read_bytes(), read(file)
        unnoticed = 0
        for at in range(len(data)):
            file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            try:
                unnoticed += read(file) != before
            except error as refusal:
                assert name in str(refusal) and "\n" not in str(refusal)
        # a record alone does not know its figures; the command of its run puts them back, as above
        assert unnoticed == 0 or name == "metrics.jsonl"
        shutil.rmtree(tmp_path / "run")

"""Several devices do what one does: held by a process that has four, and by this one that has one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import row_of_devices as row
from leftovers import record

from experiments.shared import cli, learning
from skillhier.agents.learner import num_microbatches
from skillhier.distributed import sharding
from skillhier.train import checkpoint

ROOT = Path(__file__).parents[1]
FOUR = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "PYTHONPATH": str(ROOT)}
CONFIG = "--config=experiments/configs/helms_offline.py:debug"


def run(*command: str, **settings: str) -> subprocess.CompletedProcess:
    env = {**os.environ, **FOUR, **settings}
    return subprocess.run([sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """(folder, arrays by name) of the process that has four devices."""
    place = tmp_path_factory.mktemp("four")
    row.executed(place / "alone", 3)
    told = run("tests/row_of_devices.py", str(place))
    assert told.returncode == 0, told.stderr[-3000:]
    return place, dict(np.load(place / "found.npz"))


def close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], exact: tuple[str, ...] = ()) -> None:
    assert found.keys() >= expected.keys() and expected
    for name, value in expected.items():
        if name.startswith(exact) and exact:
            np.testing.assert_array_equal(found[name], value, err_msg=name)
        else:
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("case", row.CASES)
def test_four_devices_learn_what_one_learns(four, case):
    """And the replay, what is counted of episodes and what was drawn from both are the same to the bit."""
    state, told, _, _, _ = row.trained(case)
    close(four[1], row.named((state, told), case), exact=(f"{case}/0/source", f"{case}/0/key"))


@pytest.mark.parametrize("case", row.CASES)
def test_a_second_epoch_compiles_nothing(four, case):
    assert four[1][f"{case}/compiled"] == 0


def test_worlds_in_c_go_the_same_ways_and_are_evaluated_the_same(four):
    """The process itself holds that each device steps its own worlds and no others."""
    close(four[1], {f"sawyer/{name}": value for name, value in row.sawyer().items()})


def test_a_checkpoint_of_four_devices_is_continued_by_one_and_the_other_way_round(four, tmp_path):
    row.executed(tmp_path / "whole", 6)
    row.executed(four[0] / "many", 6)
    for path in (four[0] / "many", four[0] / "alone"):
        assert [line["step"] for line in record(path)] == [3, 6]
        for ours, theirs in zip(record(path), record(tmp_path / "whole"), strict=True):
            assert ours.keys() == theirs.keys()
            for name in ours:
                assert ours[name] == pytest.approx(theirs[name], rel=1e-5, abs=1e-5, nan_ok=True), name
        for part in ("learner", "source", "key"):
            ours, theirs = (checkpoint.read(where, part, 6) for where in (path, tmp_path / "whole"))
            close(row.named(ours, ""), row.named(theirs, ""))


def test_what_four_devices_saved_comes_back_to_the_bit(four):
    saved = checkpoint.read(four[0] / "many", "source/replay", 3)
    expected = {n: v for n, v in four[1].items() if n.startswith("online/0/source/replay")}
    found = {f"online/0/source/replay{name}": value for name, value in row.named(saved, "").items()}
    close(found, expected, exact=("online",))


# --- wrong use ---


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--devices=5"], "--devices=5: there are 4 here; choose 1 to 4, or 0 for all"),
        (["--config.train.batch_size=18"], "config.train.batch_size=18 cannot be shared out evenly among 4 devices; "
         "set config.train.batch_size=20, or choose another --devices"),
    ],
)  # fmt: skip
def test_what_cannot_be_shared_out_is_refused_in_one_line(tmp_path, flags, said):
    told = run("-m", "experiments.helms_offline", CONFIG, f"--workdir={tmp_path / 'run'}", *flags)
    assert (told.returncode, told.stderr.count("\n")) == (2, 1) and said in told.stderr, told.stderr
    assert not (tmp_path / "run").exists()


def test_the_batch_of_helms_is_taken_in_pieces():
    assert num_microbatches(rows=8, batch=256) == 4


def test_one_device_needs_no_mesh():
    assert sharding.mesh(1) is None and sharding.num_devices() == 1
    learning.check_divisible(cli.Run("test", None, None), "train.batch_size")
    tree = {"x": np.ones((3, 5))}
    assert sharding.shard(tree, 1) is tree


@pytest.mark.slow
def test_the_command_uses_all_devices_and_comes_to_the_same(tmp_path):
    for count in (1, 4):
        told = run("-m", "experiments.helms_offline", CONFIG, "--config.train.updates=50",
                   f"--workdir={tmp_path / str(count)}", f"--devices={count}")  # fmt: skip
        assert told.returncode == 0, told.stderr
    one, four = record(tmp_path / "1"), record(tmp_path / "4")
    assert one[0]["elbo/bound"] == pytest.approx(four[0]["elbo/bound"], rel=1e-4)
    assert one[-1]["heldout/action_mse"] == pytest.approx(four[-1]["heldout/action_mse"], rel=0.05)

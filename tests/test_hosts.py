"""Several hosts: where each finds its place, how they meet, and that the loss of one ends all with one clear line."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from leftovers import leaves, record

from skillhier.distributed import hosts, watchdog
from skillhier.train import checkpoint, metrics

ROOT = Path(__file__).parents[1]
PARTS = ("learner", "key")
SLURM = {"SLURM_JOB_ID": "4001", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2"}
JOBSET = {"JAX_COORDINATOR_ADDRESS": "a-run-0-0.a:8476", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}


# --- the place of a host ---


@pytest.mark.parametrize(
    ("environ", "given", "expected"),
    [
        ({}, (), None),
        ({}, (None, 1, None), None),
        ({}, ("10.0.0.1:8476", 2, 0), ("10.0.0.1:8476", 2, 0)),
        (JOBSET, (), ("a-run-0-0.a:8476", 2, 1)),
        (JOBSET, (None, 1, None), None),
        ({"JOB_COMPLETION_INDEX": "1"}, ("a:8476", 2, None), ("a:8476", 2, 1)),
        ({"JOB_COMPLETION_INDEX": "1"}, (), None),
        (SLURM | {"SLURM_STEP_NODELIST": "node[003-006]"}, (), ("node003:61002", 4, 2)),
        (SLURM | {"SLURM_STEP_NODELIST": "a7,b[1-3]"}, (), ("a7:61002", 4, 2)),
        (SLURM | {"SLURM_STEP_NODELIST": "gpu[9,11-13]"}, (), ("gpu9:61002", 4, 2)),
        (SLURM | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, (), None),
        ({"SLURM_JOB_ID": "4001", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, (), None),  # a batch script, not a step
    ],
)
def test_a_host_finds_its_place(environ, given, expected):
    assert hosts.find_place(environ, *given) == (expected and hosts.HostPlace(*expected))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((None, 2, 2), "--host=2 is not one of 2 hosts; give 0 to 1"),
        ((None, 2, None), "--host is missing; give 0 to 1"),
        ((None, 2, 1), "--coordinator is missing; give HOST:PORT of host 0"),
        (("10.0.0.1", 2, 1), "--coordinator=10.0.0.1 is not HOST:PORT"),
        ((":8476", 2, 1), "--coordinator=:8476 is not HOST:PORT"),
        (("10.0.0.1:8476", None, 0), "--hosts is missing"),
        ((None, 0, None), "--hosts=0 is less than 1"),
    ],
)
def test_a_place_that_cannot_be_is_refused_in_one_line(given, said):
    with pytest.raises(ValueError, match="^[^\n]*$") as caught:
        hosts.find_place({}, *given)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "flags", "said"),
    [
        ("helms_offline", ("--hosts=2", "--host=0", "--coordinator=127.0.0.1:8476"), "2 hosts need --workdir"),
        ("helms_offline", ("--hosts=2", "--host=2", "--workdir=x"), "--host=2 is not one of 2 hosts; give 0 to 1"),
        ("benchmark", ("--hosts=2",), "--hosts=2 means nothing to benchmark, which learns nothing; leave it out"),
    ],
)  # fmt: skip
def test_the_command_refuses_it_in_one_line(entry, flags, said):
    config = [f"--config=experiments/configs/{entry}.py:debug"] if entry == "helms_offline" else []
    command = [sys.executable, "-m", f"experiments.{entry}", *config, *flags, "--check"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (told.returncode, told.stderr.count("\n")) == (2, 1) and said in told.stderr, told.stderr


# --- how they meet ---


def port() -> int:
    """A free one, whose next one is free too."""
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1] - 1


def meeting(*commands: tuple[str, ...], count: int, wait: float = 5) -> list:
    """What each host makes of meeting the others: its links, or the words of its refusal."""
    where, found = f"127.0.0.1:{port()}", [None] * len(commands)

    def meet(host: int) -> None:
        try:
            links = watchdog.meet(hosts.HostPlace(where, count, host), commands[host], wait)
            found[host] = sorted(links)
            for link in links.values():
                link.close()
        except ValueError as error:
            found[host] = str(error)

    threads = [threading.Thread(target=meet, args=(host,)) for host in reversed(range(len(commands)))]
    for thread in threads:
        thread.start()
        time.sleep(0.1)  # the last one first: they wait for host 0
    for thread in threads:
        thread.join(30)
    return found


def test_hosts_with_the_same_command_meet():
    assert meeting(("--x=1", "--y=2"), ("--y=2", "--x=1"), ("--x=1", "--y=2"), count=3) == [[1, 2], [0], [0]]


def test_hosts_with_other_commands_are_refused():
    said = "host 1 was started with another command than host 0; give both the same"
    assert meeting(("--x=1",), ("--x=2",), count=2) == [said, said]


def test_a_host_that_does_not_come_is_named():
    assert meeting(("--x",), ("--x",), count=3, wait=2)[0].startswith("host 2 did not connect within 2 s")


# --- the watch, over children that do what a test wants ---


def watched(*children: str, patience: float = 2.0) -> list[subprocess.Popen]:
    """Hosts whose runs are the given Python lines in place of a training."""
    where = f"127.0.0.1:{port()}"
    program = (
        "import sys, os, time, signal\n"
        "import jax\n"
        "from skillhier.distributed import hosts\n"
        "jax.distributed.initialize = lambda *_, **__: None\n"
        f"hosts.join(hosts.HostPlace({where!r}, {len(children)}, int(sys.argv[1])), [], patience={patience},\n"
        "           last=lambda: 'from update 7', wait=60)\n"
    )
    return [
        subprocess.Popen(
            [sys.executable, "-c", program + child, str(host)], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        for host, child in enumerate(children)
    ]


FOR_EVER = "time.sleep(600)"
ABORTS = "os.kill(os.getpid(), signal.SIGABRT)"
AGAIN = "start the same command on all hosts again: it goes on from update 7"


@pytest.mark.parametrize(
    ("ends", "code", "own", "others"),
    [
        ("time.sleep(.5); print('bad data', file=sys.stderr); os._exit(1)", 1, "bad data", "ended with an error"),
        (f"time.sleep(.5); {ABORTS}", 1, f"was ended by SIGABRT; {AGAIN}", "ended with an error"),
        ("time.sleep(.5); os._exit(0)", 0, "", "has stopped"),
        ("time.sleep(.5); os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)", -9, "", "is gone"),
    ],
)
@pytest.mark.parametrize("who", [0, 1])
def test_the_end_of_one_host_ends_all(who, ends, code, own, others):
    runs = [FOR_EVER] * 3
    runs[who] = ends
    found = watched(*runs)
    told = [child.communicate(timeout=60)[1] for child in found]
    assert found[who].returncode == code and own in told[who]
    for host in {0, 1, 2} - {who}:
        assert found[host].returncode == 1
        assert told[host] == f"host {who} {others}; {AGAIN}\n"


def test_a_host_that_says_nothing_any_more_is_given_up():
    found = watched(*[f"print('joined', file=sys.stderr, flush=True); {FOR_EVER}"] * 2)
    assert [host.stderr.readline() for host in found] == ["joined\n"] * 2
    found[1].send_signal(signal.SIGSTOP)
    try:
        assert f"host 1 is gone; {AGAIN}" in found[0].communicate(timeout=60)[1]
    finally:
        found[1].send_signal(signal.SIGCONT)
    assert found[1].wait(60) == 1


def test_what_all_hosts_do_well_ends_well():
    found = watched("time.sleep(.2); os._exit(0)", "time.sleep(1); os._exit(0)")
    assert [child.wait(60) for child in found] == [0, 0]
    assert [child.stderr.read() for child in found] == ["", ""]


# --- real runs, two hosts on one machine ---

SMALL = (
    "--config.train.updates_per_epoch=5", "--config.train.eval_every=10", "--config.train.save_every=10",
    "--host_timeout=30",
)  # fmt: skip


def begin(folder: Path, *flags: str, entry="helms_offline", preset="debug,agent=bc", count=2) -> list[subprocess.Popen]:
    command = [sys.executable, "-m", f"experiments.{entry}", f"--config=experiments/configs/{entry}.py:{preset}"]
    command += [f"--workdir={folder}", *flags]
    several = ["--hosts=2", f"--coordinator=127.0.0.1:{port()}"] if count > 1 else []
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return [
        subprocess.Popen(
            [*command, *several, *([f"--host={host}"] if several else [])],
            cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for host in range(count)
    ]  # fmt: skip


def finish(runs: list[subprocess.Popen], code: int = 0) -> list[str]:
    told = [run.communicate(timeout=600)[1] for run in runs]
    assert [run.returncode for run in runs] == [code] * len(runs), told
    return told


def reach(folder: Path, lines: int, runs: list[subprocess.Popen]) -> None:
    """Waits for lines in the record."""
    until = time.monotonic() + 300
    while len(metrics.rows(folder / "metrics.jsonl")) < lines and time.monotonic() < until:
        assert all(run.poll() is None for run in runs), [run.communicate()[1] for run in runs if run.poll() is not None]
        time.sleep(0.01)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """An unbroken run of two hosts."""
    folder = tmp_path_factory.mktemp("hosts") / "whole"
    finish(begin(folder, *SMALL, "--config.train.updates=40"))
    return folder


def test_two_hosts_learn_what_one_learns_and_write_one_folder(whole, tmp_path):
    finish(begin(tmp_path / "one", *SMALL, "--config.train.updates=10", count=1))
    for ours, theirs in zip(record(whole)[:2], record(tmp_path / "one"), strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-5), name
    assert [line["step"] for line in record(whole)] == list(range(5, 45, 5))
    assert {"config.json", "summary.json", "report.html", "tensorboard", "checkpoints"} <= {
        entry.name for entry in whole.iterdir()
    }
    assert checkpoint.steps(whole / "checkpoints") == [30, 40]


@pytest.mark.slow
@pytest.mark.parametrize("who", [0, 1])
def test_a_host_that_is_killed_ends_the_other_and_the_run_goes_on(whole, tmp_path, who):
    runs = begin(tmp_path / "run", *SMALL, "--config.train.updates=40")
    reach(tmp_path / "run", 3, runs)
    runs[who].kill()
    began = time.monotonic()
    told = runs[1 - who].communicate(timeout=60)[1]
    assert runs[1 - who].returncode == 1 and time.monotonic() - began < 10
    last = told.splitlines()[-1]
    assert last.startswith(f"host {who} is gone; start the same command on all hosts again: it goes on from update ")
    runs[who].communicate(timeout=60)
    assert int(last.split()[-1]) == checkpoint.steps(tmp_path / "run" / "checkpoints")[-1]
    finish(begin(tmp_path / "run", *SMALL, "--config.train.updates=40"))
    assert record(tmp_path / "run") == record(whole)
    assert leaves(tmp_path / "run", 40, PARTS) == leaves(whole, 40, PARTS)


@pytest.mark.slow
def test_a_stop_of_one_host_stops_both_after_saving(whole, tmp_path):
    runs = begin(tmp_path / "run", *SMALL, "--config.train.updates=40")
    reach(tmp_path / "run", 2, runs)
    runs[1].send_signal(signal.SIGTERM)
    told = finish(runs)
    assert all("the same command continues" in each for each in told)
    finish(begin(tmp_path / "run", *SMALL, "--config.train.updates=40"))
    assert record(tmp_path / "run") == record(whole)


@pytest.mark.slow
def test_two_hosts_step_the_worlds_of_one(tmp_path):
    flags = ("--config.train.updates=20", "--config.train.eval_every=20", "--config.eval.episodes=2")
    for name, count in (("two", 2), ("one", 1)):
        finish(begin(tmp_path / name, *flags, entry="imitate", preset="debug", count=count))
    for ours, theirs in zip(record(tmp_path / "two"), record(tmp_path / "one"), strict=True):
        for name in ours:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3, abs=1e-4), name
    for part in ("source/replay/rows/step/reward", "source/replay/rows/action"):
        ours, theirs = (checkpoint.read(tmp_path / name, part, 20) for name in ("two", "one"))
        np.testing.assert_allclose(ours, theirs, atol=1e-5)

"""The suite `gpu`: every engine, agent and renderer once, within a budget of minutes, whatever fails on the way.

Items run in a worker process (worker.py) in order of importance. One starts only while there is budget left, and takes
no longer than its own limit; one that fails, hangs or ends its process is recorded, and the next one runs.

The results, which are handed to `write` after every item:
suite, minutes, anyway   what was asked for
provenance               device, versions, driver, git commit, command (train/run_folder.py)
seconds                  of the budget spent so far
items                    a list of records: name, status (ok, failed, skipped), reason (one line, or null), the figures
                         of FIGURES (null where there are none), wall_seconds, and log: the end of a failure's output
"""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from experiments.benchmarks.agents import OFFLINE_NAMES, ONLINE_NAMES
from experiments.benchmarks.worker import Worker, WorkerLost, WorkerTimeout
from experiments.shared import cli

JOBS = "experiments.benchmarks.accelerator_jobs"
START = 120.0  # s that a worker may take to start JAX and its device
WALKER, CHEETAH, PENDULUM = "dmc.walker_walk", "dmc.cheetah_run", "dmc.pendulum_swingup"
SAWYER = "sawyer.stack_red_on_blue.set4"
FIGURES = ("compile_seconds", "seconds_per_call", "calls", "per_second", "unit", "device_memory")
BUDGET = "budget spent"
SMALL = {"preset": "debug", "updates": 10}  # of an epoch that shows whether an agent runs at all


class Item(NamedTuple):
    """One thing to measure."""

    name: str
    job: str  # MODULE:FUNCTION, which returns the figures
    settings: dict[str, Any]  # keywords of the function
    limit: float = 60.0  # s that it may take
    warp: bool = False  # needs warp-lang and an NVIDIA GPU
    alone: bool = False  # has a process of its own: it may leave one in a bad state


class Sizes(NamedTuple):
    """What items measure with."""

    worlds: tuple[int, ...]  # of an engine
    rows: int  # control steps of a call
    sawyer_rows: int  # the same in the stacking cell, whose control step has many contacts and physics steps
    host_worlds: int  # of engine native
    pictures: int  # of a call
    preset: str  # whose network and batch sizes the large updates have
    updates: int  # of a call
    engine: str  # of worlds that serve an agent or a renderer
    accelerated: bool
    patience: float = 1.0  # times the limit of every item


GPU = Sizes((1024, 4096), 10, 4, 1024, 1024, "paper", 16, "mjx", True)
CPU = Sizes((2,), 2, 1, 64, 4, "debug", 4, "native", False, patience=4.0)


def items(size: Sizes) -> list[Item]:
    """What is measured, the most important first."""
    first, *larger = size.worlds
    walker = [engine("mjx", WALKER, worlds, size.rows) for worlds in size.worlds]
    sawyer = [engine("mjx", SAWYER, worlds, size.sawyer_rows, limit=180.0, starts=64) for worlds in size.worlds]
    epochs = [Item(f"offline {name}", f"{JOBS}:offline_epoch", {"name": name, **SMALL}) for name in OFFLINE_NAMES]
    world = {"world": PENDULUM, "engine": size.engine}
    epochs += [
        Item(f"online {name}", f"{JOBS}:online_epoch", {"name": name, **SMALL, **world}) for name in ONLINE_NAMES
    ]
    table = [
        walker[0],
        large_updates("offline", "helms", size, seeds=1),
        large_updates("online", "helms_cat", size, seeds=1),
        renderer("rays", size.engine, size.pictures),
        sawyer[0],
        *epochs,
        engine("native", WALKER, size.host_worlds, size.rows, alone=size.accelerated),
        large_updates("offline", "helms", size, seeds=4),
        large_updates("online", "helms_cat", size, seeds=4),
        *walker[1:],
        *sawyer[1:],
        engine("warp", WALKER, first, size.rows, warp=True, alone=True),
        renderer("warp", "warp", size.pictures, warp=True, alone=True),
        engine("warp", SAWYER, first, size.sawyer_rows, limit=180.0, warp=True, alone=True, starts=64),
        *(engine("warp", WALKER, worlds, size.rows, warp=True, alone=True) for worlds in larger),
    ]
    return [item._replace(limit=size.patience * item.limit) for item in table]


def engine(
    name: str,
    world: str,
    worlds: int,
    rows: int,
    *,
    limit: float = 90.0,
    warp: bool = False,
    alone: bool = False,
    **more,
) -> Item:
    settings = {"world": world, "engine": name, "worlds": worlds, "rows": rows, **more}
    return Item(f"engine {name}, {world.split('.')[1]} x {worlds}", f"{JOBS}:steps", settings, limit, warp, alone)


def renderer(name: str, physics: str, worlds: int, *, warp: bool = False, alone: bool = False) -> Item:
    settings = {"world": CHEETAH, "engine": physics, "renderer": name, "worlds": worlds}
    return Item(f"renderer {name}, cheetah x {worlds}", f"{JOBS}:frames", settings, 90.0, warp, alone)


def large_updates(kind: str, name: str, size: Sizes, seeds: int) -> Item:
    """Updates at the sizes of a preset, in `seeds` runs side by side."""
    job = {"offline": "offline_epoch", "online": "online_updates"}[kind]
    settings = {"name": name, "preset": size.preset, "updates": size.updates, "seeds": seeds}
    return Item(f"{kind} {name}, {size.preset} sizes, seeds {seeds}", f"{JOBS}:{job}", settings, 90.0)


def run(
    minutes: float,
    write: Callable[[dict[str, Any]], None],
    *,
    anyway: bool = False,
    table: Sequence[Item] | None = None,
) -> dict[str, Any]:
    """Measures the items of `table` (by default all of them, in sizes for this machine) and returns the results.

    Raises Refused where there is no NVIDIA GPU, unless it shall run `anyway`; nothing is written then.
    """
    began = time.monotonic()
    runner = Runner(began + 60 * minutes)
    try:
        try:
            machine = runner.start(START)
        except WorkerLost as lost:
            raise cli.Refused(f"--suite=gpu cannot start JAX: {lost}") from None
        if not machine["nvidia"] and not anyway:
            device = machine["provenance"]["device"]
            raise cli.Refused(
                f"--suite=gpu needs an NVIDIA GPU, and JAX's device here is {device['kind']}; "
                "install skillhier[cuda] on a machine with a GPU, or add --anyway"
            )
        results: dict[str, Any] = {"suite": "gpu", "minutes": minutes, "anyway": anyway}
        results |= {"provenance": {**machine["provenance"], "command": sys.argv}, "seconds": 0.0, "items": []}
        for item in items(GPU if machine["nvidia"] else CPU) if table is None else table:
            print(f"measuring {item.name}", file=sys.stderr)
            record = runner.run(item)
            results["items"].append(record)
            results["seconds"] = time.monotonic() - began
            write(results)
            if record["status"] == "failed":
                print(f"  {record['reason']}", file=sys.stderr)
        return results
    finally:
        runner.stop()


class Runner:
    """Runs items in a worker until a deadline (of time.monotonic), with a new worker wherever the last one was lost."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.worker: Worker | None = None
        self.machine: dict[str, Any] = {}

    def start(self, seconds: float) -> dict[str, Any]:
        """What the worker runs on; starts one, in so many seconds, if there is none. Raises WorkerLost."""
        if self.worker is None:
            self.worker = Worker()
            self.machine = self.worker.greeting(seconds)
        return self.machine

    def stop(self) -> None:
        if self.worker is not None:
            self.worker.close()
        self.worker = None

    def left(self) -> float:
        return self.deadline - time.monotonic()

    def run(self, item: Item) -> dict[str, Any]:
        """The record of `item`. Raises nothing that the item does."""
        if item.warp and not self.machine["warp"]:
            return described(item, "skipped", "warp-lang is not installed; install skillhier[warp]")
        if item.warp and not self.machine["nvidia"]:
            return described(item, "skipped", "needs an NVIDIA GPU")
        if self.left() <= 0:
            return described(item, "skipped", BUDGET)
        if item.alone:
            self.stop()
        began = time.monotonic()
        try:
            self.start(min(START, self.left()))
            answer = self.worker.run(item.job, item.settings, min(item.limit, self.left()))
        except WorkerLost as lost:
            log = self.worker.tail()
            self.stop()
            wall = time.monotonic() - began
            if isinstance(lost, WorkerTimeout) and self.left() <= 0:
                return described(item, "skipped", f"{BUDGET} after {wall:.0f} s of it", wall=wall, log=log)
            return described(item, "failed", str(lost), wall=wall, log=log)
        log = self.worker.tail()
        if item.alone or not answer.get("usable", True):
            self.stop()
        wall = time.monotonic() - began
        if "error" in answer:
            return described(item, "failed", answer["error"], wall=wall, log=log)
        return described(item, "ok", None, answer["figures"], wall=wall)


def described(
    item: Item,
    status: str,
    reason: str | None,
    figures: dict[str, Any] | None = None,
    *,
    wall: float = 0.0,
    log: str = "",
) -> dict[str, Any]:
    """A record of the results."""
    record = {"name": item.name, "status": status, "reason": reason}
    record |= {name: (figures or {}).get(name) for name in FIGURES}
    return record | {"wall_seconds": wall} | ({"log": log} if log else {})


def lines(results: dict[str, Any]) -> list[str]:
    """The results as lines to read."""
    about = results["provenance"]
    states = [record["status"] for record in results["items"]]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("ok", "failed", "skipped"))
    shown = [
        f"{about['device']['count']} x {about['device']['kind']}, driver {about['driver']}, "
        f"jax {about['versions']['jax']}, commit {about['git_commit'][:10]}",
        f"{counts}; {results['seconds']:.0f} s of {60 * results['minutes']:.0f} s",
        f"{'':46}{'compile':>10}{'per call':>12}{'calls':>7}  {'rate':<28}{'memory':>10}",
    ]
    for record in results["items"]:
        if record["status"] != "ok":
            shown.append(f"{record['name']:46}{record['status']}: {record['reason']}")
            continue
        memory = f"{record['device_memory'] / 2**30:.2f} GiB" if record["device_memory"] else ""
        rate = f"{record['per_second']:,.1f} {record['unit']}/s"
        shown.append(
            f"{record['name']:46}{record['compile_seconds']:8.1f} s{record['seconds_per_call'] * 1e3:9.1f} ms"
            f"{record['calls']:7}  {rate:<28}{memory:>10}"
        )
    return shown

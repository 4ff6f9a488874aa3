"""HeLMS offline: updates a second, their arithmetic beside the machine's matrix products, the time to the first."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from experiments.benchmarks import agents, arithmetic, timing
from experiments.shared import cli
from skillhier.data import dataset, sources, toy
from skillhier.envs.sawyer.observations import OBJECTS, PROPRIO
from skillhier.train import loop
from skillhier.types import Learner, Source

TARGET = 0.55  # share of the matrix-product rate that updates should reach on a CPU
ROOT = Path(__file__).parents[2]
# Rows and width of the products that are timed as the reference: the widest layers at the paper's sizes (25 x 128 rows,
# once and for five skills), and squares at which a machine does its best.
PRODUCTS = ((3200, 256), (16000, 256), (1024, 1024), (2048, 2048))


def prepare(
    task: str, changes: dict[str, Any], preset: str = "paper", name: str = "helms"
) -> tuple[ConfigDict, Learner, Source]:
    """Agent `name` at `preset` for `task` with `changes`, on made-up data: (config, learner, source)."""
    address = f"{agents.OFFLINE}:{preset},agent={name},task={task}"
    config, _ = cli.load_config(address, [(path, str(value)) for path, value in changes.items()])
    data = toy.demonstrations({**PROPRIO, **OBJECTS}, steps=4 * config.train.sequence_length)
    agent = agents.make(config, dataset.spec(data, config.data.stack), statistics=dataset.statistics(data))
    window = dict(
        sequence_length=config.train.sequence_length, lookahead=config.agent.lookahead, stack=config.data.stack
    )
    return config, agent.learner, sources.offline(data, batch_size=config.train.batch_size, **window)


def updates(task: str, changes: dict[str, Any], count: int, repeats: int, amount: float = 3e10) -> dict[str, Any]:
    """`count` updates of what `prepare` gives, in turns with products of `amount` operations."""
    config, learner, source = prepare(task, changes)
    state = loop.start(learner, source, jax.random.key(0))
    run = loop.epoch(learner, source, count)
    batch = jax.eval_shape(source.next, state.source, (), jax.random.key(0))[1]
    operations = arithmetic.product_operations(learner.update, state.learner, batch, jax.random.key(0))
    held = [state]

    def epoch():
        held[0], metrics, _ = run(held[0])
        return metrics

    references = {f"{rows}x{width}x{width}": arithmetic.product(rows, width, amount) for rows, width in PRODUCTS}
    taken, *products = timing.in_turns(repeats, epoch, *(job for job, _ in references.values()))
    products = dict(zip(references, products, strict=True))
    rates = {name: timing.rate(references[name][1], seconds) for name, seconds in products.items()}
    best = max(rates, key=rates.get)
    ideal = [count * operations * seconds / references[best][1] for seconds in products[best]]
    return {
        "task": task,
        "skills": config.agent.skills,
        "batch": config.train.batch_size,
        "length": config.train.sequence_length,
        "updates_per_second": timing.rate(count, taken),
        "product_operations": operations,
        "operations_per_second": timing.rate(count * operations, taken),
        "products": rates,
        **timing.shares(taken, ideal),
        "target": TARGET,
        "seconds": {"updates": taken, "products": products},
    }


def starts(preset: str, changes: dict[str, Any], updates: int) -> dict[str, Any]:
    """Seconds from the command to its first update, with an empty compilation cache and a filled one, and its memory.

    The command is `python -m experiments.helms_offline` at `preset`, on made-up data; it runs to its report.
    """
    with tempfile.TemporaryDirectory() as folder:
        figures = {kind: _start(Path(folder), kind, preset, changes, updates) for kind in ("cold", "warm")}
    return {"preset": preset, "updates": updates, **figures}


def _start(folder: Path, kind: str, preset: str, changes: dict[str, Any], updates: int) -> dict[str, float]:
    settings = {"data.path": "toy", "train.updates_per_epoch": 1, "train.updates": updates, **changes}
    settings |= {"train.eval_every": updates, "train.save_every": updates}
    command = [sys.executable, "-m", "experiments.helms_offline", f"--config={agents.OFFLINE}:{preset}"]
    command += [f"--config.{name}={value}" for name, value in settings.items()]
    command += [f"--workdir={folder / kind}"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    lines = folder / kind / "metrics.jsonl"
    with (folder / f"{kind}.log").open("w+") as log:
        began = time.perf_counter()
        child = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
        first, ended = None, 0
        while not ended:
            ended, status, usage = os.wait4(child.pid, os.WNOHANG)
            if first is None and lines.is_file() and lines.stat().st_size:
                first = time.perf_counter() - began
            time.sleep(0.005)
        whole = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode or first is None:
            log.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with code {child.returncode}: {log.read()[-2000:]}")
    memory = timing.in_bytes(usage.ru_maxrss)
    return {"first_update": first, "whole": whole, "peak_memory": memory}

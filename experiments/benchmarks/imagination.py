"""Agents with a world model: updates and imagined steps a second, what planning costs, how soon an agent answers.

Batches are made up: what is in them does not change the time. The arithmetic of an update is that of its matrix
products, set beside the machine's own rate in the same turns.
"""

import re
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.compilation_cache import compilation_cache
from ml_collections import ConfigDict

from experiments.benchmarks import agents, arithmetic, timing
from experiments.benchmarks.physics import held
from experiments.shared import cli, online_run
from skillhier.types import Agent, Spec, TimeStep, Trajectory

NAMES = ("dreamer", "lsp", "dreamerv3")
TASK = "walker_walk"
TARGET = 0.5  # share of the machine's matrix products that an update from state should reach at the paper's sizes
SHAPES = ((2500, 400), (256, 2048))  # of products whose rate the machine is held to: rows, width
# DreamerV3 at its smallest published size, from vectors; lsp.md 5 of the issue names its batch
SIZE_1M = {
    "deter": 512, "hidden": 64, "stoch": 32, "classes": 4, "encoder": "64,64,64", "decoder": "64,64,64",
    "reward_hidden": "64", "continue_hidden": "64", "actor_hidden": "64,64,64", "critic_hidden": "64,64,64",
}  # fmt: skip
GPU_SEEDS = (1, 5)
KERNELS = re.compile(r"= \S+ (fusion|dot|custom-call|convolution|reduce|scatter|gather|sort|call)\(")


class Prepared(NamedTuple):
    """An agent, and what an update takes."""

    agent: Agent
    config: ConfigDict
    spec: Spec
    batch: Trajectory


def prepare(name: str, preset: str, task: str = TASK, entry: str = "lsp", **changes: Any) -> Prepared:
    """The agent at that preset of its entry point, with changes to its settings."""
    texts = [(path.replace("__", "."), str(value)) for path, value in changes.items()]
    config, _ = cli.load_config(f"{cli.CONFIGS}/{entry}.py:{preset},agent={name},task={task}", texts)
    spec = online_run.make_worlds(config.env, 1).spec
    rows = config.train.sequence_length, config.train.batch_size
    obs = {name: _noise(shape, rows) for name, shape in spec.obs.items()}
    zero, no = jnp.zeros(rows), jnp.zeros(rows, bool)
    action = jax.random.uniform(jax.random.key(1), (*rows, *spec.action.shape), minval=-1.0)
    return Prepared(
        agents.make(config, spec), config, spec, Trajectory(TimeStep(obs, zero, zero + 1, no, no), action, {})
    )


def _noise(shape: jax.ShapeDtypeStruct, rows: tuple[int, ...]) -> jax.Array:
    noise = jax.random.normal(jax.random.key(0), (*rows, *shape.shape))
    return noise if shape.dtype == jnp.float32 else (127 + 50 * noise).clip(0, 255).astype(shape.dtype)


class Update(NamedTuple):
    """A compiled update of one or several seeds."""

    job: Callable[[], Any]  # one more update
    operations: float  # of its matrix products, all seeds
    compile_seconds: tuple[float, float]  # cold, and where a run compiled the same before
    kernels: list[int]  # in the body of each of its loops
    memory: int | None  # bytes that the program holds


def update(of: Prepared, seeds: int = 1) -> Update:
    """An update ready to run; it is compiled here."""
    keys = jax.random.split(jax.random.key(0), seeds)
    many = (lambda f: jax.vmap(f, in_axes=(0, None, 0))) if seeds > 1 else (lambda f: f)
    state = jax.jit(jax.vmap(of.agent.learner.init) if seeds > 1 else of.agent.learner.init)(
        keys if seeds > 1 else keys[0]
    )
    learn = many(of.agent.learner.update)
    arguments = state, of.batch, keys if seeds > 1 else keys[0]
    one = jax.eval_shape(lambda: (jax.tree.map(lambda x: x[0], state) if seeds > 1 else state, of.batch, keys[0]))
    program, seconds = compiled(lambda: jax.jit(learn, donate_argnums=0).lower(*arguments))
    now = [state]

    def job() -> Any:
        now[0], metrics = program(now[0], *arguments[1:])
        return metrics

    return Update(job, seeds * operations(of, *one), seconds, loop_kernels(program.as_text()), held(program))


def operations(of: Prepared, *arguments: Any) -> float:
    """Of the matrix products of an update.

    Whether to plan is asked at each imagined row; where plans have one skill, one row in a period is planned at.
    """
    planned = 1 / of.config.agent.get("period", 1)
    return arithmetic.product_operations(of.agent.learner.update, *arguments, dearest=planned)


def compiled(lower: Callable[[], jax.stages.Lowered]) -> tuple[jax.stages.Compiled, tuple[float, float]]:
    """The program; seconds that it takes to compile, and to find among those that were compiled before."""
    former, seconds = jax.config.jax_compilation_cache_dir, []
    with tempfile.TemporaryDirectory() as folder:
        jax.config.update("jax_compilation_cache_dir", folder)
        compilation_cache.reset_cache()
        for _ in range(2):
            jax.clear_caches()
            lowered = lower()  # one that was compiled keeps its program, and JAX keeps it
            began = time.perf_counter()
            program = lowered.compile()
            seconds.append(time.perf_counter() - began)
    jax.config.update("jax_compilation_cache_dir", former)
    compilation_cache.reset_cache()
    return program, (seconds[0], seconds[1])


def loop_kernels(text: str) -> list[int]:
    """How many kernels the body of each loop of a compiled program starts, loops in loops left out, largest first."""
    bodies = set(re.findall(r"body=%?([\w.\-]+)", text))
    counts = []
    for block in re.split(r"\n(?=%?[\w.\-]+ \(|ENTRY )", text):
        name = re.match(r"%?([\w.\-]+)", block)
        if name and name.group(1) in bodies:
            counts.append(len(KERNELS.findall(block)))
    return sorted(counts, reverse=True)


def updates(name: str, preset: str, repeats: int, amount: float = 3e10, **changes: Any) -> dict[str, Any]:
    """Updates a second, and their arithmetic beside the best of the machine's matrix products in the same turns."""
    of = prepare(name, preset, **changes)
    ready = update(of)
    products = [arithmetic.product(*shape, amount) for shape in SHAPES]
    ours, *taken = timing.in_turns(repeats, ready.job, *(job for job, _ in products))
    rates = [
        [count / seconds for seconds in turns] for (_, count), turns in zip(products, taken, strict=True)
    ]  # of each shape, turn by turn
    best = [max(turn) for turn in zip(*rates, strict=True)]
    agent, train = of.config.agent, of.config.train
    return {
        "agent": name,
        "preset": preset,
        "batch": (train.batch_size, train.sequence_length),
        "starts": agent.starts or train.batch_size * train.sequence_length,
        "updates_per_second": timing.rate(1, ours),
        "operations": ready.operations,
        "operations_per_second": timing.rate(ready.operations, ours),
        "best_product": max(best),
        "target": TARGET if preset == "paper" else None,
        "compile_seconds": ready.compile_seconds,
        "kernels": ready.kernels,
        "memory": ready.memory,
        **timing.shares(ours, [ready.operations / rate for rate in best]),
        **imagined(of, timing.rate(1, ours)),
    }


def imagined(of: Prepared, rate: float) -> dict[str, float]:
    """Imagined rows a second in learning, and in planning for it: rows of worlds, whatever else an update does."""
    agent, train = of.config.agent, of.config.train
    starts = agent.starts or train.batch_size * train.sequence_length
    rows = {"learning_rows_per_second": rate * starts * agent.horizon}
    if "proposals" in agent:
        planned = min(agent.cem_starts or starts, starts)
        plans = planned * agent.proposals * agent.iterations * agent.plan_horizon
        rows["planning_rows_per_second"] = rate * plans
    return rows


def answers(name: str, preset: str, decisions: int, **changes: Any) -> dict[str, Any]:
    """Milliseconds of a decision in one world: in the middle, and of the slowest one in ten, where a planner plans."""
    of = prepare(name, preset, **changes)
    policy = of.agent.explore
    params = jax.jit(lambda key: of.agent.learner.init(key).params)(jax.random.key(0))
    act = jax.jit(policy.act, donate_argnums=1)
    row = jax.tree.map(lambda x: x[0, :1], of.batch.step)
    carry, seconds = jax.jit(policy.init, static_argnums=0)(1), []
    for i in range(decisions + 1):
        step = row._replace(first=jnp.array([i == 0]))
        began = time.perf_counter()
        carry, action, _ = act(params, carry, step, jax.random.key(i))
        jax.block_until_ready(action)
        seconds.append(time.perf_counter() - began)
    seconds = sorted(seconds[1:])
    return {
        "agent": name,
        "preset": preset,
        "milliseconds": 1e3 * seconds[len(seconds) // 2],
        "slowest_tenth_milliseconds": 1e3 * seconds[int(0.95 * len(seconds))],
    }


def by(name: str, preset: str, setting: str, values: tuple[int, ...], repeats: int, **changes: Any) -> list[dict]:
    """Updates a second by one setting (`seeds`, or GROUP__NAME), beside the first of its values."""
    ready = [
        update(prepare(name, preset, **changes), value)
        if setting == "seeds"
        else update(prepare(name, preset, **changes, **{setting: value}))
        for value in values
    ]
    taken = timing.in_turns(repeats, *(one.job for one in ready))
    many = [value if setting == "seeds" else 1 for value in values]
    return [
        {
            "agent": name,
            "preset": preset,
            "setting": setting.replace("__", "."),
            "value": value,
            "updates_per_second": timing.rate(count, ours),
            "memory": one.memory,
            "compile_seconds": one.compile_seconds,
            **timing.shares(ours, [seconds * count for seconds in taken[0]]),
        }
        for value, count, one, ours in zip(values, many, ready, taken, strict=True)
    ]


def suite(quick: bool, measured: Callable[..., Any]) -> dict[str, Any]:
    """All of it; `measured(what, job, *arguments)` says what is being done, and does it."""
    presets, repeats, decisions = (("debug",), 1, 4) if quick else (("cpu", "paper"), 5, 100)
    amount = 1e8 if quick else 3e10
    names = NAMES[:2] if quick else NAMES
    small = presets[0]
    results: dict[str, Any] = {"updates": [], "answers": []}
    for preset in presets:
        for name in names:
            heavy = name == "lsp" and preset == "paper" and jax.default_backend() == "cpu"
            few = {"agent__cem_starts": 16} if heavy else {}  # an update would take minutes
            what = f"updates of {name} at {preset}{', cem_starts=16' if few else ''}"
            results["updates"].append(measured(what, updates, name, preset, repeats, amount, **few) | few)
            results["answers"].append(measured(f"decisions of {name} at {preset}", answers, name, preset, decisions))
    grids = [("dreamer", "seeds", (1, 2) if quick else (1, 2, 4, 8)), ("lsp", "seeds", (1, 2) if quick else (1, 2, 4))]
    if not quick:
        grids += [("dreamer", "agent__horizon", (5, 10, 15, 30)), ("lsp", "agent__cem_starts", (4, 8, 16, 32, 64))]
    results["by"] = [
        row
        for name, setting, values in grids
        for row in measured(f"{name} by {setting}", by, name, small, setting, values, repeats)
    ]
    if jax.default_backend() == "gpu":
        sizes = {f"agent__{setting}": value for setting, value in SIZE_1M.items()}
        sizes |= {"train__batch_size": 16, "train__sequence_length": 64}
        results["size_1m"] = measured(
            "dreamerv3, size 1M", by, "dreamerv3", "paper", "seeds", GPU_SEEDS, repeats, **sizes
        )
    else:
        results["skipped"] = "no GPU: dreamerv3 at size 1M, 1 and 5 seeds in one program"
    return results


def table(results: dict[str, Any], row: Callable[..., None], lines: list[str]) -> None:
    """The lines of the suite `imagination`; rates with a reference go through `row`."""
    for of in results["updates"]:
        ours, best = (f"{of[name] / 1e9:,.1f} GF/s" for name in ("operations_per_second", "best_product"))
        row(f"{of['agent']} at {of['preset']}, arithmetic", ours, best, of, of["memory"])
        kernels, (cold, warm) = ", ".join(map(str, of["kernels"][:4])), of["compile_seconds"]
        lines.append(
            f"{'  updates':38}{of['updates_per_second']:10.2f}/s  {of['operations'] / 1e9:.3g} GF each; compile "
            f"{cold:.1f} s, again {warm:.2f} s; kernels a loop's turn {kernels}"
        )
        rows = ", ".join(f"{of[k]:,.0f} in {k.split('_')[0]}" for k in of if k.endswith("rows_per_second"))
        lines.append(f"{'  imagined rows a second':38}  {rows}")
    for of in results["answers"]:
        name = f"{of['agent']} at {of['preset']}, a decision"
        slow = of["slowest_tenth_milliseconds"]
        lines.append(f"{name:38}{of['milliseconds']:9.2f} ms, slowest tenth {slow:.2f} ms")
    for of in [*results["by"], *results.get("size_1m", [])]:
        name = f"{of['agent']}, {of['setting']} {of['value']}, updates"
        row(name, f"{of['updates_per_second']:,.1f}/s", "", of, of["memory"])
    if "skipped" in results:
        lines.append(f"{'imagination':38}{results['skipped']}")

"""Speed and memory, every figure beside its reference measured in the same run.

python -m experiments.benchmark --suite=physics,helms_offline,scaling --workdir=runs/benchmark
python -m experiments.benchmark --suite=gpu --minutes=5 --workdir=runs/gpu
python -m experiments.benchmark --quick             # does it run? Few worlds, small nets; its figures mean nothing

physics        control steps a second of the Sawyer stacking world under random actions, through `rollout`: engine
               native beside the bare C batch; where there is an accelerator, engine mjx beside MJX stepping the
               bare model.
worlds         every task of the control suite and one of the stacking cell: control steps a second on engine native
               beside the bare C batch, and beside one that also computes what tasks read; with resets beside without;
               seconds to the first step in a fresh process. With an accelerator, engine mjx by number of worlds.
helms_offline  updates a second at the paper's sizes, their arithmetic beside the machine's matrix products; seconds
               from the command to its first update with an empty and a filled compilation cache; peak memory.
pixels         frames a second of our pictures at 64 x 64 by number of worlds, beside MuJoCo's own renderer (software
               OpenGL where MUJOCO_GL is egl without a GPU, or osmesa): as it comes, and without shadows, reflections
               and smooth edges, which ours are without too.
scaling        updates and native control steps a second of 1, 2, 4 and 8 devices beside one (on a CPU up to 4 made-up
               ones, which share its cores); updates of 1, 2, 4 and 8 seeds in one program beside as many runs of one.
transfer       every agent that learns online: updates and control steps a second as it learns and of its parts alone,
               the shares of its time; the MPO update beside rlax's loss under optax; control steps with learning by
               number of worlds (1024 to 8192 with an accelerator), updates by number of seeds. On a CPU at the preset
               cpu, else at the preset paper.

imagination    agents with a world model at the presets cpu and paper: updates a second, their arithmetic beside the
               machine's matrix products, kernels in a turn of each loop, imagined rows a second in learning and in
               planning, milliseconds of a decision; by number of seeds, horizon and starts planned for.

managers       the same of agents whose manager names goals: mrs beside director (five resolutions beside one), and
               environment steps a second with learning beside flat dreamerv3.

gpu            alone, on an NVIDIA GPU: every engine, agent and renderer once, and the sizes that matter, in --minutes:
               does each run, how long does it compile, how fast is it? An item that fails or hangs is recorded and the
               next one runs. --anyway runs it on a CPU, in small sizes.

Prints a table and writes benchmark.json to the run folder. Measure on a quiet machine: what is compared runs in turns,
but a rate is only as steady as the machine. The file says how busy it was.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from absl import flags

from experiments.benchmarks import (
    accelerator,
    helms_offline,
    imagination,
    managers,
    physics,
    pixels,
    scaling,
    timing,
    transfer,
    worlds,
)
from experiments.benchmarks.physics import Size
from experiments.shared import cli
from skillhier import files

MINUTES = 5.0  # of the suite gpu
WORLD = "sawyer.stack_red_on_blue.set4"
QUICK = {
    "agent.hidden": "16,16",
    "train.batch_size": 4,
    "train.sequence_length": 6,
}  # small enough that only starting takes time


def main(run: cli.Run) -> None:
    settings = flags.FLAGS
    file = (run.workdir or Path("runs") / f"benchmark-{time.strftime('%Y%m%d-%H%M%S')}") / "benchmark.json"
    if "gpu" in settings.suite:
        return gpu_suite(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    if set(settings.suite) != {"transfer"}:  # compiling is measured, so no program may come from the cache
        jax.config.update("jax_compilation_cache_dir", None)
    results: dict[str, Any] = {"machine": timing.machine(), "quick": settings.quick}
    for name in settings.suite:
        results[name] = SUITES[name](settings.quick)
        results["machine"]["load_after"] = timing.load()
        files.write_json(file, results)  # a suite that fails leaves the figures of those before it
    print("\n".join(table(results)))
    print(f"all of it: {file}")


def gpu_suite(file: Path) -> None:
    """The suite `gpu`, alone: this process must not take the device's memory, so it computes nothing itself."""
    settings = flags.FLAGS
    minutes = MINUTES if settings.minutes is None else settings.minutes

    def write(results: dict[str, Any]) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(file, results)

    print("\n".join(accelerator.lines(accelerator.run(minutes, write, anyway=settings.anyway))))
    print(f"all of it: {file}")


def physics_suite(quick: bool) -> dict[str, Any]:
    repeats, settings = (1, {"starts": 8}) if quick else (8, {})
    sizes = [Size(2, 2), Size(3, 1)] if quick else [Size(64, 50), Size(1024, 3), Size(4096, 2)]
    native = [
        measured(f"native, {size.worlds} worlds", physics.native, WORLD, size, repeats, **settings) for size in sizes
    ]
    if jax.default_backend() == "cpu":
        return {"native": native, "mjx": {"skipped": "no accelerator: on a CPU the engine is native"}}
    sizes = [Size(8, 2)] if quick else [Size(worlds, 10) for worlds in (1024, 4096, 16384)]
    mjx = [measured(f"mjx, {size.worlds} worlds", physics.mjx, WORLD, size, repeats, **settings) for size in sizes]
    return {"native": native, "mjx": mjx}


def worlds_suite(quick: bool) -> dict[str, Any]:
    names, few, many = (worlds.FEW[:1],) * 2 + (2,) if quick else (worlds.NAMES, worlds.FEW, 1024)
    pairs = [(name, many) for name in names] + [(name, 3 if quick else 64) for name in few]
    rows, repeats = (2, 1) if quick else (None, 8)
    native = [measured(f"{name}, {count} worlds", worlds.native, name, count, repeats, rows) for name, count in pairs]
    resets = [measured(f"resets of {name}", worlds.resets, name, many, rows or 40, repeats) for name in few]
    cold = [measured(f"first step of {name}", worlds.cold, name, many) for name in names]
    results = {"native": native, "resets": resets, "cold": cold}
    if jax.default_backend() == "cpu":
        return results | {"mjx": {"skipped": "no accelerator: on a CPU the engine is native"}}
    sizes = [Size(8, 2)] if quick else [Size(count, 10) for count in (1024, 4096, 16384)]
    mjx = [
        {"world": name} | measured(f"mjx, {name}, {size.worlds} worlds", physics.mjx, name, size, repeats)
        for name in few
        for size in sizes
    ]
    return results | {"mjx": mjx}


def pixels_suite(quick: bool) -> list[dict[str, Any]]:
    worlds, counts, repeats = (pixels.WORLDS[:1], (1, 2), 1) if quick else (pixels.WORLDS, (1, 16, 64, 256), 6)
    few = {"starts": 64}
    return [
        row
        for name in worlds
        for row in measured(
            f"pixels of {name}", pixels.frames, name, counts, repeats, **few if "sawyer" in name else {}
        )
    ]


def helms_offline_suite(quick: bool) -> dict[str, Any]:
    changes = QUICK if quick else {}
    tasks = ("red_on_blue",) if quick else ("red_on_blue", "all_pairs")
    settings = (changes, 2, 1, 1e8) if quick else (changes, 3, 8)
    updates = [measured(f"updates, {task}", helms_offline.updates, task, *settings) for task in tasks]
    preset = "debug" if quick else "paper"
    starts = measured("starts", helms_offline.starts, preset, changes, 2 if quick else 10)
    return {"updates": updates, "starts": starts}


def scaling_suite(quick: bool) -> dict[str, Any]:
    settings = {"changes": QUICK, "updates": 2, "worlds": 4, "rows": 2, "starts": 8, "repeats": 1}
    if not quick:
        settings = {"changes": {}, "updates": 3, "worlds": 1024, "rows": 3, "starts": 1000, "repeats": 8}
    there = jax.local_device_count() if jax.default_backend() != "cpu" else 4
    counts = [count for count in ((2,) if quick else (1, 2, 4, 8)) if count <= there]
    devices = [measured(f"{count} devices", scaling.among, count, world=WORLD, **settings) for count in counts]
    many = (1, 2) if quick else (1, 2, 4, 8)
    rest = {name: settings[name] for name in ("changes", "updates", "repeats")}
    return {"devices": devices, "seeds": measured("seeds", scaling.seeds, many, **rest)}


def measured(what: str, job: Callable[..., dict[str, Any]], *arguments: Any, **settings: Any) -> dict[str, Any]:
    print(f"measuring {what}", file=sys.stderr)
    return job(*arguments, **settings)


SUITES = {
    "physics": physics_suite,
    "worlds": worlds_suite,
    "pixels": pixels_suite,
    "helms_offline": helms_offline_suite,
    "scaling": scaling_suite,
    "transfer": lambda quick: transfer.suite(quick, measured),
    "imagination": lambda quick: imagination.suite(quick, measured),
    "managers": lambda quick: managers.suite(quick, measured),
}
flags.DEFINE_list("suite", list(SUITES), f"what to measure, of {', '.join(SUITES)}; or gpu")
flags.DEFINE_bool("quick", False, "few worlds and small nets: the figures mean nothing, but all of it runs")
flags.DEFINE_float("minutes", None, f"budget of --suite=gpu, by default {MINUTES:g}", 0.0, 1e5)
flags.DEFINE_bool("anyway", False, "--suite=gpu on a machine without an NVIDIA GPU, in sizes for a CPU")
flags.register_validator(
    "suite",
    lambda names: bool(names) and set(names) <= {*SUITES, "gpu"},
    f"choose one or more of {', '.join(SUITES)}, or gpu alone",
)
flags.register_multi_flags_validator(
    ["suite", "quick"],
    lambda flag: "gpu" not in flag["suite"] or (flag["suite"] == ["gpu"] and not flag["quick"]),
    "gpu runs alone, and not --quick: it shares out its minutes itself",
)
flags.register_multi_flags_validator(
    ["suite", "minutes", "anyway"],
    lambda flag: flag["suite"] == ["gpu"] or (flag["minutes"] is None and not flag["anyway"]),
    "--minutes and --anyway are for --suite=gpu",
)


def table(results: dict[str, Any]) -> list[str]:
    """The figures as lines to read."""
    machine = results["machine"]
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores; {', '.join(machine['devices'])}; "
        f"jax {machine['jax']}; load {machine['load_before']:.1f} before, {machine['load_after']:.1f} after",
    ]
    if results["quick"]:
        lines.append("quick: these figures mean nothing")
    lines.append(
        f"{'':38}{'ours':>12}{'reference':>12}{'share':>9}{'lowest':>8}{'highest':>9}{'target':>8}{'memory':>9}"
    )

    def row(name: str, ours: str, reference: str, of: dict[str, Any], memory: float | None) -> None:
        shares = f"{of['share']:9.3f}{of['share_low']:8.3f}{of['share_high']:9.3f}"
        target = f"{of['target']:8.2f}" if of.get("target") else " " * 8
        held = f"{memory / 2**30:5.1f} GiB" if memory else ""
        lines.append(f"{name:38}{ours:>12}{reference:>12}{shares}{target}{held:>9}")

    for engine in ("native", "mjx"):
        rows = results.get("physics", {}).get(engine, [])
        if isinstance(rows, dict):
            lines.append(f"{engine:38}{rows['skipped']}")
            continue
        for of in rows:
            ours, bare = (f"{of[name]:,.0f}/s" for name in ("control_steps_per_second", "bare_steps_per_second"))
            memory = of.get("peak_memory") or of.get("device_memory")
            row(f"{engine}, {of['worlds']} worlds, control steps", ours, bare, of, memory)
            if "compile_seconds" in of:
                lines.append(f"{'  compile':38}{of['compile_seconds']:10.1f} s{of['compile_seconds_bare']:10.1f} s")
    if "worlds" in results:
        worlds_table(results["worlds"], row, lines)
    for of in results.get("pixels", []):
        name = f"{of['world'].split('.')[1]}, {of['worlds']}"
        ours = f"{of['frames_per_second']:,.0f}/s"
        if "skipped" in of:
            lines.append(f"{name + ', frames':38}{ours:>12}  {of['skipped']}")
        for kind, target in of["targets"].items() if "skipped" not in of else ():
            shares = {key: of[f"{key}_{kind}"] for key in ("share", "share_low", "share_high")} | {"target": target}
            row(f"{name}, OpenGL {kind}", ours, f"{of[f'{kind}_per_second']:,.0f}/s", shares, None)
    suite = results.get("helms_offline", {})
    for of in suite.get("updates", []):
        best = f"{max(of['products'].values()) / 1e9:,.1f} GF/s"
        row(f"HeLMS, K {of['skills']}, arithmetic", f"{of['operations_per_second'] / 1e9:,.1f} GF/s", best, of, None)
        lines.append(f"{'  updates':38}{of['updates_per_second']:10.2f}/s")
    for kind in ("cold", "warm") if suite else ():
        of = suite["starts"][kind]
        name = f"command to first update, {kind}"
        lines.append(f"{name:38}{of['first_update']:10.1f} s{'':44}{of['peak_memory'] / 2**30:5.1f} GiB")
    suite = results.get("scaling", {})
    for many in suite.get("devices", []):
        for what in ("updates", "control_steps"):
            of = many[what]
            ours, one = (f"{of[f'{which}{what}_per_second']:,.1f}/s" for which in ("", "one_"))
            row(f"{many['devices']} devices, {what.replace('_', ' ')}", ours, one, of, None)
    for of in suite.get("seeds", []):
        ours, one = (f"{of[f'{which}updates_per_second']:,.1f}/s" for which in ("", "one_"))
        row(f"{of['seeds']} seeds in one program, updates", ours, one, of, None)
    if "transfer" in results:
        transfer.table(results["transfer"], row, lines)
    if "imagination" in results:
        imagination.table(results["imagination"], row, lines)
    if "managers" in results:
        managers.table(results["managers"], row, lines)
    return lines


def worlds_table(results: dict[str, Any], row: Callable[..., None], lines: list[str]) -> None:
    """The lines of the suite `worlds`: rates go through `row`."""
    for of in results["native"]:
        name, rate = f"{of['world'].split('.', 1)[1][:24]}, {of['worlds']}", f"{of['control_steps_per_second']:,.0f}/s"
        row(name, rate, f"{of['bare_steps_per_second']:,.0f}/s", of, None)
        record = timing.shares(of["seconds"]["rollout"], of["seconds"]["record"])
        row("  against poses and sensors too", "", f"{of['record_steps_per_second']:,.0f}/s", record, None)
    for of in results["resets"]:
        ours, whole = (f"{of[f'{which}_steps_per_second']:,.0f}/s" for which in ("control", "whole"))
        row(f"{of['world'].split('.', 1)[1][:24]}, resets", ours, whole, of, None)
    for of in results["cold"]:
        parts = ", ".join(f"{part} {of[part]:.2f}" for part in ("make", "trace", "compile", "run"))
        name = f"{of['world'].split('.', 1)[1][:24]}, cold"
        lines.append(f"{name:38}{of['seconds']:10.2f} s{of['target']:10.1f} s  {parts}")
    if isinstance(results["mjx"], dict):
        lines.append(f"{'worlds, mjx':38}{results['mjx']['skipped']}")
        return
    for of in results["mjx"]:
        ours, bare = (f"{of[name]:,.0f}/s" for name in ("control_steps_per_second", "bare_steps_per_second"))
        row(f"{of['world'].split('.', 1)[1][:20]}, mjx, {of['worlds']}", ours, bare, of, of["device_memory"])


if __name__ == "__main__":
    cli.run(main, needs_config=False)

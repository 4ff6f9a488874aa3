"""What learns online on borrowed skills: how fast, where its time goes, and what worlds and seeds are worth."""

from collections.abc import Callable
from typing import Any

import jax
from ml_collections import ConfigDict

from experiments.benchmarks import mpo_reference, timing
from experiments.benchmarks.agents import ONLINE_NAMES
from experiments.benchmarks.transfer_parts import (
    Arena,
    Prepared,
    among,
    apart,
    arena,
    prepare,
    settings,
    system,
    together,
)
from experiments.shared import online_run

PARTS = ("simulation", "acting", "replay", "learning")
# hidden, samples, length, batch of the update that is set beside rlax's: as the presets have them
SIZES = {"cpu": ((128, 128), 10, 8, 32), "paper": ((256, 256), 20, 10, 512)}


def rows_of(config: ConfigDict, cycles: int) -> tuple[int, int]:
    """(rows of every world, updates) of at least `cycles` turns of collecting, enough for a window of the replay."""
    train = config.train
    cycles = max(cycles, -(-(train.sequence_length + config.env.stack - 1) // train.unroll_length))
    return cycles * train.unroll_length, cycles * train.updates_per_collect


def suite(quick: bool, measured: Callable[..., Any]) -> dict[str, Any]:
    """All of it; `measured(what, job, *arguments)` says what is being done, and does it."""
    accelerated = jax.default_backend() != "cpu"
    preset = "debug" if quick else "paper" if accelerated else "cpu"
    names, sizes, seeds, cycles, repeats = ONLINE_NAMES, SIZES, (2, 4, 8), 5, 5
    many = (1024, 2048, 4096, 8192) if accelerated else (16, 128, 1024)
    updates = {"cpu": 20, "paper": 20 if accelerated else 1}
    if quick:
        names, sizes, many, seeds, cycles, repeats = names[:2], {"cpu": ((8, 8), 2, 3, 2)}, (2,), (2,), 1, 1
    results: dict[str, Any] = {"preset": preset}
    results["agents"] = measured("agents that learn online", agents, names, preset, cycles, repeats)
    results["mpo"] = [
        {"sizes": name}
        | measured(f"MPO beside rlax, sizes {name}", mpo_reference.beside, *shape, updates[name], repeats)
        for name, shape in sizes.items()
    ]
    results["worlds"] = measured("worlds with learning", by_worlds, "helms_cat", preset, many, 1, min(3, repeats))
    results["seeds"] = measured("seeds with learning", by_seeds, "helms_cat", preset, seeds, cycles, repeats)
    if not accelerated:
        results["skipped"] = "no accelerator: 1024 to 8192 worlds of engine mjx, agents at the preset paper"
    return results


def agents(names: tuple[str, ...], preset: str, cycles: int, repeats: int, **changes: Any) -> list[dict[str, Any]]:
    """Every agent's updates and control steps a second, together and apart, and the shares of its time."""
    config = settings(names[0], preset, **changes)
    rows, updates = rows_of(config, cycles)
    place = arena(online_run.make_worlds(config.env, config.env.worlds), rows, config.seeds)
    results = []
    for name in names:
        config = settings(name, preset, **changes)
        of = prepare(config, system(config, preset, place.env), place)
        results.append(figures(of, place, config, rows, updates, repeats) | {"preset": preset})
    return results


def figures(of: Prepared, place: Arena, config: ConfigDict, rows: int, updates: int, repeats: int) -> dict[str, Any]:
    """The figures of one agent; of its shares, one turn's seconds of a part are set against that turn's whole."""
    jobs = {"together": together(of, updates, place.seeds), "simulation": place.step}
    jobs |= apart(of, place, config, updates)
    taken = dict(zip(jobs, timing.taken_in_turns(repeats, *jobs.values()), strict=True))
    steps, many = place.env.spec.worlds * rows * place.seeds, updates * place.seeds
    wall = {name: one.wall for name, one in taken.items()}
    acted = [sum(pair) for pair in zip(wall["simulation"], wall["acting"], strict=True)]
    return {
        "agent": config.agent.name,
        **sizes(config, place),
        "updates_per_second": timing.rate(many, wall["together"]),
        "control_steps_per_second": timing.rate(steps, wall["together"]),
        "alone_updates_per_second": timing.rate(many, wall["learning"]),
        "alone_control_steps_per_second": timing.rate(steps, acted),
        "world_steps_per_second": timing.rate(steps, wall["simulation"]),
        "shares": {part: timing.shares(wall["together"], wall[part])["share"] for part in PARTS},
        "processor_shares": {
            part: timing.shares(taken["together"].processor, taken[part].processor)["share"] for part in PARTS
        },
        "seconds": {name: one._asdict() for name, one in taken.items()},
    }


def sizes(config: ConfigDict, place: Arena) -> dict[str, Any]:
    schedule = {
        name: config.train[name] for name in ("batch_size", "sequence_length", "unroll_length", "updates_per_collect")
    }
    return {"worlds": place.env.spec.worlds, "seeds": place.seeds, **schedule, "hidden": tuple(config.agent.hidden)}


def by_worlds(
    name: str, preset: str, counts: tuple[int, ...], cycles: int, repeats: int, **changes: Any
) -> list[dict[str, Any]]:
    """Control steps a second of one seed with learning, beside the worlds alone, by number of worlds."""
    results = []
    for count in counts:
        base = settings(name, preset, seeds=1, **changes)
        room = max(base.replay.rows * base.env.worlds // count, base.replay.prefill)  # no more memory for more worlds
        config = settings(name, preset, **{**changes, "seeds": 1, "env__worlds": count, "replay__rows": room})
        rows, updates = rows_of(config, cycles)
        place = arena(online_run.make_worlds(config.env, count), rows, 1)
        of = prepare(config, system(config, preset, place.env), place)
        whole, alone = timing.taken_in_turns(repeats, together(of, updates, 1), place.step)
        results.append({
            "agent": name, **sizes(config, place),
            "updates_per_second": timing.rate(updates, whole.wall),
            "control_steps_per_second": timing.rate(count * rows, whole.wall),
            "world_steps_per_second": timing.rate(count * rows, alone.wall),
            **timing.shares(whole.wall, alone.wall),
            "seconds": {"together": whole._asdict(), "simulation": alone._asdict()},
        })  # fmt: skip
    return results


def by_seeds(
    name: str, preset: str, counts: tuple[int, ...], cycles: int, repeats: int, **changes: Any
) -> list[dict[str, Any]]:
    """Updates a second of several seeds in one program; `share` is of as many runs of one, one after the other."""
    jobs, place = [], None
    for count in (1, *counts):
        config = settings(name, preset, **{**changes, "seeds": count})
        rows, updates = rows_of(config, cycles)
        place = place or arena(online_run.make_worlds(config.env, config.env.worlds), rows, 1)
        jobs.append(together(prepare(config, system(config, preset, place.env), among(place, count)), updates, count))
    one, *taken = timing.taken_in_turns(repeats, *jobs)
    return [
        {
            "agent": name, "seeds": count,
            "updates_per_second": timing.rate(count * updates, ours.wall),
            "one_updates_per_second": timing.rate(updates, one.wall),
            **timing.shares(ours.wall, [count * seconds for seconds in one.wall]),
            "processor": timing.shares(ours.processor, [count * seconds for seconds in one.processor]),
            "seconds": {"ours": ours._asdict(), "one": one._asdict()},
        }
        for count, ours in zip(counts, taken, strict=True)
    ]  # fmt: skip


def table(results: dict[str, Any], row: Callable[..., None], lines: list[str]) -> None:
    """The lines of the suite `transfer`; rates with a reference go through `row`."""
    for of in results["agents"]:
        name = f"{of['agent']}, {of['seeds']} x {of['worlds']} worlds"
        rates = f"{of['updates_per_second']:,.1f} updates/s, {of['control_steps_per_second']:,.0f} steps/s"
        alone = f"{of['alone_updates_per_second']:,.1f}, {of['alone_control_steps_per_second']:,.0f}"
        shares = ", ".join(f"{part} {share:.2f}" for part, share in of["shares"].items())
        lines.append(f"{name:38}{rates}; alone {alone}; {shares}")
    for of in results["mpo"]:
        name = f"MPO at {of['sizes']}, rlax"
        if "skipped" in of:
            lines.append(f"{name:38}{of['skipped']}")
            continue
        ours, theirs = (f"{of[f'{which}updates_per_second']:,.1f}/s" for which in ("", "reference_"))
        row(name, ours, theirs, of, None)
        row("  in processor seconds", "", "", of["processor"], None)
    for of in results["worlds"]:
        ours, alone = (f"{of[f'{what}_steps_per_second']:,.0f}/s" for what in ("control", "world"))
        row(f"{of['agent']}, {of['worlds']} worlds, steps", ours, alone, of, None)
    for of in results["seeds"]:
        ours, one = (f"{of[f'{which}updates_per_second']:,.1f}/s" for which in ("", "one_"))
        row(f"{of['agent']}, {of['seeds']} seeds, updates", ours, one, of, None)
    if "skipped" in results:
        lines.append(f"{'transfer':38}{results['skipped']}")

"""What a run's batches begin with: a data set, alone or in the replay of its worlds, or the replay of another run.

    beginning = replay_start.open_beginning(run)  # worlds and data; what agents see and do in them is in `spec`
    agent = online_run.make_agent(config, beginning.spec)
    agent = agent._replace(learner=learning.with_init_from(run, agent.learner))
    source, about = replay_start.make_source(run, beginning, agent.explore, agent)
    online_run.train(run, beginning.worlds, agent, source, about=about, ...)

The settings are those of start_settings.py.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.shared import cli, learning, online_run, start_settings, warm_start
from skillhier.data import dataset, initial_rows, sources
from skillhier.envs import registry
from skillhier.train import checkpoint
from skillhier.types import Agent, Policy, Source, Spec, TimeStep, Trajectory

RELABELLED = 2**14  # rows a world that are relabelled in one call


class Beginning(NamedTuple):
    """The worlds of a run, and the data that it begins with."""

    worlds: online_run.Worlds  # without any where config.data.alone
    spec: Spec  # of those worlds, or of the data alone
    data: dataset.Dataset | None  # with the rewards that are learned from


def open_beginning(run: cli.Run) -> Beginning:
    """The worlds and the data that the config describes. Raises Refused, DataFault."""
    config = run.config
    start_settings.check(config, run.init_from)
    if config.data.alone:
        learning.check_divisible(run, "train.batch_size")
        data = _load(config, None)
        return Beginning(online_run.Worlds(None, {}), _spec_of(data, config), data)
    worlds = online_run.open_worlds(run)
    data = _load(config, worlds.env.spec) if config.data.path else None
    return Beginning(worlds, worlds.env.spec, data)


def make_source(
    run: cli.Run, beginning: Beginning, policy: Policy, agent: Agent, **settings: Any
) -> tuple[Source, dict[str, str]]:
    """Batches, as online_run.make_source gives them, and what a continued run must share with this one.

    The replay holds its first rows before the prefill; of those that it has no room for beside the prefill the newest
    are kept, and a line says so. Alone, data give windows that stay within an episode. Raises Refused, DataFault,
    CheckpointError.
    """
    config, data = run.config, beginning.data
    if config.data.alone:
        window = {"sequence_length": config.train.sequence_length, "lookahead": settings.get("lookahead", 0)}
        source = sources.offline(data, batch_size=config.train.batch_size, stack=config.env.stack, **window)
        return source, {"data": dataset.digest(data, rewards=True)}
    each = _of_run(run, beginning.spec) if data is None else [initial_rows.of_dataset(data)]
    if each:
        origin = config.data.path or f"the replay of --init_from={run.init_from}"
        each = [initial_rows.fitted(rows, beginning.spec, agent.replay_extras, origin) for rows in each]
        settings["initial_rows"] = _packed(config, beginning.spec, each, origin)
    try:
        return online_run.make_source(config, beginning.worlds.env, policy, agent, **settings), {}
    except ValueError as error:
        raise cli.Refused(str(error)) from None


def _load(config: ConfigDict, spec: Spec | None) -> dataset.Dataset:
    """The config's data: with the entries of `spec`, or with all that there are if None."""
    path, limits = config.data.path, {}
    if spec is not None:  # what is missing is named all together, when the rows are fitted
        action = spec.action
        if not hasattr(action, "low"):
            raise cli.Refused(f"data hold one array of actions, not the parts {', '.join(action)}; set config.env.name")
        limits = {"names": (), "optional": tuple(spec.obs), "action": action.shape[0], "bounds": action[1:]}
    shortest = config.train.sequence_length if config.data.alone else 1
    declared = dataset.action_bounds(path)  # of the world that the data are from, in its own units
    if declared is not None:
        limits["bounds"] = None
    data = dataset.load(path, **limits, min_length=shortest, max_gib=config.data.max_gib or None)
    data = data if declared is None else dataset.in_bounds(data, *declared)
    for note in data.notes:
        print(f"{path}: {note}", file=sys.stderr)
    _check_origin(config, spec)
    if config.data.reward != "relabel":
        return data
    step = _relabelled(initial_rows.of_dataset(data).step, start_settings.relabelling(config), path)
    return data._replace(obs={name: entry[:, 0] for name, entry in step.obs.items()}, reward=step.reward[:, 0])


def _check_origin(config: ConfigDict, spec: Spec | None) -> None:
    """Refuses rewards of another world, and rows at other intervals, as far as data say where they are from."""
    path, about, name = config.data.path, dataset.about(config.data.path), config.env.name
    paid = about.get("worlds", [about["world"]] if "world" in about else [])
    if paid and registry.canonical(name) not in paid and config.data.reward == "own" and not config.data.alone:
        raise cli.Refused(
            f"{path} has the rewards of {', '.join(paid)}, not of {name}; set config.data.reward=relabel, or any to "
            "learn from them all the same"
        )
    interval = about.get("control_timestep")
    if spec is not None and interval and abs(interval - spec.interval) > 1e-6:
        raise cli.Refused(
            f"{path} has a row every {interval:g} s, these worlds every {spec.interval:g} s; set config.env.repeat"
        )


def _spec_of(data: dataset.Dataset, config: ConfigDict) -> Spec:
    """What an agent sees and does in the data alone; which entries are privileged the data may say."""
    about = dataset.about(config.data.path)
    privileged = tuple(name for name in about.get("privileged", ()) if name in data.obs)
    interval = float(about.get("control_timestep", 0.0))
    return dataset.spec(data, config.env.stack)._replace(privileged=privileged, interval=interval)


def _of_run(run: cli.Run, spec: Spec) -> list[Trajectory]:
    """The rows in the replay of --init_from's run: once, or for each seed where both runs have as many. Or none."""
    config = run.config
    if config.transfer.replay == start_settings.NO_REPLAY:
        return []
    rows = []
    for folder in learning.source_folders(run):
        repeat = warm_start.run_settings(folder).get("env", {}).get("repeat", 1)
        if repeat != config.env.get("repeat", 1):
            raise cli.Refused(
                f"a row of {folder} is {repeat} control steps long, here {config.env.get('repeat', 1)}; set "
                f"config.env.repeat={repeat}, or config.transfer.replay=none"
            )
        try:
            ring = checkpoint.read(folder, online_run.REPLAY)
        except checkpoint.CheckpointError as error:
            if "holds nothing named" not in str(error):
                raise
            raise cli.Refused(
                f"the checkpoints of {folder} hold no replay; set config.transfer.replay=none, or train that run with "
                "config.replay.in_checkpoint=true"
            ) from None
        rows.append(initial_rows.of_ring(ring))
    return rows


def _packed(config: ConfigDict, spec: Spec, each: list[Trajectory], origin: str) -> list[Trajectory]:
    """Rows as the replay of the config's worlds takes them, relabelled where they are another run's."""
    unroll = config.train.unroll_length
    room = config.replay.rows - -(-config.replay.prefill // unroll) * unroll
    packed = [initial_rows.packed(rows, spec.worlds, max(0, room)) for rows in each]
    many, there = len(packed[0].step.first) * spec.worlds, each[0].step.first.size
    if not many:
        raise cli.Refused(
            f"of the {there} rows of {origin} none fits: {spec.worlds} worlds have room for {max(0, room)} rows each, "
            "beside the prefill; set config.replay.rows"
        )
    print(f"the replay begins with {many} of the {there} rows of {origin}, the newest", file=sys.stderr)
    if config.transfer.replay != "relabel":
        return packed
    relabel = start_settings.relabelling(config)
    return [rows._replace(step=_relabelled(rows.step, relabel, origin)) for rows in packed]


def _relabelled(step: TimeStep, relabel: Callable[[TimeStep], TimeStep], origin: str) -> TimeStep:
    """`step` [n, C, ...] as `relabel` has it, on the host, a piece at a time. Raises Refused: an entry is missing."""
    compute = jax.jit(relabel)
    pieces = []
    for begin in range(0, len(step.first), RELABELLED):
        piece = jax.tree.map(lambda x: x[begin : begin + RELABELLED], step)  # noqa: B023
        try:
            pieces.append(jax.device_get(compute(piece)))
        except KeyError as missing:
            raise cli.Refused(
                f"{origin} lacks the entry {missing}, which the reward of config.env.name is computed from"
            ) from None
    return jax.tree.map(lambda *x: np.concatenate(x), *pieces)

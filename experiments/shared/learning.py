"""What entry points that learn share: what they begin with, what devices can share out, how a stop is reported."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax

from experiments.shared import cli
from skillhier.agents import paths as by_path
from skillhier.agents.learner import with_frozen, with_init_params, with_opt_state
from skillhier.train import checkpoint, loop, run_folder
from skillhier.types import Agent, Learner


def split_init_from(address: str) -> tuple[Path, str]:
    """RUN:PART of --init_from: (the run's folder, `all` or the path of a part). Raises Refused."""
    path, _, part = address.rpartition(":")
    if not path or not part:
        raise cli.Refused(f"--init_from={address} is not RUN:PART, for example runs/skills:all or runs/skills:low")
    return Path(path), part.strip("/")


def source_folders(run: cli.Run) -> list[Path]:
    """The run that --init_from names; the folder of each of its seeds where it has as many as this one."""
    path, _ = split_init_from(run.init_from)
    if not (path / "checkpoints").is_dir() or not (path / "config.json").is_file():
        return [path]
    config = run_folder.settings(path)
    first, count = config.get("seed", 0), config.get("seeds", 1)
    if count == 1 or count != run.config.get("seeds", 1):
        return [path]
    return [path / f"seed_{seed}" for seed in range(first, first + count)]


def with_init_from(run: cli.Run, learner: Learner) -> Learner:
    """`learner`, which begins with the parameters that --init_from names, if it is given.

    Where the config has a group `transfer` (start_settings.py), some begin anew, some do not learn, and the optimiser
    may go on. Seeds begin with the same parameters, or each with those of a seed (`source_folders`).
    Raises Refused, CheckpointError.
    """
    if not run.init_from:
        return learner
    _, part = split_init_from(run.init_from)
    parts = [] if part == "all" else part.split("/")
    transfer = run.config.get("transfer") or {}
    anew, freeze = transfer.get("anew", ()), transfer.get("freeze", ())
    learner = _refusing(f"config.transfer.anew={','.join(anew)}", lambda: _checked(learner, anew))
    folders = source_folders(run)

    def read(folder: Path) -> Any:
        params = checkpoint.read(folder, "/".join(["learner/params", *parts]))
        for name in reversed(parts):
            params = {name: params}
        return by_path.without(params, anew)

    begun = with_init_params(learner, *map(read, folders))
    learner = _refusing(
        f"--init_from={run.init_from} does not fit",
        lambda: _checked(begun),
        "; take config.agent of that run, or another part",
    )
    if transfer.get("optimiser"):
        states = [checkpoint.named(checkpoint.read(folder, "learner/opt")) for folder in folders]
        going_on = with_opt_state(learner, *states, anew=tuple(anew))
        learner = _refusing(
            f"--init_from={run.init_from} does not fit",
            lambda: _checked(going_on),
            "; set config.transfer.optimiser=false",
        )
    if not freeze:
        return learner
    return _refusing(f"config.transfer.freeze={','.join(freeze)}", lambda: with_frozen(learner, tuple(freeze)))


def _checked(learner: Learner, paths: Iterable[str] = ()) -> Learner:
    """`learner`. Raises ValueError where it cannot begin, or where `paths` are none of its parameters."""
    by_path.check(jax.eval_shape(learner.init, jax.random.key(0)).params, paths)
    return learner


def make_agent(make: Callable[..., Agent], **settings: Any) -> Agent:
    """`make(**settings)`. Raises Refused where the settings do not fit what it sees and does."""
    try:
        agent = make(**settings)
        jax.eval_shape(agent.learner.init, jax.random.key(0))
    except ValueError as error:
        raise cli.Refused(str(error.args[0])) from None
    return agent


def _refusing(what: str, make: Callable[[], Learner], remedy: str = "") -> Learner:
    try:
        return make()
    except ValueError as error:
        raise cli.Refused(f"{what}: {error}{remedy}") from None


def check_stopped(outcome: loop.Outcome, path: Path) -> None:
    """Raises RunStopped where a signal ended a run before its budget did."""
    if outcome.stopped:
        raise cli.RunStopped(outcome.stopped, f"stopped at update {outcome.done}; the same command continues {path}")


def check_divisible(run: cli.Run, *names: str) -> None:
    """Refuses counts among the settings that the devices cannot share out evenly."""
    for name in names if run.mesh else ():
        given, many = cli.flat(run.config)[name], run.mesh.size
        if given % many:
            raise cli.Refused(
                f"config.{name}={given} cannot be shared out evenly among {many} devices; "
                f"set config.{name}={-(-given // many) * many}, or choose another --devices"
            )

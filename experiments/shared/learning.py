"""What entry points that learn share: what they begin with, what devices can share out, how a stop is reported."""

from pathlib import Path

import jax

from experiments.shared import cli
from skillhier.agents.learner import with_init_params
from skillhier.train import checkpoint, loop
from skillhier.types import Learner


def split_init_from(address: str) -> tuple[Path, str]:
    """RUN:PART of --init_from: (the run's folder, `all` or the path of a part). Raises Refused."""
    path, _, part = address.rpartition(":")
    if not path or not part:
        raise cli.Refused(f"--init_from={address} is not RUN:PART, for example runs/skills:all or runs/skills:low")
    return Path(path), part.strip("/")


def with_init_from(run: cli.Run, learner: Learner) -> Learner:
    """`learner`, which begins with the parameters that --init_from names, if it is given.

    Raises Refused, CheckpointError.
    """
    if not run.init_from:
        return learner
    path, part = split_init_from(run.init_from)
    parts = [] if part == "all" else part.split("/")
    params = checkpoint.read(path, "/".join(["learner/params", *parts]))
    for name in reversed(parts):
        params = {name: params}
    learner = with_init_params(learner, params)
    try:
        jax.eval_shape(learner.init, jax.random.key(0))
    except ValueError as error:
        raise cli.Refused(
            f"--init_from={run.init_from} does not fit: {error}; take config.agent of that run, or another part"
        ) from None
    return learner


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

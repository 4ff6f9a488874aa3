"""A grid of runs over flags and settings: here, on Slurm, on SkyPilot or on Kubernetes.

python -m launch.sweep --experiment=helms_offline --config=experiments/configs/helms_offline.py:debug \\
  --sweep='config.agent.beta_z=0,0.01,0.1' --sweep='config.seed=0..4' --to=local --parallel=2 --dry_run

Several --sweep make a grid. `a..b` counts from a to b; a value in brackets, hidden=(256,256), may hold commas.
config.NAME is a setting, config:NAME an option of the preset (config:agent=helms,npmp), any other name another flag.
What is not listed below goes to every run, such as --config.train.updates=50. What only some runs take:
--when='agent=helms_cat,helms_mix --init_from=runs/skills:skills', where config:agent is swept.

Each run lies in its own folder under --folder, named after what varies. What is done is skipped, what was begun goes
on: the same command again continues a sweep. Everything is looked at before anything starts; --dry_run stops there.
"""

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

from launch import grid, kubernetes, local, runs, skypilot, slurm
from launch.grid import Refused

PLACES = ("local", "slurm", "skypilot", "kubernetes")
CLUSTERS = PLACES[1:]

# flag: (where it means something, what it takes, its default, what it is)
FLAGS = {
    "parallel": (("local", "slurm"), int, None, "runs at once (local: 1, slurm: all)"),
    "gpus": (PLACES, int, 0, "cards of each host; local: of each run, which then sees only these"),
    "cpus": (CLUSTERS, int, None, "cores of each host"),
    "memory": (CLUSTERS, int, None, "GB of each host"),
    "hosts": (("slurm", "kubernetes"), int, 1, "machines that work on one run together"),
    "time": (("slurm",), str, "24:00:00", "limit, in minutes or [D-]HH:MM:SS; a longer run goes on in another job"),
    "partition": (("slurm",), str, None, "of the cluster"),
    "account": (("slurm",), str, None, "that is charged"),
    "accelerator": (("skypilot", "kubernetes"), str, None, "kind of card: L4; on GKE nvidia-l4, tpu-v5-lite-podslice"),
    "bucket": (("skypilot",), str, None, "s3://NAME, gs://NAME, ... where the runs are kept"),
    "spot": (("skypilot",), bool, False, "machines that may be taken away; the run goes on elsewhere"),
    "claim": (("kubernetes",), str, None, "the PersistentVolumeClaim where the runs are kept"),
    "source": (("kubernetes",), str, None, "of this project: a git address[@commit] or a folder of the image (origin)"),
    "tpus": (("kubernetes",), int, 0, "chips of each host"),
    "topology": (("kubernetes",), str, None, "of the TPU slice: 2x4, 4x4, ..."),
    "image": (("skypilot", "kubernetes"), str, "python:3.12-bookworm", "with Python, gcc, git and make"),
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 all done, submitted or written; 1 runs failed; 2 wrong use, with one line; 130 Ctrl-C."""
    try:
        asked = parse(sys.argv[1:] if argv is None else argv)
        axes = grid.axes(asked.sweep)
        whens = grid.whens(asked.when, axes)
        every = runs.checked(runs.expand(asked.experiment, asked.config, asked.fixed, axes, asked.folder, whens))
        pending = [run for run in every if not runs.done(run)]
        begun = sum(map(runs.begun, pending))
        counts = f"{len(every) - len(pending)} done, {begun} begun, {len(pending) - begun} new"
        print(f"# {len(every)} runs of {asked.experiment} in {asked.folder}: {counts}", flush=True)
        if not pending:
            return 0
        if asked.to == "local":
            if asked.dry_run:
                print("\n".join(run.shown() for run in pending), flush=True)
                return 0
            done = len(every) - len(pending)
            return local.start(pending, parallel=asked.parallel or 1, gpus=asked.gpus, done=done)
        place = {"slurm": slurm, "skypilot": skypilot, "kubernetes": kubernetes}[asked.to]
        print(place.show(pending, asked) if asked.dry_run else place.start(pending, asked), flush=True)
        return 0
    except BrokenPipeError:  # whoever read what was printed, `head` perhaps, has seen enough
        os._exit(141)
    except Refused as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing was started", file=sys.stderr)
        return 130


def parse(argv: Sequence[str]) -> SimpleNamespace:
    """The command line; `fixed` holds what every run is given. Raises Refused."""
    parser = argparse.ArgumentParser(
        "python -m launch.sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False, usage=argparse.SUPPRESS, add_help=True,
    )  # fmt: skip
    parser.error = _refuse
    parser.add_argument("--experiment", metavar="NAME", help="the entry point: experiments/NAME.py")
    parser.add_argument("--config", metavar="FILE:PRESET", default="", help="of the entry point")
    parser.add_argument("--sweep", metavar="NAME=VALUES", action="append", default=[], help="an axis of the grid")
    parser.add_argument("--when", metavar="'NAME=VALUES FLAGS'", action="append", default=[], help="flags of some runs")
    parser.add_argument("--to", metavar="PLACE", default="local", help=", ".join(PLACES))
    parser.add_argument("--folder", metavar="DIR", help="where the runs lie (runs/EXPERIMENT-sweep)")
    parser.add_argument("--dry_run", action="store_true", help="print all that would be started or written, and stop")
    for flag, (places, kind, default, purpose) in FLAGS.items():
        told = f"[{', '.join(places)}] {purpose}" + (f" ({default})" if default else "")
        how = (
            {"action": "store_true", "default": None}
            if kind is bool
            else {"type": kind, "metavar": kind.__name__.upper()}
        )
        parser.add_argument(f"--{flag}", help=told, **how)
    asked, fixed = parser.parse_known_args(argv)
    if asked.to not in PLACES:
        raise Refused(f"--to={asked.to} is not known; {_near(asked.to, PLACES)}choose {', '.join(PLACES)}")
    if not asked.experiment:
        raise Refused("--experiment is missing; for example --experiment=helms_offline")
    for flag, (places, kind, default, _) in FLAGS.items():
        given = getattr(asked, flag)
        if given is None:
            setattr(asked, flag, default)
        elif asked.to not in places:
            raise Refused(f"--{flag} means nothing with --to={asked.to}; it is for {' and '.join(places)}")
        elif kind is int and given < (0 if default == 0 else 1):
            raise Refused(f"--{flag}={given} is too few; it must be at least {0 if default == 0 else 1}")
    for argument in fixed:
        name = argument.lstrip("-").partition("=")[0]
        if not argument.startswith("--config."):
            known = [*FLAGS, "experiment", "sweep", "when", "to", "folder", "dry_run"]
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            if near and argument.startswith("-"):
                raise Refused(f"flag --{name} is not known; did you mean --{near[0]}? --help lists all")
    asked.folder = Path(asked.folder or f"runs/{asked.experiment}-sweep")
    return SimpleNamespace(**vars(asked), fixed=fixed)


def _near(given: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}? " if near else ""


def _refuse(message: str) -> None:
    raise Refused(message)


if __name__ == "__main__":
    sys.exit(main())

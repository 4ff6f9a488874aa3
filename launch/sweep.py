"""A grid of runs over flags and settings: here, on Slurm, on SkyPilot or on Kubernetes.

python -m launch.sweep --experiment=helms_offline --config=experiments/configs/helms_offline.py:debug \\
  --sweep='config.agent.beta_z=0,0.01,0.1' --sweep='config.seed=0..4' --to=local --parallel=2 --dry_run

Several --sweep make a grid. `a..b` counts from a to b; a value in brackets, hidden=(256,256), may hold commas.
config.NAME is a setting, config:NAME an option of the preset (config:agent=helms,npmp), any other name another flag.
What is not listed below goes to every run, such as --config.train.updates=50. What only some runs take:
--when='agent=helms_cat,helms_mix --init_from=runs/skills:all', where config:agent is swept.

Each run has its own folder under --folder, named after what varies. Runs that are done are skipped and runs that were
begun go on, so the same command again continues a sweep. All runs are checked before any starts; --dry_run stops there.
"""

import argparse
import difflib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

from launch import grid, kubernetes, local, runs, skypilot, slurm
from launch.grid import Refused

BACKENDS = {"slurm": slurm, "skypilot": skypilot, "kubernetes": kubernetes}  # each has check, show and start
CLUSTERS = tuple(BACKENDS)
PLACES = ("local", *CLUSTERS)

# flag: (the values of --to that it applies to, its type, its default, its help)
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
    "bucket": (("skypilot",), str, None, "s3://NAME, gs://NAME, ... that holds the run folders"),
    "spot": (("skypilot",), bool, False, "machines that may be taken away; the run goes on elsewhere"),
    "claim": (("kubernetes",), str, None, "the PersistentVolumeClaim that holds the run folders"),
    "source": (("kubernetes",), str, None, "of this project: a git address[@commit] or a folder of the image (origin)"),
    "tpus": (("kubernetes",), int, 0, "chips of each host"),
    "topology": (("kubernetes",), str, None, "of the TPU slice: 2x4, 4x4, ..."),
    "image": (("skypilot", "kubernetes"), str, "python:3.12-bookworm", "with Python, gcc, git and make"),
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 all done, submitted or written; 1 runs failed; 2 wrong use, with one line; 130 Ctrl-C.

    Values are checked before anything that takes time or needs a tool of this machine: first the command line, then
    every run by its entry point, then the cluster's own commands.
    """
    try:
        options = parse(sys.argv[1:] if argv is None else argv)
        runs.check_folder(options.folder)
        axes = grid.axes(options.sweep)
        conditions = grid.conditions(options.when, axes)
        expanded = runs.expand(options.experiment, options.config, options.fixed, axes, options.folder, conditions)
        every = runs.resolve(expanded)
        pending = [run for run in every if not runs.done(run)]
        begun = sum(map(runs.begun, pending))
        counts = f"{len(every) - len(pending)} done, {begun} begun, {len(pending) - begun} new"
        print(f"# {len(every)} runs of {options.experiment} in {options.folder}: {counts}", flush=True)
        if not pending:
            return 0
        if options.to == "local":
            if options.dry_run:
                print("\n".join(run.shell_line() for run in pending), flush=True)
                return 0
            done = len(every) - len(pending)
            return local.start(pending, parallel=options.parallel or 1, gpus=options.gpus, done=done)
        backend = BACKENDS[options.to]
        print((backend.show if options.dry_run else backend.start)(pending, options), flush=True)
        return 0
    except BrokenPipeError:  # the reader of our output, `head` perhaps, has closed it
        os._exit(141)
    except Refused as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    except PermissionError as error:
        print(f"{error.filename}: no permission; get it, or give another --folder", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing was started", file=sys.stderr)
        return 130


def parse(argv: Sequence[str]) -> SimpleNamespace:
    """The command line; `fixed` holds the arguments that go to every run. Raises Refused."""
    grid.check_text(argv)
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
    parser.add_argument("--folder", metavar="DIR", help="of all run folders (runs/EXPERIMENT-sweep)")
    parser.add_argument("--dry_run", action="store_true", help="print all that would be started or written, and stop")
    for flag, (places, kind, default, purpose) in FLAGS.items():
        text = f"[{', '.join(places)}] {purpose}" + (f" ({default})" if default else "")
        if kind is bool:
            parser.add_argument(f"--{flag}", help=text, action="store_true", default=None)
        else:
            parser.add_argument(f"--{flag}", help=text, type=kind, metavar=kind.__name__.upper())
    options, fixed = parser.parse_known_args(argv)
    if options.to not in PLACES:
        raise Refused(f"--to={options.to} is not known; {_suggest(options.to, PLACES)}choose {', '.join(PLACES)}")
    if not options.experiment:
        raise Refused("--experiment is missing; for example --experiment=helms_offline")
    for flag, (places, kind, default, _) in FLAGS.items():
        value, minimum = getattr(options, flag), 0 if default == 0 else 1
        if value is None:
            setattr(options, flag, default)
        elif options.to not in places:
            raise Refused(f"--{flag} does not apply to --to={options.to}; it is for {' and '.join(places)}")
        elif kind is int and value < minimum:
            raise Refused(f"--{flag} must be at least {minimum}, got {value}")
    for argument in fixed:
        name = argument.lstrip("-").partition("=")[0]
        if not argument.startswith("--config."):
            known = [*FLAGS, "experiment", "sweep", "when", "to", "folder", "dry_run"]
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            if near and argument.startswith("-"):
                raise Refused(f"flag --{name} is not known; did you mean --{near[0]}? --help lists all")
    options.folder = Path(options.folder or f"runs/{options.experiment}-sweep")
    options = SimpleNamespace(**vars(options), fixed=fixed)
    if options.to in BACKENDS:
        BACKENDS[options.to].check(options)
    return options


def _suggest(value: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(value, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}? " if near else ""


def _refuse(message: str) -> None:
    raise Refused(message)


def _stop(_number: int, _frame: object) -> None:
    print("stopped; nothing was started", file=sys.stderr, flush=True)
    os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)  # until runs are started, which hear it for themselves
    sys.exit(main())

"""The update that ended a run, once more: which numbers were bad, and where the first one came from.

python -m experiments.replay_fault --file=runs/mine/fault-1250.npz

Reads what a run leaves when too many updates in a row had losses or gradients that are not finite. Prints what in the
batch and in the parameters is not finite, runs the update again, and names the line of ours and the operation that
gave the first NaN (or infinity, where no NaN arises). Changes nothing.
"""

import traceback
from collections.abc import Iterable
from pathlib import Path

import jax
import numpy as np
from absl import flags

from experiments.shared import cli, online_run
from skillhier.agents import registry
from skillhier.agents.learner import healthy
from skillhier.train import faults, run_folder
from skillhier.types import Bounds, Key, Learner, LearnerState, Spec, TimeStep, Trajectory

flags.DEFINE_string("file", None, "a fault-*.npz of a run folder")

OURS = Path(__file__).parents[1] / "skillhier"


def check(run: cli.Run) -> None:
    """Refuses flags that are missing or do not go together. Raises Refused."""
    if not flags.FLAGS.file:
        raise cli.Refused("--file is missing; give a fault-*.npz of a run folder")


def main(run: cli.Run) -> None:
    box = faults.read(Path(flags.FLAGS.file))
    batch = trajectory(box)
    learner = rebuilt(box, batch)
    state = box.fill("learner", jax.eval_shape(learner.init, jax.random.key(0)))
    about = box.run
    print(f"{about['entry']}, seed {about['seed']}, update {about['update']}, {state.health.skipped} left out in all")
    given = [*bad(box.arrays, "batch"), *bad(box.arrays, "learner")]
    print("\n".join(given or ["batch and learner hold finite numbers only"]))
    again, metrics = jax.jit(learner.update)(state._replace(health=healthy()), batch, box.key)
    for name, value in sorted(metrics.items()):
        print(f"{name:28} {float(value):.6g}")
    if not int(again.health.skipped):
        print("the update is sound here: another machine or version, or its neighbours, made the difference")
        return
    print(f"left out again; {'it was given bad numbers' if given else origin(learner, state, batch, box.key)}")


def trajectory(box: faults.FaultRecord) -> Trajectory:
    """The batch that a file holds."""
    rows = jax.tree.map(jax.numpy.asarray, box.tree("batch"))
    step = TimeStep(**{**rows["step"], "obs": rows["step"].get("obs", {})})
    return Trajectory(step, rows["action"], rows.get("extras", {}))


def rebuilt(record: faults.FaultRecord, batch: Trajectory) -> Learner:
    """The learner that wrote a file, from its config and how its skills were made; shapes are seen in the batch."""
    config = run_folder.nested(record.run["config"])
    obs = {name: jax.ShapeDtypeStruct(x.shape[2:], x.dtype) for name, x in batch.step.obs.items()}
    try:
        spec = Spec(obs, Bounds(batch.action.shape[2:], -1.0, 1.0), 1, 0.0, 1)
        if "env" in config:
            shown = online_run.make_worlds(config["env"], 1).spec
            spec = spec._replace(action=shown.action, privileged=shown.privileged)
        skills = {name: tuple(x) if isinstance(x, list) else x for name, x in record.run.get("origin", {}).items()}
        return registry.make(**config["agent"], **skills, spec=spec).learner
    except (TypeError, ValueError, KeyError) as error:
        raise cli.Refused(f"the learner of this file cannot be made: {error}; use the version that wrote it") from None


def bad(arrays: dict[str, np.ndarray], top: str) -> Iterable[str]:
    """A line for every array below `top` with numbers that are not finite."""
    for name, values in sorted(arrays.items()):
        if name.startswith(f"{top}/") and np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            places = np.argwhere(~np.isfinite(values))
            first = tuple(map(int, places[0]))
            yield f"{name} {list(values.shape)}: {len(places)} not finite, the first at {list(first)}: {values[first]}"


def origin(learner: Learner, state: LearnerState, batch: Trajectory, key: Key) -> str:
    """Where the first bad number of an update arises: our line, and the operation."""
    for kind in ("jax_debug_nans", "jax_debug_infs"):
        before = getattr(jax.config, kind)
        jax.config.update(kind, True)
        jax.clear_caches()  # what was compiled before does not check
        try:
            with jax.disable_jit():
                jax.block_until_ready(learner.update(state, batch, key))
        except FloatingPointError as error:
            frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(OURS)]
            where = f"{Path(frames[-1].filename).relative_to(OURS.parent)}:{frames[-1].lineno}" if frames else "unknown"
            line = f" ({frames[-1].line})" if frames else ""
            return f"the first bad number arises at {where}{line}: {str(error).splitlines()[0].rstrip('.')}"
        finally:
            jax.config.update(kind, before)
    return "no single operation gives one: the gradient's norm is beyond what float32 holds"


if __name__ == "__main__":
    cli.run(main, needs_config=False)

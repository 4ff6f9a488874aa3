"""The registered worlds: observations, actions, episode lengths, engines.

python -m experiments.envs
python -m experiments.envs --name=dmc.walker
python -m experiments.envs --name=sawyer.pyramid.set1 --json
python -m experiments.envs --env_from=my_package.worlds --name=mine

Columns: size of the observation of one frame (numbers and images, without privileged entries), size of an action,
control steps of an episode and their seconds, seconds of a control step, engines that build the model. Engine warp
builds what mjx builds, on an NVIDIA GPU with the extra `warp`; worlds without bodies need no engine but JAX. --json
lists all entries with the shapes of one frame, the privileged ones, how many frames a stack holds by default (newest
first, as in every stack here), and the entry that says success.
"""

import contextlib
import io
import json
import math
from collections.abc import Iterable

import jax.numpy as jnp
import mujoco
from absl import flags

from experiments.shared import cli
from skillhier.envs import registry

flags.DEFINE_string("name", "", "only worlds whose name begins with this")
flags.DEFINE_bool("json", False, "a JSON list instead of the table")

COLUMNS = (("world", "name"), ("obs", "observation"), ("action", "action"), ("steps", "limit"),
           ("seconds", "seconds"), ("interval", "interval"), ("engines", "engines"))  # fmt: skip


def main(run: cli.Run) -> None:
    if run.workdir is not None:
        raise cli.Refused("--workdir means nothing here, because nothing is written; leave it out")
    prefix = registry.canonical(flags.FLAGS.name)
    names = [name for name in registry.names() if name.startswith(prefix)]
    if not names:
        families = sorted({name.split(".")[0] for name in registry.names()})
        raise cli.Refused(f"--name={prefix} begins the name of no world; they begin with {' or '.join(families)}")
    known: dict[int, bool] = {}
    worlds = [world(name, known) for name in names]
    print(json.dumps(worlds, indent=1) if flags.FLAGS.json else table(worlds))


def world(name: str, known: dict[int, bool]) -> dict:
    """The facts about one world, without compiling anything. known: whether MJX builds a model, by its id; updated."""
    spec = registry.make(name).spec
    model = None if name in registry.ENVS else registry.task(name).physics.model
    if model is not None and id(model) not in known:
        known[id(model)] = has_mjx(model)
    engines = ["jax"] if model is None else ["native", "mjx"] if known[id(model)] else ["native"]
    visible = {name: spec.obs[name] for name in spec.visible}
    numbers = sum(math.prod(v.shape[1:]) for v in visible.values() if v.dtype != jnp.uint8)
    return {
        "name": name,
        "observation": numbers,
        "images": ["x".join(map(str, v.shape[1:])) for v in visible.values() if v.dtype == jnp.uint8],
        "action": spec.action.shape[0],
        "limit": spec.limit,
        "seconds": round(spec.limit * spec.interval, 6),
        "interval": round(spec.interval, 6),
        "engines": engines,
        "stack": next(iter(visible.values())).shape[0],
        "stack_order": "newest first",
        "entries": {k: list(v.shape[1:]) for k, v in sorted(visible.items())},
        "privileged": {k: list(spec.obs[k].shape[1:]) for k in sorted(spec.privileged)},
        "success": spec.success,
    }


def has_mjx(model: mujoco.MjModel) -> bool:
    """Whether MJX builds the model; it raises for features that it does not support."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints there that warp is not installed
        from mujoco import mjx
    try:
        mjx.put_model(model)
    except NotImplementedError:
        return False
    return True


def table(worlds: Iterable[dict]) -> str:
    """Aligned columns, numbers to the right."""

    def text(value: object) -> str:
        return " ".join(value) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)

    rows = [[title for title, _ in COLUMNS]]
    for world in worlds:
        sizes = [*world["images"], *([str(world["observation"])] if world["observation"] else [])]
        rows.append([text(value) for value in ({**world, "observation": sizes}[key] for _, key in COLUMNS)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    left = (0, len(COLUMNS) - 1)
    lines = [
        "  ".join(
            cell.ljust(w) if i in left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


if __name__ == "__main__":
    cli.run(main, needs_config=False)

"""What test_devices.py wants from several devices, in one process of its own: their number is fixed when JAX starts.

python tests/row_of_devices.py FOLDER: reads and writes FOLDER/alone (a run begun by the test), FOLDER/many (one for the
test to go on with) and FOLDER/found.npz.
"""

import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from counters import NOISE, SEEN, counters
from faulty import regression
from leftovers import plain
from specs import spec_of

from experiments.shared import cli
from skillhier import rollout
from skillhier.agents import registry
from skillhier.data import online, replay, sources, toy
from skillhier.distributed import sharding
from skillhier.policies.flat import flat
from skillhier.train import checkpoint, evaluate, loop, session

OBS = {"arm": 3, "cube": 4}
UPDATES = 3
LENGTHS = (1, 2, 9, 3)  # of the episodes of four worlds that count
ROWS = 40
WORLD = "sawyer.stack_red_on_blue.set4"


def system(name: str, **settings):
    spec = spec_of({entry: (2, size) for entry, size in OBS.items()}, 5)
    settings = {"hidden": (16,), "lookahead": 2, "learning_rate": 1e-2, **settings}
    return registry.make(name, spec, low=("arm",), mid=tuple(OBS), **settings).learner


def windows(batch: int):
    return sources.offline(toy.demonstrations(OBS, steps=20), batch_size=batch, sequence_length=6, lookahead=2, stack=2)


def collecting(begun: int = 0):
    """begun: for so many seeds the replay begins with rows of its own."""
    env = counters(LENGTHS, breaks=((2, 15),), ends=1)
    memory = replay.make(ROWS, env.spec, extras=SEEN)
    row = replay.row_shapes(env.spec, SEEN)
    rows = [jax.tree.map(lambda one: np.full((6, 4, *one.shape), seed, one.dtype), row) for seed in range(begun)]  # noqa: B023
    return online.online(
        env, NOISE, memory, unroll_length=4, updates_per_collect=2, batch_size=16, sequence_length=3, prefill=12,
        initial_rows=rows,
    )  # fmt: skip


CASES = {
    "helms": (lambda: system("helms"), lambda: windows(256), 0),  # on a CPU such a batch is taken in pieces
    "bc": (lambda: system("bc"), lambda: windows(8), 0),
    "seeds": (lambda: system("bc"), lambda: windows(8), 2),
    "online": (regression, collecting, 0),
    "online_seeds": (regression, collecting, 2),
    "online_begun": (regression, lambda: collecting(2), 2),
}


def trained(case: str, mesh=None):
    """(state, metrics, compilations of a further epoch, the first one's program) after some updates."""
    make, source, seeds = CASES[case]
    learner, source = make(), source()
    key = jax.vmap(jax.random.key)(jnp.arange(seeds)) if seeds else jax.random.key(0)
    state = loop.start(learner, source, key, mesh)
    epoch = loop.epoch(learner, source, UPDATES, bool(seeds), mesh)
    program = epoch.lower(state).compile().as_text() if mesh else ""
    former, (state, told, _) = state, epoch(state)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((former.learner, former.key)))  # its memory was taken
    kept = jax.tree.map(lambda leaf: plain(leaf).copy(), (state, told))  # the next epoch takes the state's memory
    compiled = []
    listen = lambda name, *_, **__: compiled.append(name) if "compile" in name else None  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listen)
    state, _, _ = epoch(state)
    jax.monitoring.unregister_event_duration_listener(listen)
    return *kept, len(compiled), program, state


def shares(tree) -> list[tuple]:
    """For each leaf: its shape, and the part of it that one device holds."""
    return [(leaf.shape, leaf.sharding.shard_shape(leaf.shape)) for leaf in jax.tree.leaves(tree)]


def named(tree, above: str) -> dict[str, np.ndarray]:
    return {f"{above}/{name}": plain(leaf) for name, leaf in checkpoint.named(tree).items()}


def sawyer(mesh=None) -> dict[str, np.ndarray]:
    """Real worlds: some rows of noise in them, what an evaluation says, and how many C stepped in each call."""
    from skillhier.envs import registry
    from skillhier.envs.physics import native

    env = registry.make(WORLD, worlds=4, limit=3, starts=8, engine="native", timestep=0.01)
    noise = flat(lambda params, obs, key: (jax.random.uniform(key, (4, *env.spec.action.shape), minval=-1.0), {}))
    counted, make = [], native.Worlds.__init__

    def counting(self, model, count, parameters):
        counted.append(count)
        make(self, model, count, parameters)

    native.Worlds.__init__ = counting
    with sharding.use_mesh(mesh):
        key = sharding.put(jax.random.key(5), sharding.named_sharding(mesh)) if mesh else jax.random.key(5)
        told = evaluate.episodes(env, noise)((), key)

        @jax.jit
        def run(key):
            with sharding.use_mesh(mesh):
                return rollout.rollout(env, noise, (), rollout.start(env, noise, key), key, 5)

        end, rows = run(key)
    native.Worlds.__init__ = make
    assert set(counted) == {4 // (mesh.size if mesh else 1)}, counted
    return named(told, "eval") | named(rows, "rows") | named(end.env, "worlds")


def executed(path: Path, budget: int, mesh=None) -> None:
    """A run in its folder."""
    path.mkdir(exist_ok=True)
    session.execute(path, regression(), collecting(), seed=0, budget=budget, updates=3, save_every=3, mesh=mesh)


def main(place: Path) -> None:
    cli.open_cache()
    mesh = sharding.mesh()
    assert mesh.size == 4 and sharding.mesh(1) is None and sharding.mesh(2).size == 2
    found = {}
    for case in CASES:
        state, told, compiled, program, later = trained(case, mesh)
        found |= named((state, told), case) | {f"{case}/compiled": np.asarray(compiled)}
        if case == "helms":  # else every device would compute for all sequences
            assert " all-reduce" in program and " all-gather" not in program
        if case.startswith("online"):
            ring = [part for whole, part in shares(later.source.replay.rows)]
            assert all(part[1 + bool(CASES[case][2])] == 1 for part in ring), ring
            gathered = re.findall(r"= \w+\[([\d,]+)\]\S* all-gather", program)
            assert not [shape for shape in gathered if str(ROWS) in shape.split(",")], gathered
    found |= {f"sawyer/{name}": value for name, value in sawyer(mesh).items()}
    executed(place / "many", 3, mesh)
    executed(place / "alone", 6, mesh)
    np.savez(place / "found.npz", **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

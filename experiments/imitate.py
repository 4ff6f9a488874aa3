"""Behaviour cloning while the expert works: it collects into a replay, the clone learns from there and is tried out.

python -m experiments.imitate --config=experiments/configs/imitate.py:debug                      # under a minute
python -m experiments.imitate --config=experiments/configs/imitate.py:quickstart --workdir=runs/clone
python -m experiments.imitate --config=experiments/configs/imitate.py:cpu,agent=hierarchical_bc --config.seed=1

Writes a run folder: config.json, metrics.jsonl, tensorboard/, checkpoints/, summary.json, report.html. The same
command on the same --workdir continues the run: worlds, expert and replay are in its checkpoints, so it goes on as
if it had never been stopped (unless --config.replay.saved=false).
"""

import sys
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments import cli
from skillhier.agents import offline
from skillhier.data import online, replay
from skillhier.envs import registry
from skillhier.envs.sawyer import expert
from skillhier.train import checkpoint, evaluate, loop, session
from skillhier.types import Env, Learner, LearnerState, Policy, Source

SUCCESS = "task.success"  # the public success test
REPLAY = "source/replay"  # its place in the run state
FLOOR = 1e-2  # smallest deviation that counts: what hardly moved here must not be blown up where it does


def main(run: cli.Run) -> None:
    config = run.config
    cli.shared_out(run, "env.worlds", "eval.episodes", "train.batch")
    teacher = expert.make(int(config.env.name.rpartition("set")[2]))
    try:
        env, arena = worlds(config, config.env.worlds), worlds(config, config.eval.episodes)
        room = config.replay.memory * replay.GIB or None
        memory = replay.make(config.replay.rows, env.spec, memory=room, copies=config.seeds)
    except ValueError as error:
        raise cli.Refused(str(error)) from None
    source = online.online(
        env,
        teacher,
        memory,
        collect=config.train.collect,
        draws=config.train.draws,
        batch=config.train.batch,
        length=config.train.length,
        lookahead=config.agent.lookahead,
        crossing=False,  # a clone must not see what comes after an episode
        prefill=config.replay.prefill,
        success=SUCCESS,
    )
    path, about = cli.open_run(run)
    print(f"{path}: {config.agent.name} of the expert in {config.env.worlds} worlds {config.env.name}", file=sys.stderr)
    if checkpoint.lacks(path, REPLAY):
        print(
            f"{path}: its checkpoint holds no replay; it goes on with the expert's first rows alone, and will not be "
            "the run that it would have been without a break (config.replay.saved=true keeps the replay)",
            file=sys.stderr,
        )
    action = jax.ShapeDtypeStruct(env.spec.action.shape, jnp.float32)
    clone = offline.make(env.spec.obs, action, statistics=statistics(source), **config.agent)
    outcome = session.execute(
        path,
        cli.begun(run, clone.learner),
        source,
        seed=config.seed,
        seeds=config.seeds,
        budget=config.train.updates,
        updates=config.train.epoch,
        save_every=config.train.save_every,
        assess=tried_out(arena, clone.act(), config.eval.seed),
        assess_every=config.train.assess_every,
        terms=("imitation/log_likelihood", "elbo/log_likelihood", "eval/return", "eval/success"),
        label=config.agent.name,
        left_out=() if config.replay.saved else (REPLAY,),
        about=about,
        mesh=run.mesh,
    )
    if outcome.stopped:
        raise cli.Stopped(outcome.stopped, f"stopped at update {outcome.done}; the same command continues {path}")
    session.finish(path, config.seed, config.seeds, partial(summarise, config=config))


def worlds(config: ConfigDict, count: int) -> Env:
    """`count` worlds of the config's task."""
    settings = config.env.to_dict() | {"worlds": count}
    return registry.make(settings.pop("name"), **settings)


def statistics(source: Source) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Entry -> (mean [d], standard deviation [d]) over the rows that a source starts with: of run and seed 0, always.

    They are what a data set's statistics are offline: the same for every seed, known before the first update.
    """
    nobody = Learner(lambda key: (), lambda *_: ((), {}))  # so it is the very program that opens a run
    kept = loop.start(nobody, source, jax.random.key(0)).source.replay
    rows = {name: np.asarray(ring[: int(kept.filled)], np.float64) for name, ring in kept.rows.step.obs.items()}
    return {name: (x.mean((0, 1)), np.maximum(x.std((0, 1)), FLOOR)) for name, x in rows.items()}


def tried_out(arena: Env, clone: Policy, seed: int) -> Callable[[LearnerState], dict[str, float]]:
    """Figures of the clone in worlds of its own: the same starts every time."""
    episodes = evaluate.episodes(arena, clone, success=SUCCESS)

    def figures(state: LearnerState) -> dict[str, float]:
        told = jax.device_get(episodes(state.params, jax.random.key(seed)))
        return {f"eval/{name}": float(value) for name, value in told.items()}

    return figures


def summarise(rows: list[dict], config: ConfigDict) -> dict:
    """What came out, in numbers: `rows` are the lines of metrics.jsonl."""
    first, last, train = rows[0], rows[-1], config.train
    likelihood = "elbo/log_likelihood" if "elbo/log_likelihood" in last else "imitation/log_likelihood"
    chunks = -(-config.replay.prefill // train.collect) + -(-last["step"] // train.draws)
    seconds = sum(row["time/epoch_seconds"] for row in rows)
    return {
        "train_steps": last["step"],
        "env_steps": chunks * train.collect * config.env.worlds,
        "log_likelihood_first": first[likelihood],
        "log_likelihood_last": last[likelihood],
        "expert_success": last["episodes/success"],
        "clone_success": last["eval/success"],
        "clone_return": last["eval/return"],
        "updates_per_second": last["step"] / seconds,
        "seconds": {"train": seconds},
    }


if __name__ == "__main__":
    cli.run(main, learns=True)

"""Control steps a second of a world under random actions, beside the bare engine under the same controls."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import mujoco.batch
import numpy as np

from experiments.benchmarks import timing
from skillhier import rollout
from skillhier.envs import batch, registry
from skillhier.envs.physics import State
from skillhier.policies.flat import flat
from skillhier.types import Array, Env, Key, Policy, Trajectory

TARGET = 0.92  # share of the bare C batch that a rollout should reach
STACK = 3  # frames that a row shows, as agents want them
STATE = {"qpos": "qpos", "qvel": "qvel", "act": "act", "warmstart": "qacc_warmstart", "time": "time"}  # ours, MuJoCo's
RECORD = ("xpos", "xmat", "site_xpos", "site_xmat", "sensordata")  # what a task may read beside the state


class Size(NamedTuple):
    worlds: int
    rows: int  # control steps of a run


def random(env: Env) -> Policy:
    """Actions drawn uniformly from their range."""
    bounds = env.spec.action

    def choose(params, obs, key):
        return jax.random.uniform(key, (env.spec.worlds, *bounds.shape), minval=bounds.low, maxval=bounds.high), {}

    return flat(choose)


def playing() -> Policy:
    """Plays its parameters, actions [T, B, A], row by row: what is drawn before takes no time from the worlds."""
    return Policy(lambda worlds: jnp.zeros((), jnp.int32), lambda acts, row, step, key: (row + 1, acts[row], {}))


def drawn(env: Env, rows: int, key: Key) -> Array:
    """Actions [rows, B, A] drawn uniformly from their range."""
    bounds = env.spec.action
    shape = (rows, env.spec.worlds, *bounds.shape)
    return jax.random.uniform(key, shape, minval=bounds.low, maxval=bounds.high)


def rewound(actor: rollout.ActorState) -> rollout.ActorState:
    """`actor` before the first of the actions that it plays."""
    return actor._replace(carry=jnp.zeros((), jnp.int32))


def showing_ctrl(env: Env) -> Env:
    """`env` with the controls that led to a row among its observations: what the bare engine has to repeat."""

    def show(pair):
        state, step = pair
        return state, step._replace(obs={**step.obs, "ctrl": state.data.ctrl})

    return env._replace(
        reset=lambda key: show(env.reset(key)), step=lambda state, action: show(env.step(state, action))
    )


def controls(rows: Trajectory, end: rollout.ActorState) -> Array:
    """The controls [T, B, nu] of a rollout in a world that shows them: those of row t are seen at row t + 1."""
    return jnp.concatenate([rows.step.obs["ctrl"][1:], end.step.obs["ctrl"][None]])


class Bare:
    """The C batch of a model under nothing: it steps and does no more.

    record: it also computes what a task reads (poses, sensors) after every control step.
    """

    def __init__(self, model: mujoco.MjModel, worlds: int, substeps: int, *, record: bool) -> None:
        self.batch = mujoco.batch.Batch(model, worlds)
        self.state = {name: self.batch.bind(field) for name, field in STATE.items()}
        self.ctrl = self.batch.bind("ctrl")
        self.stage = (mujoco.mjtStage.mjSTAGE_VEL if record else mujoco.mjtStage.mjSTAGE_NONE).value
        for name in RECORD if record else ():
            self.batch.bind(name)
        self.substeps = substeps

    def open(self, state: State) -> None:
        """Puts the worlds where a rollout has them."""
        for name, view in self.state.items():
            view[...] = np.asarray(getattr(state, name)).reshape(view.shape)

    def run(self, ctrl: Array) -> None:
        """Control steps under `ctrl` [T, B, nu]."""
        for row in np.asarray(ctrl):
            self.ctrl[...] = row
            self.batch.step(None, self.substeps, self.stage)


def native(name: str, size: Size, repeats: int, *, stack: int = STACK, **settings: Any) -> dict[str, Any]:
    """Rollouts of world `name` (with `settings`) beside the bare batch, from the same states under the same controls.

    `share` is of the bare batch, `share_of_record` of one that also computes what a task reads.
    """
    task = registry.task(name, engine="native", **settings)
    env = showing_ctrl(batch.make(task, size.worlds, stack=stack))
    policy = playing()
    model, substeps = task.physics.model, task.physics.substeps
    bare, record = (Bare(model, size.worlds, substeps, record=record) for record in (False, True))
    run = jax.jit(lambda actor, acts: rollout.rollout(env, policy, acts, actor, jax.random.key(0), size.rows))
    actor = jax.jit(lambda key: rollout.start(env, policy, key))(jax.random.key(0))
    turns, opened = [], 0
    for key in jax.random.split(jax.random.key(1), repeats + 1):
        start, acts = actor.env.data.state, jax.block_until_ready(drawn(env, size.rows, key))
        (actor, rows), ours = timing.timed(lambda actor=actor, acts=acts: run(rewound(actor), acts))
        ctrl = controls(rows, actor)
        bare.open(start)
        record.open(start)
        _, alone = timing.timed(lambda ctrl=ctrl: bare.run(ctrl))
        _, recorded = timing.timed(lambda ctrl=ctrl: record.run(ctrl))
        turns.append((ours, alone, recorded))
        opened += int(rows.step.first[1:].sum() + actor.step.first.sum())
    ours, alone, recorded = (list(taken) for taken in zip(*turns[1:], strict=True))  # the first turn compiles
    steps = size.worlds * size.rows
    return {
        "worlds": size.worlds,
        "rows": size.rows,
        "substeps": substeps,
        "timestep": model.opt.timestep,
        "control_steps_per_second": timing.rate(steps, ours),
        "bare_steps_per_second": timing.rate(steps, alone),
        "record_steps_per_second": timing.rate(steps, recorded),
        **timing.shares(ours, alone),
        "share_of_record": timing.shares(ours, recorded)["share"],
        "target": TARGET,
        "opened": opened,  # rows that open an episode, which the bare batch does not repeat: none
        "peak_memory": timing.peak_memory(),
        "seconds": {"rollout": ours, "bare": alone, "record": recorded},
    }


def mjx(name: str, size: Size, repeats: int, **settings: Any) -> dict[str, Any]:
    """Rollouts of world `name` under engine mjx beside MJX stepping the bare model under the same controls."""
    from mujoco import mjx as engine  # where it is asked for: it speaks of missing extras when imported

    task = registry.WORLDS[name]()(engine="mjx", **settings)
    env = showing_ctrl(batch.make(task, size.worlds, stack=STACK))
    policy = random(env)
    model, substeps = task.physics.model, task.physics.substeps

    def ours(actor, key):
        actor, rows = rollout.rollout(env, policy, (), actor, key, size.rows)
        return actor, controls(rows, actor), rows.step.first[1:].sum() + actor.step.first.sum(), rows.step.reward.sum()

    with jax.ensure_compile_time_eval():
        nominal, blank = engine.put_model(model, impl="jax"), engine.make_data(model, impl="jax")

    def theirs(state, ctrl):
        data = jax.vmap(
            lambda s: blank.replace(qpos=s.qpos, qvel=s.qvel, act=s.act, qacc_warmstart=s.warmstart, time=s.time)
        )(state)
        advance = lambda d: jax.lax.fori_loop(0, substeps, lambda _, d: engine.step(nominal, d), d)  # noqa: E731
        data, _ = jax.lax.scan(lambda d, c: (jax.vmap(advance)(d.replace(ctrl=c)), None), data, ctrl)
        return data.qpos, data.qvel

    actor = jax.jit(lambda key: rollout.start(env, policy, key))(jax.random.key(0))
    run, compile_ours = timing.timed(lambda: jax.jit(ours).lower(actor, jax.random.key(1)).compile())
    ctrl = jnp.zeros((size.rows, size.worlds, model.nu))
    step, compile_bare = timing.timed(lambda: jax.jit(theirs).lower(actor.env.data.state, ctrl).compile())
    turns, opened = [], 0
    for key in jax.random.split(jax.random.key(1), repeats + 1):
        start = actor.env.data.state
        (actor, ctrl, first, _), mine = timing.timed(lambda actor=actor, key=key: run(actor, key))
        _, bare = timing.timed(lambda start=start, ctrl=ctrl: step(start, ctrl))
        turns.append((mine, bare))
        opened += int(first)
    mine, bare = (list(taken) for taken in zip(*turns[1:], strict=True))
    steps = size.worlds * size.rows
    return {
        "worlds": size.worlds,
        "rows": size.rows,
        "substeps": substeps,
        "timestep": model.opt.timestep,
        "control_steps_per_second": timing.rate(steps, mine),
        "bare_steps_per_second": timing.rate(steps, bare),
        **timing.shares(mine, bare),
        "opened": opened,
        "compile_seconds": compile_ours,
        "compile_seconds_bare": compile_bare,
        "device_memory": held(run),
        "device_memory_bare": held(step),
        "seconds": {"rollout": mine, "bare": bare},
    }


def held(program: jax.stages.Compiled) -> int | None:
    """Bytes of device memory that a compiled program holds while it runs."""
    used = program.memory_analysis()
    if used is None:
        return None
    return used.argument_size_in_bytes + used.output_size_in_bytes + used.temp_size_in_bytes - used.alias_size_in_bytes

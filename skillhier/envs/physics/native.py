"""C MuJoCo under JAX: all worlds of a vmap are stepped by one call of `mujoco.batch.Batch`, on all cores.

The call takes and returns the whole integration state, so it is a pure function; between control steps the state is
rounded to float32. Physics inside a control step is float64.
"""

import hashlib
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import jax
import jax.numpy as jnp
import mujoco
import mujoco.batch
import numpy as np

from skillhier.envs.physics import callback
from skillhier.envs.physics import record as physics

# State component -> the name of its view in a Batch. Model parameters are written beside them.
_STATE = {
    "qpos": "qpos", "qvel": "qvel", "act": "act", "warmstart": "qacc_warmstart", "time": "time",
    "mocap_pos": "mocap_pos", "mocap_quat": "mocap_quat", "eq_active": "eq_active",
}  # fmt: skip
_EVOLVES = ("qpos", "qvel", "act", "warmstart", "time")  # what a step changes; the rest changes between steps only
_RECORD = ("xpos", "xmat", "site_xpos", "site_xmat", "sensordata")
_VELOCITY = mujoco.mjtStage.mjSTAGE_VEL.value


_KINEMATIC = {  # sensors that depend on positions and velocities of bodies alone, not on contacts or forces
    int(getattr(mujoco.mjtSensor, f"mjSENS_{name}"))
    for name in (
        "CLOCK", "SUBTREECOM", "SUBTREELINVEL", "SUBTREEANGMOM", "VELOCIMETER", "GYRO", "MAGNETOMETER", "RANGEFINDER",
        "JOINTPOS", "JOINTVEL", "BALLQUAT", "BALLANGVEL", "TENDONPOS", "TENDONVEL", "ACTUATORPOS", "ACTUATORVEL",
        "FRAMEPOS", "FRAMEQUAT", "FRAMEXAXIS", "FRAMEYAXIS", "FRAMEZAXIS", "FRAMELINVEL", "FRAMEANGVEL",
    )
}  # fmt: skip
_RECORD_PARAMETERS = ("body_mass", "body_inertia")  # the only per-world parameters that such sensors depend on
_NO_FORCES = (  # disables what causes forces, which positions and velocities do not depend on
    mujoco.mjtDisableBit.mjDSBL_CONSTRAINT | mujoco.mjtDisableBit.mjDSBL_CONTACT
    | mujoco.mjtDisableBit.mjDSBL_SPRING | mujoco.mjtDisableBit.mjDSBL_DAMPER | mujoco.mjtDisableBit.mjDSBL_GRAVITY
)  # fmt: skip
_RECORD_INPUTS = ("qpos", "qvel", "mocap_pos", "mocap_quat", "time")  # the parts of a state that decide the record


class Worlds:
    """`count` worlds of `model` in C, reused from call to call; no state in them outlives a call.

    The record belongs to the state at the end of a step. Computing it with the full model costs half as much as a step.
    If bodies can collide but no sensor of the record depends on contacts, a second batch of the same bodies without
    contacts and forces (`record_batch`) computes the same bits for less.
    """

    def __init__(self, model: mujoco.MjModel, count: int, parameters: tuple[str, ...]):
        is_force = model.sensor_needstage > _VELOCITY
        self.is_force = np.repeat(is_force, model.sensor_dim)  # sensors of forces and accelerations
        self.separate = not model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_CONTACT and all(
            kind in _KINEMATIC for kind in model.sensor_type[~is_force]
        )
        record_model = model
        if self.separate:
            record_model = mujoco.MjModel.__copy__(model)
            record_model.opt.disableflags |= _NO_FORCES
            if not is_force.any():
                model = mujoco.MjModel.__copy__(model)
                model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_SENSOR
        self.batch = mujoco.batch.Batch(model, count)
        self.record_batch = mujoco.batch.Batch(record_model, count) if self.separate else self.batch
        self.state = {k: self.batch.bind(v) for k, v in _STATE.items()}
        self.record_state = {k: self.record_batch.bind(k) for k in _RECORD_INPUTS} if self.separate else {}
        self.record = {k: self.record_batch.bind(k) for k in _RECORD}
        self.forces = self.batch.bind("sensordata") if is_force.any() else None
        self.ctrl = self.batch.bind("ctrl")
        self.parameters = [(k, self.batch.expand(k)) for k in parameters]
        batches = {self.batch, self.record_batch} if "body_mass" in parameters else ()
        self.subtree_masses = [batch.expand("body_subtreemass") for batch in batches]
        self.subtrees = physics.subtrees(model)
        if self.separate:
            self.parameters += [(k, self.record_batch.expand(k)) for k in parameters if k in _RECORD_PARAMETERS]

    def write(self, state: dict[str, np.ndarray], params: dict[str, np.ndarray], where=slice(None)):
        """Sets the integration state and the parameters of the worlds `where`."""
        for source, views in ((state, self.state.items()), (params, self.parameters)):
            for name, view in views:
                view[where] = source[name][where].reshape(view[where].shape)
        for view in self.subtree_masses:
            view[where] = params["body_mass"][where] @ self.subtrees.T

    def run(self, call: Callable) -> np.ndarray:
        """Runs one call of the batch and returns the ids of worlds in which C MuJoCo raised an error."""
        try:
            call()
        except mujoco.batch.SimulationError as error:
            return error.ids
        return np.zeros(0, int)

    def step(self, ids: np.ndarray | None, substeps: int) -> np.ndarray:
        """Steps the worlds `ids` [n] (None: all), computes their record and returns the ids of worlds with an error."""
        if not self.separate:
            return self.run(lambda: self.batch.step(ids, substeps, _VELOCITY))
        failed = self.run(lambda: self.batch.step(ids, substeps))
        record_failed = self.compute_record(ids)
        return np.union1d(failed, record_failed) if len(record_failed) else failed

    def compute_record(self, ids: np.ndarray | None) -> np.ndarray:
        """Computes the record of the worlds `ids` in `record_batch` and returns the ids of worlds with an error."""
        for name, view in self.record_state.items():
            view[...] = self.state[name]
        return self.run(lambda: self.record_batch.forward(ids, stage=_VELOCITY))

    def values(self) -> list[np.ndarray]:
        """The record, in the order of _RECORD."""
        values = [self.record[k] for k in _RECORD]
        if self.separate and self.forces is not None:
            values[-1] = np.where(self.is_force, self.forces, values[-1])
        return values

    def open(self, state: dict[str, np.ndarray], params: dict[str, np.ndarray], ids: np.ndarray):
        """Opens the worlds `ids` [n] at `state` and computes their record; force sensors are zeroed by the caller."""
        self.write(state, params, ids)
        failed = self.run(lambda: self.batch.forward(ids, stage=_VELOCITY))
        if len(failed):
            raise ValueError(f"MuJoCo rejected the start of world {failed[0]}: {self.batch.error(int(failed[0]))}")
        if self.separate:
            self.compute_record(ids)


def functions(model: mujoco.MjModel, substeps: int, reach: float) -> tuple[Callable, Callable]:
    """`reset(state) -> Data` and `step(state, ctrl, renew, start) -> Data` of one world, made for vmap.

    Positions of `reach`, m and rad, and beyond break a world (record.diverged).
    """
    model = mujoco.MjModel.__copy__(model)
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET  # record.diverged decides instead
    identity = _identity(model)
    in_bounds, diverged = (partial(check, reach=reach) for check in (physics.in_bounds, physics.diverged))
    idle_worlds: dict[tuple, list[Worlds]] = {}
    guard = threading.Lock()

    @contextmanager
    def borrow_batch(count: int, parameters: tuple[str, ...]) -> Iterator[Worlds]:
        """Worlds that no other thread uses, so that devices which step at the same time need not wait."""
        with guard:
            free = idle_worlds.setdefault((count, parameters), [])
            worlds = free.pop() if free else None
        worlds = worlds or Worlds(model, count, parameters)
        try:
            yield worlds
        finally:
            with guard:
                free.append(worlds)

    data = mujoco.MjData(model)
    shape = lambda name: jax.ShapeDtypeStruct(np.shape(getattr(data, _STATE.get(name, name))), jnp.float32)  # noqa: E731
    record = {k: shape(k) for k in _RECORD}
    evolving = {k: shape(k) for k in _EVOLVES}
    flag = jax.ShapeDtypeStruct((), jnp.bool_)

    def stepper(parameters: tuple[str, ...], shapes: dict[str, tuple], opens_all: bool):
        """The host side of one call; with `opens_all` (a reset) nothing is stepped."""
        size = len(_STATE) + len(parameters)
        names = (*_STATE, *parameters)
        ndims = [len(shapes[name]) for name in names]

        def flat(array, ndim):
            lead, rest = array.shape[: array.ndim - ndim], array.shape[array.ndim - ndim :]
            return array if len(lead) == 1 else array.reshape(math.prod(lead), *rest)

        def unpack(arrays) -> dict[str, np.ndarray]:
            """The arrays [n, ...] of one state, given in the order of `pack`."""
            return {k: flat(a, n) for k, a, n in zip(names, arrays, ndims, strict=True)}

        def stepped(worlds: Worlds, state: dict, ctrl: np.ndarray, renew: np.ndarray) -> np.ndarray:
            """Steps the worlds that are not renewed and returns which worlds broke [n]."""
            before = [state[k] for k in ("qpos", "qvel", "act")] + [ctrl]
            if model.nmocap:
                before += [state[k].reshape(len(renew), -1) for k in ("mocap_pos", "mocap_quat")]
            broken = np.zeros(len(renew), bool) if in_bounds(*before) else ~renew & diverged(*before)
            idle = renew | broken
            ids = None
            if idle.any():
                ids = np.flatnonzero(~idle).astype(np.int32)
                ctrl = np.where(idle[:, None], 0, ctrl)
            worlds.write(state, state)
            worlds.ctrl[:] = ctrl
            if ids is None or len(ids):
                failed = worlds.step(ids, substeps)
                after = [worlds.state[k] for k in ("qpos", "qvel", "act")] + [worlds.values()[-1]]
                if not in_bounds(*after):
                    broken |= ~idle & diverged(*after)
                broken[failed] = True
            return broken

        def host(arguments, results):
            if opens_all:
                start = unpack(arguments)
                renew = np.ones(len(start["qpos"]), bool)
            else:
                state, start = unpack(arguments[:size]), unpack(arguments[size : 2 * size])
                ctrl, renew = flat(arguments[-2], 1), flat(arguments[-1], 0)
            with borrow_batch(len(renew), parameters) as worlds:
                broken = np.zeros(len(renew), bool) if opens_all else stepped(worlds, state, ctrl, renew)
                fresh = renew | broken
                if fresh.any():
                    worlds.open(start, start, np.flatnonzero(fresh).astype(np.int32))
                values = [worlds.state[k] for k in _EVOLVES] + worlds.values()
                for result, value in zip(results, values, strict=False):
                    np.copyto(result, value.reshape(result.shape), casting="same_kind")
                if fresh.any():
                    sensordata = results[len(_EVOLVES) + _RECORD.index("sensordata")]
                    sensordata.reshape(len(renew), -1)[np.ix_(fresh, worlds.is_force)] = 0
                results[-1][...] = broken.reshape(results[-1].shape)

        return host

    def pack(state: physics.State) -> tuple[tuple[str, ...], list, dict]:
        parameters = tuple(sorted(state.params))
        arrays = {k: getattr(state, k) for k in _STATE} | {k: state.params[k] for k in parameters}
        return parameters, list(arrays.values()), {k: v.shape for k, v in arrays.items()}

    def call(kind: str, state: physics.State, arguments: list, opens_all: bool) -> tuple[dict, dict, jax.Array]:
        parameters, _, shapes = pack(state)
        name = f"skillhier_{kind}_{identity}_{substeps}_{reach:g}_{'_'.join(parameters)}"
        results = [*evolving.values(), *record.values(), flag]
        out = callback.hosted(name, stepper(parameters, shapes, opens_all), results)(*arguments)
        moved = dict(zip(evolving, out[: len(evolving)], strict=True))
        record_values = dict(zip(record, out[len(evolving) : -1], strict=True))
        for name in ("xmat", "site_xmat"):
            record_values[name] = record_values[name].reshape(*record_values[name].shape[:-1], 3, 3)
        return moved, record_values, out[-1]

    def reset(state: physics.State) -> physics.Data:
        _, arrays, _ = pack(state)
        moved, record_values, _ = call("reset", state, arrays, opens_all=True)
        ctrl = jnp.zeros((model.nu,), jnp.float32)
        return physics.Data(state._replace(**moved), ctrl, **record_values, broken=jnp.zeros((), bool))

    def step(state: physics.State, ctrl: jax.Array, renew: jax.Array, start: physics.State) -> physics.Data:
        if sorted(state.params) != sorted(start.params):
            raise ValueError(
                f"the state's parameters {sorted(state.params)} are not the start's {sorted(start.params)};"
                " a world must have the same set of parameters in all episodes"
            )
        arguments = [*pack(state)[1], *pack(start)[1], ctrl, renew]
        moved, record_values, broken = call("step", state, arguments, opens_all=False)
        fresh = renew | broken
        carried = jax.tree.map(lambda new, old: jnp.where(fresh, new, old), start, state)
        return physics.Data(carried._replace(**moved), jnp.where(fresh, 0, ctrl), **record_values, broken=broken)

    return reset, step


def _identity(model: mujoco.MjModel) -> str:
    """A name of the model that is the same in every process, by which a cached program refers to it."""
    buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return hashlib.sha256(buffer).hexdigest()[:16]

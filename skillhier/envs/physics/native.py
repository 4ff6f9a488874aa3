"""C MuJoCo under JAX: all worlds of a vmap step in one call of `mujoco.batch.Batch`, on all cores.

The whole integration state travels in and out, so the call is a pure function; between control steps
it is rounded to float32. Physics inside a control step is float64.
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
_EVOLVES = ("qpos", "qvel", "act", "warmstart", "time")  # what a step changes; the rest only a reset does
_RECORD = ("xpos", "xmat", "site_xpos", "site_xmat", "sensordata")
_VELOCITY = mujoco.mjtStage.mjSTAGE_VEL.value


_KINEMATIC = {  # sensors that follow from positions and velocities of bodies alone: no contact, no force
    int(getattr(mujoco.mjtSensor, f"mjSENS_{name}"))
    for name in (
        "CLOCK", "SUBTREECOM", "SUBTREELINVEL", "SUBTREEANGMOM", "VELOCIMETER", "GYRO", "MAGNETOMETER", "RANGEFINDER",
        "JOINTPOS", "JOINTVEL", "BALLQUAT", "BALLANGVEL", "TENDONPOS", "TENDONVEL", "ACTUATORPOS", "ACTUATORVEL",
        "FRAMEPOS", "FRAMEQUAT", "FRAMEXAXIS", "FRAMEYAXIS", "FRAMEZAXIS", "FRAMELINVEL", "FRAMEANGVEL",
    )
}  # fmt: skip
_MASSES = ("body_mass", "body_inertia")  # the only parameters of a world that such a sensor feels
_FORCES = (  # what moves bodies: what has no say in where they are
    mujoco.mjtDisableBit.mjDSBL_CONSTRAINT | mujoco.mjtDisableBit.mjDSBL_CONTACT
    | mujoco.mjtDisableBit.mjDSBL_SPRING | mujoco.mjtDisableBit.mjDSBL_DAMPER | mujoco.mjtDisableBit.mjDSBL_GRAVITY
)  # fmt: skip
_PLACES = ("qpos", "qvel", "mocap_pos", "mocap_quat", "time")  # of a state: what decides the record


class Worlds:
    """`count` worlds of `model` in C, re-used from call to call; nothing in them outlives a call.

    The record is that of the state where a step ends, and computing it as a step would costs as much as half of one.
    Where bodies can touch and no sensor needs to know, worlds of the same bodies without contacts and forces show it,
    the same to the bit, for less.
    """

    def __init__(self, model: mujoco.MjModel, count: int, parameters: tuple[str, ...]):
        late = model.sensor_needstage > _VELOCITY
        self.late = np.repeat(late, model.sensor_dim)  # sensors of forces and accelerations
        self.apart = not model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_CONTACT and all(
            kind in _KINEMATIC for kind in model.sensor_type[~late]
        )
        shower = model
        if self.apart:
            shower = mujoco.MjModel.__copy__(model)
            shower.opt.disableflags |= _FORCES
            if not late.any():
                model = mujoco.MjModel.__copy__(model)
                model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_SENSOR
        self.batch = mujoco.batch.Batch(model, count)
        self.shower = mujoco.batch.Batch(shower, count) if self.apart else self.batch
        self.state = {k: self.batch.bind(v) for k, v in _STATE.items()}
        self.shown = {k: self.shower.bind(k) for k in _PLACES} if self.apart else {}
        self.record = {k: self.shower.bind(k) for k in _RECORD}
        self.felt = self.batch.bind("sensordata") if late.any() else None
        self.ctrl = self.batch.bind("ctrl")
        self.parameters = [(k, self.batch.expand(k)) for k in parameters]
        if self.apart:
            self.parameters += [(k, self.shower.expand(k)) for k in parameters if k in _MASSES]

    def write(self, state: dict[str, np.ndarray], params: dict[str, np.ndarray], where=slice(None)):
        """Sets the integration state and the parameters of the worlds `where`."""
        for source, views in ((state, self.state.items()), (params, self.parameters)):
            for name, view in views:
                view[where] = source[name][where].reshape(view[where].shape)

    def run(self, call: Callable) -> np.ndarray:
        """Runs one call of the batch; the ids of worlds in which C MuJoCo raised an error."""
        try:
            call()
        except mujoco.batch.SimulationError as error:
            return error.ids
        return np.zeros(0, int)

    def step(self, ids: np.ndarray | None, substeps: int) -> np.ndarray:
        """Steps the worlds `ids` [n] (None: all) and computes their record; those in which C MuJoCo raised an error."""
        if not self.apart:
            return self.run(lambda: self.batch.step(ids, substeps, _VELOCITY))
        failed = self.run(lambda: self.batch.step(ids, substeps))
        unseen = self.show(ids)
        return np.union1d(failed, unseen) if len(unseen) else failed

    def show(self, ids: np.ndarray | None) -> np.ndarray:
        """Computes the record of the worlds `ids` where worlds of their own show it; see `step`."""
        for name, view in self.shown.items():
            view[...] = self.state[name]
        return self.run(lambda: self.shower.forward(ids, stage=_VELOCITY))

    def values(self) -> list[np.ndarray]:
        """The record, in the order of _RECORD."""
        values = [self.record[k] for k in _RECORD]
        if self.apart and self.felt is not None:
            values[-1] = np.where(self.late, self.felt, values[-1])
        return values

    def open(self, state: dict[str, np.ndarray], params: dict[str, np.ndarray], ids: np.ndarray):
        """Opens the worlds `ids` [n] at `state`: their record is computed, force sensors read zero."""
        self.write(state, params, ids)
        failed = self.run(lambda: self.batch.forward(ids, stage=_VELOCITY))
        if len(failed):
            raise ValueError(f"MuJoCo refuses the start of world {failed[0]}: {self.batch.error(int(failed[0]))}")
        if self.apart:
            self.show(ids)


def functions(model: mujoco.MjModel, substeps: int, reach: float) -> tuple[Callable, Callable]:
    """`reset(state) -> Data` and `step(state, ctrl, renew, start) -> Data` of one world, made for vmap.

    Positions of `reach`, m and rad, and beyond break a world (record.diverged).
    """
    model = mujoco.MjModel.__copy__(model)
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET  # our own limits decide, see record.diverged
    identity = _identity(model)
    in_bounds, diverged = (partial(judge, reach=reach) for judge in (physics.in_bounds, physics.diverged))
    resting: dict[tuple, list[Worlds]] = {}
    guard = threading.Lock()

    @contextmanager
    def lent(count: int, parameters: tuple[str, ...]) -> Iterator[Worlds]:
        """Worlds that nobody else uses: devices that step theirs at the same time need not wait for each other."""
        with guard:
            free = resting.setdefault((count, parameters), [])
            mine = free.pop() if free else None
        mine = mine or Worlds(model, count, parameters)
        try:
            yield mine
        finally:
            with guard:
                free.append(mine)

    data = mujoco.MjData(model)
    shape = lambda name: jax.ShapeDtypeStruct(np.shape(getattr(data, _STATE.get(name, name))), jnp.float32)  # noqa: E731
    record = {k: shape(k) for k in _RECORD}
    evolving = {k: shape(k) for k in _EVOLVES}
    flag = jax.ShapeDtypeStruct((), jnp.bool_)

    def stepper(parameters: tuple[str, ...], shapes: dict[str, tuple], opens_all: bool):
        """The host side of one call; `opens_all` leaves out the step (a reset)."""
        size = len(_STATE) + len(parameters)

        names = (*_STATE, *parameters)
        ndims = [len(shapes[name]) for name in names]

        def flat(array, ndim):
            lead, rest = array.shape[: array.ndim - ndim], array.shape[array.ndim - ndim :]
            return array if len(lead) == 1 else array.reshape(math.prod(lead), *rest)

        def unpack(arrays) -> dict[str, np.ndarray]:
            """Worlds [n, ...] of one state, whose arrays come in the order of `pack`."""
            return {k: flat(a, n) for k, a, n in zip(names, arrays, ndims, strict=True)}

        def stepped(mine: Worlds, state: dict, ctrl: np.ndarray, renew: np.ndarray) -> np.ndarray:
            """Steps the worlds that do not open anew; which worlds broke [n]."""
            before = [state[k] for k in ("qpos", "qvel", "act")] + [ctrl]
            if model.nmocap:
                before += [state[k].reshape(len(renew), -1) for k in ("mocap_pos", "mocap_quat")]
            broken = np.zeros(len(renew), bool) if in_bounds(*before) else ~renew & diverged(*before)
            idle = renew | broken
            ids = None
            if idle.any():
                ids = np.flatnonzero(~idle).astype(np.int32)
                ctrl = np.where(idle[:, None], 0, ctrl)
            mine.write(state, state)
            mine.ctrl[:] = ctrl
            if ids is None or len(ids):
                failed = mine.step(ids, substeps)
                after = [mine.state[k] for k in ("qpos", "qvel", "act")] + [mine.values()[-1]]
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
            with lent(len(renew), parameters) as mine:
                broken = np.zeros(len(renew), bool) if opens_all else stepped(mine, state, ctrl, renew)
                fresh = renew | broken
                if fresh.any():
                    mine.open(start, start, np.flatnonzero(fresh).astype(np.int32))
                values = [mine.state[k] for k in _EVOLVES] + mine.values()
                for result, value in zip(results, values, strict=False):
                    np.copyto(result, value.reshape(result.shape), casting="same_kind")
                if fresh.any():
                    sensordata = results[len(_EVOLVES) + _RECORD.index("sensordata")]
                    sensordata.reshape(len(renew), -1)[np.ix_(fresh, mine.late)] = 0
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
        seen = dict(zip(record, out[len(evolving) : -1], strict=True))
        for name in ("xmat", "site_xmat"):
            seen[name] = seen[name].reshape(*seen[name].shape[:-1], 3, 3)
        return moved, seen, out[-1]

    def reset(state: physics.State) -> physics.Data:
        _, arrays, _ = pack(state)
        moved, seen, _ = call("reset", state, arrays, opens_all=True)
        ctrl = jnp.zeros((model.nu,), jnp.float32)
        return physics.Data(state._replace(**moved), ctrl, **seen, broken=jnp.zeros((), bool))

    def step(state: physics.State, ctrl: jax.Array, renew: jax.Array, start: physics.State) -> physics.Data:
        if sorted(state.params) != sorted(start.params):
            raise ValueError(
                f"the state's parameters {sorted(state.params)} are not the start's {sorted(start.params)};"
                " a world keeps the same set of parameters for its whole life"
            )
        arguments = [*pack(state)[1], *pack(start)[1], ctrl, renew]
        moved, seen, broken = call("step", state, arguments, opens_all=False)
        fresh = renew | broken
        kept = jax.tree.map(lambda new, old: jnp.where(fresh, new, old), start, state)
        return physics.Data(kept._replace(**moved), jnp.where(fresh, 0, ctrl), **seen, broken=broken)

    return reset, step


def _identity(model: mujoco.MjModel) -> str:
    """A name for the model that is the same in every process: a stored program finds its model by it."""
    buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return hashlib.sha256(buffer).hexdigest()[:16]

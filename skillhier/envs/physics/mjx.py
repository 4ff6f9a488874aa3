"""MJX worlds: the same physics in JAX (`impl` jax) or, on NVIDIA, in Warp kernels under JAX (`impl` warp).

Physics inside a control step has JAX's precision (float64 with JAX_ENABLE_X64); states between are float32.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

from skillhier.envs.physics import record

_VELOCITY = mujoco.mjtStage.mjSTAGE_VEL.value


def functions(
    model: mujoco.MjModel, substeps: int, reach: float, impl: str, worlds: int, contacts: int
) -> tuple[Callable, Callable]:
    """`reset(state) -> Data` and `step(state, ctrl, renew, start) -> Data` of one world, made for vmap.

    Warp allocates `worlds` x `contacts` contacts in total and drops those beyond; MJX-JAX needs neither
    number. Positions of `reach`, m and rad, and beyond break a world (record.diverged).
    """
    sizes = dict(naconmax=worlds * contacts, njmax=8 * contacts) if impl == "warp" else {}
    if impl == "warp":
        _require_warp()
    # Computed on the host, outside any trace: both are constants of the program.
    with jax.ensure_compile_time_eval():
        nominal = mjx.put_model(model, impl=impl)
        blank = mjx.make_data(model, impl=impl, **sizes)
    subtrees = record.subtrees(model)
    is_force = np.repeat(model.sensor_needstage > _VELOCITY, model.sensor_dim)  # sensors of forces, accelerations

    def load(state: record.State) -> tuple[mjx.Model, mjx.Data]:
        fields = dict(
            qpos=state.qpos, qvel=state.qvel, act=state.act, qacc_warmstart=state.warmstart, time=state.time,
            mocap_pos=state.mocap_pos, mocap_quat=state.mocap_quat, eq_active=state.eq_active,
        )  # fmt: skip
        params = dict(state.params)
        if "body_mass" in params:
            params["body_subtreemass"] = subtrees @ params["body_mass"]
        own = {k: v.astype(getattr(nominal, k).dtype) for k, v in params.items()}
        return nominal.replace(**own), blank.replace(
            **{k: v.astype(getattr(blank, k).dtype) for k, v in fields.items()}
        )

    def refresh(state: record.State, ctrl: jax.Array, forces: jax.Array, broken: jax.Array) -> record.Data:
        """The record at `state`, with `forces` for sensors of accelerations. XLA prunes what no output uses."""
        m, d = load(state)
        d = mjx.forward(m, d) if impl == "warp" else _positions_and_velocities(m, d)
        values = {
            k: getattr(d, k).astype(jnp.float32) for k in ("xpos", "xmat", "site_xpos", "site_xmat", "sensordata")
        }
        values["sensordata"] = jnp.where(is_force, forces, values["sensordata"])
        return record.Data(state, ctrl, **values, broken=broken)

    def reset(state: record.State) -> record.Data:
        zeros = jnp.zeros((model.nsensordata,), jnp.float32)
        return refresh(state, jnp.zeros((model.nu,), jnp.float32), zeros, jnp.zeros((), bool))

    def step(state: record.State, ctrl: jax.Array, renew: jax.Array, start: record.State) -> record.Data:
        m, d = load(state)
        d = d.replace(ctrl=ctrl.astype(d.ctrl.dtype))
        # with 64-bit JAX, MJX returns some integers wider than it took them
        once = lambda _, d: jax.tree.map(lambda new, old: new.astype(old.dtype), mjx.step(m, d), d)  # noqa: E731
        d = jax.lax.fori_loop(0, substeps, once, d)
        mocap = [state.mocap_pos.ravel(), state.mocap_quat.ravel()] if model.nmocap else []
        diverged = record.diverged(state.qpos, state.qvel, state.act, ctrl, *mocap, reach=reach)
        diverged = diverged | record.diverged(d.qpos, d.qvel, d.act, d.sensordata, reach=reach)
        broken = diverged & ~renew
        fresh = renew | broken
        moved = dict(qpos=d.qpos, qvel=d.qvel, act=d.act, warmstart=d.qacc_warmstart, time=d.time)
        moved = state._replace(**{k: v.astype(jnp.float32) for k, v in moved.items()})
        state = jax.tree.map(lambda new, old: jnp.where(fresh, new, old), start, moved)
        forces = jnp.where(fresh, 0, d.sensordata).astype(jnp.float32)
        return refresh(state, jnp.where(fresh, 0, ctrl), forces, broken)

    return reset, step


def _positions_and_velocities(m: mjx.Model, d: mjx.Data) -> mjx.Data:
    """The part of MJX's forward pass that needs no accelerations, with its sensors."""
    from mujoco.mjx._src import sensor  # MJX exports the stages of its forward pass but not their sensors

    d = sensor.sensor_pos(m, mjx.fwd_position(m, d))
    return sensor.sensor_vel(m, mjx.fwd_velocity(m, d))


def _require_warp():
    try:
        import warp  # noqa: F401
    except ImportError:
        raise ValueError("engine 'warp' needs warp-lang; install skillhier[warp], or set env.engine to mjx") from None

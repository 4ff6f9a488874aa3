"""Physics randomised for each episode: the model fields of one world, each +-10 % about its own value.

Source: fact sheet 4.10. The quantities are a third-party reading of the RGB-stacking paper's appendix and
the range is a recommendation (unverified), hence the `spread` setting.
"""

import jax
import jax.numpy as jnp
import mujoco

from skillhier.envs.sawyer import model as sawyer
from skillhier.types import Array, Key

SPREAD = 0.1
_FRICTION = (*sawyer.COLOURS, "right_tip", "left_tip", *sawyer.FLOORS)


def randomise(model: mujoco.MjModel, key: Key, *, spread: float = SPREAD) -> dict[str, Array]:
    """Fields for `physics.State.params` of one world; every factor is uniform in [1 - spread, 1 + spread].

    One factor each: mass of each object (its inertia with it); friction of each object, of both fingertips,
    and of the basket; armature, damping and friction loss of each arm joint; armature and damping of
    the drivers; gear (gains and biases together) of each actuator.
    """
    k_mass, k_friction, k_dofs, k_gear = jax.random.split(key, 4)
    factor = lambda key, *shape: jax.random.uniform(key, shape, minval=1 - spread, maxval=1 + spread)  # noqa: E731
    field = lambda name: jnp.asarray(getattr(model, name), jnp.float32)  # noqa: E731

    bodies = [model.body(colour).id for colour in sawyer.COLOURS]
    mass = jnp.ones(model.nbody).at[jnp.array(bodies)].set(factor(k_mass, 3))

    tip, floor = len(sawyer.COLOURS), len(sawyer.COLOURS) + 1
    groups = [*range(tip), tip, tip, *[floor] * len(sawyer.FLOORS)]
    geoms = [model.geom(name).id for name in _FRICTION]
    friction = jnp.ones(model.ngeom).at[jnp.array(geoms)].set(factor(k_friction, floor + 1)[jnp.array(groups)])

    arm = [model.joint(name).dofadr[0] for name in sawyer.JOINTS]
    drivers = [model.joint(f"{side}_driver").dofadr[0] for side in ("right", "left")]
    drawn = factor(k_dofs, 3, len(arm) + 1)
    dofs = jnp.ones((3, model.nv)).at[:, jnp.array(arm)].set(drawn[:, :-1]).at[:, jnp.array(drivers)].set(drawn[:, -1:])

    gear = factor(k_gear, model.nu)[:, None]
    return {
        "body_mass": field("body_mass") * mass,
        "body_inertia": field("body_inertia") * mass[:, None],
        "geom_friction": field("geom_friction") * friction[:, None],
        "dof_armature": field("dof_armature") * dofs[0],
        "dof_damping": field("dof_damping") * dofs[1],
        "dof_frictionloss": field("dof_frictionloss") * dofs[2],
        "actuator_gainprm": field("actuator_gainprm") * gear,
        "actuator_biasprm": field("actuator_biasprm") * gear,
    }

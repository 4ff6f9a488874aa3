"""The doors to other libraries: our worlds as theirs, and theirs as ours.

  to_gymnasium, to_gymnasium_vector   our worlds behind gymnasium's interface      (env_to_gymnasium.py)
  to_brax                             our worlds behind brax's                     (env_to_brax.py)
  from_gymnasium                      any gymnasium environment as an Env          (gymnasium_to_env.py)
  from_playground                     a MuJoCo Playground environment as an Env    (playground_to_env.py)

Nothing is imported before it is asked for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gymnasium

    from skillhier.envs.adapters.env_to_brax import BraxEnv
    from skillhier.envs.adapters.env_to_gymnasium import GymnasiumEnv, GymnasiumVectorEnv
    from skillhier.types import Env


def to_gymnasium(name: "str | Env", **settings) -> "GymnasiumEnv":
    """The world `name` as a gymnasium environment.

    `settings`: `render_mode`, `privileged` (privileged entries stand in the observation, not in the info), and those
    of `registry.make`. See env_to_gymnasium.py for what its rows mean.
    """
    from skillhier.envs.adapters.env_to_gymnasium import GymnasiumEnv

    return GymnasiumEnv(name, **settings)


def to_gymnasium_vector(
    name: "str | Env", num_envs: int = 1, autoreset_mode: str = "NextStep", **settings
) -> "GymnasiumVectorEnv":
    """`num_envs` worlds `name` in one program, as a gymnasium vector environment.

    autoreset_mode: "NextStep" (the convention of this house), "SameStep" or "Disabled", or gymnasium's AutoresetMode.
    """
    from skillhier.envs.adapters.env_to_gymnasium import GymnasiumVectorEnv

    return GymnasiumVectorEnv(name, num_envs, autoreset_mode=autoreset_mode, **settings)


def to_brax(name: "str | Env", *, flat: bool = True, **settings) -> "BraxEnv":
    """The world `name` as a brax environment, for `brax.envs.wrappers.training.wrap(env, env.episode_length)`.

    flat: one vector of all entries but privileged ones, in the order of their names; else all entries by name.
    `settings`: those of `registry.make` but for the limit, which is the wrapper's. `done` where the task ends, and
    where a world breaks: then with reward 0, the last sound observation and metric `broken`; brax's wrapper leaves no
    way to call that a cut.
    """
    from skillhier.envs.adapters.env_to_brax import BraxEnv

    return BraxEnv(name, flat=flat, **settings)


def from_gymnasium(source: "str | gymnasium.Env | gymnasium.vector.VectorEnv", **settings) -> "Env":
    """A gymnasium environment as an Env: its id (then `worlds` of it), one that is made, or a vector of them.

    worlds: how many of an id. limit: steps that cut an episode, where it has none of its own, or fewer. interval:
    seconds a step takes, where it does not say. stack: latest frames shown, 1 unless set. Further settings go to
    gymnasium.make. Raises ValueError with one line for spaces that are not taken in (see gymnasium_to_env.py).
    """
    from skillhier.envs.adapters import libraries

    return libraries.LIBRARIES["gymnasium"](source, **settings)


def from_playground(name: str, **settings) -> "Env":
    """`worlds` MuJoCo Playground environments `name` as an Env in pure JAX; needs the extra `playground`.

    limit: control steps that cut an episode (its own episode_length unless set). stack: latest frames shown. impl:
    the engine, jax or warp; auto takes warp on a GPU that has it. Further settings override the environment's config.
    """
    from skillhier.envs.adapters import libraries

    return libraries.LIBRARIES["playground"](name, **settings)

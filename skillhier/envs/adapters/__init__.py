"""Adapters to other libraries: our worlds as theirs, and theirs as ours. All of them clip actions to the spec's bounds.

  to_gymnasium, to_gymnasium_vector   our worlds behind gymnasium's interface      (env_to_gymnasium.py)
  to_brax                             our worlds behind brax's                     (env_to_brax.py)
  from_gymnasium                      any gymnasium environment as an Env          (gymnasium_to_env.py)
  from_playground                     a MuJoCo Playground environment as an Env    (playground_to_env.py)

Each library is imported only when its adapter is used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gymnasium

    from skillhier.envs.adapters.env_to_brax import BraxEnv
    from skillhier.envs.adapters.env_to_gymnasium import GymnasiumEnv, GymnasiumVectorEnv
    from skillhier.types import Env


def to_gymnasium(name: "str | Env", **settings) -> "GymnasiumEnv":
    """The world `name` as a gymnasium environment.

    `settings`: `render_mode`, `privileged` (privileged entries stand in the observation, not in the info),
    `oldest_first` (stacks of frames in gymnasium's order, not newest first), and those of `registry.make`. See rows.py
    for the meaning of its rows.
    """
    from skillhier.envs.adapters.env_to_gymnasium import GymnasiumEnv

    return GymnasiumEnv(name, **settings)


def to_gymnasium_vector(
    name: "str | Env", num_envs: int = 1, autoreset_mode: str = "NextStep", **settings
) -> "GymnasiumVectorEnv":
    """`num_envs` worlds `name` in one program, as a gymnasium vector environment.

    autoreset_mode: "NextStep" (as our Env does), "SameStep" or "Disabled", or gymnasium's AutoresetMode.
    """
    from skillhier.envs.adapters.env_to_gymnasium import GymnasiumVectorEnv

    return GymnasiumVectorEnv(name, num_envs, autoreset_mode=autoreset_mode, **settings)


def to_brax(name: "str | Env", *, flat: bool = True, **settings) -> "BraxEnv":
    """The world `name` as a brax environment, for `brax.envs.wrappers.training.wrap(env, env.episode_length)`.

    flat: one vector of all entries except privileged ones, in the order of their names; else all entries by name.
    `settings`: those of `registry.make` except limit, which the wrapper has. `done` where the task terminates and where
    a world breaks; the latter with reward 0, the last valid observation and metric `broken`, since brax's wrapper has
    no way to mark it as a truncation.
    """
    from skillhier.envs.adapters.env_to_brax import BraxEnv

    return BraxEnv(name, flat=flat, **settings)


def from_gymnasium(source: "str | gymnasium.Env | gymnasium.vector.VectorEnv", **settings) -> "Env":
    """A gymnasium environment as an Env: an id, an environment, or a vector environment.

    worlds: number of environments of an id. limit: steps of an episode; the spec has the shorter of it and the limits
    of a made environment, while it replaces an id's own, and a vector environment keeps its own. interval: seconds of a
    step, if the environment does not say. stack: latest frames in an observation (default 1), newest first, unlike
    those of gymnasium's FrameStackObservation. wrap: put around each environment, but for those of a vector
    environment. Further settings go to gymnasium.make. Unsupported spaces raise ValueError (see gymnasium_to_env.py).
    """
    from skillhier.envs.adapters import libraries

    return libraries.LIBRARIES["gymnasium"](source, **settings)


def from_playground(name: str, **settings) -> "Env":
    """`worlds` MuJoCo Playground environments `name` as an Env in pure JAX; needs the extra `playground`.

    limit: control steps of an episode (default: its episode_length). stack: latest frames in an observation, newest
    first. impl: the engine, jax or warp; auto is warp on a GPU where it is installed. Further settings override the
    environment's config.
    """
    from skillhier.envs.adapters import libraries

    return libraries.LIBRARIES["playground"](name, **settings)

"""The doors to other libraries: our worlds as theirs, and theirs as ours.

  to_gymnasium, to_gymnasium_vector   our worlds behind gymnasium's interface      (interop_gymnasium.py)
  to_brax                             our worlds behind brax's                     (interop_brax.py)
  from_gymnasium                      any gymnasium environment as an Env          (foreign_gymnasium.py)
  from_playground                     a MuJoCo Playground environment as an Env    (foreign_playground.py)

Nothing is imported before it is asked for.
"""

from typing import TYPE_CHECKING

from skillhier.types import Env

if TYPE_CHECKING:
    from skillhier.envs.interop_brax import BraxEnv
    from skillhier.envs.interop_gymnasium import GymnasiumEnv, GymnasiumVectorEnv


def to_gymnasium(name: str | Env, **settings) -> "GymnasiumEnv":
    """The world `name` as a gymnasium environment.

    `settings`: `render_mode`, `privileged` (privileged entries stand in the observation, not in the info), and those
    of `registry.make`. See interop_gymnasium.py for what its rows mean.
    """
    from skillhier.envs.interop_gymnasium import GymnasiumEnv

    return GymnasiumEnv(name, **settings)


def to_gymnasium_vector(
    name: str | Env, num_envs: int = 1, autoreset_mode: str = "NextStep", **settings
) -> "GymnasiumVectorEnv":
    """`num_envs` worlds `name` in one program, as a gymnasium vector environment.

    autoreset_mode: "NextStep" (the convention of this house), "SameStep" or "Disabled", or gymnasium's AutoresetMode.
    """
    from skillhier.envs.interop_gymnasium import GymnasiumVectorEnv

    return GymnasiumVectorEnv(name, num_envs, autoreset_mode=autoreset_mode, **settings)


def to_brax(name: str | Env, *, flat: bool = True, **settings) -> "BraxEnv":
    """The world `name` as a brax environment, for `brax.envs.wrappers.training.wrap(env, env.episode_length)`.

    flat: one vector of all entries but privileged ones, in the order of their names; else all entries by name.
    `settings`: those of `registry.make` but for the limit, which is the wrapper's. `done` where the task ends, and
    where a world breaks: then with reward 0, the last sound observation and metric `broken`; brax's wrapper leaves no
    way to call that a cut.
    """
    from skillhier.envs.interop_brax import BraxEnv

    return BraxEnv(name, flat=flat, **settings)

"""Our worlds as gymnasium environments: one at a time, or many in one program.

What the rows mean stands in rows.py. `info["broken"]` tells of a world that broke. Privileged entries come in
`info` under their own names, not in the observation, unless `privileged=True`.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from skillhier.envs import registry
from skillhier.envs.adapters.rows import Carry, Row, key_of, on_host, programs
from skillhier.envs.render import pixels
from skillhier.types import Array, Env, EnvState, Key, Spec

MODES = ["rgb_array"]
OF_EPISODES = ("limit", "delay", "stack", "repeat")  # settings of worlds that their model knows nothing of


def observation_space(spec: Spec, privileged: bool) -> gymnasium.spaces.Dict:
    """A Box an entry: float32 without bounds, pictures uint8 from 0 to 255."""

    def box(entry: jax.ShapeDtypeStruct) -> gymnasium.spaces.Box:
        if entry.dtype == jnp.uint8:
            return gymnasium.spaces.Box(0, 255, entry.shape, np.uint8)
        return gymnasium.spaces.Box(-np.inf, np.inf, entry.shape, np.float32)

    return gymnasium.spaces.Dict({k: box(v) for k, v in spec.obs.items() if privileged or k not in spec.privileged})


def action_space(spec: Spec) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(spec.action.low, spec.action.high, spec.action.shape, np.float32)


def painter(world: str | Env, mode: str | None, settings: dict, *view: Any) -> Callable[[EnvState], Array] | None:
    """What draws pictures [B, height, width, 3] of the worlds in a state; None where nobody asks for any."""
    if mode is None:
        return None
    if mode not in MODES or isinstance(world, Env):
        what = "an Env without a model" if isinstance(world, Env) else f"'{world}'"
        raise ValueError(f"render_mode '{mode}' of {what} is not known; choose rgb_array for worlds by name, or None")
    return _painter(world, tuple((k, v) for k, v in sorted(settings.items()) if k not in OF_EPISODES), *view)


@lru_cache(maxsize=16)
def _painter(
    name: str, settings: tuple, camera: int | str | None, height: int, width: int
) -> Callable[[EnvState], Array]:
    from skillhier.envs.render import rays

    if camera is None:
        camera = pixels.camera_of(name)

    draw = rays.renderer(registry.task(name, **dict(settings)).physics.model, camera, height, width)
    return jax.jit(jax.vmap(lambda state: draw(state.data)["rgb"]))


def _drawn(dice: np.random.Generator) -> Key:
    return key_of(int(dice.integers(2**32)))


class GymnasiumEnv(gymnasium.Env):
    """One world. `reset()` without a seed, after an episode has closed, opens the one that our rollout would open."""

    metadata = {"render_modes": MODES}

    def __init__(
        self,
        name: str | Env,
        *,
        render_mode: str | None = None,
        privileged: bool = False,
        render_camera: int | str | None = None,
        render_size: tuple[int, int] = (240, 320),
        **settings,
    ):
        """`settings`: those of `registry.make`. Raises ValueError with one line on any that is not known.

        render_mode "rgb_array" draws what `render_camera` of the model sees (by default that of pixel variants),
        height and width in `render_size`, without OpenGL (see render.py).
        """
        self._paint = painter(name, render_mode, settings, render_camera, *render_size)
        self._programs = programs(name, 1, settings)
        spec = self._programs.spec
        self.metadata = {**self.metadata, "render_fps": 1 / spec.interval}
        self.render_mode = render_mode
        self.observation_space = observation_space(spec, privileged)
        self.action_space = action_space(spec)
        self._carry: Carry | None = None

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        super().reset(seed=seed)
        if seed is None and self._carry is not None and self._carry.closed.any():
            self._carry, row = self._programs.step(self._carry, jnp.zeros((1, *self.action_space.shape)))
        else:
            self._carry, row = self._programs.reset(_drawn(self.np_random) if seed is None else key_of(seed))
        obs, info, _ = self._told(row)
        return obs, info

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        if self._carry is None or self._carry.closed.any():
            raise gymnasium.error.ResetNeeded("this world has no open episode; call reset() before step()")
        self._carry, row = self._programs.step(self._carry, jnp.asarray(action, jnp.float32)[None])
        obs, info, row = self._told(row)
        return obs, float(row.reward), bool(row.terminated), bool(row.truncated), info

    def render(self) -> np.ndarray | None:
        """What is to be seen now, uint8 [height, width, 3]; of a world that broke, its next start."""
        if self._paint is None:
            return None
        if self._carry is None:
            raise gymnasium.error.ResetNeeded("there is nothing to be seen yet; call reset() before render()")
        return np.array(self._paint(self._carry.state)[0])

    def _told(self, row: Row) -> tuple[dict, dict, Row]:
        row = jax.tree.map(lambda x: np.array(x[0]), jax.device_get(row))
        obs = {k: v for k, v in row.obs.items() if k in self.observation_space.spaces}
        return obs, {"broken": bool(row.broken)} | {k: v for k, v in row.obs.items() if k not in obs}, row


class GymnasiumVectorEnv(gymnasium.vector.VectorEnv):
    """Many worlds in one program.

    autoreset_mode: NEXT_STEP, where a closed episode takes a row of its own to open the next one, as everywhere
    here; SAME_STEP, which shows the next one's first row at once and what closed in `final_obs` and `final_info`
    (it steps all worlds a second time whenever one closes); DISABLED, where closed ones wait for
    `reset(options={"reset_mask": bool [num_envs]})`. One seed is the seed of all worlds together.
    """

    def __init__(
        self,
        name: str | Env,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        privileged: bool = False,
        render_camera: int | str | None = None,
        render_size: tuple[int, int] = (240, 320),
        max_episode_steps: int | None = None,
        **settings,
    ):
        """`max_episode_steps` is the world's `limit`; the rest as in GymnasiumEnv."""
        if max_episode_steps is not None:
            settings["limit"] = max_episode_steps
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self._paint = painter(name, render_mode, settings, render_camera, *render_size)
        self._programs = programs(name, num_envs, settings)
        spec = self._programs.spec
        self.num_envs = num_envs
        self.metadata = {"render_modes": MODES, "render_fps": 1 / spec.interval}
        self.metadata |= {"autoreset_mode": self.autoreset_mode}
        self.render_mode = render_mode
        self.single_observation_space = observation_space(spec, privileged)
        self.single_action_space = action_space(spec)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._carry: Carry | None = None

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        if seed is not None and not isinstance(seed, (int, np.integer)):
            raise ValueError(f"seed {seed} is not a whole number; one seed is that of all {self.num_envs} worlds")
        super().reset(seed=seed)
        key = _drawn(self.np_random) if seed is None else key_of(int(seed))
        mask = (options or {}).get("reset_mask")
        if mask is None:
            mask = np.ones(self.num_envs, bool)
        elif not isinstance(mask, np.ndarray) or mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
            raise ValueError(f"reset_mask is not a bool array [{self.num_envs}] with a world to reset in it")
        if self._carry is None or mask.all():
            self._carry, row = self._programs.reset(key)
        else:
            self._carry, row = self._programs.renew(self._carry, key, mask)
            row = row._replace(obs=self._carry.step.obs)
        row = on_host(row)
        return self._shown(row.obs), self._info(row, mask)

    def step(self, actions: np.ndarray) -> tuple[dict, np.ndarray, np.ndarray, np.ndarray, dict]:
        disabled = self.autoreset_mode == AutoresetMode.DISABLED
        if self._carry is None or (disabled and self._carry.closed.any()):
            raise gymnasium.error.ResetNeeded("a world has no open episode; call reset(options={'reset_mask': ...})")
        actions, everywhere = jnp.asarray(actions, jnp.float32), np.ones(self.num_envs, bool)
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            self._carry, row, obs = self._programs.through(self._carry, actions)
            row, obs = on_host((row, obs))
            info: dict[str, Any] = {}
            for world in np.flatnonzero(row.terminated | row.truncated):
                final = {k: v[world].copy() for k, v in row.obs.items()}
                private = {k: v for k, v in final.items() if k not in self.single_observation_space.spaces}
                about = {"broken": bool(row.broken[world]), **private}
                info = self._add_info(info, {"final_obs": self._shown(final), "final_info": about}, world)
            after = row._replace(obs=obs, broken=np.zeros_like(row.broken))
            info |= self._info(after, everywhere)
        else:
            self._carry, row = self._programs.step(self._carry, actions)
            row = on_host(row)
            obs, info = row.obs, self._info(row, everywhere)
        return self._shown(obs), row.reward.astype(np.float64), row.terminated, row.truncated, info

    def render(self) -> tuple[np.ndarray, ...] | None:
        """A picture of every world, uint8 [height, width, 3]."""
        if self._paint is None:
            return None
        if self._carry is None:
            raise gymnasium.error.ResetNeeded("there is nothing to be seen yet; call reset() before render()")
        return tuple(np.array(self._paint(self._carry.state)))

    def _shown(self, obs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {k: v for k, v in obs.items() if k in self.single_observation_space.spaces}

    def _info(self, row: Row, mask: np.ndarray) -> dict[str, np.ndarray]:
        told = {"broken": row.broken} | {
            k: v for k, v in row.obs.items() if k not in self.single_observation_space.spaces
        }
        return told | {f"_{k}": mask.copy() for k in told}

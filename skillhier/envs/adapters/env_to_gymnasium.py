"""Our worlds as gymnasium environments: one, or many in one program.

See rows.py for the meaning of rows. `info["broken"]` says whether the world broke. Privileged entries are in `info`
under their names, and in the observation only with `privileged=True`. Actions beyond the bounds are clipped.
"""

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from skillhier.envs import limits, registry
from skillhier.envs.adapters.rows import Carry, Row, key_from_seed, programs, refuse_fork, to_numpy
from skillhier.envs.render import pixels
from skillhier.types import Array, Env, EnvState, Key, Spec

MODES = ["rgb_array"]
EPISODE_SETTINGS = ("limit", "delay", "stack", "repeat")  # settings that the model does not depend on


def observation_space(spec: Spec, privileged: bool) -> gymnasium.spaces.Dict:
    """A Box an entry: float32 without bounds, pictures uint8 from 0 to 255."""

    def box(entry: jax.ShapeDtypeStruct) -> gymnasium.spaces.Box:
        if entry.dtype == jnp.uint8:
            return gymnasium.spaces.Box(0, 255, entry.shape, np.uint8)
        return gymnasium.spaces.Box(-np.inf, np.inf, entry.shape, np.float32)

    return gymnasium.spaces.Dict({k: box(v) for k, v in spec.obs.items() if privileged or k not in spec.privileged})


def action_space(spec: Spec) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(spec.action.low, spec.action.high, spec.action.shape, np.float32)


def make_renderer(world: str | Env, mode: str | None, settings: dict, *view: Any) -> Callable[[EnvState], Array] | None:
    """A function that draws pictures [B, height, width, 3] of the worlds in a state; None without a render mode."""
    if mode is None:
        return None
    if mode not in MODES or isinstance(world, Env):
        what = "an Env without a model" if isinstance(world, Env) else f"'{world}'"
        raise ValueError(f"render_mode '{mode}' of {what} is not known; choose rgb_array for worlds by name, or None")
    return _make_renderer(world, tuple((k, v) for k, v in sorted(settings.items()) if k not in EPISODE_SETTINGS), *view)


@lru_cache(maxsize=16)
def _make_renderer(
    name: str, settings: tuple, camera: int | str | None, height: int, width: int
) -> Callable[[EnvState], Array]:
    from skillhier.envs.render import rays

    if camera is None:
        camera = pixels.camera_of(name)

    model = registry.task(name, **dict(settings)).physics.model
    if model is None:
        raise ValueError(f"world '{name}' has no bodies to be drawn; leave render_mode out")
    draw = rays.renderer(model, camera, height, width)
    return jax.jit(jax.vmap(lambda state: draw(state.data)["rgb"]))


def _random_key(rng: np.random.Generator) -> Key:
    return key_from_seed(int(rng.integers(2**32)))


class GymnasiumEnv(gymnasium.Env):
    """One world. `reset()` without a seed after the end of an episode opens the same next episode as our rollout."""

    metadata = {"render_modes": MODES}
    clock_outside = False  # whether a wrapper's time limit cuts its episodes

    def __init__(
        self,
        name: str | Env,
        *,
        render_mode: str | None = None,
        privileged: bool = False,
        render_camera: int | str | None = None,
        render_size: tuple[int, int] = (240, 320),
        oldest_first: bool = False,
        **settings,
    ):
        """`settings`: those of `registry.make`; an unknown one raises ValueError with one line.

        render_mode "rgb_array" renders `render_camera` of the model (by default that of pixel variants) with height and
        width `render_size`, without OpenGL (see render/rays.py). Stacks of frames are newest first; with `oldest_first`
        they are in the order of gymnasium's FrameStackObservation.
        """
        self._programs = programs(name, 1, settings, oldest_first)
        self._draw = make_renderer(name, render_mode, settings, render_camera, *render_size)
        spec = self._programs.spec
        self.metadata = {**self.metadata, "render_fps": 1 / spec.interval}
        self.render_mode = render_mode
        self.observation_space = observation_space(spec, privileged)
        self.action_space = action_space(spec)
        self._carry: Carry | None = None

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        super().reset(seed=seed)
        refuse_fork()
        if seed is None and self._carry is not None and self._carry.closed.any():
            self._carry, row = self._programs.step(self._carry, jnp.zeros((1, *self.action_space.shape)))
        elif seed is None and self._carry is not None and self.clock_outside:
            self._carry, row = self._programs.reopen(self._carry)
        else:
            self._carry, row = self._programs.reset(
                _random_key(self.np_random) if seed is None else key_from_seed(seed)
            )
        obs, info, _ = self._unpack(row)
        return obs, info

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        if self._carry is None or self._carry.closed.any():
            raise gymnasium.error.ResetNeeded("this world has no open episode; call reset() before step()")
        self._carry, row = self._programs.step(self._carry, jnp.asarray(action, jnp.float32)[None])
        obs, info, row = self._unpack(row)
        return obs, float(row.reward), bool(row.terminated), bool(row.truncated), info

    def render(self) -> np.ndarray | None:
        """A picture of the present state, uint8 [height, width, 3]; of a world that broke, its next start."""
        if self._draw is None:
            return None
        if self._carry is None:
            raise gymnasium.error.ResetNeeded("no state to render yet; call reset() before render()")
        return np.array(self._draw(self._carry.state)[0])

    def _unpack(self, row: Row) -> tuple[dict, dict, Row]:
        row = jax.tree.map(lambda x: np.array(x[0]), jax.device_get(row))
        obs = {k: v for k, v in row.obs.items() if k in self.observation_space.spaces}
        return obs, {"broken": bool(row.broken)} | {k: v for k, v in row.obs.items() if k not in obs}, row


class RegisteredEnv(GymnasiumEnv):
    """One world by its gymnasium id, whose episodes gymnasium's TimeLimit cuts: after `max_episode_steps` of its steps.

    So that the limit that holds is the one that its spec has, the world has none of its own. A reset without a seed
    opens the next episode of our rollout wherever the present one is.
    """

    def __init__(self, name: str, **settings):
        _refuse_limit(settings)
        self.clock_outside = registry.limit_of(name) is not None
        super().__init__(name, **settings, **({"limit": limits.ENDLESS} if self.clock_outside else {}))


class GymnasiumVectorEnv(gymnasium.vector.VectorEnv):
    """Many worlds in one program.

    autoreset_mode: NEXT_STEP, where opening the next episode takes a row of its own, as in our Env; SAME_STEP, which
    returns the next episode's first row at once and the closing row in `final_obs` and `final_info` (all worlds are
    stepped twice whenever one closes); DISABLED, where closed worlds wait for
    `reset(options={"reset_mask": bool [num_envs]})`. One seed is for all worlds together.
    """

    _spec: EnvSpec | None = None

    @property
    def spec(self) -> EnvSpec | None:
        """With the time limit that holds; gymnasium.make_vec would leave the registered one there."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = spec and dataclasses.replace(spec, max_episode_steps=self._programs.spec.limit)

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
        oldest_first: bool = False,
        max_episode_steps: int | None = None,
        **settings,
    ):
        """`max_episode_steps` is the world's `limit`, in steps of this environment; the rest as in GymnasiumEnv."""
        if max_episode_steps is not None:
            _refuse_limit(settings)
            settings["limit"] = max_episode_steps * settings.get("repeat", 1)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self._programs = programs(name, num_envs, settings, oldest_first)
        self._draw = make_renderer(name, render_mode, settings, render_camera, *render_size)
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
        refuse_fork()
        if seed is not None and not isinstance(seed, (int, np.integer)):
            raise ValueError(f"seed must be an integer (one for all {self.num_envs} worlds), got {seed}")
        super().reset(seed=seed)
        key = _random_key(self.np_random) if seed is None else key_from_seed(int(seed))
        mask = (options or {}).get("reset_mask")
        if mask is None:
            mask = np.ones(self.num_envs, bool)
        elif not isinstance(mask, np.ndarray) or mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
            raise ValueError(f"reset_mask must be a bool array [{self.num_envs}] with at least one True")
        if self._carry is None or mask.all():
            self._carry, row = self._programs.reset(key)
        else:
            self._carry, row = self._programs.renew(self._carry, key, mask)
            row = row._replace(obs=self._carry.step.obs)
        row = to_numpy(row)
        return self._visible(row.obs), self._info(row, mask)

    def step(self, actions: np.ndarray) -> tuple[dict, np.ndarray, np.ndarray, np.ndarray, dict]:
        disabled = self.autoreset_mode == AutoresetMode.DISABLED
        if self._carry is None or (disabled and self._carry.closed.any()):
            raise gymnasium.error.ResetNeeded("a world has no open episode; call reset(options={'reset_mask': ...})")
        actions, everywhere = jnp.asarray(actions, jnp.float32), np.ones(self.num_envs, bool)
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            self._carry, row, obs = self._programs.step_and_reset(self._carry, actions)
            row, obs = to_numpy((row, obs))
            info: dict[str, Any] = {}
            for world in np.flatnonzero(row.terminated | row.truncated):
                final = {k: v[world].copy() for k, v in row.obs.items()}
                private = {k: v for k, v in final.items() if k not in self.single_observation_space.spaces}
                about = {"broken": bool(row.broken[world]), **private}
                info = self._add_info(info, {"final_obs": self._visible(final), "final_info": about}, world)
            after = row._replace(obs=obs, broken=np.zeros_like(row.broken))
            info |= self._info(after, everywhere)
        else:
            self._carry, row = self._programs.step(self._carry, actions)
            row = to_numpy(row)
            obs, info = row.obs, self._info(row, everywhere)
        return self._visible(obs), row.reward.astype(np.float64), row.terminated, row.truncated, info

    def render(self) -> tuple[np.ndarray, ...] | None:
        """A picture of every world, uint8 [height, width, 3]."""
        if self._draw is None:
            return None
        if self._carry is None:
            raise gymnasium.error.ResetNeeded("no state to render yet; call reset() before render()")
        return tuple(np.array(self._draw(self._carry.state)))

    def _visible(self, obs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {k: v for k, v in obs.items() if k in self.single_observation_space.spaces}

    def _info(self, row: Row, mask: np.ndarray) -> dict[str, np.ndarray]:
        info = {"broken": row.broken} | {
            k: v for k, v in row.obs.items() if k not in self.single_observation_space.spaces
        }
        return info | {f"_{k}": mask.copy() for k in info}


def _refuse_limit(settings: dict) -> None:
    if "limit" in settings:
        limit = settings["limit"]
        raise ValueError(f"limit={limit} is not a setting of gymnasium's ids; pass max_episode_steps={limit}")

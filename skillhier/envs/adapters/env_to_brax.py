"""Our worlds behind brax's environment interface (brax 0.14.2; its own trainers fail on jax >= 0.10).

One world per environment, as in brax: `brax.envs.wrappers.training.wrap` batches it, truncates and resets episodes. So
this environment has no time limit of its own (brax would take a truncation for a termination): pass `episode_length` to
the wrapper. Actions beyond the bounds are clipped.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from brax import envs
from brax.envs.base import State

from skillhier.envs import limits, physics, registry
from skillhier.types import Array, Env, EnvState, Key, TimeStep


class Pipeline(NamedTuple):
    """Our state inside brax's State."""

    state: EnvState  # with keys as raw data, since brax selects between states leaf by leaf
    last: Array  # [] bool
    obs: Any  # as returned


class BraxEnv(envs.Env):
    """See `adapters.to_brax`."""

    def __init__(self, name: str | Env, *, flat: bool = True, **settings):
        if isinstance(name, Env):
            if settings or name.spec.worlds != 1:
                got = f"{name.spec.worlds} worlds, settings {sorted(settings)}"
                raise ValueError(f"an Env for brax must have one world and no settings, got {got}")
            self._env, self.episode_length = name, name.spec.limit
        else:
            if "limit" in settings:
                raise ValueError("limit is not a setting here; pass episode_length to brax's wrapper")
            self._env = registry.make(name, limit=limits.ENDLESS, **settings)
            self.episode_length = registry.make(name, **settings).spec.limit
        self._flat = flat
        spec = self._env.spec
        pictures = [k for k, v in spec.obs.items() if not jnp.issubdtype(v.dtype, jnp.floating)]
        if flat and pictures:
            raise ValueError(f"'{pictures[0]}' is a picture and cannot be part of a flat vector; set flat=False")
        self._shown = [k for k in sorted(spec.obs) if not flat or k not in spec.privileged]
        self._backend = physics.resolve(settings.get("engine", "auto"))
        self.dt = spec.interval  # s

    def reset(self, rng: Key) -> State:
        key = rng if jnp.issubdtype(rng.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(rng)
        state, step = self._env.reset(key)
        obs, zero = self._obs(step), jnp.zeros(())
        return State(Pipeline(_raw_keys(state), step.last[0], obs), obs, zero, zero, {"broken": zero})

    def step(self, state: State, action: Array) -> State:
        before, spec = state.pipeline_state, self._env.spec
        template = jax.eval_shape(self._env.reset, jax.random.key(0))[0]
        after, step = self._env.step(_typed_keys(before.state, template), spec.action.clip(action)[None])
        broken = step.first[0] & ~before.last
        obs = jax.tree.map(lambda old, new: jnp.where(broken, old, new), before.obs, self._obs(step))
        ended = broken | (step.last[0] & (step.discount[0] == 0))
        return state.replace(
            pipeline_state=Pipeline(_raw_keys(after), step.last[0], obs),
            obs=obs,
            reward=jnp.where(step.first[0], 0.0, step.reward[0]),
            done=ended.astype(jnp.float32),
            metrics={**state.metrics, "broken": broken.astype(jnp.float32)},
        )

    @property
    def observation_size(self) -> int | dict[str, tuple[int, ...]]:
        shapes = {k: self._env.spec.obs[k].shape for k in self._shown}
        return sum(math.prod(shape) for shape in shapes.values()) if self._flat else shapes

    @property
    def action_size(self) -> int:
        return self._env.spec.action.shape[0]

    @property
    def backend(self) -> str:
        return self._backend

    def _obs(self, step: TimeStep) -> Any:
        shown = {k: step.obs[k][0] for k in self._shown}
        return jnp.concatenate([v.ravel() for v in shown.values()]) if self._flat else shown


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _raw_keys(state: EnvState) -> EnvState:
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, state)


def _typed_keys(state: EnvState, template: EnvState) -> EnvState:
    return jax.tree.map(lambda x, like: jax.random.wrap_key_data(x) if _is_key(like) else x, state, template)

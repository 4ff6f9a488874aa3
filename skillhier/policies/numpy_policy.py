"""A policy for loops other than `rollout`: numpy observations of any environment in, numpy actions out."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from skillhier.types import Key, Params, Policy, TimeStep


class NumpyPolicy:
    """`policy` with `params`, called once a row; it carries the policy's state between calls.

    With `worlds` None it acts in one world, and observations and actions have no world axis. All calls share one
    compiled program.

    oldest_first: the frames of the entries it is handed, [S, ...] or [B, S, ...], are in the order of gymnasium's
    FrameStackObservation; those that policies learn from are newest first.
    """

    def __init__(
        self, policy: Policy, params: Params, *, worlds: int | None = None, seed: int = 0, oldest_first: bool = False
    ):
        self._single = worlds is None
        self._worlds = worlds or 1
        self._carry = policy.init(self._worlds)
        self._params = params
        self._key = jax.random.key(seed)
        self._act = jax.jit(policy.act)
        self._oldest_first = oldest_first

    def __call__(
        self, obs: Mapping[str, np.ndarray], first: bool | np.ndarray, key: Key | None = None
    ) -> dict[str, np.ndarray] | np.ndarray:
        """The action at `obs`, entry -> [B, ...]; `first` [B] marks rows that open an episode.

        `key`: for this row; split off the seed's key if None.
        """
        if key is None:
            self._key, key = jax.random.split(self._key)
        obs = {k: jnp.asarray(v)[None] if self._single else jnp.asarray(v) for k, v in obs.items()}
        if self._oldest_first:
            obs = {k: v[:, ::-1] for k, v in obs.items()}
        first = jnp.broadcast_to(jnp.asarray(first, bool), (self._worlds,))
        zeros = jnp.zeros(self._worlds)
        step = TimeStep(obs, zeros, zeros + 1, first, jnp.zeros_like(first))
        self._carry, action, _ = self._act(self._params, self._carry, step, key)
        return jax.tree.map(lambda x: np.array(x[0] if self._single else x), jax.device_get(action))

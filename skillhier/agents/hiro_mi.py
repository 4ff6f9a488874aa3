"""HIRO's two levels with the intrinsic reward of LSP: the manager chooses a skill, the worker makes it tellable.

The choice is z of Z numbers, held for `period` control steps. The worker is paid what the world pays and, on the last
row of a skill's window, log q(z | what was seen in the window) (losses/skill_info.py); the predictor q is trained on
the same windows. There is no model: windows are those of the replay. Read agents/hiro.py first.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from skillhier.agents import hiro
from skillhier.agents.goal_space import GoalSpace
from skillhier.agents.hiro import Beside
from skillhier.losses import skill_info
from skillhier.losses.levels import Level
from skillhier.nets import encoder, heads
from skillhier.ops import predictions
from skillhier.types import Agent, Array, Key, Metrics, Params, Scalar, Slow, Spec, Trajectory

NOTE = hiro.NOTE  # the skill, in the place of HIRO's target
SKILLS = "skills"
OWN: dict[str, Any] = {
    "skill": 3,  # numbers of a skill
    "skill_range": 1.0,  # each lies between minus and plus this
    "mi_scale": 1.0,  # weight of the intrinsic reward
    "mi_constant": 0.0,  # nats added to each window's reward
    "pred_noise": 0.3,  # standard deviation of the noise on the predictor's input
    "predictor_hidden": (256, 256),
    "predictor_learning_rate": 8e-5,
}
DEFAULTS: dict[str, Any] = {
    **{name: value for name, value in hiro.DEFAULTS.items() if not name.startswith(("goal", "corrections"))},
    **OWN,
    "goal_noise": 0.1,  # standard deviation of exploration, of skills
    "worker_transitions": 0,  # of those after a window's first `period` rows, that the worker learns from; 0: all
}


def make(
    spec: Spec,
    *,
    skill: int = 3,
    skill_range: float = 1.0,
    mi_scale: float = 1.0,
    mi_constant: float = 0.0,
    pred_noise: float = 0.3,
    predictor_hidden: Sequence[int] = (256, 256),
    predictor_learning_rate: float = 8e-5,
    low: Sequence[str] = (),
    period: int = 10,
    worker_transitions: int = 0,
    statistics: Mapping | None = None,
    **settings: Any,
) -> Agent:
    """HIRO with skills for worlds of `spec`; settings as in DEFAULTS and of hiro.two_levels. Raises ValueError."""
    names = tuple(low) or spec.visible
    seen = encoder.whitened(spec.obs, names, statistics)
    predictor = heads.vector(skill, predictions.clamped_normal(), predictor_hidden)
    rows = skill_info.rows_seen(period)

    def read(obs: Mapping[str, Array]) -> Array:
        """A skill is no place: what is left of it is the skill itself."""
        return jnp.zeros((*obs[names[0]].shape[:-2], skill))

    def tell(params: Params, predict: Params, batch: Trajectory, key: Key) -> tuple[Array, Array]:
        """(log q of the skill of every window, whether one skill was held in it), [W, B] each."""
        features = jax.lax.stop_gradient(seen.apply(params["encoders"]["worker"], batch.step.obs))
        windows, chosen, held = skill_info.windows_of_replay(batch, period, features, NOTE)
        one = lambda *window: skill_info.log_q(predictor.apply, predict, *window[:2], pred_noise, window[2])  # noqa: E731
        return jax.vmap(one)(windows, chosen, jax.random.split(key, len(windows))), held

    def reward(params: Params, batch: Trajectory, key: Key) -> Array:
        log_q, held = tell(params, params[SKILLS]["predictor"], batch, key)
        paid = jnp.where(held, mi_scale * (log_q + mi_constant), 0.0)
        return batch.step.reward.at[period:].add(paid)

    def predictor_loss(params: Params, slow: Slow, batch: Trajectory, key: Key) -> tuple[Scalar, tuple[Slow, Metrics]]:
        log_q, held = tell(params, params["predictor"], batch, key)
        mean = jnp.where(held, log_q, 0.0).sum() / jnp.maximum(held.sum(), 1)
        return -mean, (slow, {"log_q": jnp.where(held.any(), mean, jnp.nan)})

    def init(key: Key) -> Params:
        features = sum(spec.obs[name].shape[0] * spec.obs[name].shape[1] for name in names)
        return {"predictor": predictor.init(key, len(rows) * features)}

    return hiro.two_levels(
        spec,
        GoalSpace(read, np.full(skill, skill_range, np.float32)),
        reward,
        first_row=period - 1,
        beside={SKILLS: Beside(init, Level(predictor_loss), predictor_learning_rate)},
        low=low,
        period=period,
        worker_transitions=worker_transitions,
        corrections=0,
        statistics=statistics,
        **settings,
    )

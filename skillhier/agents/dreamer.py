"""Dreamer: a world model, and one level that learns in its imagination (Hafner et al., 2020); by other arguments
DreamerV3 (Hafner et al., 2023).

Read in order: agents/world_model.py, losses/actor_critic.py, agents/imagination.py, this file. The level is called
`control`; its parameters are control/actor and control/critic.
"""

from typing import Any

from skillhier.agents import imagination, world_model
from skillhier.agents.imagination import LEVEL, TRAINING, pick
from skillhier.losses.levels import Level, levels
from skillhier.policies.imagine import imagine_rows
from skillhier.types import Agent, Spec

NAME = "control"
DEFAULTS: dict[str, Any] = {**world_model.DEFAULTS, **LEVEL, **TRAINING}
# DreamerV3 of January 2023, size S for vectors; mrs.md 4.2
V3: dict[str, Any] = {
    **DEFAULTS,
    "latent_kind": "categorical",
    "stoch": 32,
    "unimix": 0.01,
    "deter": 512,
    "hidden": 512,
    "cell": "norm_gru",
    "initial": "learned",
    "activation": "silu",
    "norm": True,
    "encoder": (512, 512),
    "decoder": (512, 512),
    "vector_form": "squared",
    "vector_transform": "symlog",
    "picture_form": "squared_sigmoid",
    "reward_hidden": (512, 512),
    "reward_form": "two_hot",
    "continue_hidden": (512, 512),
    "kl": "balanced",
    "free_nats": 1.0,
    "actor_hidden": (512, 512),
    "critic_hidden": (512, 512),
    "head": "bounded_normal",
    "min_stddev": 0.1,
    "critic_form": "two_hot",
    "gamma": 1 - 1 / 333,
    "rewards": "arriving",
    "baseline": True,
    "scale": "percentiles",
    "entropy": 3e-4,
    "slow_critic": "average",
    "slow_weight": 1.0,
    "noise": 0.0,
    "learning_rate": 1e-4,
    "actor_learning_rate": 3e-5,
    "critic_learning_rate": 3e-5,
    "adam_epsilon": 1e-8,
    "max_grad_norm": 1000.0,
    "behaviour_adam_epsilon": 1e-5,
    "behaviour_max_grad_norm": 100.0,
}


def make(spec: Spec, **settings: Any) -> Agent:
    """Dreamer for worlds of `spec`; settings as in DEFAULTS, which explains them. Raises ValueError."""
    settings = {**DEFAULTS, **settings}
    model = world_model.make(spec, **pick(settings, world_model.DEFAULTS))
    horizon = settings["horizon"]
    sees = (model.feature, model.features)
    head = imagination.action_head(settings["head"], spec, settings["min_stddev"])
    parts = imagination.make_level(NAME, head, settings, actor_sees=sees, critic_sees=sees)
    sampled = imagination.scoped(parts.act(True), NAME)

    def imagined(params, begin, key):
        return imagine_rows(model.dream(params, begin), sampled, params, key, horizon)

    level = Level(parts.loss, view=imagination.view(settings["rewards"]))
    learner = imagination.make_learner(
        model,
        lambda key: {NAME: parts.init(key)},
        imagined,
        levels({NAME: level}),
        {f"{NAME}/{part}": slow for part, slow in parts.slow.items()},
        {f"{NAME}/actor": settings["actor_learning_rate"], f"{NAME}/critic": settings["critic_learning_rate"]},
        settings,
    )
    return Agent(
        learner,
        explore=model.believe(sampled, settings["noise"]),
        exploit=model.believe(imagination.scoped(parts.act(False), NAME)),
        dream=model.open_loop,
    )

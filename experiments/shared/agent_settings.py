"""Settings of agents in configs: their defaults come from the agents themselves, their limits stand here."""

from typing import Any

from ml_collections import ConfigDict

from experiments.shared import cli
from experiments.shared.settings import SOME
from skillhier.agents import phases, registry

SHARE, WEIGHT, RATE, COUNT = (0.0, 1.0), (0.0, 1e3), (0.0, 1.0), (1, 10**6)
LIMITS: dict[str, Any] = {
    "skills": (1, 64),
    "latent": (1, 256),
    "hidden": (1, 8192),
    "lookahead": (0, 100),
    "action_stddev": (1e-4, 10.0),
    "binary_stddev": (0.0, 10.0),
    "beta_y": WEIGHT,
    "beta_z": WEIGHT,
    "usage_weight": WEIGHT,
    "entropy_weight": WEIGHT,
    "init_stay_logit": (-20.0, 20.0),
    "init_prior_stay_logit": (-20.0, 20.0),
    "learning_rate": RATE,
    "prior_learning_rate": RATE,
    "actor_learning_rate": RATE,
    "mid_learning_rate": RATE,
    "dual_learning_rate": RATE,
    "decay_updates": (0, 10**9),
    "max_grad_norm": (1e-6, 1e6),
    "max_consecutive_skips": COUNT,
    "picture_channels": (1, 8192, SOME),
    "picture_blocks": (0, 100),
    "samples": (1, 10**4),
    "gamma": SHARE,
    "backup": ["td", "n_step", "retrace"],
    "n_step": (1, 10**4),
    "lambda_": SHARE,
    "prior": ["uniform", "transition"],
    "eta_y": WEIGHT,
    "eta_z": WEIGHT,
    "repeat_probability": SHARE,
    "ar_coefficient": (0.0, 0.9999),
    "init_stddev": (1e-3, 10.0),
    "epsilon": (1e-6, 1e3),
    "epsilon_category": (1e-6, 1e3),
    "epsilon_mean": (1e-6, 1e3),
    "epsilon_stddev": (1e-8, 1e3),
    "epsilon_penalty": WEIGHT,
    "target_period": COUNT,
    "actor_target_period": COUNT,
    "critic_warmup": (0, 10**9),
    # of agents with a world model
    "latent_kind": ["gaussian", "categorical"],
    "stoch": (1, 4096),
    "classes": (2, 4096),
    "unimix": (0.0, 0.99),
    "deter": (1, 65536),
    "cell": ["gru", "norm_gru"],
    "initial": ["zeros", "learned"],
    "activation": ["elu", "silu", "relu"],
    "encoder": (1, 8192, SOME),
    "decoder": (1, 8192),
    "vector_form": ["clamped_normal", "normal", "squared"],
    "vector_transform": ["none", "symlog"],
    "picture_depth": (1, 1024),
    "picture_form": ["normal", "squared_sigmoid"],
    "reward_hidden": (1, 8192),
    "reward_form": ["normal", "symlog", "two_hot"],
    "continue_hidden": (1, 8192),
    "kl": ["mean", "balanced", "adaptive"],
    "free_nats": WEIGHT,
    "kl_to_prior": WEIGHT,
    "kl_to_posterior": WEIGHT,
    "kl_target": WEIGHT,
    "dtype": ["float32", "bfloat16"],
    "actor_hidden": (1, 8192),
    "critic_hidden": (1, 8192),
    "head": ["tanh_normal", "bounded_normal"],
    "critic_form": ["normal", "symlog", "two_hot"],
    "rewards": ["leaving", "arriving"],
    "gradient": ["dynamics", "score"],
    "bootstrap": ["own", "slow"],
    "scale": ["none", "percentiles", "moments"],
    "entropy": WEIGHT,
    "entropy_target": SHARE,
    "slow_critic": ["none", "copy", "average"],
    "slow_period": COUNT,
    "slow_rate": (1e-6, 1.0),
    "slow_weight": WEIGHT,
    "horizon": (1, 1000),
    "starts": (0, 10**6),
    "noise": (0.0, 10.0),
    "critic_learning_rate": RATE,
    "adam_epsilon": (1e-12, 1.0),
    "behaviour_adam_epsilon": (1e-12, 1.0),
    "behaviour_max_grad_norm": (1e-6, 1e6),
    "output_scale": (0.0, 100.0),
    "min_stddev": (1e-4, 0.99),
    "weight_decay": (0.0, 10.0),
    # of agents that learn from what they have just done
    "clip": (1e-3, 0.999),
    "epochs": COUNT,
    "minibatches": COUNT,
    "value_weight": WEIGHT,
    # of skills planned in imagination
    "skill": (1, 256),
    "period": (1, 1000, 2),  # of hippo fewest and most, of others one number
    "plan_horizon": (1, 10**4),
    "iterations": (1, 1000),
    "proposals": (1, 10**5),
    "elites": (1, 10**5),
    "mean_noise": (0.0, 10.0),
    "cem_starts": (0, 10**6),
    "plan_action": ["sample", "mode"],
    "mi_scale": WEIGHT,
    "mi_target": (0.0, 100.0),
    "mi_place": ["last", "each"],
    "mi_constant": (-1e3, 1e3),
    "mi_floor": (-1e9, 0.0),
    "pred_noise": (0.0, 1e3),
    "predictor_hidden": (1, 8192),
    "predictor_learning_rate": RATE,
    "skill_range": (1e-6, 1e3),
    # of skills learned before the task
    "phase": [phases.SKILLS, phases.TASK],
    "turn": COUNT,
    "novelty_hidden": (1, 8192),
    "novelty_size": (1, 1024),
    "novelty_scale": (1e-3, 1e6),
    # of goals in a world model's memory
    "codes": (1, 1024),
    "code_classes": (2, 1024),
    "code_samples": ["one_hot", "relaxed"],
    "code_unimix": (0.0, 0.99),
    "coder_hidden": (1, 8192, SOME),
    "coder_learning_rate": RATE,
    "coder_kl_target": WEIGHT,
    "task_weight": WEIGHT,
    "novelty_weight": WEIGHT,
    "worker_task_weight": WEIGHT,
    "chunk_reward": ["mean", "sum"],
    "last_goal": ["next", "own"],
    "resolutions": (1, 10**4),
    "pair_offset": (-1, 0),
    "novelty": ["nearest", "infinity"],
    "novelty_context": ["rollout", "chunk"],
    # of goals, changes of the state
    "goal_half_range": (1e-6, 1e6),
    "goal_velocity": (1e-6, 1e6),
    "reward_scale": WEIGHT,
    "delay": COUNT,
    "tau": (1e-6, 1.0),
    "manager_every": COUNT,
    "worker_transitions": (0, 10**4),
    "smoothing_stddev": (0.0, 10.0),
    "smoothing_clip": (0.0, 10.0),
    "goal_noise": (0.0, 10.0),
    "action_noise": (0.0, 10.0),
    "corrections": (0, 1000),
}


def limits(names: tuple[str, ...], group: str = "agent") -> dict[str, Any]:
    """The limits of config.GROUP, of which `names` are the agents to choose from."""
    known = set().union(*map(registry.defaults, names))
    return {f"{group}.name": list(names)} | {f"{group}.{name}": LIMITS[name] for name in LIMITS if name in known}


def settings(name: str, **changes: Any) -> ConfigDict:
    """An agent's settings, by its registered name, with `changes` to those that it has."""
    config = ConfigDict({"name": name, **registry.defaults(name)})
    config.update({setting: value for setting, value in changes.items() if setting in config})
    return config


def check_intervals(config: ConfigDict, *names: str) -> None:
    """Refuses intervals, settings by their dotted names, that are no multiple of an epoch; 0 is none."""
    values = cli.flat(config)
    epoch = values["train.updates_per_epoch"]
    for name in ("train.updates", "train.eval_every", "train.save_every", *names):
        if values[name] % epoch:
            raise cli.Refused(
                f"config.{name}={values[name]} is no multiple of the epoch of {epoch} updates; "
                "set config.train.updates_per_epoch"
            )

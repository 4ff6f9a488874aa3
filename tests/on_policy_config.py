"""Settings of tests/on_policy_entry.py: quadrupeds that glide, and agents that learn from what they have just done."""

from ml_collections import ConfigDict

from experiments.shared import agent_settings, cli, on_policy_run, online_settings, skill_trial, start_settings
from skillhier.agents import registry

PRESETS = {"debug": "does it work?"}
LIMITS = {
    **online_settings.LIMITS,
    **start_settings.LIMITS,
    **skill_trial.LIMITS,
    **agent_settings.limits(registry.BY_PPO),
}
FREE = online_settings.FREE


def get_config(arg: str = "") -> ConfigDict:
    chosen = cli.choose(arg, PRESETS, agent=list(registry.BY_PPO))
    config = online_settings.config("dmc.quadruped_walk_upright")
    start_settings.add_settings(config)
    on_policy_run.add_settings(config)
    config.env.update(worlds=4, limit=6, engine="native")
    config.env.repeat = 2
    config.agent = agent_settings.settings(
        chosen.agent, hidden=(8, 8), epochs=2, minibatches=2, skills=3, period=(2, 4), turn=1, novelty_hidden=(8,)
    )
    skill_trial.add_settings(config)
    config.train.update(unroll_length=5, updates=8, updates_per_epoch=2, eval_every=4, save_every=2)
    config.eval.episodes = 2
    return config


def check(config: ConfigDict) -> None:
    agent_settings.check_intervals(config)
    on_policy_run.check(config)


check_beginning = start_settings.check

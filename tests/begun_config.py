"""Settings of tests/begun_entry.py: quadrupeds, and an agent that regresses rewards or MPO."""

from ml_collections import ConfigDict

from experiments.shared import agent_settings, cli, online_settings, start_settings

PRESETS = {"debug": "does it work?"}
LIMITS = {**online_settings.LIMITS, **start_settings.LIMITS, "env.repeat": (1, 10)}
FREE = online_settings.FREE


def get_config(arg: str = "") -> ConfigDict:
    chosen = cli.choose(arg, PRESETS, agent=["regression", "mpo"], task="walk_upright")
    config = online_settings.config(f"dmc.quadruped_{chosen.task}")
    start_settings.add_settings(config)
    config.env.update(worlds=2, limit=20, engine="native")
    config.env.repeat = 1
    config.agent = ConfigDict({"name": chosen.agent})
    if chosen.agent == "mpo":
        config.agent = agent_settings.settings("mpo", hidden=(8, 8), samples=2, target_period=4, actor_target_period=4)
    config.replay.update(rows=60, prefill=8)
    config.train.update(unroll_length=4, updates_per_collect=2, batch_size=4, sequence_length=4)
    config.train.update(updates=8, updates_per_epoch=4, eval_every=4, save_every=4)
    config.evals = ()
    return config


def check(config: ConfigDict) -> None:
    online_settings.check_replay(config)


check_beginning = start_settings.check

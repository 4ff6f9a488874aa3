"""Settings of experiments/imitate.py: whom the clone imitates, in which worlds, and how much it practises."""

from ml_collections import ConfigDict

from experiments.configs import collect, helms_offline
from experiments.shared import agent_settings, cli, online_settings, world_settings
from experiments.stacking import worlds as stacking

PRESETS = {
    "quickstart": "a clone whose likelihood has settled, but which hardly ever stacks; three minutes on 2 cores",
    "debug": "does the command work? Small nets, short episodes; under a minute",
    "cpu": "eight times the updates, in twice the worlds, with delays and physics drawn anew; under an hour on 2 cores",
}
AGENTS = ("bc", "hierarchical_bc")
VARIED = {"delay": (0, 2), "randomise": True}  # delays, and physics drawn anew
LIMITS = online_settings.LIMITS | stacking.LIMITS | agent_settings.limits(AGENTS)
FREE = online_settings.FREE


def get_config(arg: str = "") -> ConfigDict:
    chosen = cli.choose(arg, PRESETS, agent=list(AGENTS), task=collect.RED_ON_BLUE)
    world = world_settings.of_task(chosen.task, {})
    config = online_settings.config(world)
    config.run = ""  # a run whose agent is the expert; --run sets it; without one the scripted expert of stacking
    config.env.worlds = 20  # stepped together
    if stacking.is_stacking(world):
        stacking.add_settings(config)
        config.agent = helms_offline.agent(chosen.agent, "red_on_blue")
    else:
        config.agent = agent_settings.settings(chosen.agent)
    config.agent.learning_rate = 1e-3
    config.replay.update(rows=4000, prefill=400)
    config.train.update(unroll_length=4, updates_per_collect=2, batch_size=32, sequence_length=25)
    config.train.update(updates=2000, updates_per_epoch=50, eval_every=500, save_every=500)
    config.eval.episodes = 20  # of the clone, each in a world of its own
    if chosen.preset == "debug":
        config.env.update(worlds=4, limit=30)
        stacking.change(config, starts=8, **VARIED)
        config.agent.hidden = (32, 32)
        config.replay.update(rows=150, prefill=40)
        config.train.update(batch_size=16, sequence_length=10)
        config.train.update(updates=80, updates_per_epoch=10, eval_every=40, save_every=20)
        config.eval.episodes = 4
    if chosen.preset == "cpu":
        config.env.worlds = 40
        stacking.change(config, **VARIED)
        config.agent.learning_rate = 5e-4
        config.train.update(batch_size=64, updates=16_000, updates_per_epoch=100, eval_every=2000, save_every=2000)
        config.eval.episodes = 40
    online_settings.suit_world(config)
    return config


def check(config: ConfigDict) -> None:
    online_settings.check_world(config)
    stacking.check_settings(config)
    world = config.env.name
    if ".stack_" not in world and not config.run:
        raise cli.Refused(
            f"the scripted expert knows stacking, not {world}; --run=RUN names a run whose agent is the expert"
        )
    agent_settings.check_intervals(config, "eval.every")
    collect.check_pairs("env.worlds", config.env.worlds, world)
    collect.check_pairs("eval.episodes", config.eval.episodes, world)
    online_settings.check_replay(config)

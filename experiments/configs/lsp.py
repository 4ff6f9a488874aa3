"""Settings of experiments/lsp.py: which agent learns which task in the imagination of a world model, for how long.

A decision is one action, held for config.env.repeat control steps. Frames are control steps.
"""

from ml_collections import ConfigDict

from experiments.shared import agent_settings, cli, online_settings, start_settings, world_settings
from skillhier.agents import registry
from skillhier.envs import registry as worlds

PRESETS = {
    "debug": "does the command work? Small nets, short episodes; a minute",
    "cpu": "200,000 frames, three seeds in one program, small nets; ninety minutes on 2 cores for dreamer",
    "paper": "the papers' sizes: a million frames, batches of 50 x 50; for an accelerator",
}
SUITE = "dmc."
TASKS = {name.removeprefix(SUITE): name for name in worlds.names() if name.startswith(SUITE)}
AGENTS = (*registry.IMAGINING, *registry.BY_TD3)
LIMITS = {
    **online_settings.LIMITS,
    **start_settings.LIMITS,
    **agent_settings.limits(AGENTS),
    "train.sequence_length": (2, 10**4),
}
FREE = (*online_settings.FREE, *start_settings.FREE)
FRAMES = 200_000  # of preset cpu


def get_config(arg: str = "") -> ConfigDict:
    chosen = cli.choose(arg, PRESETS, agent=list(AGENTS), task="walker_walk")
    config = online_settings.config(world_settings.of_task(chosen.task, TASKS))
    start_settings.add_settings(config)
    online_settings.add_decisions(config, worlds=1, repeat=2)
    config.agent = agent_settings.settings(chosen.agent)
    # an update for 5 frames, in bursts, from the start on 5 episodes of random actions
    config.replay.update(rows=500_000, prefill=2500)
    config.train.update(
        pretrain=100,
        unroll_length=25,
        updates_per_collect=10,
        batch_size=50,
        sequence_length=50,
        updates=200_000,
        updates_per_epoch=100,
        eval_every=2000,
        save_every=5000,
    )
    config.eval.episodes = 4  # of the agent, each in a world of its own
    if config.agent.name in registry.BY_TD3:  # an update for every decision
        config.train.update(updates_per_collect=25, batch_size=100, sequence_length=20, updates=500_000)
    if chosen.preset != "paper":
        {"debug": debug, "cpu": cpu}[chosen.preset](config)
    online_settings.suit_world(config)
    return config


def shrink(config: ConfigDict, width: int, **changes) -> None:
    """Nets of that width, wherever the agent has one; and other changes to the settings that it has."""
    agent, one, two = config.agent, (width,), (width, width)
    if agent.name in registry.BY_TD3:
        agent.hidden = two
        return
    if agent.name in registry.BY_DDPG:
        agent.update(hidden=two, predictor_hidden=two)
        return
    changes = {"deter": width, "hidden": width, "encoder": one, "decoder": two, "reward_hidden": two,
               "actor_hidden": two, "critic_hidden": two, "predictor_hidden": two, **changes}  # fmt: skip
    if agent.continue_hidden:
        changes["continue_hidden"] = two
    agent.update({name: value for name, value in changes.items() if name in agent})


def debug(config: ConfigDict) -> None:
    shrink(config, 32, picture_depth=4, stoch=8, classes=8, starts=16, horizon=4, period=2, plan_horizon=4,
           proposals=4, elites=2, iterations=2)  # fmt: skip
    config.env.update(worlds=2, limit=40, size=16)
    config.replay.update(rows=150, prefill=40)
    length = 12 if config.agent.name in registry.BY_TD3 else 8  # a whole goal of HIRO
    config.train.update(pretrain=2, unroll_length=4, updates_per_collect=2, batch_size=4, sequence_length=length)
    config.train.update(updates=40, updates_per_epoch=10, eval_every=20, save_every=20)
    config.eval.episodes = 2


def cpu(config: ConfigDict) -> None:
    config.seeds = 3
    config.env.update(worlds=4, size=32)
    config.replay.update(rows=FRAMES // 8 + 1000, prefill=600)
    if config.agent.name in registry.BY_TD3:
        config.train.update(unroll_length=5, updates_per_collect=20, updates=FRAMES // 2, updates_per_epoch=1000)
        config.train.update(eval_every=5000, save_every=10_000)
        return
    stoch = 16 if config.agent.latent_kind == "categorical" else 30
    shrink(config, 128, hidden=64, reward_hidden=(64, 64), picture_depth=8, stoch=stoch, classes=16)
    # few updates want larger rates and fewer nats for nothing
    config.agent.update(starts=64, free_nats=1.0, learning_rate=1e-3)
    config.agent.update(actor_learning_rate=4e-4, critic_learning_rate=4e-4)
    # a squashed Gaussian without an entropy bonus saturates at such rates, and stays with what it found first; values
    # that are their own targets ran away on one seed of three
    if config.agent.name != "dreamerv3":
        config.agent.update(head="bounded_normal", entropy=0.1, slow_critic="average", bootstrap="slow", noise=0.1)
    if "cem_starts" in config.agent:
        # log q of a skill that nothing says anything of is -4.26: taken off, the reward begins at 0. A large weight
        # makes skills tellable, and falls once they are
        config.agent.update(cem_starts=4, predictor_learning_rate=4e-4, mi_constant=4.257, mi_floor=-8.0)
        config.agent.update(mi_scale=6.0, mi_target=0.5)
    # an update for 10 frames. With a quarter of the rows the model was not good enough to balance a pole by
    config.train.update(pretrain=100, unroll_length=5, updates_per_collect=4, batch_size=32, sequence_length=32)
    config.train.update(updates=FRAMES // 10, updates_per_epoch=100, eval_every=1000, save_every=2000)


def check(config: ConfigDict) -> None:
    online_settings.check_world(config)
    agent_settings.check_intervals(config, "eval.every")
    online_settings.check_replay(config)
    agent = config.agent
    if "horizon" in agent and "period" in agent and agent.horizon % agent.period:
        raise cli.Refused(
            f"config.agent.horizon={agent.horizon} is no multiple of config.agent.period={agent.period}; set either"
        )
    if "elites" in agent and agent.elites > agent.proposals:
        raise cli.Refused(f"config.agent.elites={agent.elites} exceeds config.agent.proposals={agent.proposals}")


check_beginning = start_settings.check

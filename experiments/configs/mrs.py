"""Settings of experiments/mrs.py: which agent learns which task by goals in the memory of a world model, for how long.

A decision is one action, held for config.env.repeat control steps. Frames are control steps.
"""

from ml_collections import ConfigDict

from experiments.configs import lsp
from experiments.shared import (
    agent_settings,
    cli,
    on_policy_run,
    online_settings,
    skill_trial,
    start_settings,
    world_settings,
)
from skillhier.agents import registry

PRESETS = {
    "debug": "does the command work? Small nets, short episodes; a minute",
    "cpu": "300,000 frames, three seeds in one program, small nets and batches; hours on 2 cores",
    "paper": "the papers' sizes: five million frames, batches of 16 x 64; for an accelerator",
}
AGENTS = (
    "mrs",
    *(name for name in registry.BY_GOALS if name != "mrs"),
    "dreamerv3",
    *registry.BY_PPO,
    *registry.BY_DDPG,
)
LIMITS = {**lsp.LIMITS, **agent_settings.limits(AGENTS), **skill_trial.LIMITS}
FREE = lsp.FREE
FRAMES = 300_000  # of preset cpu


def get_config(arg: str = "") -> ConfigDict:
    chosen = cli.choose(arg, PRESETS, agent=list(AGENTS), task="cartpole_swingup")
    config = online_settings.config(world_settings.of_task(chosen.task, lsp.TASKS))
    start_settings.add_settings(config)
    online_settings.add_decisions(config, worlds=4, repeat=1)
    config.agent = agent_settings.settings(chosen.agent)
    skill_trial.add_settings(config)
    # an update for 8 decisions of all worlds together
    config.replay.update(rows=250_000, prefill=2500)
    config.train.update(
        pretrain=1,
        unroll_length=4,
        updates_per_collect=2,
        batch_size=16,
        sequence_length=64,
        updates=625_000,
        updates_per_epoch=100,
        eval_every=5000,
        save_every=5000,
    )
    config.eval.episodes = 4  # of the agent, each in a world of its own
    if config.agent.name in registry.BY_PPO:  # five million frames in batches of 2048 decisions
        on_policy_run.add_settings(config)
        config.train.update(updates=2440, updates_per_epoch=10)
    if config.agent.name == "rest":  # two million frames in episodes, each of them a batch
        config.env.worlds = 1
        config.train.update(unroll_length=1001, updates=2000)
    if config.agent.name in registry.BY_DDPG:  # two million frames, an update for two of them, of 1024 transitions
        config.replay.update(prefill=1000)
        config.train.update(updates_per_collect=8, batch_size=128, sequence_length=9, updates=1_000_000)
        config.train.update(pretrain=0, updates_per_epoch=1000, eval_every=10_000, save_every=10_000)
    if chosen.preset != "paper":
        {"debug": debug, "cpu": cpu}[chosen.preset](config)
    online_settings.suit_world(config)
    return config


def debug(config: ConfigDict) -> None:
    if config.agent.name in registry.BY_PPO:
        config.agent.update(hidden=(16, 16), epochs=2, minibatches=2)
        config.env.update(worlds=4, limit=40, size=16)
        config.train.update(unroll_length=16, updates=8, updates_per_epoch=2, eval_every=4, save_every=4)
        if config.agent.name == "rest":  # each skill has several turns
            config.agent.update(skills=3, turn=1, novelty_hidden=(16, 16))
            config.train.unroll_length = 41
        config.eval.episodes = 2
        return
    lsp.shrink(config, 32, picture_depth=4, stoch=8, classes=8, starts=16, horizon=4, period=2, coder_hidden=(32, 32),
               codes=2, code_classes=4, resolutions=(2, 4, 8))  # fmt: skip
    config.env.update(worlds=2, limit=40, size=16)
    config.replay.update(rows=150, prefill=40)
    config.train.update(pretrain=2, unroll_length=4, updates_per_collect=2, batch_size=4, sequence_length=8)
    config.train.update(updates=40, updates_per_epoch=10, eval_every=20, save_every=20)
    config.eval.episodes = 2


def cpu(config: ConfigDict) -> None:
    config.seeds = 3
    config.env.update(repeat=2, size=32)
    if config.agent.name in registry.BY_PPO:  # without a model a frame costs little, and teaches little: two million
        config.train.update(updates=480)
        if config.agent.name == "rest":  # batches of four episodes, as many steps of actors and critics on each
            config.env.worlds = 4
            config.agent.update(turn=8, epochs=20, minibatches=4, novelty_hidden=(128, 128))
            config.train.update(unroll_length=501)
        return
    if config.agent.name in registry.BY_DDPG:  # an update for two decisions
        lsp.shrink(config, 256)
        config.agent.update(learning_rate=3e-4, actor_learning_rate=3e-4, predictor_learning_rate=3e-4)
        config.replay.update(rows=FRAMES // 8 + 1000, prefill=1000)
        config.train.update(pretrain=0, unroll_length=5, updates_per_collect=10, batch_size=32, sequence_length=9)
        config.train.update(updates=FRAMES // 4, updates_per_epoch=500, eval_every=5000, save_every=10_000)
        return
    lsp.shrink(config, 128, reward_hidden=(64, 64), continue_hidden=(64, 64), picture_depth=8, stoch=16, classes=16,
               coder_hidden=(128, 128), starts=128)  # fmt: skip
    # few, small batches want larger rates
    config.agent.update(learning_rate=1e-3, actor_learning_rate=4e-4, critic_learning_rate=4e-4)
    if "coder_learning_rate" in config.agent:
        config.agent.update(coder_learning_rate=4e-4)
    # an update for 16 frames; a sequence holds the longest goal
    config.replay.update(rows=FRAMES // 8 + 1000, prefill=600)
    config.train.update(pretrain=100, unroll_length=4, updates_per_collect=2, batch_size=8, sequence_length=64)
    config.train.update(updates=FRAMES // 16 // 50 * 50, updates_per_epoch=50, eval_every=500, save_every=1000)


def check(config: ConfigDict) -> None:
    agent = config.agent
    if agent.name in registry.BY_PPO:
        online_settings.check_world(config)
        agent_settings.check_intervals(config, "eval.every")
        on_policy_run.check(config)
        return
    lsp.check(config)
    if "resolutions" not in agent:
        return
    longest = max(agent.resolutions, default=0) + agent.pair_offset
    if longest >= config.train.sequence_length:
        raise cli.Refused(
            f"config.train.sequence_length={config.train.sequence_length} holds no two rows {longest} apart; set it to "
            "more, or config.agent.resolutions"
        )


check_beginning = start_settings.check

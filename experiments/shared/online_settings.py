"""Limits and checks of settings that every run has whose data come from worlds while it learns."""

from ml_collections import ConfigDict

from experiments.shared import cli

LIMITS = {
    "seed": (0, 2**31 - 1),
    "seeds": (1, 1024),
    "env.worlds": (1, 10**6),
    "env.engine": ["auto", "native", "mjx", "warp"],
    "env.timestep": (0.0, 0.05),
    "env.delay": (0, 100),
    "env.limit": (1, 10**6),
    "env.starts": (1, 10**6),
    "env.stack": (1, 16),
    "replay.rows": (1, 10**9),
    "replay.prefill": (0, 10**9),
    "replay.max_gib": (0.0, 1e6),
    "train.updates": (1, 10**9),
    "train.updates_per_epoch": (1, 10**6),
    "train.batch_size": (1, 2**16),
    "train.sequence_length": (1, 10**4),
    "train.unroll_length": (1, 10**6),
    "train.updates_per_collect": (1, 10**6),
    "train.eval_every": (1, 10**9),
    "train.save_every": (1, 10**9),
    "eval.episodes": (1, 10**6),
    "eval.seed": (0, 2**31 - 1),
}
FREE = ("train.updates", "train.eval_every", "train.save_every", "replay.in_checkpoint", "replay.max_gib")


def check_replay(config: ConfigDict) -> None:
    """Refuses a replay that holds no window, with the frames before it and the rows looked ahead to, or no chunk."""
    train, memory, ahead = config.train, config.replay, config.agent.get("lookahead", 0)
    span = train.sequence_length + ahead + config.env.stack - 1
    if memory.prefill < span:
        parts = "length, look-ahead, stack" if ahead else "length, stack"
        raise cli.Refused(
            f"config.replay.prefill={memory.prefill} holds no window of {span} rows ({parts}); set it to at least that"
        )
    if memory.rows < max(span, train.unroll_length):
        raise cli.Refused(
            f"config.replay.rows={memory.rows} holds no window of {span} rows or no chunk of "
            f"config.train.unroll_length={train.unroll_length}; set it to at least that"
        )

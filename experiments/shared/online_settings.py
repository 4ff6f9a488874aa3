"""Settings that every run has whose data come from worlds while it learns: a base config, limits and checks."""

from ml_collections import ConfigDict

from experiments.shared import cli, start_settings, world_settings

LIMITS = {
    "seed": (0, 2**31 - 1),
    "seeds": (1, 1024),
    "env.worlds": (1, 10**6),
    "env.engine": ["auto", "native", "mjx", "warp"],
    "env.delay": (0, 100, 2),  # fewest and most
    "env.limit": (0, 10**6),
    "env.stack": (1, 16),
    "env.repeat": (1, 1000),
    "env.size": (8, 1024),
    "replay.rows": (1, 10**9),
    "replay.prefill": (0, 10**9),
    "replay.max_gib": (0.0, 1e6),
    "train.pretrain": (0, 10**9),
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
    "eval.every": (0, 10**9),
}
FREE = ("train.updates", "train.eval_every", "train.save_every", "eval.every", "replay.in_checkpoint", "replay.max_gib")


def config(world: str) -> ConfigDict:
    """The settings of a run in worlds of that name, but for its agent; sizes are for a config to change."""
    config = ConfigDict()
    config.seed = 0  # of the worlds, the first parameters, the batches and the samples
    config.seeds = 1  # runs in one program: seed, seed + 1, ...; each keeps its metrics in RUN/seed_<n>
    config.env = ConfigDict()
    config.env.name = world  # the world, see envs/registry.py
    config.env.worlds = 16  # stepped together
    config.env.engine = "auto"  # of the physics: native (C, on CPUs), mjx, warp; auto chooses by the device
    config.env.delay = (0, 0)  # fewest, most control steps between asking and acting
    config.env.limit = 0  # control steps of an episode; 0: as the world has it
    config.env.stack = 1  # frames that the agent sees, newest first
    config.replay = ConfigDict()
    config.replay.rows = 2000  # newest rows of every world that are learned from
    config.replay.prefill = 100  # rows of every world before the first update
    config.replay.max_gib = 0.0  # GiB that the replay may take; 0: what the device, or on a CPU the machine, has
    config.replay.in_checkpoint = True  # without it a run goes on, but not as it would have
    config.train = ConfigDict()
    config.train.pretrain = 0  # updates from the prefilled replay before the first rows are collected
    config.train.unroll_length = 4  # rows of every world, then
    config.train.updates_per_collect = 2  # batches and updates, then rows again
    config.train.batch_size = 32  # sequences in an update
    config.train.sequence_length = 16  # rows of a sequence, beside a look-ahead if the agent has one
    config.train.updates = 10_000  # in all
    config.train.updates_per_epoch = 50  # updates between two lines of the metrics: one compiled program
    config.train.eval_every = 500  # updates between two evaluations
    config.train.save_every = 1000  # updates between two checkpoints
    config.evals = ("eval",)  # evaluations by name; each has a group of settings of that name, such as:
    config.eval = ConfigDict()
    config.eval.episodes = 20  # of the agent, each in a world of its own
    config.eval.every = 0  # updates between two; 0: train.eval_every
    config.eval.seed = 0  # of their starts: the same each time
    config.eval.stochastic = False  # actions are sampled, as while learning; else what is likeliest is done
    config.eval.totals = ()  # entries whose sum over an episode is a metric too
    config.eval.env = ConfigDict()  # settings of its worlds that differ from config.env
    return config


def add_decisions(config: ConfigDict, worlds: int, repeat: int) -> None:
    """Adds what worlds of many kinds, with and without pictures, have in common where a decision may last."""
    config.env.worlds = worlds  # stepped together
    config.env.repeat = repeat  # control steps of a decision
    config.env.size = 64  # pixels of a picture's side, in worlds @pixels
    config.env.entries = False  # pixel worlds show the entries of the world without them too


def suit_world(config: ConfigDict) -> None:
    """Leaves a preset what its world can do."""
    world = config.env.name
    if world_settings.on_host(world):  # a state of Python objects is that of one run
        config.seeds = 1
    if "repeat" in config.env and not world_settings.repeats(world):
        config.env.repeat = 1


def check_world(config: ConfigDict) -> None:
    """Refuses worlds that there are not, and settings that they cannot have."""
    world = world_settings.check_name("config.env.name:", config.env.name)
    if config.get("seeds", 1) > 1 and world_settings.on_host(world):
        raise cli.Refused(
            f"config.seeds={config.seeds}, but a world of gymnasium has its state on the host, where there is one of "
            "it; set config.seeds=1 and start a run for each seed"
        )


def check_replay(config: ConfigDict) -> None:
    """Refuses a replay that holds no window, with the frames before it and the rows looked ahead to, or no chunk."""
    train, replay, ahead = config.train, config.replay, config.agent.get("lookahead", 0)
    span = train.sequence_length + ahead + config.env.stack - 1
    if replay.prefill < span and not start_settings.begins_filled(config):
        parts = "length, look-ahead, stack" if ahead else "length, stack"
        raise cli.Refused(
            f"config.replay.prefill={replay.prefill} holds no window of {span} rows ({parts}); set it to at least that"
        )
    if replay.rows < max(span, train.unroll_length):
        raise cli.Refused(
            f"config.replay.rows={replay.rows} holds no window of {span} rows or no chunk of "
            f"config.train.unroll_length={train.unroll_length}; set it to at least that"
        )

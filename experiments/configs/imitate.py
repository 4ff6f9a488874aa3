"""Settings of experiments/imitate.py: whom the clone imitates, in which worlds, and how much it practises."""

from ml_collections import ConfigDict

from experiments import cli
from experiments.configs import collect, helms_offline
from skillhier.envs import registry

PRESETS = {
    "quickstart": "a clone whose likelihood has settled, but which hardly ever stacks; three minutes on 2 cores",
    "debug": "does the command work? Small nets, short episodes; under a minute",
    "cpu": "eight times the updates, in twice the worlds, with delays and physics drawn anew; under an hour on 2 cores",
}
AGENTS = ["bc", "hierarchical_bc"]
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
    **{name: limit for name, limit in helms_offline.LIMITS.items() if name.startswith("agent.")},
    "agent.name": AGENTS,
    "replay.rows": (1, 10**9),
    "replay.prefill": (0, 10**9),
    "replay.memory": (0.0, 1e6),
    "train.updates": (1, 10**9),
    "train.epoch": (1, 10**6),
    "train.batch": (1, 2**16),
    "train.length": (1, 10**4),
    "train.collect": (1, 10**6),
    "train.draws": (1, 10**6),
    "train.assess_every": (1, 10**9),
    "train.save_every": (1, 10**9),
    "eval.episodes": (1, 10**6),
    "eval.seed": (0, 2**31 - 1),
}
FREE = ("train.updates", "train.assess_every", "train.save_every", "replay.saved", "replay.memory")


def get_config(arg: str = "") -> ConfigDict:
    chosen = cli.choose(arg, PRESETS, agent=AGENTS)
    config = ConfigDict()
    config.seed = 0  # of the worlds, the first parameters, the expert's moods and the batches
    config.seeds = 1  # runs in one program: seed, seed + 1, ...; each keeps its figures in RUN/seed_<n>
    config.env = ConfigDict()
    config.env.name = "sawyer.stack_red_on_blue.set4"  # the world, see envs/registry.py
    config.env.worlds = 20  # stepped together
    config.env.engine = "auto"  # of the physics: native (C, on CPUs), mjx, warp; auto chooses by the device
    config.env.timestep = 0.0  # s of the physics; 0 for the engine's own (envs/sawyer/model.py)
    config.env.delay = (0, 0)  # fewest, most control steps between asking and acting
    config.env.randomise = False  # masses, frictions, ... drawn anew for every episode
    config.env.limit = 400  # control steps of an episode
    config.env.starts = 1000  # places where episodes open; made at first use and kept
    config.env.stack = 3  # frames that the clone sees, newest first
    config.agent = helms_offline.agent(chosen.agent, "red_on_blue")
    config.agent.learning_rate = 1e-3
    config.replay = ConfigDict()
    config.replay.rows = 4000  # newest rows of every world that are learned from
    config.replay.prefill = 400  # rows of every world before the first update; they give the clone its scales too
    config.replay.memory = 0.0  # GiB that the replay may take; 0: what the device, or on a CPU the machine, has
    config.replay.saved = True  # in checkpoints; without it a run goes on, but not as it would have
    config.train = ConfigDict()
    config.train.collect = 4  # rows of every world, then
    config.train.draws = 2  # batches and updates, then rows again
    config.train.batch = 32  # windows in an update
    config.train.length = 25  # rows of a window that teach, beside the look-ahead
    config.train.updates = 2000  # in all
    config.train.epoch = 50  # updates between two lines of the metrics: one compiled program
    config.train.assess_every = 500  # updates between two looks at the clone in worlds of its own
    config.train.save_every = 500  # updates between two checkpoints
    config.eval = ConfigDict()
    config.eval.episodes = 20  # of the clone, each in a world of its own
    config.eval.seed = 0  # of their starts: the same each time
    if chosen.preset == "debug":
        config.env.update(worlds=4, limit=30, starts=8, delay=(0, 2), randomise=True)
        config.agent.hidden = (32, 32)
        config.replay.update(rows=150, prefill=40)
        config.train.update(batch=16, length=10, updates=80, epoch=10, assess_every=40, save_every=20)
        config.eval.episodes = 4
    if chosen.preset == "cpu":
        config.env.update(worlds=40, delay=(0, 2), randomise=True)
        config.agent.learning_rate = 5e-4
        config.train.update(batch=64, updates=16_000, epoch=100, assess_every=2000, save_every=2000)
        config.eval.episodes = 40
    return config


def check(config: ConfigDict) -> None:
    train, memory, world = config.train, config.replay, config.env.name
    cli.pick("config.env.name:", world, registry.WORLDS)
    if ".stack_" not in world:
        raise cli.Refused(f"the expert knows stacking, not {world}; set config.env.name")
    helms_offline.check_learning(config)
    collect.check_pairs("env.worlds", config.env.worlds, world)
    collect.check_pairs("eval.episodes", config.eval.episodes, world)
    span = train.length + config.agent.lookahead + config.env.stack - 1
    if memory.prefill < span:
        raise cli.Refused(
            f"config.replay.prefill={memory.prefill} holds no window of {span} rows (length, look-ahead, stack); "
            f"set it to at least that"
        )
    if memory.rows < max(span, train.collect):
        raise cli.Refused(
            f"config.replay.rows={memory.rows} holds no window of {span} rows or no chunk of "
            f"config.train.collect={train.collect}; set it to at least that"
        )

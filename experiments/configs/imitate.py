"""Settings of experiments/imitate.py: whom the clone imitates, in which worlds, and how much it practises."""

from ml_collections import ConfigDict

from experiments.configs import collect, helms_offline
from experiments.shared import cli
from experiments.shared import online_settings as online
from skillhier.envs import registry

PRESETS = {
    "quickstart": "a clone whose likelihood has settled, but which hardly ever stacks; three minutes on 2 cores",
    "debug": "does the command work? Small nets, short episodes; under a minute",
    "cpu": "eight times the updates, in twice the worlds, with delays and physics drawn anew; under an hour on 2 cores",
}
AGENTS = ["bc", "hierarchical_bc"]
LIMITS = online.LIMITS | {
    **{name: limit for name, limit in helms_offline.LIMITS.items() if name.startswith("agent.")},
    "agent.name": AGENTS,
}
FREE = online.FREE


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
    config.replay.max_gib = 0.0  # GiB that the replay may take; 0: what the device, or on a CPU the machine, has
    config.replay.in_checkpoint = True  # in checkpoints; without it a run goes on, but not as it would have
    config.train = ConfigDict()
    config.train.unroll_length = 4  # rows of every world, then
    config.train.updates_per_collect = 2  # batches and updates, then rows again
    config.train.batch_size = 32  # windows in an update
    config.train.sequence_length = 25  # rows of a window that teach, beside the look-ahead
    config.train.updates = 2000  # in all
    config.train.updates_per_epoch = 50  # updates between two lines of the metrics: one compiled program
    config.train.eval_every = 500  # updates between two looks at the clone in worlds of its own
    config.train.save_every = 500  # updates between two checkpoints
    config.eval = ConfigDict()
    config.eval.episodes = 20  # of the clone, each in a world of its own
    config.eval.seed = 0  # of their starts: the same each time
    if chosen.preset == "debug":
        config.env.update(worlds=4, limit=30, starts=8, delay=(0, 2), randomise=True)
        config.agent.hidden = (32, 32)
        config.replay.update(rows=150, prefill=40)
        config.train.update(
            batch_size=16, sequence_length=10, updates=80, updates_per_epoch=10, eval_every=40, save_every=20
        )
        config.eval.episodes = 4
    if chosen.preset == "cpu":
        config.env.update(worlds=40, delay=(0, 2), randomise=True)
        config.agent.learning_rate = 5e-4
        config.train.update(batch_size=64, updates=16_000, updates_per_epoch=100, eval_every=2000, save_every=2000)
        config.eval.episodes = 40
    return config


def check(config: ConfigDict) -> None:
    world = config.env.name
    cli.pick("config.env.name:", world, registry.WORLDS)
    if ".stack_" not in world:
        raise cli.Refused(f"the expert knows stacking, not {world}; set config.env.name")
    helms_offline.check_learning(config)
    collect.check_pairs("env.worlds", config.env.worlds, world)
    collect.check_pairs("eval.episodes", config.eval.episodes, world)
    online.check_replay(config)

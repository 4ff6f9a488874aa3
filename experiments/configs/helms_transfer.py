"""Settings of experiments/helms_transfer.py: which agent learns which task, with which reward, and for how long."""

from types import SimpleNamespace

from ml_collections import ConfigDict

from experiments.shared import agent_settings, cli, online_settings, world_settings
from experiments.stacking import worlds as stacking
from skillhier.agents import registry
from skillhier.envs.render import pixels
from skillhier.envs.sawyer.observations import OBJECTS, PROPRIO

PRESETS = {
    "debug": "does the command work? Small nets, short episodes, skills made up on the spot; a minute",
    "sketch": "preset cpu cut short: it shows that a figure can be had, not what comes of it; minutes on 2 cores",
    "cpu": "three seeds in one program, skills of helms_offline.py:transfer; some fifteen minutes on 2 cores",
    "long": "preset cpu with 1024 worlds and eighteen times the control steps; an hour or more on 2 cores",
    "paper": "Table 5 of the paper: 512 sequences of 10, 20 samples, 100 million control steps; for an accelerator",
}
# of option task, which also takes any other world by its name
TASKS = {"red_on_blue": "sawyer.stack_red_on_blue.set{}", "pyramid": "sawyer.pyramid.set{}"}
REWARDS = ["dense", "sparse_staged", "sparse"]
# what actor and critic see of stacking worlds: states; pictures and the arm's own senses; the actor pictures, the
# critic states
VIEWS = ["states", "pixels", "asymmetric"]
FOR_CPUS = ("sketch", "cpu", "long")  # presets
# what rates, target periods and exploration they have: each agent its own, found at such budgets, or all the same, as
# in the paper, which other presets follow
PROTOCOLS = ["tuned", "paper"]
SEE_PICTURES = ("helms_mix", "npmp_kl", "mpo")  # others begin with levels that see states
LIMITS = {
    **online_settings.LIMITS,
    **stacking.LIMITS,
    "env.reward": REWARDS,
    "source.updates": (0, 10**6),
    **agent_settings.limits(registry.BY_MPO),
    "train.sequence_length": (2, 10**4),  # a transition has two rows
}
FREE = online_settings.FREE


def get_config(arg: str = "") -> ConfigDict:
    options = {"task": "red_on_blue", "reward": REWARDS, "set": ["4", "1", "2", "3", "5"], "view": VIEWS}
    options["protocol"] = PROTOCOLS if arg.partition(",")[0] in FOR_CPUS else ["paper"]
    chosen = cli.choose(arg, PRESETS, agent=list(registry.BY_MPO), **options)
    world = world_settings.of_task(chosen.task, {name: world.format(chosen.set) for name, world in TASKS.items()})
    seen = chosen.view != "states"
    if seen:
        world = with_pictures(world, chosen)
    config = online_settings.config(world)
    config.env.worlds = 1024  # stepped together
    if world.endswith(pixels.SUFFIX):
        config.env.size = 64  # pixels of a picture's side
        config.env.entries = seen  # states beside pictures: for the skills, the critic, and the score
    if stacking.is_stacking(world, seen):
        add_stacking(config, chosen.reward)
    if seen:
        config.env.camera = ("front_left", "front_right")  # whose pictures are seen together
    config.source = ConfigDict()
    config.source.updates = 0  # of skills made up on the spot, if --init_from names none; 0: it must
    config.agent = agent(chosen.agent, world, chosen.view)
    config.replay.update(rows=2000, prefill=100)
    config.train.update(
        unroll_length=5,
        updates_per_collect=16,
        batch_size=512,
        sequence_length=10,
        updates=320_000,
        updates_per_epoch=160,
        eval_every=16_000,
        save_every=16_000,
    )
    config.eval.episodes = 256  # of the agent, each in a world of its own
    if chosen.preset in FOR_CPUS:
        cpu(config)
        if chosen.protocol == "tuned":
            tune(config)
    if chosen.preset in SIZES:
        SIZES[chosen.preset](config)
    online_settings.suit_world(config)
    return config


def add_stacking(config: ConfigDict, reward: str) -> None:
    """What stacking worlds have and others do not."""
    stacking.add_settings(config)
    config.env.reward = reward  # what is paid: dense, sparse_staged, sparse
    config.env.delay = (0, 2)  # fewest, most control steps between asking and acting, drawn for every episode
    config.env.randomise = True  # masses, frictions, ... drawn anew for every episode
    config.eval.totals = ("task.staged",)  # entries whose sum over an episode is a metric too


def with_pictures(world: str, chosen: SimpleNamespace) -> str:
    """The name of the world with pictures. Raises Refused where the options do not go together."""
    if not stacking.is_stacking(world):
        raise cli.Refused(
            f"view={chosen.view} is for stacking worlds, not {world}; give a world of pictures as task=NAME"
            f"{pixels.SUFFIX}, without a view"
        )
    if chosen.agent not in SEE_PICTURES:
        raise cli.Refused(
            f"view={chosen.view}: {chosen.agent} keeps levels that see states; choose agent={', '.join(SEE_PICTURES)}"
        )
    return world + pixels.SUFFIX


def agent(name: str, world: str, view: str) -> ConfigDict:
    """The agent's settings in such a world; in others than stacking worlds new nets see all that it shows."""
    if view == "states":
        entries = (*PROPRIO, *OBJECTS) if stacking.is_stacking(world) else ()
        return agent_settings.settings(name, high=entries, critic=entries)
    high = (*PROPRIO, pixels.ENTRY)
    critic = high if view == "pixels" else (*PROPRIO, *OBJECTS)
    return agent_settings.settings(name, high=high, critic=critic, new_mid=True, eta_y=0.1, eta_z=0.1)


def debug(config: ConfigDict) -> None:
    config.env.update(worlds=4, limit=30)
    stacking.change(config, starts=8)
    config.source.updates = 20
    config.agent.update(hidden=(32, 32), samples=4, target_period=10, actor_target_period=10)
    config.agent.update(picture_channels=(4, 8), picture_blocks=1)
    if "size" in config.env:
        config.env.size = 16
    config.replay.update(rows=150, prefill=40)
    config.train.update(unroll_length=4, updates_per_collect=2, batch_size=8, sequence_length=4)
    config.train.update(updates=40, updates_per_epoch=10, eval_every=20, save_every=20)
    config.eval.episodes = 4


def cpu(config: ConfigDict) -> None:
    config.seeds = 3
    config.env.worlds = 16
    # With TD(0) a reward travels back one row between two target copies, and there are few of these.
    config.agent.update(backup="n_step", hidden=(128, 128), samples=10, learning_rate=5e-4, dual_learning_rate=3e-2)
    config.agent.update(actor_learning_rate=5e-4, target_period=25, actor_target_period=25)
    if "mid_learning_rate" in config.agent:
        config.agent.mid_learning_rate = 5e-4
    config.replay.update(rows=2500, prefill=400)  # small, for n_step is not corrected for older policies
    config.train.update(unroll_length=4, updates_per_collect=2, batch_size=16, sequence_length=16)
    config.train.update(updates=12_000, updates_per_epoch=50, eval_every=500, save_every=1000)
    config.eval.episodes = 20
    if "size" in config.env:
        cpu_pictures(config)


def tune(config: ConfigDict) -> None:
    """What each agent was found to learn best with at the budget of preset cpu.

    Pretrained actors get a smaller learning rate and longer target periods, so that each step of policy iteration
    averages the critic's errors over many batches, and none before the critic has warmed up.
    """
    scratch, skills, clone = (5e-4, 25), (2e-4, 100), (5e-5, 200)
    begins = {"mpo": scratch, "npmp_kl": scratch, "helms_cat": skills, "helms_mix": skills}
    actor_rate, actor_period = begins.get(config.agent.name, clone)
    config.agent.update(actor_learning_rate=actor_rate, actor_target_period=actor_period, critic_warmup=500)
    if config.agent.name == "helms_mix":
        config.agent.mid_learning_rate = 2e-5  # at 5e-5 components move six times their bound between two copies
    if config.agent.name.startswith("helms"):
        config.agent.repeat_probability = 0.9  # skills sampled anew at every row cancel out, and no reward is found
    if config.agent.get("new_mid"):
        # It begins 1400 nats from the one of states: tight bounds hold it back for as long as such a run lasts, and
        # there is nothing pretrained that loose ones could lose.
        config.agent.update(epsilon_mean=1.0, epsilon_stddev=0.1, actor_target_period=25, critic_warmup=0)
        config.agent.update(actor_learning_rate=1e-3, mid_learning_rate=1e-3)


def cpu_pictures(config: ConfigDict) -> None:
    """What preset cpu has of pictures: one of 32 x 32 pixels a row, a smaller network, a quarter of the rows."""
    config.env.size = 32
    if "camera" in config.env:
        config.env.camera = ("front_left",)
    config.agent.update(picture_channels=(8, 16, 32), picture_blocks=1)
    config.train.update(batch_size=8, sequence_length=8, updates=4000, eval_every=1000)


def sketch(config: ConfigDict) -> None:
    """A twelfth of the updates of preset cpu; from pictures, of 16 x 16, a twentieth."""
    pictures = "size" in config.env
    stacking.change(config, starts=100)
    config.agent.critic_warmup = min(config.agent.critic_warmup, 100)
    config.replay.update(rows=1000, prefill=100)
    config.train.update(updates=200 if pictures else 1000, eval_every=100 if pictures else 500)
    config.eval.episodes = 6
    if pictures:
        config.env.size = 16


def long(config: ConfigDict) -> None:
    """6.9 million control steps a seed, eighteen times those of preset cpu, and twice its updates.

    The replay holds two episodes of every world: all worlds are at the same step of theirs, and a batch should show
    every step. Before the first update all have had one.
    """
    config.env.worlds = 1024
    config.replay.update(rows=800, prefill=400)
    config.train.update(updates_per_collect=16, updates=25_600, updates_per_epoch=160, eval_every=3200, save_every=1600)


SIZES = {"debug": debug, "sketch": sketch, "long": long}  # after what FOR_CPUS share


def check(config: ConfigDict) -> None:
    online_settings.check_world(config)
    stacking.check_settings(config)
    agent_settings.check_intervals(config, "eval.every")
    online_settings.check_replay(config)

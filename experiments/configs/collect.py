"""Settings of experiments/collect.py: who acts in which worlds, and how many episodes are kept."""

from ml_collections import ConfigDict

from experiments.shared import cli, world_settings
from skillhier.envs import registry

PRESETS = {
    "red_on_blue": "400 episodes of stacking red on blue, object set 4; minutes on 2 cores",
    "all_pairs": "100 episodes of each of 30 tasks: six ordered pairs on five object sets; an hour on 2 cores",
    "world": "400 episodes in the world that task= names, by random actions or the agent of --run; minutes on 2 cores",
    "debug": "does the command work? Four episodes of a second or two",
}
RED_ON_BLUE = "sawyer.stack_red_on_blue.set4"
MANNERS = ["calm", "varied"]  # varied: pushed about, with delays and physics drawn anew; what transfer begins with
LIMITS = {
    "seed": (0, 2**31 - 1),
    "policy": ["expert", "random"],
    "episodes": (1, 10**6),
    "noise": (0.0, 10.0),
    "disturbance": (0.0, 10.0, 2),  # of arm and gripper
    "gust": (1, 10**4),
    "calm": (0.0, 1.0),
    "rows": (1, 10**5),
    "env.worlds": (1, 10**6),
    "env.engine": ["auto", "native", "mjx", "warp"],
    "env.timestep": (0.0, 0.05),
    "env.delay": (0, 100, 2),  # fewest and most
    "env.limit": (0, 10**6),
}
FREE = ("episodes", "folder", "rows", "env.worlds")  # may change when a recording goes on
SAWYER_ONLY = {"timestep": 0.0, "randomise": False}  # settings of these worlds alone, and what leaves them as they are
PAIRS = 6  # ordered pairs of objects in a stack_all world, one after the other over its copies


def get_config(arg: str = "") -> ConfigDict:
    chosen = cli.choose(arg, PRESETS, manner=MANNERS, task="")
    own = "dmc.walker_walk" if chosen.preset == "world" else RED_ON_BLUE
    world = world_settings.of_task(chosen.task, {"": own})
    config = ConfigDict()
    config.seed = 0
    name = world.replace(":", "_").replace("/", "_") if chosen.preset == "world" else chosen.preset
    config.folder = f"datasets/{name}"  # where the data set goes if --workdir does not say
    config.tasks = (world,)  # worlds by name; a stack_all world counts as six tasks
    config.episodes = 400  # of each task
    config.policy = "expert" if ".stack_" in world else "random"  # or the other; the expert knows stacking alone
    config.run = ""  # a run whose agent acts in place of config.policy; --run sets it
    config.noise = 0.0  # standard deviation of Gaussian noise on its actions, beside its own
    config.disturbance = (0.0, 0.0)  # of noise on arm and gripper that is executed, not recorded: how to recover
    config.gust = 1  # control steps that one draw of it lasts at most
    config.calm = 0.0  # share of the draws that are none
    config.rows = 50  # control steps between two looks at the worlds
    config.env = ConfigDict()
    config.env.worlds = 50  # stepped together
    config.env.engine = "auto"  # of the physics: native (C, on CPUs), mjx, warp; auto chooses by the device
    config.env.timestep = 0.0  # s of the physics; 0 for the engine's own (envs/sawyer/model.py)
    config.env.delay = (0, 0)  # fewest, most control steps between asking and acting
    config.env.randomise = False  # masses, frictions, ... drawn anew for every episode
    config.env.limit = 0  # control steps of an episode; 0: as the world has it
    if chosen.preset == "all_pairs":
        config.tasks = tuple(f"sawyer.stack_all.set{n}" for n in registry.SETS)
        config.episodes = 100
        config.env.worlds = 60
    if chosen.manner == "varied":
        config.folder += "_varied"
        if chosen.preset == "red_on_blue":
            config.episodes = 4000  # of 1000 the skills learn things by heart, and stack half as often
            config.env.worlds = 100
        config.disturbance = (1.0, 0.0)
        config.gust = 15
        config.calm = 0.75
        config.env.update(delay=(0, 2), randomise=True)
    if chosen.preset == "debug":
        config.episodes = 4
        config.env.worlds = 4
        config.env.limit = 40
    return config


def check(config: ConfigDict) -> None:
    if not config.tasks:
        raise cli.Refused("config.tasks is empty; name at least one world")
    for task in config.tasks:
        world_settings.check_name("config.tasks:", task)
        if config.policy == "expert" and not config.run and ".stack_" not in task:
            raise cli.Refused(f"the expert knows stacking, not {task}; set config.policy=random or config.tasks")
        for name, plain in SAWYER_ONLY.items():
            if config.env[name] != plain and not task.startswith("sawyer."):
                given = f"config.env.{name}={config.env[name]}"
                raise cli.Refused(f"{given} is for sawyer worlds, not {task}; set config.env.{name}={plain}")
        if world_settings.is_library(task) and tuple(config.env.delay) != (0, 0):
            raise cli.Refused(f"config.env.delay={config.env.delay} is for worlds of ours, not {task}; set it to 0,0")
        check_pairs("env.worlds", config.env.worlds, task)
    if len(set(config.tasks)) < len(config.tasks):
        raise cli.Refused("config.tasks names a world twice; set config.episodes instead")


def check_pairs(name: str, count: int, world: str) -> None:
    """Refuses a number of copies of a stack_all world, the setting `name`, that does not hold every pair as often."""
    if ".stack_all." in world and count % PAIRS:
        raise cli.Refused(
            f"config.{name}={count} is not a multiple of the {PAIRS} pairs of {world}; "
            f"set config.{name}={-(-count // PAIRS) * PAIRS}"
        )

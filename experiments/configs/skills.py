"""Settings of experiments/skills.py, the main job: demonstrations in, skills out."""

from ml_collections import ConfigDict

from experiments.shared import cli

PRESETS = {
    "quickstart": "what `make skills` runs: 5 skills, their rivals, their rollouts, a report; nine minutes on 2 cores",
    "debug": "does every stage work? Small nets, few episodes; a minute or two",
}
LIMITS = {
    "seed": (0, 2**31 - 1),
    "episodes": (2, 10**6),
    "rollouts": (2, 10**4),
    "preset": ["quickstart", "debug", "cpu"],
}


def get_config(arg: str = "") -> ConfigDict:
    chosen = cli.choose(arg, PRESETS)
    config = ConfigDict()
    config.seed = 0
    config.data = ""  # demonstrations to learn from; empty: the expert makes its own, once, in config.collected
    config.world = ""  # in which the skills of other data are rolled out and filmed; empty: the one that data name
    config.collected = "datasets/red_on_blue"  # folder of the demonstrations that the expert makes
    config.episodes = 200  # of the expert
    config.rollouts = 20  # episodes of each skill held fixed
    config.film = True  # of an episode of each skill, side by side, for the report
    config.preset = "quickstart"  # of experiments/configs/helms_offline.py, for the skills and their rivals alike
    if chosen.preset == "debug":
        config.collected = "datasets/red_on_blue_debug"
        config.episodes = 8
        config.rollouts = 4
        config.film = False
        config.preset = "debug"
    return config


def check(config: ConfigDict) -> None:
    if config.rollouts % 2:
        raise cli.Refused(f"config.rollouts={config.rollouts} is odd; two halves are compared, set an even number")

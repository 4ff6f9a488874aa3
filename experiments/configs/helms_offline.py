"""Settings of experiments/helms_offline.py: what is learned from demonstrations, and for how long."""

import os
import shlex

from ml_collections import ConfigDict

from experiments.shared import agent_settings, cli, data_settings
from skillhier.agents import registry
from skillhier.envs.sawyer.observations import OBJECTS, PROPRIO

PRESETS = {
    "debug": "does the command work? Small nets on made-up data; under a minute",
    "quickstart": "skills to look at; minutes on 2 cores",
    "cpu": "better skills; under an hour on 2 cores",
    "sketch": "preset transfer cut short, for figures to be tried out with; minutes on 2 cores",
    "transfer": "skills for the cpu preset of helms_transfer, separated but overlapping; 15 minutes on 2 cores",
    "paper": "Table 5 of the paper: batch 128, rate 1e-4, 200,000 updates; for an accelerator",
    "rgb_stacking": "as quickstart, on logs of DeepMind's RGB-stacking experts; minutes on 2 cores",
}
TASKS = {"red_on_blue": 5, "all_pairs": 10}  # and the number of skills the paper gives each
EXPERT_LOGS = os.environ.get("SKILLHIER_EXPERT_LOGS", "../shared/data/rgb_stacking_experts")

LIMITS = {
    "seed": (0, 2**31 - 1),
    "seeds": (1, 1024),
    "task": list(TASKS),
    "data.held_out": (0.001, 0.999),
    "data.seed": (0, 2**31 - 1),
    "data.linger": (0, 10**6),
    "data.stack": (1, 16),
    **data_settings.LIMITS,
    **agent_settings.limits(registry.OFFLINE),
    "train.updates": (1, 10**9),
    "train.updates_per_epoch": (1, 10**6),
    "train.batch_size": (1, 2**16),
    "train.sequence_length": (1, 10**4),
    "train.eval_every": (1, 10**9),
    "train.save_every": (1, 10**9),
}
FREE = ("train.updates", "train.eval_every", "train.save_every", "data.max_gib")  # may change when a run goes on


def get_config(arg: str = "") -> ConfigDict:
    chosen = cli.choose(arg, PRESETS, agent=list(registry.OFFLINE), task=list(TASKS))
    config = ConfigDict()
    config.seed = 0  # of the first parameters, the batches and the samples
    config.seeds = 1  # runs in one program: seed, seed + 1, ...; each keeps its metrics in RUN/seed_<n>
    config.task = chosen.task  # what the demonstrations show, and the worlds that the skills are shown in
    config.data = ConfigDict()
    config.data.path = f"datasets/{chosen.task}"  # a file, a folder (docs/data.md says which), or 'toy': made up
    config.data.held_out = 0.1  # share of the episodes that is not learned from
    config.data.seed = 0  # which ones they are
    config.data.linger = 0  # rows kept after an episode of stacking is stacked for good; 0: all
    config.data.stack = 3  # frames that low and mid level see, newest first
    data_settings.add_settings(config.data)
    config.agent = agent(chosen.agent, chosen.task)
    config.train = ConfigDict()
    config.train.batch_size = 128  # windows in an update
    config.train.sequence_length = 25  # rows of a window that are learned from, beside the look-ahead
    config.train.updates = 200_000  # in all
    config.train.updates_per_epoch = 50  # updates between two lines of the metrics: one compiled program
    config.train.eval_every = 1000  # updates between two evaluations on the held-out episodes
    config.train.save_every = 1000  # updates between two checkpoints
    if chosen.preset != "paper":
        SIZES[chosen.preset](config)
    return config


def agent(name: str, task: str) -> ConfigDict:
    """The agent's settings on a stacking task."""
    config = agent_settings.settings(name, low=tuple(PROPRIO), mid=(*PROPRIO, *OBJECTS), skills=TASKS[task])
    if name.startswith("helms") and task != "red_on_blue":
        config.beta_z = 0.1  # Table 5 of the paper
    return config


def debug(config: ConfigDict) -> None:
    config.data.path = "toy"
    config.agent.update(hidden=(32, 32), learning_rate=1e-3)
    config.train.update(batch_size=16, updates=100, updates_per_epoch=10, eval_every=50, save_every=50)


def separated(config: ConfigDict) -> None:
    """Without these terms, a short run leaves skills unused that start badly, and lets the others all do the same.

    What is shared out evenly should be what the task asks for: without the rest after it, which is a third of the rows
    and took two skills of five, and by motions of the arm, not by the sign of the gripper.
    """
    config.data.linger = 20
    if "usage_weight" in config.agent:
        config.agent.update(usage_weight=10.0, entropy_weight=2.0, binary_stddev=0.4)


def quickstart(config: ConfigDict) -> None:
    separated(config)
    config.agent.learning_rate = 1e-3
    config.train.update(batch_size=32, updates=1600, updates_per_epoch=25, eval_every=200, save_every=200)


def cpu(config: ConfigDict) -> None:
    separated(config)
    config.agent.learning_rate = 5e-4
    config.train.update(batch_size=32, updates=4000, updates_per_epoch=50, eval_every=500, save_every=500)


def transfer(config: ConfigDict) -> None:
    """Skills that overlap, so that a wrong choice for a moment is recoverable: fully separated skills (beta_y 1) earn a
    new high level nothing to learn from; from beta_y 12 on they are one skill, K times. Latents have a prior, which
    gives helms_mix a scale on which it can move them.
    """
    config.agent.learning_rate = 1e-3
    if "usage_weight" in config.agent:
        config.agent.update(usage_weight=10.0, beta_y=8.0, beta_z=0.1)
    updates = {"red_on_blue": 8000, "all_pairs": 12_000}[config.task]
    config.agent.decay_updates = updates
    config.train.update(batch_size=32, updates=updates, updates_per_epoch=50, eval_every=500, save_every=500)


def sketch(config: ConfigDict) -> None:
    transfer(config)
    config.agent.decay_updates = 600
    config.train.update(updates=600, eval_every=200, save_every=200)


def rgb_stacking(config: ConfigDict) -> None:
    quickstart(config)
    config.data.path = EXPERT_LOGS


SIZES = {
    "debug": debug,
    "quickstart": quickstart,
    "cpu": cpu,
    "sketch": sketch,
    "transfer": transfer,
    "rgb_stacking": rgb_stacking,
}


def check(config: ConfigDict) -> None:
    agent_settings.check_intervals(config)
    for level in ("low", "mid"):
        if not config.agent[level]:  # data do not say which of their entries are privileged
            example = next(iter(PROPRIO))
            raise cli.Refused(
                f"config.agent.{level} is empty; name the observations that it sees, such as {example}; "
                f"python -m experiments.data --path={shlex.quote(config.data.path)} says which there are"
            )
    if config.data.path == "":
        raise cli.Refused("config.data.path is empty; give a file, a folder, or toy")

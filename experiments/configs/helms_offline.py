"""Settings of experiments/helms_offline.py: what is learned from demonstrations, and for how long."""

import os

from ml_collections import ConfigDict

from experiments.shared import cli
from skillhier.agents.offline import SYSTEMS
from skillhier.envs.sawyer.observations import OBJECTS, PROPRIO

PRESETS = {
    "debug": "does the command work? Small nets on made-up data; under a minute",
    "quickstart": "skills to look at; minutes on 2 cores",
    "cpu": "better skills; under an hour on 2 cores",
    "transfer": "skills for the cpu preset of helms_transfer, told apart but not wholly; 15 minutes on 2 cores",
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
    "data.stack": (1, 16),
    "agent.name": list(SYSTEMS),
    "agent.skills": (1, 64),
    "agent.latent": (1, 256),
    "agent.hidden": (1, 8192),
    "agent.lookahead": (0, 100),
    "agent.action_stddev": (1e-4, 10.0),
    "agent.beta_y": (0.0, 1e3),
    "agent.beta_z": (0.0, 1e3),
    "agent.usage_weight": (0.0, 1e3),
    "agent.entropy_weight": (0.0, 1e3),
    "agent.init_stay_logit": (-20.0, 20.0),
    "agent.init_prior_stay_logit": (-20.0, 20.0),
    "agent.learning_rate": (0.0, 1.0),
    "agent.prior_learning_rate": (0.0, 1.0),
    "agent.decay_updates": (0, 10**9),
    "agent.max_grad_norm": (1e-6, 1e6),
    "agent.max_consecutive_skips": (1, 10**6),
    "train.updates": (1, 10**9),
    "train.updates_per_epoch": (1, 10**6),
    "train.batch_size": (1, 2**16),
    "train.sequence_length": (1, 10**4),
    "train.eval_every": (1, 10**9),
    "train.save_every": (1, 10**9),
}
FREE = ("train.updates", "train.eval_every", "train.save_every")  # may change when a run goes on


def get_config(arg: str = "") -> ConfigDict:
    chosen = cli.choose(arg, PRESETS, agent=list(SYSTEMS), task=list(TASKS))
    config = ConfigDict()
    config.seed = 0  # of the first parameters, the batches and the samples
    config.seeds = 1  # runs in one program: seed, seed + 1, ...; each keeps its figures in RUN/seed_<n>
    config.task = chosen.task  # what the demonstrations show, and the worlds that the skills are shown in
    config.data = ConfigDict()
    config.data.path = f"datasets/{chosen.task}"  # a file, a folder of .h5 files, a Minari folder, or 'toy': made up
    config.data.held_out = 0.1  # share of the episodes that is not learned from
    config.data.seed = 0  # which ones they are
    config.data.stack = 3  # frames that low and mid level see, newest first
    config.agent = agent(chosen.agent, chosen.task)
    config.train = ConfigDict()
    config.train.batch_size = 128  # windows in an update
    config.train.sequence_length = 25  # rows of a window that teach, beside the look-ahead
    config.train.updates = 200_000  # in all
    config.train.updates_per_epoch = 50  # updates between two lines of the metrics: one compiled program
    config.train.eval_every = 1000  # updates between two looks at the held-out episodes
    config.train.save_every = 1000  # updates between two checkpoints
    if chosen.preset != "paper":
        SIZES[chosen.preset](config)
    return config


def agent(name: str, task: str) -> ConfigDict:
    """The settings of a system, Table 5 of the paper where it has them; they are the keywords of its `make`."""
    found = ConfigDict()
    found.name = name  # of the system, see agents/offline.py; chosen by agent=, for each has settings of its own
    found.low = tuple(PROPRIO)  # entries of the observation that the low level sees: the arm
    found.mid = (*PROPRIO, *OBJECTS)  # entries that the mid level and, with its look-ahead, the high level see
    found.hidden = (256, 256)  # widths of the layers of every net
    found.lookahead = 5  # rows ahead that the high level sees while learning
    found.action_stddev = 0.1  # standard deviation of an action
    found.learning_rate = 1e-4  # of Adam, for all but the transition prior
    found.decay_updates = 0  # updates over which all learning rates fall to zero along a cosine; 0: they stay
    found.max_grad_norm = 40.0  # norm at which a gradient is cut
    found.max_consecutive_skips = 10  # updates in a row that may be left out for bad numbers before the run stops
    if name != "bc":
        found.latent = 8  # size of z
    if name in ("helms", "helms_discrete"):
        found.skills = TASKS[task]  # K
        found.beta_y = 1.0  # weight of the skills' KL to the transition prior
        found.usage_weight = 0.0  # weight of a term beside the bound that keeps every skill in use; the paper has none
        found.entropy_weight = 0.0  # weight of one that keeps skills to rows of their own; the paper has none
        found.init_stay_logit = 0.0  # logits by which the high level begins to favour the skill it has
        found.init_prior_stay_logit = 0.0  # the same of the transition prior
    if name in ("helms", "helms_discrete"):
        found.beta_z = 0.0 if task == "red_on_blue" else 0.1  # weight of the latent's KL to its prior
    if name in ("npmp", "npmp_ar1"):
        found.beta_z = 0.1  # the same; without it latents drawn from the prior would mean nothing
    if name in ("helms", "helms_discrete", "hierarchical_bc"):
        found.prior_learning_rate = 1e-2  # of the transition prior, which at 1e-4 cannot move in a short run
    return found


def debug(config: ConfigDict) -> None:
    config.data.path = "toy"
    config.agent.hidden = (32, 32)
    config.agent.learning_rate = 1e-3
    config.train.update(batch_size=16, updates=100, updates_per_epoch=10, eval_every=50, save_every=50)


def told_apart(config: ConfigDict) -> None:
    """Short runs: without this, skills that start badly are not used again, and those that are used do the same."""
    if "usage_weight" in config.agent:
        config.agent.update(usage_weight=10.0, entropy_weight=2.0)


def quickstart(config: ConfigDict) -> None:
    told_apart(config)
    config.agent.learning_rate = 1e-3
    config.train.update(batch_size=32, updates=1600, updates_per_epoch=25, eval_every=200, save_every=200)


def cpu(config: ConfigDict) -> None:
    told_apart(config)
    config.agent.learning_rate = 5e-4
    config.train.update(batch_size=32, updates=4000, updates_per_epoch=50, eval_every=500, save_every=500)


def transfer(config: ConfigDict) -> None:
    """Skills that overlap, so that choosing wrongly for a moment is not the end: told apart wholly (beta_y 1), a new
    level earns nothing to learn from; from 12 on they are one skill, K times. Latents have a prior, so that there is a
    scale on which helms_mix can move them.
    """
    config.agent.learning_rate = 1e-3
    if "usage_weight" in config.agent:
        config.agent.update(usage_weight=10.0, beta_y=8.0, beta_z=0.1)
    updates = {"red_on_blue": 8000, "all_pairs": 12_000}[config.task]
    config.agent.decay_updates = updates
    config.train.update(batch_size=32, updates=updates, updates_per_epoch=50, eval_every=500, save_every=500)


def rgb_stacking(config: ConfigDict) -> None:
    quickstart(config)
    config.data.path = EXPERT_LOGS


SIZES = {"debug": debug, "quickstart": quickstart, "cpu": cpu, "transfer": transfer, "rgb_stacking": rgb_stacking}


def check(config: ConfigDict) -> None:
    check_learning(config)
    if config.data.path == "":
        raise cli.Refused("config.data.path is empty; give a file, a folder, or toy")


def check_learning(config: ConfigDict, levels: tuple[str, ...] = ("low", "mid")) -> None:
    """What holds for every run that trains an agent, `levels` of which say what they see. Raises Refused."""
    train = config.train
    for name in ("updates", "eval_every", "save_every"):
        if train[name] % train.updates_per_epoch:
            given = f"config.train.{name}={train[name]}"
            raise cli.Refused(
                f"{given} is no multiple of the epoch of {train.updates_per_epoch}; set config.train.updates_per_epoch"
            )
    for level in levels:
        if level in config.agent and not config.agent[level]:
            example = next(iter(PROPRIO))
            raise cli.Refused(f"config.agent.{level} is empty; name the observations that it sees, such as {example}")

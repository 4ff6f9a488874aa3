"""Settings of experiments/helms_transfer.py: which agent learns which task, paid how, and for how long."""

from ml_collections import ConfigDict

from experiments.configs import helms_offline
from experiments.shared import cli
from experiments.shared import online_settings as online
from skillhier.agents.transfer import SYSTEMS
from skillhier.envs import registry
from skillhier.envs.sawyer.observations import OBJECTS, PROPRIO

PRESETS = {
    "debug": "does the command work? Small nets, short episodes, skills made up on the spot; a minute",
    "cpu": "three seeds in one program, skills of helms_offline.py:transfer; some fifteen minutes on 2 cores",
    "paper": "Table 5 of the paper: 512 sequences of 10, 20 samples, 100 million control steps; for an accelerator",
}
TASKS = {"red_on_blue": "sawyer.stack_red_on_blue.set{}", "pyramid": "sawyer.pyramid.set{}"}
REWARDS = ["dense", "sparse_staged", "sparse"]
LIMITS = online.LIMITS | {
    "env.reward": REWARDS,
    "source.updates": (0, 10**6),
    "agent.name": list(SYSTEMS),
    "agent.hidden": (1, 8192),
    "agent.samples": (1, 10**4),
    "agent.gamma": (0.0, 1.0),
    "agent.backup": ["td", "n_step", "retrace"],
    "agent.n_step": (1, 10**4),
    "agent.lambda_": (0.0, 1.0),
    "agent.prior": ["uniform", "transition"],
    "agent.eta_y": (0.0, 1e3),
    "agent.repeat_probability": (0.0, 1.0),
    "agent.eta_z": (0.0, 1e3),
    "agent.ar_coefficient": (0.0, 0.9999),
    "agent.init_stddev": (1e-3, 10.0),
    "agent.epsilon": (1e-6, 1e3),
    "agent.epsilon_category": (1e-6, 1e3),
    "agent.epsilon_mean": (1e-6, 1e3),
    "agent.epsilon_stddev": (1e-8, 1e3),
    "agent.epsilon_penalty": (0.0, 1e3),
    "agent.learning_rate": (0.0, 1.0),
    "agent.actor_learning_rate": (0.0, 1.0),
    "agent.mid_learning_rate": (0.0, 1.0),
    "agent.dual_learning_rate": (0.0, 1.0),
    "agent.max_grad_norm": (1e-6, 1e6),
    "agent.target_period": (1, 10**6),
    "agent.actor_target_period": (1, 10**6),
    "agent.critic_warmup": (0, 10**9),
    "agent.max_consecutive_skips": (1, 10**6),
    "train.sequence_length": (2, 10**4),  # a transition has two rows
}
FREE = online.FREE


def get_config(arg: str = "") -> ConfigDict:
    chosen = cli.choose(
        arg, PRESETS, agent=list(SYSTEMS), task=list(TASKS), reward=REWARDS, set=["4", "1", "2", "3", "5"]
    )
    config = ConfigDict()
    config.seed = 0  # of the worlds, the first parameters, the batches and the samples
    config.seeds = 1  # runs in one program: seed, seed + 1, ...; each keeps its figures in RUN/seed_<n>
    config.env = ConfigDict()
    config.env.name = TASKS[chosen.task].format(chosen.set)  # the world, see envs/registry.py
    config.env.reward = chosen.reward  # what is paid: dense, sparse_staged, sparse
    config.env.worlds = 1024  # stepped together
    config.env.engine = "auto"  # of the physics: native (C, on CPUs), mjx, warp; auto chooses by the device
    config.env.timestep = 0.0  # s of the physics; 0 for the engine's own (envs/sawyer/model.py)
    config.env.delay = (0, 2)  # fewest, most control steps between asking and acting, drawn for every episode
    config.env.randomise = True  # masses, frictions, ... drawn anew for every episode
    config.env.limit = 400  # control steps of an episode
    config.env.starts = 1000  # places where episodes open; made at first use and kept
    config.env.stack = 3  # frames that the agent sees, newest first
    config.source = ConfigDict()
    config.source.updates = 0  # of skills made up on the spot, if --init_from names none; 0: it must
    config.agent = agent(chosen.agent)
    config.replay = ConfigDict()
    config.replay.rows = 2000  # newest rows of every world that are learned from
    config.replay.prefill = 100  # rows of every world before the first update
    config.replay.max_gib = 0.0  # GiB that the replay may take; 0: what the device, or on a CPU the machine, has
    config.replay.in_checkpoint = True  # in checkpoints; without it a run goes on, but not as it would have
    config.train = ConfigDict()
    config.train.unroll_length = 5  # rows of every world, then
    config.train.updates_per_collect = 16  # batches and updates, then rows again
    config.train.batch_size = 512  # sequences in an update
    config.train.sequence_length = 10  # rows of a sequence
    config.train.updates = 320_000  # in all
    config.train.updates_per_epoch = 160  # updates between two lines of the metrics: one compiled program
    config.train.eval_every = 16_000  # updates between two looks at the agent in worlds of its own
    config.train.save_every = 16_000  # updates between two checkpoints
    config.eval = ConfigDict()
    config.eval.episodes = 256  # of the agent, each in a world of its own
    config.eval.seed = 0  # of their starts: the same each time
    config.eval.stochastic = False  # it draws skills, latents and actions, as while learning; else what is likeliest
    if chosen.preset != "paper":
        {"debug": debug, "cpu": cpu}[chosen.preset](config)
    return config


def agent(name: str) -> ConfigDict:
    """The settings of a system, Table 5 of the paper where it has them; they are keywords of its `make`."""
    found = ConfigDict()
    found.name = name  # of the system, see agents/transfer.py; chosen by agent=, for each has settings of its own
    if name in ("helms_cat", "helms_mix", "npmp", "mpo"):
        found.high = (*PROPRIO, *OBJECTS)  # entries of the observation that the new policy sees
    found.critic = (*PROPRIO, *OBJECTS)  # entries that the critic sees; more than the policy: an asymmetric critic
    found.hidden = (256, 256)  # widths of the layers of new nets; a critic has one more, of the first width
    found.recurrent_critic = False  # the critic remembers the rows before, by a GRU
    found.samples = 20  # actions that stand for a policy; helms_cat weighs all K skills instead
    found.gamma = 0.99  # discount of a control step
    found.backup = "td"  # the critic's targets: td, n_step, retrace
    found.n_step = 5  # rewards of n_step
    found.lambda_ = 0.95  # of retrace
    if name.startswith("helms"):
        found.prior = "uniform"  # what the high level is kept near: uniform, or transition, the one learned offline
        found.eta_y = 0.01  # weight of that
        found.repeat_probability = 0.0  # chance that, while learning, a row keeps the skill of the row before
    if name in ("helms_mix", "npmp"):
        found.eta_z = 0.01  # weight of the KL of components to the offline ones, or of latents to their prior
    if name == "npmp":
        found.ar_coefficient = 0.0  # of that prior: 0 for N(0, I); 0.95 for AR(1), with skills of npmp_ar1
    if not name.startswith("helms"):
        found.init_stddev = {"mpo": 0.7, "npmp": 1.0}.get(name, 0.1)  # of the policy's actions at first
    if name == "mpo":
        found.gripper = False  # the last dimension is shut or open at full speed, -1 or 1; else all are Gaussian
        found.epsilon_category = 5e-3  # with a gripper: nats that the choice between the two may move
    found.epsilon = 0.1  # nats from a policy to its improvement, which sets the temperature
    if name.startswith("helms"):
        found.epsilon_category = 1.0  # nats that the choice of skills may move between two target copies
    if name != "helms_cat":
        found.epsilon_mean = 5e-3  # nats that means may move
        found.epsilon_stddev = 1e-4  # nats that standard deviations may move
    if name in ("mpo", "bc", "hierarchical_bc"):
        found.epsilon_penalty = 1e-3  # nats from a policy to one that shuns actions beyond [-1, 1]; 0: no such thing
    found.learning_rate = 2e-4  # of Adam, for the critic
    found.actor_learning_rate = 2e-4  # of Adam, for the actor
    if name == "helms_mix":
        found.mid_learning_rate = 2e-4  # of Adam, for the part of the actor that was learned offline
    found.dual_learning_rate = 1e-2  # of Adam, for the temperature and the multipliers of bounds
    found.max_grad_norm = 40.0  # norm at which a gradient is cut
    found.target_period = 200  # updates between two target copies of the critic
    found.actor_target_period = 200  # the same of the actor: a step of policy iteration
    found.critic_warmup = 0  # updates at first in which only the critic learns
    found.max_consecutive_skips = 10  # updates in a row that may be left out for bad numbers before the run stops
    return found


def debug(config: ConfigDict) -> None:
    config.env.update(worlds=4, limit=30, starts=8)
    config.source.updates = 20
    config.agent.update(hidden=(32, 32), samples=4, target_period=10, actor_target_period=10)
    config.replay.update(rows=150, prefill=40)
    config.train.update(
        unroll_length=4,
        updates_per_collect=2,
        batch_size=8,
        sequence_length=4,
        updates=40,
        updates_per_epoch=10,
        eval_every=20,
        save_every=20,
    )
    config.eval.episodes = 4


def cpu(config: ConfigDict) -> None:
    config.seeds = 3
    config.env.worlds = 16
    # by TD(0) a reward would reach back one row between two target copies, and there are few of these
    config.agent.update(
        backup="n_step", hidden=(128, 128), samples=10, learning_rate=5e-4, dual_learning_rate=3e-2, target_period=25
    )
    # what can do something already goes slowly: it waits for a critic that knows what that is worth, and every step
    # of its policy iteration has many batches over which the critic's errors even out
    nothing, skills, clone = (5e-4, 25), (2e-4, 100), (5e-5, 200)  # what an actor begins with
    begins = {"mpo": nothing, "npmp": nothing, "helms_cat": skills, "helms_mix": skills}
    actor_rate, actor_period = begins.get(config.agent.name, clone)
    config.agent.update(actor_learning_rate=actor_rate, actor_target_period=actor_period, critic_warmup=500)
    if config.agent.name == "helms_mix":
        config.agent.mid_learning_rate = 2e-5  # at 5e-5 components go six times as far as they may between two copies
    if config.agent.name.startswith("helms"):
        config.agent.repeat_probability = 0.9  # skills drawn anew at every row undo each other: nothing is paid
    config.replay.update(rows=2500, prefill=400)  # n_step is not corrected for what the policy no longer does
    config.train.update(
        unroll_length=4,
        updates_per_collect=2,
        batch_size=16,
        sequence_length=16,
        updates=12_000,
        updates_per_epoch=50,
        eval_every=500,
        save_every=1000,
    )
    config.eval.episodes = 20


def check(config: ConfigDict) -> None:
    world = config.env.name
    cli.pick("config.env.name:", world, registry.WORLDS)
    if not world.startswith("sawyer.") or world.endswith("@pixels"):
        raise cli.Refused(f"agents put to work here stack objects, not {world}; set config.env.name")
    helms_offline.check_learning(config, ("high", "critic"))
    online.check_replay(config)

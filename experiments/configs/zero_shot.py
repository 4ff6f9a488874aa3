"""Settings of experiments/zero_shot.py: who acts in which worlds without having learned there, and how choices fall."""

from ml_collections import ConfigDict

from experiments.configs import helms_transfer
from experiments.shared import agent_settings, cli, online_settings
from experiments.stacking import worlds as stacking

PRESETS = {
    "debug": "does the command work? Eight short episodes, small nets; a minute",
    "sketch": "60 episodes of each agent; minutes on 2 cores",
    "cpu": "1000 episodes of each agent, 100 worlds at a time; the better part of an hour on 2 cores",
    "paper": "1000 episodes of each agent, all at once; for an accelerator",
}
# helms_mix acts as helms_cat does, before it learns
AGENTS = ("helms_cat", "npmp_kl", "bc_finetuned", "hierarchical_bc_finetuned", "mpo")
BASELINES = ("mpo", "random", "expert")
LIMITS = {
    "seed": (0, 2**31 - 1),
    "episodes": (1, 10**6),
    "choice": ["agent", "prior", "held"],
    "choice_period": (1, 10**6),
    **{name: limit for name, limit in helms_transfer.LIMITS.items() if name.startswith("env.")},
    **{name: limit for agent in AGENTS for name, limit in agent_settings.limits((agent,), f"agents.{agent}").items()},
}


def get_config(arg: str = "") -> ConfigDict:
    chosen = cli.choose(arg, PRESETS, set=["4", "1", "2", "3", "5"], task="red_on_blue")
    where = f"task={chosen.task},set={chosen.set}"
    presets = {name: helms_transfer.get_config(f"{chosen.preset},agent={name},{where}") for name in AGENTS}
    config = ConfigDict()
    config.seed = 0  # of the starts, the new nets and all chance
    config.episodes = 1000  # of every agent, from the same starts
    config.choice = "agent"  # of skills and latents: by the new high level at every row (what an agent begins with),
    # by the prior that was learned offline, or held: by the new high level, for some rows each
    config.choice_period = 40  # these rows
    config.stochastic = True  # skills, latents and actions are drawn, as while learning; else what is likeliest
    config.baselines = ("mpo",)  # who acts beside the skills: mpo (from scratch), random, expert
    config.env = presets["mpo"].env  # as in helms_transfer
    if "reward" in config.env:
        del config.env["reward"]  # all of them are told
    config.env.worlds = {"debug": 4, "sketch": 20, "cpu": 100, "paper": 1000}[chosen.preset]  # stepped together
    config.agents = ConfigDict({name: presets[name].agent for name in AGENTS})  # settings of those with new nets
    config.episodes = {"debug": 8, "sketch": 60}.get(chosen.preset, config.episodes)
    return config


def check(config: ConfigDict) -> None:
    online_settings.check_world(config)
    stacking.check_settings(config)
    for name in config.baselines:
        cli.pick("config.baselines:", name, dict.fromkeys(BASELINES))

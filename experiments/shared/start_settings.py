"""Settings of what a run begins with: data in its replay, another run's replay and parameters; limits and checks.

A config file that has them defines `LIMITS = {..., **start_settings.LIMITS}`, `FREE` likewise, calls
`add_settings(config)`, and has `check_beginning = start_settings.check`, which is given --init_from as well.
"""

from ml_collections import ConfigDict

from experiments.shared import cli, learning, world_settings
from skillhier.data import layouts
from skillhier.data.faults import DataFault
from skillhier.envs import registry

NO_REPLAY = "none"
FREE = ("data.max_gib",)  # may change when a run goes on
LIMITS = {
    "data.max_gib": (0.0, 1e6),
    "data.reward": ["own", "any", "relabel"],
    "transfer.replay": [NO_REPLAY, "keep", "relabel"],
}


def add_settings(config: ConfigDict) -> None:
    """Adds the groups `data` and `transfer`, which by default change nothing."""
    config.data = ConfigDict()
    config.data.path = ""  # episodes that the replay begins with: a file, a folder of them, a Minari folder; none
    config.data.alone = False  # learn from those episodes alone: no world, no replay
    config.data.max_gib = 0.0  # GiB that reading them may take; 0: what the machine has free
    config.data.reward = "own"  # own: that of config.env.name, as far as data say; any; relabel: computed anew
    config.transfer = ConfigDict()
    config.transfer.replay = NO_REPLAY  # rows of --init_from's run: none, keep, relabel with this world's reward
    config.transfer.anew = ()  # paths of parameters that begin anew, such as world/reward
    config.transfer.freeze = ()  # paths of parameters that do not learn
    config.transfer.optimiser = False  # the optimiser goes on in the state that it has in --init_from's run


def begins_filled(config: ConfigDict) -> bool:
    """Whether a run's replay holds rows before its own."""
    if "transfer" not in config:
        return False
    return bool(config.data.path) or config.transfer.replay != NO_REPLAY


def check(config: ConfigDict, address: str | None) -> None:
    """Refuses settings that cannot be together, or not with --init_from=`address`. Raises Refused."""
    data, transfer = config.data, config.transfer
    if data.alone and not data.path:
        raise cli.Refused("config.data.alone=true needs data; set config.data.path")
    if data.path and transfer.replay != NO_REPLAY:
        raise cli.Refused(
            f"a replay begins with the data of config.data.path or with the rows of config.transfer.replay="
            f"{transfer.replay}, not with both; leave one out"
        )
    if data.path:
        try:
            layouts.check(data.path)
        except DataFault as fault:
            raise cli.Refused(f"{fault}; set config.data.path") from None
    if "relabel" in (transfer.replay, data.reward if data.path else ""):
        relabelling(config)
    if not address:
        for name, value in transfer.items():
            if value and value != NO_REPLAY:
                raise cli.Refused(f"config.transfer.{name}={value} is about the run of --init_from, which is missing")
        return
    _, part = learning.split_init_from(address)
    if transfer.optimiser and part != "all":
        raise cli.Refused(
            f"--init_from={address} names a part, and an optimiser's state is that of the whole; give RUN:all, or set "
            "config.transfer.optimiser=false"
        )


def relabelling(config: ConfigDict):
    """What the config's world would have shown and paid on stored rows: TimeStep -> TimeStep. Raises Refused."""
    settings = dict(config.env)
    name = settings.pop("name")
    try:
        return registry.relabelling(name, **world_settings.suited(name, settings))
    except ValueError as error:
        raise cli.Refused(f"{error}; set config.env.name, or another config.transfer.replay or data.reward") from None

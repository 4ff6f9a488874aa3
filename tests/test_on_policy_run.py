"""Runs of PPO agents through an entry point: the run folder, going on to the bit, and what is refused.

The worlds are those of roaming.py, which cost nothing.
"""

import json

import jax
import on_policy_config
import on_policy_entry
import pytest
from kills import ROOT
from leftovers import leaves, record
from roaming import roam

from experiments.shared import cli, on_policy_run, online_run
from skillhier.envs import registry
from skillhier.train import checkpoint

FILE = ROOT / "tests" / "on_policy_config.py"


@pytest.fixture(scope="module", autouse=True)
def gliding():
    """No world is a real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "make", roam)
        yield


def asked(folder, *changes, preset="debug", init_from=None) -> cli.Run:
    """The command line as `main` gets it."""
    config, module = cli.load_config(f"{FILE}:{preset}", [tuple(change.split("=", 1)) for change in changes])
    module.check_beginning(config, init_from)
    return cli.Run("on_policy_entry", config, folder, module.FREE, init_from)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of hippo without a break."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    on_policy_entry.main(asked(folder, preset="debug,agent=hippo"))
    return folder


def test_a_run_counts_evaluates_and_reports(whole):
    rows = record(whole)
    assert [row["step"] for row in rows] == [2, 4, 6, 8]
    assert [row["total/env_steps"] for row in rows] == [40, 80, 120, 160]  # 5 rows of 4 worlds an update
    assert [row["total/frames"] for row in rows] == [80, 160, 240, 320]
    assert ["eval/return" in row for row in rows] == [False, True, False, True]
    assert rows[-1]["learner/skipped"] == 0 and "manager/entropy" in rows[-1]
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["env_steps"] == 160 and summary["frames"] == 320 and summary["train_steps"] == 8
    assert summary["eval_return"] == rows[-1]["eval/return"]
    assert (whole / "report.html").is_file()


def test_a_run_that_was_stopped_goes_on_to_the_bit(whole, tmp_path):
    """Its worlds, the choices in force and what is left of them, statistics and optimiser among the leaves."""
    begun = tmp_path / "run"
    on_policy_entry.main(asked(begun, "train.updates=4", preset="debug,agent=hippo"))
    assert checkpoint.steps(begun / "checkpoints")[-1] == 4
    on_policy_entry.main(asked(begun, preset="debug,agent=hippo"))
    assert record(begun) == record(whole)
    parts = ("learner", "source", "key")
    assert leaves(begun, 8, parts) == leaves(whole, 8, parts)
    assert any("period" in name for name in leaves(begun, 8, parts))


def test_a_run_begins_with_the_parameters_of_another(whole, tmp_path):
    run = asked(tmp_path, init_from=f"{whole}:all", preset="debug,agent=hippo")
    learned = checkpoint.read(whole, "learner/params")
    begun = on_policy_run.make_agent(run, roam(run.config.env.name, worlds=4).spec)
    state = begun.learner.init(jax.random.key(5))
    assert (state.params["critic"]["Dense_0"]["kernel"] == learned["critic"]["Dense_0"]["kernel"]).all()
    assert float(state.params["encoder"]["imu"]["rows"]) == 160


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("agent.minibatches=3", "config.env.worlds=4 is no multiple of config.agent.minibatches=3; set either"),
        ("replay.rows=5", "setting config.replay.rows is not known"),
        ("train.batch_size=5", "setting config.train.batch_size is not known"),
        ("agent.clip=1.5", r"config.agent.clip is 1.5; it must lie between 0.001 and 0.999"),
        ("train.eval_every=3", "config.train.eval_every=3 is no multiple of the epoch of 2 updates"),
    ],
)
def test_what_means_nothing_here_is_refused_in_a_line(change, message):
    with pytest.raises(cli.Refused, match=f"^{message}[^\n]*$"):
        asked(None, change)


def test_data_and_replays_are_refused(tmp_path):
    config = on_policy_config.get_config("debug")
    config.data.path = str(tmp_path)
    with pytest.raises(cli.Refused, match="^ppo learns from what it has just done, not from data; leave .*path out$"):
        on_policy_config.check(config)
    config.data.path, config.transfer.replay = "", "keep"
    with pytest.raises(cli.Refused, match="^ppo .* has no replay; leave config.transfer.replay=keep out$"):
        on_policy_config.check(config)


def test_periods_that_are_none_are_refused_in_a_line():
    run = asked(None, "agent.period=5,2", preset="debug,agent=hippo")
    with pytest.raises(cli.Refused, match="^period must be .* 1 <= fewest <= most, got 5, 2; set agent.period$"):
        online_run.make_agent(run.config, roam(run.config.env.name, worlds=4).spec)

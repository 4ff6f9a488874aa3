"""Skills put to work by the real command: its settings, what it begins with, its runs, and what a stop does to them."""

import json
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from counters import counters
from kills import ROOT, entry, run
from leftovers import leaves, record, same

from experiments import helms_offline, helms_transfer
from experiments.shared import cli, online_run, saved, warm_start
from skillhier.agents import registry as agents
from skillhier.envs import limits, registry
from skillhier.envs.sawyer.observations import OBJECTS, PROPRIO
from skillhier.train import checkpoint, loop, metrics, run_folder

FILE = ROOT / "experiments" / "configs" / "helms_transfer.py"
PARTS = ("learner", "source", "key")
SEEN = ("--config.agent.high=count", "--config.agent.critic=count", "--config.eval.totals=told")


def command(folder: Path, *arguments: str, preset: str = "debug") -> list[str]:
    """The command line as a user types it."""
    return entry("helms_transfer", f"--config={FILE}:{preset}", *arguments, f"--workdir={folder}")


def asked(folder: Path, *changes: str, preset: str = "debug", init_from: str | None = None) -> cli.Run:
    """The command line as `main` gets it."""
    pairs = [tuple(change.removeprefix("--config.").split("=")) for change in changes]
    config, module = cli.load_config(f"{FILE}:{preset}", pairs)
    return cli.Run("helms_transfer", config, folder, module.FREE, init_from)


# --- the config ---


@pytest.mark.parametrize("agent", agents.BY_MPO)
@pytest.mark.parametrize("preset", ["debug", "cpu", "paper"])
def test_every_agent_has_the_settings_of_its_parts_and_no_others(preset, agent):
    config, _ = cli.load_config(f"{FILE}:{preset},agent={agent},task=pyramid,set=3,reward=sparse")
    assert (config.env.name, config.env.reward) == ("sawyer.pyramid.set3", "sparse")
    assert tuple(config.env.delay) == (0, 2) and config.env.randomise  # as in the paper
    had = {name for name in config.agent if name.startswith(("epsilon_", "eta_"))}
    assert had == {
        "helms_cat": {"epsilon_category", "eta_y"},
        "helms_mix": {"epsilon_category", "epsilon_mean", "epsilon_stddev", "eta_y", "eta_z"},
        "npmp_kl": {"epsilon_mean", "epsilon_stddev", "eta_z"},
        "mpo": {"epsilon_category", "epsilon_mean", "epsilon_stddev", "epsilon_penalty"},
    }.get(agent, {"epsilon_mean", "epsilon_stddev", "epsilon_penalty"})


def test_the_paper_preset_is_table_5():
    config, _ = cli.load_config(f"{FILE}:paper,agent=helms_mix")
    agent, train = config.agent, config.train
    assert (train.batch_size, train.sequence_length, agent.samples, agent.learning_rate) == (512, 10, 20, 2e-4)
    assert (agent.epsilon_category, agent.epsilon_mean, agent.epsilon_stddev, agent.eta_y) == (1.0, 5e-3, 1e-4, 0.01)
    assert agent.hidden == (256, 256)


RATES = ("learning_rate", "actor_learning_rate", "mid_learning_rate")


def test_by_the_papers_protocol_all_agents_learn_alike_and_tuned_each_by_its_own_settings():
    def told(agent: str, preset: str) -> tuple:
        config = cli.load_config(f"{FILE}:{preset},agent={agent}", [])[0].agent
        others = [config[name] for name in ("target_period", "actor_target_period", "critic_warmup")]
        rates = {config[rate] for rate in RATES if rate in config}
        return tuple(sorted(rates)), (*others, config.get("repeat_probability", 0.0))

    for preset in ("sketch", "cpu", "long"):
        assert {told(agent, f"{preset},protocol=paper") for agent in agents.BY_MPO} == {((5e-4,), (25, 25, 0, 0.0))}
    assert {told(agent, "paper") for agent in agents.BY_MPO} == {((2e-4,), (200, 200, 0, 0.0))}
    assert told("helms_mix", "cpu") == ((2e-5, 2e-4, 5e-4), (25, 100, 500, 0.9))
    assert told("bc_finetuned", "long") == ((5e-5, 5e-4), (25, 200, 500, 0.0))
    with pytest.raises(cli.Refused, match="protocol 'tuned' is not known; choose paper"):
        cli.load_config(f"{FILE}:paper,protocol=tuned", [])


def test_a_long_run_takes_eighteen_times_the_control_steps_of_cpu_from_two_episodes_of_every_world():
    def steps(preset: str) -> int:
        config = cli.load_config(f"{FILE}:{preset},agent=helms_cat", [])[0]
        train = config.train
        collects = train.updates // train.updates_per_collect
        assert train.updates_per_epoch % train.updates_per_collect == 0
        return config.env.worlds * (config.replay.prefill + collects * train.unroll_length)

    assert 17 < steps("long") / steps("cpu") < 19
    assert cli.load_config(f"{FILE}:long,agent=mpo", [])[0].replay.rows == 2 * limits.LIMITS["sawyer"]


@pytest.mark.parametrize("preset", ["debug", "cpu", "paper"])
def test_from_pictures_new_levels_see_no_objects_but_by_pictures(preset):
    for agent, view in (("helms_mix", "asymmetric"), ("mpo", "asymmetric"), ("mpo", "pixels"), ("npmp_kl", "pixels")):
        config, _ = cli.load_config(f"{FILE}:{preset},agent={agent},view={view},reward=sparse_staged,set=3")
        own = config.agent
        assert (
            config.env.name == "sawyer.stack_red_on_blue.set3@pixels" and config.env.entries and config.env.stack == 3
        )
        assert own.high == (*PROPRIO, "pixels")
        assert own.critic == ((*PROPRIO, *OBJECTS) if view == "asymmetric" else own.high)
        assert own.get("new_mid", True)
        if preset == "paper":  # Table 5, right column; cameras as recommended
            assert (config.env.size, config.env.camera) == (64, ("front_left", "front_right"))
            assert (own.picture_channels, own.picture_blocks) == ((32, 64, 128), 2)
            assert own.get("eta_y", 0.1) == own.get("eta_z", 0.1) == 0.1


def test_a_world_of_pictures_without_entries_is_small_on_cpus_too():
    config, _ = cli.load_config(f"{FILE}:cpu,agent=mpo,task=dmc.pendulum_swingup@pixels")
    assert (config.env.size, config.env.entries, config.agent.picture_channels) == (32, False, (8, 16, 32))
    assert "camera" not in config.env and config.agent.high == ()  # all that it shows
    mix, _ = cli.load_config(f"{FILE}:cpu,agent=helms_mix")  # from states: bounds as they were, and the paper's network
    assert (mix.agent.epsilon_mean, mix.agent.critic_warmup, mix.agent.picture_blocks) == (5e-3, 500, 2)


@pytest.mark.parametrize(
    ("preset", "changes", "said"),
    [
        ("debug,agent=helms_cat,view=pixels", [], "view=pixels: helms_cat keeps levels that see states; choose agent="),
        ("debug,agent=mpo,task=dmc.walker_walk,view=pixels", [], "view=pixels is for stacking worlds, not dmc.walker"),
        ("debug,agent=helms", [], "agent 'helms' is not known; did you mean helms_"),
        ("debug,set=6", [], "set '6' is not known"),
        ("debug,reward=spars", [], "reward 'spars' is not known; did you mean sparse"),
        (
            "debug",
            ["env.name=dmc.cheetah_run"],
            "give the world as option of --config instead",
        ),
        ("debug", ["train.updates=45"], "config.train.updates=45 is no multiple of the epoch of 10"),
        ("debug", ["replay.prefill=5"], "config.replay.prefill=5 holds no window of 6 rows"),
        ("debug", ["replay.rows=5"], "config.replay.rows=5 holds no window of 6 rows"),
        ("debug", ["train.sequence_length=1"], "config.train.sequence_length is 1; it must lie between 2 and"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_compiles(preset, changes, said):
    with pytest.raises(cli.Refused, match="^[^\n]*$") as caught:
        cli.load_config(f"{FILE}:{preset}", [tuple(change.split("=")) for change in changes])
    assert said in str(caught.value)


# --- in worlds that cost nothing ---


@pytest.fixture
def stand_ins(monkeypatch):
    """Every world counts its rows."""
    monkeypatch.setattr(
        registry, "make", lambda name, *, worlds, **_: counters(tuple(5 + w % 3 for w in range(worlds)))
    )


def learned(path: Path, monkeypatch, agent: str = "helms") -> Path:
    """A run of experiments.helms_offline whose skills see what the counting worlds show, and act in one dimension."""
    monkeypatch.setattr(helms_offline.stacking, "WIDTHS", {"count": 2})
    monkeypatch.setattr(
        helms_offline.toy, "demonstrations",
        lambda sizes, steps, make=helms_offline.toy.demonstrations: (
            lambda data: data._replace(action=data.action[:, :1])
        )(make(sizes, steps=steps)),
    )  # fmt: skip
    changes = [("agent.low", "count"), ("agent.mid", "count")]
    changes += [(f"train.{name}", "10") for name in ("updates", "updates_per_epoch", "eval_every", "save_every")]
    config, module = cli.load_config(f"{ROOT}/experiments/configs/helms_offline.py:debug,agent={agent}", changes)
    helms_offline.main(cli.Run("helms_offline", config, path, module.FREE))
    return path


def test_it_begins_with_the_skills_of_a_run_and_keeps_them(tmp_path, monkeypatch, stand_ins):
    source = learned(tmp_path / "skills", monkeypatch)
    once = [f"--config.train.{name}=10" for name in ("updates", "eval_every", "save_every")]
    helms_transfer.main(asked(tmp_path / "run", *SEEN, *once, "--config.seeds=2", preset="debug,agent=helms_mix",
                              init_from=f"{source}:all"))  # fmt: skip
    offline = checkpoint.read(source, "learner/params")
    for seed in (0, 1):
        found = checkpoint.read(tmp_path / "run" / f"seed_{seed}", "learner/params")
        for part in ("low", "mid", "encoder"):
            assert same(found["skills"][part], offline[part]), part
        assert not same(found["control"]["actor"]["mid"], offline["mid"])  # these have learned
    assert run_folder.settings(tmp_path / "run")["init_from"] == f"{source}:all"
    for name, said in (
        (f"{source}:low", "names a part of skills, and helms_cat needs the whole"),
        (f"{source}", "is not RUN:PART"),
        (
            f"{tmp_path / 'run'}:all",
            "is a run of helms_mix; helms_cat begins with agent=helms or",
        ),
    ):
        with pytest.raises(cli.Refused, match=said):
            helms_transfer.main(asked(tmp_path / "other", *SEEN, preset="debug,agent=helms_cat", init_from=name))
    with pytest.raises(cli.Refused, match="is a run of helms; npmp_kl begins with agent=npmp or npmp_ar1"):
        helms_transfer.main(asked(tmp_path / "other", *SEEN, preset="debug,agent=npmp_kl", init_from=f"{source}:all"))
    with pytest.raises(cli.Refused, match="those skills see 3 frames, and config.env.stack=2; set it to 3"):
        helms_transfer.main(asked(tmp_path / "other", *SEEN, "--config.env.stack=2", preset="debug,agent=helms_cat",
                                  init_from=f"{source}:all"))  # fmt: skip
    with pytest.raises(cli.Refused, match="is a run of helms; mpo begins with agent=mpo"):
        helms_transfer.main(asked(tmp_path / "other", *SEEN, preset="debug,agent=mpo", init_from=f"{source}:all"))
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_it_begins_with_the_parameters_of_a_run_of_its_own_kind(tmp_path, stand_ins):
    """All of them or a part; target copies and skills go with them."""
    once = [f"--config.train.{name}=10" for name in ("updates", "eval_every", "save_every")]
    first, second = tmp_path / "first", tmp_path / "second"
    helms_transfer.main(asked(first, *SEEN, *once, preset="debug,agent=helms_cat"))
    slow = [*SEEN, *once, "--config.agent.actor_learning_rate=0.0", "--config.seed=7"]
    helms_transfer.main(asked(second, *slow, preset="debug,agent=helms_cat", init_from=f"{first}:all"))
    before, after = (checkpoint.read(path, "learner/params") for path in (first, second))
    assert same(before["control"]["actor"], after["control"]["actor"]) and same(before["skills"], after["skills"])
    assert not same(before["control"]["critic"], after["control"]["critic"])
    target = checkpoint.read(second, "learner/slow/control/target/actor")
    assert same(target, before["control"]["actor"])
    third = tmp_path / "third"
    helms_transfer.main(asked(third, *slow, preset="debug,agent=helms_cat", init_from=f"{first}:control/actor"))
    assert same(checkpoint.read(third, "learner/params/control/actor"), before["control"]["actor"])


def test_skills_that_are_missing_are_asked_for(tmp_path):
    with pytest.raises(cli.Refused, match="^--init_from is missing: helms_cat begins with .* agent=helms or helms_dis"):
        helms_transfer.main(asked(tmp_path / "run", preset="cpu,agent=helms_cat"))


def test_a_replay_that_does_not_fit_is_refused_before_a_folder_is_made(tmp_path, stand_ins):
    with pytest.raises(cli.Refused, match="a replay of 150 rows in 4 worlds takes .* set replay.rows to at most"):
        helms_transfer.main(asked(tmp_path / "run", *SEEN, "--config.replay.max_gib=0.00001", preset="debug,agent=mpo"))
    assert not (tmp_path / "run").exists()


def test_new_nets_whiten_by_random_actions_whatever_the_agent():
    env = counters((9, 9))
    rows = warm_start.random_rollout(env)
    found = warm_start.statistics(rows)
    mean, deviation = found["count"]  # rows 0 to 9 of worlds 0 and 1
    np.testing.assert_allclose(mean, [4.5, 0.5])
    np.testing.assert_allclose(deviation, [np.arange(10).std(), 0.5], rtol=1e-6)
    assert found["told"][1].tolist() == [0.01]  # it never moved


def test_a_summary_counts_the_steps_of_all_worlds_and_the_last_tenth():
    config, _ = cli.load_config(f"{FILE}:debug,agent=mpo")
    line = {"episodes/success": 0.5, "eval/success": 0.25, "eval/return": 3.0, "eval/staged": 2.0,
            "time/epoch_seconds": 2.0, "total/env_steps": 1760}  # fmt: skip
    rows = [line | {"step": 10 * n, "episodes/return": float(n)} for n in range(1, 21)]
    told = helms_transfer.summarise(rows, config)
    assert told["env_steps"] == 1760 and told["updates_per_second"] == 5.0
    assert told["return_last_tenth"] == 19.5 and told["success_last_tenth"] == 0.5
    assert (told["eval_return"], told["eval_staged"], told["eval_success"]) == (3.0, 2.0, 0.25)
    none = helms_transfer.summarise([row | {"episodes/return": None} for row in rows], config)
    assert none["return_last_tenth"] is None


@pytest.mark.parametrize("agent", ["helms_cat", pytest.param("mpo", marks=pytest.mark.slow)])
def test_stopped_and_continued_it_is_the_run_that_was_never_stopped(tmp_path, monkeypatch, stand_ins, agent):
    preset, told = f"debug,agent={agent}", metrics.logged
    helms_transfer.main(asked(tmp_path / "whole", *SEEN, preset=preset))

    def dying(writers):
        log = told(writers)

        def callback(report):
            log(report)
            if report.done == 20:
                signal.raise_signal(signal.SIGTERM)

        return callback

    with monkeypatch.context() as patched, pytest.raises(cli.RunStopped, match="the same command continues"):
        patched.setattr(metrics, "logged", dying)
        helms_transfer.main(asked(tmp_path / "run", *SEEN, preset=preset))
    helms_transfer.main(asked(tmp_path / "run", *SEEN, preset=preset))
    assert record(tmp_path / "run") == record(tmp_path / "whole")
    assert leaves(tmp_path / "run", 40, PARTS) == leaves(tmp_path / "whole", 40, PARTS)


# --- by the real command, in its own worlds ---


@pytest.mark.parametrize("agent", ["helms_cat", pytest.param("mpo", marks=pytest.mark.slow)])
def test_a_run_leaves_all_that_was_promised(tmp_path, agent):
    told = run(command(tmp_path / "run", preset=f"debug,agent={agent},reward=sparse_staged"))
    assert told.returncode == 0, told.stderr
    assert "40/40" in told.stderr and f"report: {tmp_path / 'run' / 'report.html'}" in told.stdout
    names = {"config.json", "metrics.jsonl", "tensorboard", "checkpoints", "summary.json", "report.html"}
    assert names <= {path.name for path in (tmp_path / "run").iterdir()}
    rows = record(tmp_path / "run")
    assert [row["step"] for row in rows] == [10, 20, 30, 40]
    # 4 worlds, 40 rows at first and 4 more for every 2 updates
    assert [row["total/env_steps"] for row in rows] == [4 * (40 + step // 2 * 4) for step in (10, 20, 30, 40)]
    assert [row["step"] for row in rows if "eval/success" in row] == [20, 40]
    assert rows[-1]["eval/staged"] == pytest.approx(rows[-1]["eval/return"])  # it is what is paid here
    assert all(np.isfinite(value) for name, value in rows[-1].items() if name.startswith(("control/", "eval/")))
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["env_steps"] == 4 * (40 + 40 // 2 * 4)
    acts_as_it_was_saved(tmp_path / "run", agent)


def acts_as_it_was_saved(path: Path, agent: str) -> None:
    """What experiments.watch and others make of the run."""
    settings = run_folder.settings(path)
    name, chosen = saved.world(path, settings)
    env = saved.worlds(name, 2, **chosen)
    found = saved.agent(path, settings, env)
    assert found.skills == 0 and set(found.params) >= {"encoders", "control"}
    policy = found.act()
    _, step = jax.eval_shape(env.reset, jax.random.key(0))
    _, action, notes = jax.eval_shape(policy.act, found.params, policy.init(2), step, jax.random.key(0))
    assert action.shape == (2, 5) and ("skill" in notes) == (agent == "helms_cat")
    if agent == "mpo":
        return
    (path / "origin.json").write_text("[")
    with pytest.raises(run_folder.RunFolderError, match="origin.json is missing or damaged"):
        saved.agent(path, settings, env)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["red_on_blue", "pyramid"])
@pytest.mark.parametrize("agent", agents.BY_MPO)
def test_an_epoch_of_it_exports_for_accelerators_when_its_worlds_are_mjx(agent, task):
    asked_ = asked(Path("unused"), "--config.env.engine=mjx", preset=f"debug,agent={agent},task={task}")
    config = asked_.config
    env = online_run.make_worlds(config.env, 2)
    agent = online_run.make_agent(config, env.spec, **warm_start.start(asked_).skills)
    source = online_run.make_source(config, env, agent.explore, agent)
    key = jax.random.key(0)
    state = loop.RunState(jax.eval_shape(agent.learner.init, key), jax.eval_shape(source.init, key), key)
    exported = jax.export.export(loop.epoch(agent.learner, source, 2), platforms=("cuda", "tpu"))(state)
    assert exported.platforms == ("cuda", "tpu")
    assert "callback" not in (program := exported.mlir_module()) and "skillhier_" not in program

"""The scripts of the experiments on learned worlds: what each asks for, and that it can be had."""

import subprocess
import sys
from pathlib import Path

import pytest
from scripts import ROOT, asked, bare, begun, load_all, options, sweeps, swept

from experiments.shared import cli

SCRIPTS = sorted((ROOT / "launch").glob("lsp_e?.sh"))
CONFIG = str(cli.CONFIGS / "lsp.py")
VARIANTS = ["lsp", "dreamer", "random_skills", "rand_skills_init"]


def commands_of(tmp_path: Path, script: str, *flags: str, **environment: str) -> list[list[str]]:
    commands, code, said = asked(tmp_path, f"lsp_{script}", *flags, **environment)
    assert code == 0, said
    return commands


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_setting_and_task_is_known(tmp_path, script):
    for command in sweeps(commands_of(tmp_path, script.stem.removeprefix("lsp_"))):
        load_all(command)


def test_all_agents_on_all_tasks_with_what_was_published(tmp_path):
    commands = commands_of(tmp_path, "e1", PRESET="paper")
    state, pixels = map(swept, sweeps(commands))
    assert state["config:agent"] == [*VARIANTS, "hiro", "hiro_mi"] and pixels["config:agent"] == VARIANTS
    assert state["config:task"] == ["quadruped_walk", "quadruped_walk_upright", "quadruped_run", "quadruped_reach",
                                    "walker_walk", "walker_run", "cheetah_run", "hopper_hop"]  # fmt: skip
    assert pixels["config:task"] == ["cheetah_run@pixels", "quadruped_run@pixels", "walker_run@pixels"]
    assert state["config.seed"] == pixels["config.seed"] == ["0..2"]
    pages = [options(command) for command in commands if command[1] == "experiments.compare"]
    assert [page["x"] for page in pages] == [["frames"]] * 2 and pages[1]["reference"][0].split(",") == pixels[
        "config:task"
    ]
    assert pages[0]["runs"] == [f"r/state/agent={agent},*" for agent in [*VARIANTS, "hiro", "hiro_mi"]]
    one_of_them = sweeps(commands_of(tmp_path, "e1", HIRO="hiro_mi"))
    assert swept(one_of_them[0])["config:agent"] == [*VARIANTS, "hiro_mi"]
    assert swept(one_of_them[1])["config:agent"] == VARIANTS  # HIRO has no pictures
    assert swept(sweeps(commands_of(tmp_path, "e1", HIRO=""))[0])["config:agent"] == VARIANTS


@pytest.mark.parametrize(
    ("script", "source", "target"),
    [
        ("e2", "quadruped_walk", "quadruped_reach"),
        ("e3", "quadruped_walk_upright", "quadruped_reach_upright"),
        ("e6", "quadruped_obstacles_random", "quadruped_obstacles_cove"),
    ],
)
def test_transfers_go_on_from_their_own_source(tmp_path, script, source, target):
    sources, *targets = sweeps(commands_of(tmp_path, script))
    folders = {f"r/sources/agent={agent},task={source}" for agent in swept(sources)["config:agent"]}
    assert swept(sources)["config:task"] == [source] and options(sources)["config.seeds"] == ["3"]
    assert options(sources)["config.train.updates"] == ["10000"]
    begins = {}
    for command in targets:
        assert options(command)["config"][0].endswith(f":cpu,task={target}")
        assert options(command)["config.seeds"] == ["3"] and set(begun(command)) == set(swept(command)["config:agent"])
        for agent, address in begun(command).items():
            assert address == f"r/sources/agent={agent},task={source}:all"
            begins[address.removesuffix(":all")] = True
    assert set(begins) == folders


def test_what_is_kept_and_what_stays_as_it_is(tmp_path):
    settings = {}
    for script in ("e2", "e3", "e6"):
        for command in sweeps(commands_of(tmp_path, script))[1:]:
            flags_of_run = options(command)
            folder, agent = flags_of_run["folder"][0], swept(command)["config:agent"][0]
            settings[f"{folder} {agent}"] = tuple(flags_of_run.get(f"config.transfer.{name}", [""])[0]
                                                  for name in ("replay", "freeze", "anew"))  # fmt: skip
    frozen = "worker/actor,skills"
    assert settings == {
        "r/reach lsp": ("", "", ""),
        "r/reach_fixed lsp": ("", frozen, ""),
        "r/relabelled lsp": ("relabel", "", ""),
        "r/relabelled_fixed lsp": ("relabel", frozen, ""),
        "r/cove lsp": ("", frozen, "skills"),
        "r/cove dreamer": ("", "", ""),
    }


def test_the_cove_is_planned_through_in_four_skills(tmp_path):
    commands = commands_of(tmp_path, "e7")
    assert commands == commands_of(tmp_path, "e6")
    lsp = next(options(command) for command in commands if "config.transfer.freeze" in options(command))
    agent = {name: lsp[f"config.agent.{name}"] for name in ("period", "horizon", "plan_horizon", "mi_scale")}
    assert agent == {"period": ["30"], "horizon": ["30"], "plan_horizon": ["120"], "mi_scale": ["0"]}
    looked_at = [options(command)["run"][0] for command in commands if command[1] == "experiments.lsp_paths"]
    assert looked_at == [f"r/cove/agent={agent}/seed_{seed}" for agent in ("lsp", "dreamer") for seed in range(3)]


def test_skills_are_held_in_every_run(tmp_path):
    looked_at = [options(command)["run"][0] for command in commands_of(tmp_path, "e5") if command[1].endswith("skills")]
    assert looked_at == [f"r/relabelled/agent=lsp/seed_{seed}" for seed in range(3)]
    commands = commands_of(tmp_path, "e8")
    (sweep,) = sweeps(commands)
    noises = swept(sweep)["config.agent.pred_noise"]
    looked_at = [options(command)["run"][0] for command in commands if command[1] == "experiments.lsp_skills"]
    assert looked_at == [f"r/noise/pred_noise={noise}/seed_{seed}" for noise in noises for seed in range(3)]
    assert commands[-1][1] == "experiments.lsp_noise" and options(commands[-1])["runs"] == ["r/noise/*"]


@pytest.mark.parametrize(("preset", "end"), [("paper", ",seed=*"), ("cpu", "")])
def test_the_page_of_one_task_has_no_runs_of_another(tmp_path, preset, end):
    """Its folder is shared with those of walking from upright starts."""
    page = options(commands_of(tmp_path, "e4", PRESET=preset)[-1])
    assert page["runs"] == [f"r/state/agent={agent},task=quadruped_walk{end}" for agent in ("lsp", "no_mi", "dreamer")]


def test_it_ends_where_jobs_are_handed_over(tmp_path):
    commands, code, said = asked(tmp_path, "lsp_e2", "--to=slurm", "--gpus=1", STATE="0 done, 1 begun, 0 new")
    assert code == 0 and len(commands) == 1 and "the sources are submitted; once they are done" in said
    _, code, said = asked(tmp_path, "lsp_e4", PRESET="cpuu")
    assert code == 2 and said == "PRESET=cpuu is not known; choose paper, cpu, debug\n"


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_run_of_it_can_be_had(script, tmp_path):
    """By launch.sweep and the entry point themselves."""
    config, _ = cli.load_config(f"{CONFIG}:debug")
    if "transfer" not in config and script.stem in ("lsp_e2", "lsp_e3", "lsp_e5", "lsp_e6", "lsp_e7"):
        pytest.skip("experiments/configs/lsp.py has no group `transfer` yet")
    environment = {**bare(), "PYTHON": sys.executable, "PRESET": "paper", "RUNS": str(tmp_path)}
    flags_of_run = subprocess.run(
        ["sh", script, "--dry_run"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )
    assert flags_of_run.returncode == 0 and " 0 done, 0 begun, " in flags_of_run.stdout, flags_of_run.stderr
    assert not any(tmp_path.iterdir())

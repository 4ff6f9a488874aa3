"""The scripts of the HeLMS figures: what each asks for, on which skills its agents begin, and that it can be had."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import scripts
from scripts import ROOT, bare, options, swept
from test_report import checked

SCRIPTS = sorted((ROOT / "launch").glob("helms_*.sh"))
ALL = ["helms_mix", "helms_cat", "npmp_kl", "bc_finetuned", "hierarchical_bc_finetuned", "mpo"]


def asked(tmp_path: Path, script: str, *flags: str, **environment: str) -> tuple[list[list[str]], int, str]:
    return scripts.asked(tmp_path, f"helms_{script}", *flags, **environment)


def learning(tmp_path: Path, script: str, **environment: str) -> list[tuple[str, dict, dict]]:
    """Of each sweep of agents: (its config, its axes, agent -> the flags that it alone is given)."""
    commands, code, _ = asked(tmp_path, script, **environment)
    assert code == 0
    found = []
    for command in commands:
        told = options(command)
        if told.get("experiment") == ["helms_transfer"]:
            whens = [shlex.split(text) for text in told.get("when", [])]
            given = {}
            for condition, *flags in whens:
                for agent in condition.removeprefix("agent=").split(","):
                    given.setdefault(agent, []).extend(flags)
            found.append((told["config"][0].rpartition(":")[2], swept(command), given))
    return found


def from_skills(kind: str, task: str = "red_on_blue") -> str:
    return f"--init_from=r/{task}/skills/agent={kind}:all"


@pytest.mark.parametrize(
    ("script", "reward", "sets"),
    [
        ("figure_4", "sparse_staged", "1235"),
        ("figure_7a", "dense", "4"),
        ("figure_7b", "sparse_staged", "4"),
        ("figure_7c", "sparse", "4"),
    ],
)
def test_all_agents_are_compared_each_on_the_skills_that_suit_it(tmp_path, script, reward, sets):
    ((config, axes, given),) = learning(tmp_path, script)
    assert config == f"cpu,task=red_on_blue,reward={reward}"
    assert axes == {"config:agent": ALL, "config:set": list(sets)}
    kinds = {
        "helms_mix": "helms",
        "helms_cat": "helms",
        "npmp_kl": "npmp",
        "bc_finetuned": "bc",
        "hierarchical_bc_finetuned": "hierarchical_bc",
    }
    assert given == {agent: [from_skills(kind)] for agent, kind in kinds.items()}  # and mpo none


def test_the_pyramid_is_built_from_ten_skills_of_all_pairs(tmp_path):
    ((config, axes, given),) = learning(tmp_path, "figure_5")
    assert config == "cpu,task=pyramid,reward=sparse_staged" and axes["config:agent"] == [
        "helms_mix",
        "helms_cat",
        "npmp_kl",
        "mpo",
    ]
    assert set(given["helms_mix"]) == {from_skills("helms", "all_pairs"), "--config.agent.eta_z=0.1"}
    assert given["npmp_kl"] == [from_skills("npmp", "all_pairs")] and "mpo" not in given


def test_discrete_skills_alone_are_those_without_variance(tmp_path):
    full, discrete = learning(tmp_path, "figure_8")
    assert full[1]["config:agent"] == ["helms_mix", "npmp_kl"] and full[1]["config:set"] == discrete[1][
        "config:set"
    ] == [
        "3",
        "4",
    ]
    assert discrete[1]["config:agent"] == ["helms_cat"] and discrete[2] == {
        "helms_cat": [from_skills("helms_discrete")]
    }


def test_the_weight_of_the_offline_skills_is_swept_for_both_kinds(tmp_path):
    found = learning(tmp_path, "figure_9")
    assert [axes["config:agent"] for _, axes, _ in found] == [["helms_mix"], ["helms_cat"]] * 2
    for (_, axes, given), beta in zip(found, ("0", "0", "0.01", "0.01"), strict=True):
        (agent,) = axes["config:agent"]
        assert given == {agent: [from_skills(f"helms,beta_z={beta}")]}
        assert axes.get("config.agent.eta_z") == (["0.01", "0.1", "1", "10", "100"] if agent == "helms_mix" else None)


def test_from_pictures_critics_see_states_and_one_does_not(tmp_path):
    both, blind = learning(tmp_path, "figure_6")
    assert both[1] == {"config:agent": ["helms_mix", "mpo"], "config:set": ["4"], "config:view": ["asymmetric"]}
    assert both[2] == {"helms_mix": [from_skills("helms")]}
    assert blind[1] == {"config:agent": ["mpo"], "config:set": ["4"], "config:view": ["pixels"]} and not blind[2]


def test_npmp_comes_in_three_forms(tmp_path):
    commands, _, _ = asked(tmp_path, "figure_10")
    told = [options(command) for command in commands if "helms_transfer" in " ".join(command)]
    assert [(one["when"], one.get("config.agent.eta_z"), one.get("config.agent.ar_coefficient")) for one in told] == [
        ([f"agent=npmp_kl --init_from='r/red_on_blue/skills/agent={kind}:all' "], eta, memory)
        for kind, eta, memory in (("npmp", None, None), ("npmp", ["0"], None), ("npmp_ar1", ["0"], ["0.95"]))
    ]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_data_then_skills_then_agents_then_one_page(tmp_path, script):
    commands, code, _ = asked(tmp_path, script.stem.removeprefix("helms_"))
    assert code == 0
    names = [options(command).get("experiment", [command[1]])[0] for command in commands]
    page = {"helms_figure_3": "experiments.helms_skills", "helms_table_1": "experiments.zero_shot"}
    assert names[:2] == ["experiments.collect", "helms_offline"]
    assert names[-1] == page.get(script.stem, "experiments.compare") and set(names[2:-1]) <= {"helms_transfer"}
    made = [f"agent={agent}" for command in commands if "helms_offline" in " ".join(command)
            for agent in swept(command)["config:agent"]]  # fmt: skip
    begun = re.findall(r"skills/(agent=\w+)", " ".join(" ".join(command) for command in commands[2:]))
    assert set(begun) == set(made)  # what agents begin with is made, and nothing else


def test_seeds_are_in_one_program_on_cpus_and_apart_on_a_cluster(tmp_path):
    for preset in ("paper", "long", "sketch", "cpu", "debug"):
        seeds = {} if preset == "paper" else {"config.seeds": ["3"]}
        commands, _, _ = asked(tmp_path, "figure_7b", PRESET=preset)
        told = options(commands[-2])
        assert {name: value for name, value in told.items() if name == "config.seeds"} == seeds
        assert ("config.seed=0..2" in told["sweep"]) == (preset == "paper")
        assert told["config"][0].endswith(f":{preset},task=red_on_blue,reward=sparse_staged")


def test_the_papers_protocol_has_runs_of_its_own_on_the_same_skills(tmp_path):
    commands, code, _ = asked(tmp_path, "figure_7b", PROTOCOL="paper")
    skills, agents, page = map(options, commands[1:])
    assert code == 0 and skills["folder"] == ["r/red_on_blue/skills"]
    assert agents["folder"] == ["r/paper/red_on_blue/sparse_staged"]
    assert agents["config"][0].endswith(":cpu,task=red_on_blue,reward=sparse_staged,protocol=paper")
    assert "agent=helms_cat --init_from='r/red_on_blue/skills/agent=helms:all' " in agents["when"]
    assert page["runs"] == ["r/paper/red_on_blue/sparse_staged/*set=4*"] and page["out"] == ["r/paper/figure_7b"]
    commands, _, _ = asked(tmp_path, "table_1", PROTOCOL="paper")
    assert options(commands[-1])["workdir"] == ["r/table_1"]  # before anything learns


@pytest.mark.parametrize(("script", "task", "episodes"), [("7b", "red_on_blue", "200"), ("5", "all_pairs", "6")])
def test_a_sketch_has_few_demonstrations_of_its_own(tmp_path, script, task, episodes):
    commands, _, _ = asked(tmp_path, f"figure_{script}", PRESET="sketch")
    collect, skills = map(options, commands[:2])
    assert collect["workdir"] == skills["config.data.path"] == [f"datasets/{task}_sketch"]
    assert collect["config.episodes"] == [episodes] and skills["config"][0].endswith(f":sketch,task={task}")


def test_flags_go_where_they_belong(tmp_path):
    commands, code, _ = asked(tmp_path, "figure_7b", "--parallel=2", "--config.env.worlds=8 9", DATA="my logs")
    assert code == 0 and "experiments.collect" not in commands[0]
    skills, agents, page = map(options, commands)
    assert skills["parallel"] == agents["parallel"] == ["2"] and skills["config.data.path"] == ["my logs"]
    assert agents["config.env.worlds"] == ["8 9"] and "config.env.worlds" not in {**skills, **page}


def test_it_ends_where_jobs_are_handed_over_and_goes_on_when_they_are_done(tmp_path):
    state = {"STATE": "0 done, 1 begun, 0 new"}
    commands, code, said = asked(tmp_path, "figure_8", "--to=slurm", "--gpus=1", DATA="d", **state)
    assert code == 0 and [options(command)["experiment"] for command in commands] == [["helms_offline"]]
    assert "the skills are submitted; once they are done, the same command goes on" in said
    commands, code, said = asked(tmp_path, "figure_8", "--to=slurm", DATA="d")
    assert code == 0 and len(commands) == 4 and commands[-1][1] == "experiments.compare" and said == ""


def test_it_ends_where_something_fails(tmp_path):
    commands, code, _ = asked(tmp_path, "figure_8", CODE="1", DATA="d")
    assert code == 1 and not commands  # as it looks at all of it
    told = subprocess.run(["sh", SCRIPTS[0]], cwd=ROOT, capture_output=True, text=True,
                          env={**bare(), "PRESET": "paperr"})  # fmt: skip
    assert told.returncode == 2
    assert told.stderr == "PRESET=paperr is not known; choose paper, long, sketch, cpu, debug\n"


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("preset", ["paper", "long", "sketch", "cpu"])
def test_every_run_of_it_can_be_had(script, preset, tmp_path):
    environment = {**bare(), "PYTHON": sys.executable, "PRESET": preset, "RUNS": str(tmp_path), "DATA": "toy"}
    told = subprocess.run(
        ["sh", script, "--dry_run"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )
    assert told.returncode == 0 and " 0 done, 0 begun, " in told.stdout, told.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_figure_from_nothing_to_its_page(tmp_path):
    environment = {**bare(), "PYTHON": sys.executable, "PRESET": "debug", "RUNS": str(tmp_path)}
    command = ["sh", "launch/helms_figure_8.sh", "--parallel=2", "--config.seeds=2"]
    told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800)
    assert told.returncode == 0, told.stderr
    page = (tmp_path / "figure_8" / "compare.html").read_text()
    checked(page)
    for shown in ("name=helms_mix", "name=helms_cat", "name=npmp_kl", "12 runs in 3 groups", "<th>init_from</th>"):
        assert shown in page
    for title in (
        "eval/staged, name=sawyer.stack_red_on_blue.set3",
        "eval/success, name=sawyer.stack_red_on_blue.set4",
    ):
        assert f"<h2>{title}</h2>" in page

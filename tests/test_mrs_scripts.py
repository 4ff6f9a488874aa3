"""The scripts of the MRS experiments: what each asks for, and that it can be had."""

from pathlib import Path

import pytest
from scripts import ROOT, asked, begun, load_all, options, sweeps, swept

SCRIPTS = sorted({path.stem for path in (ROOT / "launch").glob("mrs_e*.sh")} - {"mrs_e1", "mrs_e12"})
SUITE = ["cartpole_swingup", "pendulum_swingup", "walker_run", "cheetah_run", "hopper_hop", "quadruped_run"]
EXPLORES = {"config.agent.task_weight": ["0"], "config.agent.novelty_weight": ["1"]}


def commands_of(tmp_path: Path, script: str, *flags: str, **environment: str) -> list[list[str]]:
    commands, code, said = asked(tmp_path, f"mrs_{script}", *flags, **environment)
    assert code == 0, said
    return commands


@pytest.mark.parametrize("preset", ["cpu", "paper"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_every_setting_and_world_is_known(tmp_path, script, preset):
    asked_for = sweeps(commands_of(tmp_path, script.removeprefix("mrs_"), PRESET=preset))
    assert asked_for
    for command in asked_for:
        load_all(command)


def test_papers_learn_from_pictures_and_two_cores_from_entries(tmp_path):
    suite, fetch, mazes, *entries = sweeps(commands_of(tmp_path, "e2", PRESET="paper"))
    assert swept(suite)["config:task"] == [f"{task}@pixels" for task in SUITE]
    assert swept(fetch)["config.env.name"] == ["fetch.push@pixels", "fetch.pick_and_place@pixels"]
    assert swept(mazes)["config.env.name"] == ["antmaze.m@pixels", "antmaze.l@pixels"]
    assert all(swept(sweep)["config:agent"] == ["mrs", "director", "dreamerv3"] for sweep in (suite, fetch, mazes))
    assert [swept(sweep)["config:agent"] for sweep in entries] == [["hippo"]] * 3  # has no pictures
    assert swept(entries[0])["config:task"] == SUITE
    suite, *_ = sweeps(commands_of(tmp_path, "e2"))
    assert swept(suite)["config:task"] == SUITE and options(suite)["config.seeds"] == ["3"]


def test_the_pages_of_all_worlds_have_what_was_published(tmp_path):
    pages = [options(command) for command in commands_of(tmp_path, "e2") if command[1] == "experiments.compare"]
    assert [page["out"] for page in pages] == [["r/e2_suite"], ["r/e2_fetch"], ["r/e2_mazes"]]
    assert pages[0]["reference"] == [",".join(SUITE)] and "reference" not in pages[1]
    assert pages[0]["runs"] == ["r/suite/*", "r/suite_entries/*"]


def test_one_resolution_alone_has_no_infinity(tmp_path):
    _, alone = sweeps(commands_of(tmp_path, "e3"))
    assert swept(alone)["config.agent.resolutions"] == ["8", "16", "32", "64"]
    assert options(alone)["config.agent.infinity"] == ["false"]
    _, finite = sweeps(commands_of(tmp_path, "e4"))
    assert options(finite)["config.agent.infinity"] == ["false"] and options(finite)["folder"] == ["r/finite"]


def test_choices_are_overruled_in_every_seed(tmp_path):
    commands = commands_of(tmp_path, "e5")
    runs = [options(command)["run"][0] for command in commands if command[1] == "experiments.mrs_choices"]
    tasks = [*SUITE, "walker_walk", "quadruped_walk"]
    assert runs == [f"r/suite/agent=mrs,task={task}/seed_{seed}" for task in tasks for seed in range(3)]
    commands = commands_of(tmp_path, "e5", PRESET="paper")  # a run for each seed
    runs = [options(command)["run"][0] for command in commands if command[1] == "experiments.mrs_choices"]
    assert runs[:2] == [f"r/suite/agent=mrs,task=cartpole_swingup@pixels,seed={seed}" for seed in range(2)]


def test_tasks_begin_with_what_explored_in_the_same_world(tmp_path):
    asked_for = sweeps(commands_of(tmp_path, "e6"))
    explored, as_director, skills, tuned, tuned_as_director, tuned_skills = map(options, asked_for[:6])
    assert {name: explored[name] for name in EXPLORES} == EXPLORES
    assert as_director["config.agent.novelty"] == tuned_as_director["config.agent.novelty"] == ["infinity"]
    assert begun(asked_for[3]) == {"mrs": "r/explored/agent=mrs,task=walker_run:all"}
    assert begun(asked_for[4]) == {"mrs": "r/explored_as_director/agent=mrs,task=walker_run:all"}
    assert begun(asked_for[5]) == {name: f"r/skills/agent={name},task=walker_run:all" for name in ("diayn", "rest")}
    assert not EXPLORES.keys() & tuned.keys()  # the task pays again
    assert tuned_skills["config.agent.phase"] == ["task"] and skills["folder"] == ["r/skills"]
    assert len(asked_for) == 6 * 4
    begins = {address.rpartition("task=")[2] for command in asked_for for address in begun(command).values()}
    assert begins == {f"{task}:all" for task in ("walker_run", "cheetah_run", "hopper_hop", "quadruped_run")}


def test_goals_are_looked_at_in_every_run(tmp_path):
    commands = commands_of(tmp_path, "e7")
    looked_at = [options(command)["run"][0] for command in commands if command[1] == "experiments.mrs_goals"]
    assert (
        len(looked_at) == 3 * (len(SUITE) + 2) and looked_at[-1] == "r/fetch/agent=mrs,name=fetch.pick_and_place/seed_2"
    )
    commands = commands_of(tmp_path, "e9")
    watched = [options(command)["run"][0] for command in commands if command[1] == "experiments.watch"]
    assert len(watched) == 12 and watched[0] == "r/explored/agent=mrs,task=walker_run/seed_0"
    explored = options(sweeps(commands)[0])
    assert {name: explored[name] for name in EXPLORES} == EXPLORES and explored["config.seeds"] == ["3"]
    for command in sweeps(commands_of(tmp_path, "e9", PRESET="paper")):  # together there too, for folders of seeds
        assert options(command)["config.seeds"] == ["3"] and "config.seed" not in swept(command)


def test_times_and_sizes_are_the_benchmark_s(tmp_path):
    (command,) = commands_of(tmp_path, "e12")
    assert command[1] == "experiments.benchmark" and options(command)["suite"] == ["managers"]

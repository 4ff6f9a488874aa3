"""Runs side by side: what is found and shown is true to the logs, and what may not be compared is refused."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import call
from test_report import checked

from experiments import compare
from skillhier import files
from skillhier.report import comparison, comparison_runs, figures
from skillhier.train import metrics, run_folder
from skillhier.train.manifest import MANIFEST

ROOT = Path(__file__).parents[1]
SETTINGS = {
    "seed": 0,
    "agent.name": "helms",
    "agent.beta_z": 0.0,
    "agent.hidden": [32, 32],
    "train.updates": 100,
    "train.batch_size": 16,
    "train.sequence_length": 25,
    "train.updates_per_epoch": 10,
    "train.eval_every": 50,
    "data.path": "toy",
}
START = {
    "time": "2026-01-01T00:00:00+0000",
    "git_commit": "0123456789abcdef",
    "device": {"kind": "cpu", "count": 1},
    "machine": {"system": "Linux <b>", "cores": 2},
}


def run(path: Path, *, level: float | None = 0.0, until: int = 100, data: str = "d1", start=None, **changes) -> Path:
    """A made-up run: the bound rises to `level`, the held-out error is `level` at the end (None: null)."""
    settings = SETTINGS | {name.replace("__", "."): value for name, value in changes.items()}
    path.mkdir(parents=True)
    files.write_json(path / "config.json", {"entry": "helms_offline", "config": settings, "starts": [start or START]})
    write(path, level, until)
    if data:
        (path / "checkpoints" / "100").mkdir(parents=True)
        files.write_json(path / "checkpoints" / "100" / MANIFEST, {"about": {"data": data}})
    return path


def write(path: Path, level: float | None, until: int) -> None:
    log = metrics.json_lines(path / "metrics.jsonl")
    value = math.nan if level is None else level
    for step in range(10, until + 1, 10):
        told = {"elbo/bound": value - (100 - step), "time/unix": 1e9, "learner/loss": 1.0}
        log.write(step, told | ({"heldout/action_mse": value + 100 - step} if step % 50 == 0 else {}))
    log.close()


@pytest.fixture
def sweep(tmp_path):
    """Two groups of four seeds; what they come to at the end is 1 2 3 10 and 2 3 4 11."""
    for beta in (0.0, 0.5):
        for seed, level in enumerate((1, 2, 3, 10)):
            run(tmp_path / "sweep" / f"b{beta},s{seed}", level=level + 2 * beta, seed=seed, agent__beta_z=beta)
    return tmp_path / "sweep"


def compared(capsys, tmp_path, *arguments: str) -> dict:
    """compare.json of a command that goes well; its page is held to be whole."""
    code, out, err = call(capsys, compare, *arguments, f"--out={tmp_path / 'out'}")
    assert code == 0, err
    page = (tmp_path / "out" / "compare.html").read_text()
    checked(page)
    assert out.endswith(f"page: {tmp_path / 'out' / 'compare.html'}\n")
    return json.loads((tmp_path / "out" / "compare.json").read_text()) | {"out": out, "err": err, "page": page}


def refused(capsys, *arguments: str) -> str:
    code, out, err = call(capsys, compare, *arguments)
    assert code == 2 and out == "" and len(err.splitlines()) == 1, err
    return err


def test_a_sweep_in_numbers(sweep, tmp_path, capsys):
    told = compared(capsys, tmp_path, f"--runs={sweep}/*", "--group=config.agent.beta_z")
    assert list(told["metrics"]) == ["heldout/action_mse", "elbo/bound"] and not told["notes"] and not told["err"]
    error, bound = told["metrics"].values()
    assert list(error["groups"]) == ["beta_z=0.0", "beta_z=0.5"]
    small, large = error["groups"].values()
    assert small["final_of_runs"] == [1, 2, 3, 10] and small["final"]["value"] == 2.5  # 2 3
    assert small["x"] == [50, 100] and small["curve"]["value"] == [52.5, 2.5]
    assert large["final"]["value"] == 3.5
    assert 1 <= small["final"]["low"] < 2.5 < small["final"]["high"] <= 10
    # of 16 pairs, those above: 2 over 1; 3 over 1 2; 4 over 1 2 3; 11 over all four; equal: 2, 3
    assert large["probability_above_first_group"]["value"] == (1 + 2 + 3 + 4 + 0.5 * 2) / 16
    assert small["probability_above_first_group"] is None
    shares = dict(zip(error["thresholds"], small["profile"]["value"], strict=True))
    assert shares[min(shares)] == 1 and shares[max(shares)] == 0
    assert {share for at, share in shares.items() if 3 < at < 10} == {0.25}
    last_tenth = bound["groups"]["beta_z=0.0"]  # of ten lines one
    assert "last tenth" in bound["final"] and last_tenth["final_of_runs"] == [1, 2, 3, 10]
    assert last_tenth["curve"]["value"] == [2.5 - 100 + step for step in last_tenth["x"]]
    assert told["budget"]["config.train.updates"] == [100] and told["budget"]["data digest"] == ["d1"]
    assert [of["seed"] for of in told["runs"]] == [0, 1, 2, 3] * 2 and told["runs"][0]["start"] == START


def count_steps(path: Path, *, per_update: int = 10, prefill: int = 1000) -> Path:
    """Makes a run one that collects: its log counts environment steps."""
    log = path / "metrics.jsonl"
    rows = [row | {"total/env_steps": prefill + per_update * row["step"]} for row in metrics.rows(log)]
    log.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_curves_of_runs_that_collect_are_over_environment_steps(tmp_path, capsys):
    for seed in range(2):
        count_steps(run(tmp_path / f"r{seed}", seed=seed))
    result = compared(capsys, tmp_path, f"--runs={tmp_path}/r?")
    assert result["x"] == "env_steps" and "total/env_steps" not in result["metrics"]
    error, bound = (result["metrics"][name]["groups"]["all runs"] for name in ("heldout/action_mse", "elbo/bound"))
    assert error["x"] == [1500, 2000] and bound["x"] == list(range(1100, 2001, 100))
    # of the rows at 1,900 and 2,000 steps; of the updates the last tenth is one row
    assert bound["final_of_runs"] == [-5, -5]
    assert "last evaluation, at 2,000 environment steps" in result["metrics"]["heldout/action_mse"]["final"]
    assert "last tenth of the environment steps, up to 2,000" in result["metrics"]["elbo/bound"]["final"]
    assert result["page"].count(">environment steps</text>") == 2 and ">updates</text>" not in result["page"]
    assert [(of["updates"], of["env_steps"]) for of in result["runs"]] == [(100, 2000)] * 2
    assert "<td>2,000</td>" in result["page"]
    result = compared(capsys, tmp_path, f"--runs={tmp_path}/r?", "--x=updates")
    bound = result["metrics"]["elbo/bound"]
    assert result["x"] == "updates" and bound["groups"]["all runs"]["x"] == list(range(10, 101, 10))
    assert bound["groups"]["all runs"]["final_of_runs"] == [0, 0] and "last tenth of the updates" in bound["final"]
    assert result["page"].count(">updates</text>") == 2 and ">environment steps</text>" not in result["page"]
    said = refused(capsys, f"--runs={tmp_path}/r?", "--metric=total/env_steps")
    assert "no run has the metric total/env_steps" in said


def test_a_run_without_environment_steps_puts_all_curves_over_updates(tmp_path, capsys):
    count_steps(run(tmp_path / "a"))
    run(tmp_path / "b", seed=1)
    result = compared(capsys, tmp_path, f"--runs={tmp_path}/?")
    assert result["x"] == "updates" and result["page"].count(">updates</text>") == 2
    assert result["metrics"]["elbo/bound"]["groups"]["all runs"]["x"] == list(range(10, 101, 10))
    assert [of["env_steps"] for of in result["runs"]] == [2000, None]
    said = refused(capsys, f"--runs={tmp_path}/?", "--x=env_steps")
    assert f"--x=env_steps: {tmp_path / 'b'} does not log total/env_steps in every row; choose --x=updates" in said
    log = count_steps(tmp_path / "b") / "metrics.jsonl"  # one row that was written before there were counters
    first, *rest = metrics.rows(log)
    del first["total/env_steps"]
    log.write_text("".join(f"{json.dumps(row)}\n" for row in (first, *rest)))
    assert compared(capsys, tmp_path, f"--runs={tmp_path}/?")["x"] == "updates"


def test_groups_that_collect_at_other_rates_have_curves_of_their_own_steps(tmp_path, capsys):
    for rate in (1, 2):
        for seed in range(2):
            path = run(tmp_path / f"r{rate}{seed}", seed=10 * rate + seed, train__updates_per_collect=rate)
            count_steps(path, per_update=30 // rate, prefill=0)
    asked = f"--runs={tmp_path}/r*", "--different_budgets", "--metric=heldout/action_mse"
    result = compared(capsys, tmp_path, *asked, "--group=config.train.updates_per_collect")
    groups = result["metrics"]["heldout/action_mse"]["groups"]
    assert [group["x"] for group in groups.values()] == [[1500, 3000], [750, 1500]]
    count_steps(run(tmp_path / "r30", seed=30), per_update=7, prefill=0)  # in one group with those at 1,500 and 3,000
    said = refused(capsys, *asked)
    assert said.startswith("the runs of all runs share no number of environment steps where heldout/action_mse was")
    assert "train.eval_every, or --x=updates" in said


def test_unfinished_runs_are_cut_at_the_fewest_environment_steps(tmp_path, capsys):
    count_steps(run(tmp_path / "a", until=100), prefill=0)
    count_steps(run(tmp_path / "b", seed=1, until=70), prefill=0)
    result = compared(capsys, tmp_path, f"--runs={tmp_path}/?", "--unfinished")
    assert "1 of 2 runs are not finished: all are cut at 700 environment steps" in result["err"]
    assert result["metrics"]["elbo/bound"]["groups"]["all runs"]["x"][-1] == 700
    run(tmp_path / "c", seed=2, until=40)
    said = refused(capsys, f"--runs={tmp_path}/?", "--unfinished", "--metric=heldout/action_mse")
    assert "no run logged heldout/action_mse by 40 updates, where the shortest run ends" in said


def test_what_a_reader_sees(sweep, tmp_path, capsys):
    told = compared(capsys, tmp_path, f"--runs={sweep}/*", "--group=config.agent.beta_z")
    row = next(line.split() for line in told["out"].splitlines() if line.startswith("  beta_z=0.0"))
    low, high = (told["metrics"]["heldout/action_mse"]["groups"]["beta_z=0.0"]["final"][end] for end in ("low", "high"))
    assert row == ["beta_z=0.0", "4", "2.5", f"{low:.1f}", "to", f"{high:.1f}"]
    for shown in ("8 runs in 2 groups", "train.updates 100", "0123456789", "1 × cpu, 2 cores", "b0.5,s3", "87% of 4"):
        assert shown in told["page"]
    assert "Linux &lt;b&gt;" in told["page"]
    assert told["page"].count('class="thin"') == 16 and told["page"].count("fill:var(--s1);opacity:.16") == 4


def test_the_same_draws_give_the_same_page(sweep, tmp_path, capsys):
    asked = (f"--runs={sweep}/*", "--group=config.agent.beta_z")
    first = compared(capsys, tmp_path, *asked)
    assert compared(capsys, tmp_path, *asked)["page"] == first["page"]
    other = compared(capsys, tmp_path, *asked, "--bootstrap_seed=1")
    assert other["bootstrap"]["seed"] == 1 and other["page"] != first["page"]


def test_one_run_has_no_interval_and_the_page_says_so(tmp_path, capsys):
    told = compared(capsys, tmp_path, f"--runs={run(tmp_path / 'a')}")
    final = told["metrics"]["elbo/bound"]["groups"]["all runs"]["final"]
    assert final == {"value": 0.0, "low": None, "high": None}
    assert "none: one run" in told["out"] and "has no interval: one run does not show" in told["page"]


def test_equal_runs_have_an_interval_of_no_width(tmp_path, capsys):
    for seed in range(3):
        run(tmp_path / f"r{seed}", seed=seed, level=4.0)
    final = compared(capsys, tmp_path, f"--runs={tmp_path}/r*")["metrics"]["elbo/bound"]["groups"]["all runs"]["final"]
    assert final == {"value": 4.0, "low": 4.0, "high": 4.0}


def test_a_run_that_broke_down_counts(tmp_path, capsys):
    for seed, level in enumerate((1.0, None, 3.0, 4.0)):
        run(tmp_path / f"r{seed}", seed=seed, level=level)
    told = compared(capsys, tmp_path, f"--runs={tmp_path}/r*")
    group = told["metrics"]["elbo/bound"]["groups"]["all runs"]
    assert group["final"]["value"] is None and group["final_of_runs"] == [1.0, None, 3.0, 4.0]
    assert "are not finite" in told["out"] and f"{tmp_path / 'r1'}" in told["out"]


def test_several_settings_make_groups(tmp_path, capsys):
    for i, (name, beta) in enumerate((("npmp", 0.1), ("helms", 0.1), ("npmp", 0.02))):
        run(tmp_path / f"r{i}", agent__name=name, agent__beta_z=beta)
    asked = f"--runs={tmp_path}/r*", "--group=config.agent.name,config.train.batch_size", "--group=config.agent.beta_z"
    groups = compared(capsys, tmp_path, *asked)["metrics"]["elbo/bound"]["groups"]
    assert list(groups) == ["name=helms beta_z=0.1", "name=npmp beta_z=0.02", "name=npmp beta_z=0.1"]


def test_of_lists_of_names_a_label_has_what_not_all_of_them_have(tmp_path, capsys):
    for i, seen in enumerate((["arm", "hand", "red"], ["arm", "hand", "pixels"], ["arm", "hand"])):
        run(tmp_path / f"r{i}", agent__critic=seen)
    asked = f"--runs={tmp_path}/r*", "--group=config.agent.critic"
    groups = compared(capsys, tmp_path, *asked)["metrics"]["elbo/bound"]["groups"]
    assert list(groups) == ["critic=...", "critic=...,pixels", "critic=...,red"]
    run(tmp_path / "r3", agent__critic=["hand", "arm"])  # the same names: nothing may be left out
    groups = compared(capsys, tmp_path, *asked)["metrics"]["elbo/bound"]["groups"]
    assert sorted(groups) == ["critic=arm,hand", "critic=arm,hand,pixels", "critic=arm,hand,red", "critic=hand,arm"]


def test_what_only_another_system_has_belongs_to_its_group(tmp_path, capsys):
    run(tmp_path / "r0", agent__name="bc")
    run(tmp_path / "r1", agent__skills=5)
    told = compared(capsys, tmp_path, f"--runs={tmp_path}/r*", "--group=config.agent.name")
    assert list(told["metrics"]["elbo/bound"]["groups"]) == ["name=bc", "name=helms"]


def test_tasks_are_strata(tmp_path, capsys):
    """Scores of two tasks lie far apart; the runs of each are drawn anew within it."""
    for task, level in (("easy", 10.0), ("hard", 0.0)):
        for seed in range(4):
            run(tmp_path / f"{task}{seed}", seed=seed, level=level + seed % 2, task=task, data=task)
    asked = f"--runs={tmp_path}/*[0-9]", "--strata=config.task"
    told = compared(capsys, tmp_path, *asked)["metrics"]["heldout/action_mse"]["groups"]["all runs"]
    assert told["final"]["value"] == 5.5 and 5 <= told["final"]["low"] < 5.5 < told["final"]["high"] <= 6
    assert 5 <= told["curve"]["low"][-1] < 5.5 < told["curve"]["high"][-1] <= 6
    assert "two things vary under one curve: config.task is easy" in refused(capsys, asked[0], "--different_budgets")
    run(tmp_path / "easy9", seed=9, task="easy", data="easy", agent__name="npmp")
    told = refused(capsys, *asked, "--group=config.agent.name")
    assert "name=helms has runs of easy, hard and name=npmp of easy" in told


def test_seeds_of_one_program_are_runs(tmp_path, capsys):
    """seed_<n>/ below a run, with a config of its own or only the run's."""
    shared = run(tmp_path / "r", seeds=3)
    (shared / "metrics.jsonl").unlink()
    for seed in (0, 1, 10):
        (shared / f"seed_{seed}").mkdir()
        write(shared / f"seed_{seed}", seed, 100)
    about = json.loads((shared / "config.json").read_text())
    files.write_json(shared / "seed_1" / "config.json", {**about, "config": about["config"] | {"seed": 1, "seeds": 1}})
    run(tmp_path / "r4", seed=4, level=5.0)
    told = compared(capsys, tmp_path, f"--runs={tmp_path}/r*")
    assert told["budget"]["data digest"] == ["d1"]  # of the checkpoint that the seeds share
    assert [(of["seed"], Path(of["path"]).name) for of in told["runs"]] == [
        (0, "seed_0"), (1, "seed_1"), (10, "seed_10"), (4, "r4")
    ]  # fmt: skip
    assert told["metrics"]["elbo/bound"]["groups"]["all runs"]["final_of_runs"] == [0, 1, 10, 5]


def test_what_a_run_keeps_inside_is_no_run(tmp_path):
    outer = run(tmp_path / "a" / "outer")
    run(outer / "rivals" / "npmp")
    run(tmp_path / "a" / "other")
    assert [paths.log.name for paths in comparison_runs.runs_in(tmp_path)] == ["other", "outer"]
    assert len(comparison_runs.find([str(tmp_path), f"{tmp_path}/a/*"])) == 2  # each once


def test_a_folder_as_runs_make_it(tmp_path):
    settings = {"seed": 3, "train.updates": 10, "agent.hidden": (3, 4), "agent.inner.rate": 1e-4}
    run_folder.open_run(tmp_path / "run", "toy", settings)
    (found,) = comparison_runs.find([str(tmp_path / "run")])
    assert found.settings == {"entry": "toy"} | {f"config.{name}": value for name, value in settings.items()}
    assert found.rows == [] and not found.finished and found.data == "" and "cores" in comparison_runs.machine(found)


def test_unfinished_runs_are_left_out_or_all_are_cut_at_the_shortest(sweep, tmp_path, capsys):
    run(sweep / "young", seed=7, level=500.0, until=70)
    run(sweep / "new", seed=8, until=0)
    asked = f"--runs={sweep}/*", "--group=config.agent.beta_z"
    told = compared(capsys, tmp_path, *asked)
    assert told["notes"] == [
        f"left out, it has logged nothing yet: {sweep / 'new'}",
        f"left out, not finished: {sweep / 'young'}, at update 70 of 100",
    ]
    assert len(told["runs"]) == 8 and str(sweep / "young") in told["err"] and str(sweep / "young") in told["page"]
    told = compared(capsys, tmp_path, *asked, "--unfinished")
    assert len(told["runs"]) == 9 and "1 of 9 runs are not finished: all are cut at 70 updates" in told["err"]
    bound = told["metrics"]["elbo/bound"]["groups"]["beta_z=0.0"]
    assert bound["x"][-1] == 70 and bound["final_of_runs"] == [-29, -28, -27, -20, 470]
    assert told["metrics"]["heldout/action_mse"]["groups"]["beta_z=0.0"]["x"] == [50]


def test_nothing_finished_is_refused(tmp_path, capsys):
    run(tmp_path / "a", until=50)
    assert "is at update 50 of 100; wait, or give --unfinished" in refused(capsys, f"--runs={tmp_path}/a")
    run(tmp_path / "b", until=0)
    assert "have logged nothing yet" in refused(capsys, f"--runs={tmp_path}/b", "--unfinished")


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"train__updates": 50, "until": 50}, "config.train.updates is 100 in {a} and 50 in {b}"),
        ({"train__batch_size": 32}, "config.train.batch_size is 16 in {a} and 32 in {b}"),
        ({"replay__prefill": 5}, "config.replay.prefill is absent in {a} and 5 in {b}"),
        ({"train__sequence_length": 5}, "config.train.sequence_length is 25 in {a} and 5 in {b}"),
        ({"data__held_out": 0.2}, "config.data.held_out is absent in {a} and 0.2 in {b}"),
        ({"data": "d2"}, "data digest is d1 in {a} and d2 in {b}"),
        ({"data": "", "data__path": "other"}, "config.data.path is toy in {a} and other in {b}"),
    ],
)
def test_other_budgets_are_refused_unless_told(tmp_path, capsys, changes, said):
    run(tmp_path / "a")
    run(tmp_path / "b", seed=1, **changes)
    told = refused(capsys, f"--runs={tmp_path}/?")
    assert told.startswith("budgets differ: ") and "--different_budgets" in told
    assert said.format(a=tmp_path / "a", b=tmp_path / "b") in told
    told = compared(capsys, tmp_path, f"--runs={tmp_path}/?", "--different_budgets")
    assert "--different_budgets: budgets may differ" in told["err"]
    assert told["metrics"]["elbo/bound"]["groups"]["all runs"]["final_of_runs"] == [0, -50 if "until" in changes else 0]


def test_the_same_data_in_another_place_are_the_same_data(tmp_path, capsys):
    run(tmp_path / "a", data__path="here")
    run(tmp_path / "b", data__path="there", seed=1)
    assert len(compared(capsys, tmp_path, f"--runs={tmp_path}/?")["runs"]) == 2


def test_without_a_budget_in_the_config_the_last_step_is_one(tmp_path):
    for name, until in (("a", 50), ("b", 100)):
        where = run(tmp_path / name, until=until)
        about = json.loads((where / "config.json").read_text())
        del about["config"]["train.updates"]
        files.write_json(where / "config.json", about)
    runs = comparison_runs.find([f"{tmp_path}/?"])
    assert all(found.finished for found in runs)
    with pytest.raises(run_folder.RunFolderError, match="last step is 50 in"):
        comparison.check_budgets(runs)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"agent__hidden": [8, 8]}, "two things vary under one curve: config.agent.hidden is 32,32 in {a} and 8,8 in"),
        ({"agent__skills": 5}, "two things vary under one curve: config.agent.skills is absent in {a} and 5 in {b}"),
        (
            {"agent__balance": 5, "agent__name": "npmp"},
            "under one curve: config.agent.name is helms in {a} and npmp in",
        ),
        (
            {"agent__beta_z": 0.5, "agent__name": "npmp"},
            "the groups differ in a setting that --group does not name: config.agent.n",
        ),
        ({"seed": 0}, "{a} and {b} are both seed 0 of beta_z=0.0"),
    ],
)
def test_what_differs_unasked_is_refused(tmp_path, capsys, changes, said):
    run(tmp_path / "a")
    run(tmp_path / "b", **{"seed": 1} | changes)
    told = refused(capsys, f"--runs={tmp_path}/?", "--group=config.agent.beta_z")
    assert said.format(a=tmp_path / "a", b=tmp_path / "b") in told


def agents(path: Path, **changes) -> None:
    """Two agents on two tasks, three seeds each: settings of their own, and skills of their own or none."""
    for name, own in (("mpo", {"init_stddev": 0.7}), ("npmp", {"init_stddev": 1.0, "eta_z": 0.01})):
        for task, level in (("easy", 10), ("hard", 0)):
            for seed in range(3):
                told = {f"agent__{key}": value for key, value in own.items()}
                told |= {"init_from": "skills/npmp:all"} if name == "npmp" else {}
                run(path / f"{name}-{task}-{seed}", seed=seed, level=level + seed + (name == "npmp"), env__name=task,
                    agent__name=name, **told | changes)  # fmt: skip


def test_what_goes_along_with_the_groups_is_listed_and_panels_stand_apart(tmp_path, capsys):
    agents(tmp_path / "r", env__worlds=16, train__unroll_length=4, train__updates_per_collect=2)
    asked = f"--runs={tmp_path}/r/*", "--group=config.agent.name"
    assert "config.agent.init_stddev is 0.7 in" in (said := refused(capsys, *asked, "--panels=config.env.name"))
    assert (
        "--group=config.agent.init_stddev, or --along=config.agent.init_stddev where it varies with the groups" in said
    )
    told = compared(capsys, tmp_path, *asked, "--along=config.agent,config.init_from", "--panels=config.env.name")
    assert told["along"] == {"config.agent.init_stddev": {"name=mpo": 0.7, "name=npmp": 1.0}} and not told["notes"]
    assert "these settings vary with the groups, see the page: config.agent.init_stddev" in told["err"]
    assert "<th>agent.init_stddev</th>" in told["page"] and "Settings that vary with the groups" in told["page"]
    found = {title: {label: group["final"]["value"] for label, group in metric["groups"].items()}
             for title, metric in told["metrics"].items() if title.startswith("heldout")}  # fmt: skip
    assert found == {
        "heldout/action_mse, name=easy": {"name=mpo": 11, "name=npmp": 12},
        "heldout/action_mse, name=hard": {"name=mpo": 1, "name=npmp": 2},
    }
    assert "heldout/action_mse, name=hard" in told["out"]


def test_what_goes_along_may_not_differ_within_a_group(tmp_path, capsys):
    agents(tmp_path / "r")
    run(tmp_path / "r" / "odd", seed=7, env__name="easy", agent__name="mpo", agent__init_stddev=0.5)
    asked = f"--runs={tmp_path}/r/*", "--group=config.agent.name", "--panels=config.env.name"
    said = refused(capsys, *asked, "--along=config.agent,config.init_from")
    assert "two things vary under one curve: config.agent.init_stddev is 0.7 in" in said
    assert "no run has the setting config.agnt" in refused(capsys, *asked, "--along=config.agnt")


def test_how_a_run_is_watched_may_differ(tmp_path, capsys):
    """Curves are of the steps that all runs have."""
    run(tmp_path / "a")
    run(tmp_path / "b", seed=1, train__updates_per_epoch=20, train__eval_every=100, train__save_every=3)
    log = tmp_path / "b" / "metrics.jsonl"
    lines = log.read_text().splitlines(keepends=True)[1::2]
    log.write_text("".join(line.replace("heldout/action_mse", "x") if '"step": 50' in line else line for line in lines))
    told = compared(capsys, tmp_path, f"--runs={tmp_path}/?")["metrics"]
    assert told["elbo/bound"]["groups"]["all runs"]["x"] == [20, 40, 60, 80, 100]
    assert told["heldout/action_mse"]["groups"]["all runs"]["x"] == [100]


def test_other_code_and_machines_are_named(tmp_path, capsys):
    run(tmp_path / "a")
    other = {"git_commit": "fedcba9876543210+changes", "device": {"kind": "gpu"}, "versions": {"jax": "0.1"}}
    run(tmp_path / "b", seed=1, start=START | other)
    err = compared(capsys, tmp_path, f"--runs={tmp_path}/?")["err"]
    assert "several commits: 0123456789; fedcba9876+changes" in err and "several machines" in err
    assert "several versions of jax: 0.1; ?" in err and "uncommitted changes" in err


def test_a_metric_that_only_some_have(tmp_path, capsys):
    run(tmp_path / "a")
    run(tmp_path / "b", seed=1)
    log = tmp_path / "b" / "metrics.jsonl"
    log.write_text(log.read_text().replace("heldout/action_mse", "heldout/other"))
    told = compared(capsys, tmp_path, f"--runs={tmp_path}/?", "--metric=heldout/action_mse")
    assert f"all runs: not logged by {tmp_path / 'b'}" in told["out"]
    assert told["metrics"]["heldout/action_mse"]["groups"]["all runs"]["final_of_runs"] == [0.0]


def test_figures_of_acting_come_first(tmp_path, capsys):
    where = run(tmp_path / "a")
    log = where / "metrics.jsonl"
    log.write_text(log.read_text().replace("heldout/action_mse", "eval/return"))
    told = compared(capsys, tmp_path, f"--runs={where}")["metrics"]
    assert list(told) == ["eval/return", "elbo/bound"]
    assert "return of an episode</text>" in (tmp_path / "out" / "compare.html").read_text()
    assert "last evaluation, at 100 updates" in told["eval/return"]["final"]


def test_a_long_curve_is_drawn_as_means_of_neighbours(tmp_path, capsys):
    where = run(tmp_path / "a", train__updates=4000, until=4000)
    told = compared(capsys, tmp_path, f"--runs={where}", "--metric=elbo/bound")["metrics"]["elbo/bound"]
    curve = told["groups"]["all runs"]
    assert len(curve["x"]) == 200 and curve["x"][:2] == [15, 35]
    assert curve["curve"]["value"][0] == -100 + 15
    assert curve["final_of_runs"] == [np.mean([step - 100 for step in range(3610, 4001, 10)])]


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "--runs is missing"),
        (["--runs={}/nothing*"], "no folder matches --runs={}/nothing*"),
        (["--runs={}/sweep/b0.0,s0/metrics.jsonl"], "no folder matches"),
        (["--runs={}/empty"], "{}/empty is no run and contains none"),
        (["--runs={}/bare"], "bare/config.json is no config of a run"),
        (["--runs={}/torn"], "torn/metrics.jsonl is damaged in line 2"),
        (["--runs={}/sweep/*", "--group=config.agent.betaz"], "config.agent.betaz; did you mean config.agent.beta_z?"),
        (["--runs={}/sweep/*", "--group=agent.beta_z"], "did you mean config.agent.beta_z?"),
        (["--runs={}/sweep/*", "--strata=zzzz"], "no run has the setting zzzz; they have config.agent.beta_z, "),
        (["--runs={}/sweep/b0.5*", "--metric=heldout/action_mes"], "did you mean heldout/action_mse?"),
        (["--runs={}/sweep/*", "--grup=x"], "flag --grup is not known; did you mean --group?"),
        (["--runs={}/sweep/*", "--workdir=x"], "--workdir means nothing here"),
        (["--runs={}/sweep/b0.0*", "--out={}/sweep/b0.0,s0/config.json"], "config.json is a file; give a folder"),
        (["--runs={}/silent"], "log none of the default metrics; choose --metric of mine"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_line(sweep, tmp_path, capsys, arguments, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "metrics.jsonl").write_text("")
    (run(tmp_path / "torn") / "metrics.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    (run(tmp_path / "silent") / "metrics.jsonl").write_text('{"step": 100, "mine": 1}\n')
    assert said.replace("{}", str(tmp_path)) in refused(capsys, *(of.replace("{}", str(tmp_path)) for of in arguments))
    assert not (tmp_path / "out").exists()


def test_the_real_command(sweep, tmp_path):
    def told(*arguments):
        command = [sys.executable, "-m", "experiments.compare", *arguments]
        where = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, cwd=tmp_path, env=where, capture_output=True, text=True, timeout=120)

    done = told(f"--runs={sweep}/*", "--group=config.agent.beta_z")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in sorted(tmp_path.glob("runs/compare-*/*"))] == ["compare.html", "compare.json"]
    assert told("--runs=x", "--check").returncode == 0 and "--different_budgets" in told("--help").stdout


def test_bands_have_gaps_where_nothing_is_known():
    series = {"a": ([0, 1, 2, 3, 4], [1, 1, 1, 1, 1], "red")}
    low, high = [0, 0, math.nan, 0, 0], [2, 2, 2, 2, 2]
    drawn = figures.curves(series, "title", "updates", bands={"a": (low, high)})
    (data,) = [part.split('"')[1] for part in drawn.split("<path ") if "opacity:.16" in part]
    assert data.count("M") == data.count("Z") == 2 and data.count("L") == 6 and "nan" not in data


def test_a_curve_of_one_point_is_seen():
    assert 'width="5.0"' in figures.curves({"a": ([3], [1], "red")}, "title", "updates")
    assert 'width="5.0"' not in figures.curves({"a": ([3], [math.nan], "red")}, "title", "updates")

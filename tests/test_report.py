"""A run folder as one page: whole or in parts, escaped, self-contained, and true to the figures it was given."""

import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest

from experiments.shared import run_report
from experiments.stacking import expectations, skill_figures, skill_measures
from experiments.stacking.skill_rollouts import SkillRollouts
from skillhier.report import drawing, figures, run_page

SUMMARY = {
    "episodes": 200,
    "expert_success": 0.9,
    "train_steps": 100,
    "elbo_first": -80.0,
    "elbo_last": 3.0,
    "heldout_action_mse": 0.1,
    "heldout_action_mse_k1": 0.15,
    "heldout_action_mse_npmp": 0.08,
    "skill_usage": [0.5, 0.48, 0.02],
    "transition_diagonal": 0.9,
    "skill_entropy": 0.2,
    "fixed_skill_spread": 0.1,
    "fixed_skill_noise": 0.01,
    "seconds": {"collect": 60.0, "train": 120.0, "report": 30.0},
}


def rollouts(skills: int = 3) -> SkillRollouts:
    dice = np.random.default_rng(0)
    lanes, episodes, rows = skills + 1, 4, 30
    valid = np.ones((lanes, episodes, rows), bool)
    valid[-1, 0, 10:] = False
    return SkillRollouts(
        skill=np.arange(-1, skills),
        pinch=0.5 + 0.01 * dice.normal(size=(lanes, episodes, rows, 3)).cumsum(2),
        objects=0.5 + 0.05 * dice.normal(size=(lanes, episodes, rows, 3, 3)),
        closed=dice.uniform(size=(lanes, episodes, rows)),
        grasping=dice.uniform(size=(lanes, episodes, rows)) > 0.5,
        action=dice.normal(size=(lanes, episodes, rows, 5)),
        chosen=dice.integers(0, max(skills, 1), (lanes, episodes, rows)),
        valid=valid,
        broken=np.zeros(lanes, int),
        interval=np.float32(0.05),
    )


@pytest.fixture
def folder(tmp_path):
    lines = []
    for step in range(10, 110, 10):
        row = {
            "step": step,
            "elbo/bound": -100 / step,
            "learner/loss": 1.0,
            "time/unix": 1e9,
            "time/updates_per_second": 12.5,
        }
        if step % 50 == 0:
            row |= {
                "heldout/elbo/bound": -110 / step,
                "heldout/action_mse": None if step == 50 else 0.1,
                "heldout/transition_diagonal": 0.9,
            }
            row |= {f"heldout/skill_usage/{k}": share for k, share in enumerate(SUMMARY["skill_usage"])}
            row |= {f"heldout/transition/{j}/{k}": 0.9 if j == k else 0.05 for j in range(3) for k in range(3)}
        lines.append(json.dumps(row))
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 110, "elbo/bo']))
    config = {"entry": "helms_offline", "config": {"agent.name": "helms", "data.path": "<script>alert(1)</script>"}}
    config["starts"] = [
        {"time": "2026-01-01", "versions": {"jax": "0.1"}, "device": {"kind": "cpu"}, "command": ["a & b"]}
    ]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    found = skill_measures.write(rollouts(), tmp_path, {"env": "<script>"})
    found["skills"][1]["word"] = "<script>"
    (tmp_path / "skills.json").write_text(json.dumps(found))
    return tmp_path


class Checker(HTMLParser):
    """Tags closed in the order they were opened, and every attribute that could fetch something from outside."""

    VOID = {"meta", "br", "hr", "img", "link", "input"}

    def __init__(self):
        super().__init__()
        self.open, self.fetches, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.fetches += [
            value
            for name, value in attrs
            if name in ("src", "href", "xlink:href", "srcset", "data", "action")
            and not (value or "").startswith("data:")
        ]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()


def checked(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    assert not checker.open
    assert not checker.fetches and "script" not in checker.tags and "link" not in checker.tags
    assert not re.search(r"url\(|@import", page)
    assert set(re.findall(r"https?://[^\s\"'<]*", page)) <= {"http://www.w3.org/2000/svg"}
    for drawn in re.findall(r"<svg class=\"fig\".*?</svg>(?=</div>)", page, re.DOTALL):
        ElementTree.fromstring(drawn)
        assert "nan" not in re.sub(r">[^<]*<", "><", drawn).lower()
    return checker


def test_a_whole_run_makes_one_page(folder):
    page = run_report.write(folder).read_text()
    checker = checked(page)
    assert checker.tags.count("svg") > 12 and not (folder / "report.html.part").exists()
    for title in (
        "What each skill does",
        "How skills are used",
        "Held-out action error",
        "Learning",
        "Settings",
        "Versions",
    ):
        assert title in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "a &amp; b" in page
    assert len(page) < 2_000_000


@pytest.mark.parametrize("missing", ["metrics.jsonl", "config.json", "summary.json", "skills.json", "skills.npz"])
def test_a_missing_part_is_left_out(folder, missing):
    (folder / missing).unlink()
    checked(run_report.write(folder).read_text())


@pytest.mark.parametrize("damaged", ["metrics.jsonl", "config.json", "summary.json", "skills.json", "skills.npz"])
def test_a_damaged_part_is_left_out(folder, damaged):
    (folder / damaged).write_text('{"step": ')
    checked(run_report.write(folder).read_text())


def test_an_empty_folder_makes_a_page(tmp_path):
    checked(run_report.write(tmp_path).read_text())


def test_a_system_without_skills(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "imitation/log_likelihood": 1.0}\n{"step": 2, "imitation/log_likelihood": 2.0}\n'
    )
    (tmp_path / "summary.json").write_text('{"heldout_action_mse": 0.2, "train_steps": 2}')
    skill_measures.write(rollouts(0), tmp_path)
    page = run_report.write(tmp_path).read_text()
    checked(page)
    assert "How skills are used" not in page and "log-likelihood of actions" in page


def test_the_matrix_and_the_histogram_show_the_last_figures(folder):
    page = run_page.page(run_page.read(folder), run_report.SECTIONS)
    assert page.count("to 0: 0.0500") == 2 and "2 to 2: 0.9000" in page
    assert ">50%<" in page and ">48%<" in page and ">2.0%<" in page


def test_training_and_held_out_curves_share_a_frame(folder):
    drawn = [
        part
        for part in run_page.page(run_page.read(folder), run_report.SECTIONS).split("<svg class")
        if "bound per row" in part
    ]
    assert len(drawn) == 1
    assert "training: -1 at the end" in drawn[0] and "held-out: -1.1 at the end" in drawn[0]


def collecting(tmp_path, counted: int) -> str:
    """The page of a run of three rows whose first `counted` rows hold the number of environment steps."""
    lines = [
        {"step": step, "elbo/bound": -1.0, "heldout/action_mse": 0.1}
        | ({"total/env_steps": 500_000 * step} if i < counted else {})
        for i, step in enumerate((1, 2, 3))
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    page = run_report.write(tmp_path).read_text()
    checked(page)
    assert "total/env_steps" not in page  # no curve of its own
    return page


def test_curves_of_a_run_that_collects_are_over_environment_steps(tmp_path):
    page = collecting(tmp_path, counted=3)
    assert page.count(">environment steps</text>") == 2 and ">updates</text>" not in page
    assert "3 updates · 1,500,000 environment steps" in page
    assert ">600k</text>" in page and ">1.2M</text>" in page


def test_rows_without_environment_steps_put_curves_over_updates(tmp_path):
    page = collecting(tmp_path, counted=2)
    assert page.count(">updates</text>") == 2 and "environment steps" not in page


def met(scripted=True, **changes):
    return {item.label: item.met for item in expectations.headlines({**SUMMARY, **changes}, scripted)}


def test_what_is_expected():
    found = met()
    assert found["skills used"] is False  # one has 2 %
    assert found["skills persist"] and found["held-out action error"] and found["skills differ"] and found["bound"]
    assert met(skill_usage=[0.4, 0.57, 0.03])["skills used"]
    assert found["skill entropy"] and not met(skill_entropy=0.9)["skill entropy"]
    assert (
        not met(transition_diagonal=0.69)["skills persist"] and met(False, transition_diagonal=0.69)["skills persist"]
    )
    assert not met(heldout_action_mse=0.15)["held-out action error"]
    assert (
        met(heldout_action_mse=0.14)["held-out action error"]
        and not met(False, heldout_action_mse=0.14)["held-out action error"]
    )
    assert (
        not met(fixed_skill_spread=0.029, fixed_skill_noise=0.001)["skills differ"]
        and not met(fixed_skill_noise=0.034)["skills differ"]
    )
    assert met(fixed_skill_spread=None).get("skills differ", "left out") == "left out"
    assert expectations.headlines({}) == []


def test_real_logs_are_told_from_recordings(tmp_path):
    (tmp_path / "set4.h5").touch()
    (tmp_path / "ours" / "data").mkdir(parents=True)
    (tmp_path / "ours" / "data" / "main_data.hdf5").touch()
    assert expectations.is_log(str(tmp_path)) and expectations.is_log("x/set4.h5")
    assert not expectations.is_log(str(tmp_path / "ours")) and not expectations.is_log(None)


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (0.1234, "0.123"), (1200, "1,200"), (0.00001, "1e-05"), (-3.0, "-3"), (np.nan, "–")]
)
def test_numbers(value, shown):
    assert drawing.number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.25, "0.25"), (2500, "2,500"), (25e3, "25k"), (1e6, "1M"), (12.5e6, "12.5M"), (2e9, "2G")],
)
def test_labels_of_ticks(value, shown):
    assert drawing.tick_label(value) == shown


@pytest.mark.parametrize("span", [(0, 1), (-80, 5), (0.1, 0.1003), (0, 1200), (1e-6, 3e-6), (2, 2)])
def test_ticks_are_round_and_inside(span):
    found = drawing.ticks(*span)
    assert 1 <= len(found) <= 6 and all(span[0] - 1e-9 <= value <= span[1] + 1e-9 for value in found)


def test_a_figure_stands_alone_in_a_file(tmp_path):
    found = skill_measures.write(rollouts(), tmp_path)
    file = drawing.standalone(skill_figures.sheet(rollouts(), found))
    tree = ElementTree.fromstring(file)
    assert tree.tag.endswith("svg") and file.count("skill 2") == 1 and "--s2" in file


def test_a_curve_with_gaps_is_broken_there():
    assert drawing.path([0, 1, 2, 3], [0, 1, np.nan, 3]) == "M0.0 0.0L1.0 1.0M3.0 3.0"
    assert "no figures" in figures.curves({"a": ([1], [None], "red")}, "t", "x")


def test_a_page_begins_with_what_an_agent_earned():
    summary = {"return_last_tenth": 822.9, "eval_return": None, "information_last_tenth": 0.0851, "frames": 203800}
    shown = [(item.label, item.shown, item.met) for item in run_report.of_learning(summary)]
    assert shown == [
        ("return while learning", "823", None),
        ("information", "0.085", None),
        ("frames", "203,800", None),
    ]
    assert run_report.of_learning({"elbo_last": 3.0}) == []

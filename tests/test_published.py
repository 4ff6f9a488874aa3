"""Curves over frames, and what others published beside them."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_compare import compared, refused, run

from experiments.shared import cli, frames, published
from skillhier.report import drawing, figures, references
from skillhier.report.references import Reference
from skillhier.train import metrics
from skillhier.types import Source

WORLD = {"env.name": "dmc.walker_walk", "env.repeat": 2}


def learner_of_a_task(path, *, steps_per_update: int = 1000, counts_frames: bool = False, **changes):
    """A made-up run that logs returns: 10 at every tenth update, ..."""
    settings = {name.replace(".", "__"): value for name, value in (WORLD | changes).items()}
    log = run(path, data="", **settings) / "metrics.jsonl"
    rows = [row | {"total/env_steps": steps_per_update * row["step"], "eval/return": float(row["step"])}
            for row in metrics.rows(log)]  # fmt: skip
    rows = [row | ({"total/frames": 2 * row["total/env_steps"]} if counts_frames else {}) for row in rows]
    log.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_a_source_counts_frames_beside_its_steps():
    steps = jnp.arange(3)
    source = Source(lambda key: 0, lambda state, params, key: (state + 1, params, {"total/env_steps": steps[state]}))
    counted = frames.counted(source, 4)
    assert counted.init is source.init
    state, batch, printed = counted.next(2, "batch", jax.random.key(0))
    assert (state, batch) == (3, "batch") and {name: int(value) for name, value in printed.items()} == {
        "total/env_steps": 2, "total/frames": 8}  # fmt: skip
    assert printed["total/frames"].dtype == steps.dtype


@pytest.mark.parametrize("counts_frames", [True, False])  # as before there were frames in the logs
def test_over_frames_beside_published_returns(tmp_path, capsys, counts_frames):
    learner_of_a_task(tmp_path / "a", counts_frames=counts_frames)
    learner_of_a_task(tmp_path / "b", counts_frames=counts_frames, seed=1)
    asked = f"--runs={tmp_path}/?", "--x=frames", "--metric=eval/return,learner/loss"
    printed = compared(capsys, tmp_path, *asked, "--reference=walker_walk,walker_walk@pixels")
    returns, loss = printed["metrics"].values()
    assert printed["x"] == "frames" and returns["groups"]["all runs"]["x"] == list(range(20_000, 200_001, 20_000))
    curves = {curve["label"]: dict(zip(curve["x"], curve["y"], strict=True)) for curve in returns["references"]}
    assert list(curves) == ["DreamerV3, state", "D4PG, state", "SAC, state", "TD-MPC2, state",
                           "DreamerV3 (run by TD-MPC2), state", "Dreamer, pixels", "DreamerV3, pixels",
                           "DrQ-v2, pixels"]  # fmt: skip
    assert curves["TD-MPC2, state"][200_000] == 962  # its 100k steps
    assert curves["DreamerV3, state"] == {100_000: 475, 250_000: 890, 500_000: 881} and not loss["references"]
    page = printed["page"]
    # drawn until the runs end, half a line of 250k on; those that begin later are in the table alone
    assert "DreamerV3, state: 100k: 475, 200k: 752" in page.replace("<title>", "")
    assert ">Dreamer, pixels</text>" in page and ">DrQ-v2, pixels</text>" not in page
    assert "<td>DrQ-v2, pixels</td>" in page and "cut where these runs end, at 200k frames" in page


def test_references_belong_to_the_panel_of_their_task(tmp_path, capsys):
    for seed, name in enumerate(("dmc.walker_walk", "dmc.cheetah_run@pixels")):
        learner_of_a_task(tmp_path / str(seed), **{"env.name": name, "seed": seed})
    asked = f"--runs={tmp_path}/?", "--x=frames", "--metric=eval/return", "--panels=config.env.name"
    printed = compared(capsys, tmp_path, *asked, "--reference=walker_walk", "--reference=cheetah_run@pixels")
    labels = {title: [curve["label"] for curve in metric["references"]] for title, metric in printed["metrics"].items()}
    pixels, state = labels["eval/return, name=dmc.cheetah_run@pixels"], labels["eval/return, name=dmc.walker_walk"]
    assert pixels == ["Dreamer, pixels", "DreamerV3, pixels", "DrQ-v2, pixels", "MRS, pixels"]
    assert state == [curve.label for curve in published.curves("walker_walk")] and len(state) == 5


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--reference=walker_walk",), "--reference=walker_walk: it is known over frames, not over environment steps"),
        (("--x=frames", "--reference=waker_walk"), "--reference: 'waker_walk' is not known; did you mean walker_walk?"),
        (("--x=frames", "--reference=cheetah_run"), "--reference=cheetah_run: no run is in that task, they are in "),
    ],
)
def test_references_that_mean_nothing_are_refused(tmp_path, capsys, arguments, line):
    learner_of_a_task(tmp_path / "a")
    assert line in refused(capsys, f"--runs={tmp_path}/a", "--metric=eval/return", *arguments)


def test_tables_are_whole():
    """Every row has a value for every column, no return leaves 0 to 1000, and what is known rises in frames."""
    assert len(published.TASKS) == 16
    for method, columns, returns in published.TABLES:
        assert list(columns) == sorted(set(columns)), method
        for task, values in returns.items():
            assert len(values) == len(columns), (method, task)
            assert all(value is None or 0 <= value <= 1000 for value in values), (method, task)
    assert [len(published.curves(task)) for task in ("quadruped_walk", "quadruped_walk@pixels")] == [3, 3]
    walk = {curve.label: curve for curve in published.curves("quadruped_walk")}
    assert walk["TD-MPC2, state"].x[-1] == 8_000_000 and walk["DreamerV3 (run by TD-MPC2), state"].x[-1] == 7_800_000
    with pytest.raises(cli.Refused, match="did you mean walker_run@pixels"):
        published.curves("walker_run@pixel")


def test_a_reference_ends_where_it_is_cut():
    line = Reference("a", [100, 200], [0, 10])
    assert line.upto(150) == Reference("a", [100, 150], [0, 5]) and line.upto(200) == line.upto(900) == line
    assert line.upto(50) == Reference("a", [], []) and references.table((), 1, "frames") == ""


def test_labels_lie_apart():
    np.testing.assert_allclose(drawing.spread([10, 12, 60], 0, 100, 11), [10, 21, 60])
    np.testing.assert_allclose(drawing.spread([95, 96, 99], 0, 100, 11), [78, 89, 100])
    assert drawing.spread([], 0, 1, 1) == []
    drawn = figures.curves({"mine": ([0, 1], [0, 1], "red")}, "t", "x", references=[("far", [0, 1], [0, 99])])
    assert "stroke-dasharray" in drawn and ">far</text>" in drawn and ">100</text>" in drawn  # the axis reaches it

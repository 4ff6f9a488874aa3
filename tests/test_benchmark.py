"""The benchmark: what it counts is counted right, what it compares is the same work, and its file is whole."""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import benchmark, benchmarks
from experiments.benchmarks import arithmetic, helms_offline, physics, pixels, scaling, timing, worlds
from experiments.shared import cli

ROOT = Path(__file__).parents[1]
SMALL = {"agent.hidden": "8,8", "train.batch_size": 2, "train.sequence_length": 6}
SHARES = {"share", "share_low", "share_high"}


def test_products_are_counted_by_hand():
    x, w, many = jnp.ones((3, 4)), jnp.ones((4, 5)), jnp.ones((6, 4, 5))
    count = arithmetic.product_operations
    assert count(lambda x, w: x @ w + 1, x, w) == 2 * 3 * 4 * 5
    assert count(lambda x, m: jnp.matmul(x, m), x, many) == 2 * 6 * 3 * 4 * 5
    assert count(lambda x, w: jax.grad(lambda w: (x @ w).sum())(w), x, w) == 2 * (2 * 3 * 4 * 5)
    square = jnp.ones((4, 4))
    scanned = lambda x, w: jax.lax.scan(lambda x, _: (x @ w, None), x, None, length=7)[0]  # noqa: E731
    assert count(jax.jit(scanned), x, square) == 7 * 2 * 3 * 4 * 4
    chosen = lambda x, w: jax.lax.cond(x[0, 0] > 0, lambda: x @ w @ w, lambda: x @ w)  # noqa: E731
    assert count(chosen, x, square) == 2 * (2 * 3 * 4 * 4)
    assert count(chosen, x, square, dearest=0.25) == (1 + 0.25) * (2 * 3 * 4 * 4)


def test_products_are_nearly_all_that_xla_counts():
    """XLA's own count is of everything: products, and what is done element by element."""
    x, w = jnp.ones((512, 128)), jnp.ones((128, 128))
    gradient = jax.grad(lambda w: jnp.tanh(jnp.tanh(x @ w) @ w).sum())
    everything = jax.jit(gradient).lower(w).cost_analysis()["flops"]
    assert 0.95 * everything < arithmetic.product_operations(gradient, w) < everything


def test_a_job_of_products_does_what_it_says():
    job, operations = arithmetic.product(8, 4, operations=1000)
    assert operations == round(1000 / 256) * 256
    np.testing.assert_allclose(job(), 1, rtol=1e-6)  # the weights keep ones at one


def test_shares_are_taken_turn_by_turn():
    got = timing.shares(ours=[2.0, 4.0, 1.0], theirs=[1.0, 3.0, 0.9])
    assert got == {"share": 0.75, "share_low": 0.5, "share_high": 0.9}
    assert timing.rate(10, [1.0, 2.0, 5.0]) == 5.0


def test_the_bare_batch_ends_where_the_rollout_does():
    """Else the two would not be the same work. The rollout's state is rounded to float32 after every row."""
    from skillhier import rollout
    from skillhier.envs import batch, registry

    task = registry.WORLDS[benchmark.WORLD]()(engine="native", starts=8)
    env = physics.showing_ctrl(batch.make(task, 2, stack=physics.STACK))
    policy, acts = physics.playing(), physics.drawn(env, 2, jax.random.key(1))
    actor = jax.jit(lambda key: rollout.start(env, policy, key))(jax.random.key(0))
    end, rows = jax.jit(lambda actor, key: rollout.rollout(env, policy, acts, actor, key, 2))(actor, jax.random.key(1))
    np.testing.assert_array_equal(rows.action, acts)
    assert int(end.carry) == 2 and int(physics.rewound(end).carry) == 0
    bare = physics.Bare(task.physics.model, 2, task.physics.substeps, record=False)
    bare.open(actor.env.data.state)
    before = bare.state["qpos"].copy()
    bare.run(physics.controls(rows, end))
    moved = np.abs(bare.state["qpos"] - before).max()
    assert moved > 1e-3
    np.testing.assert_allclose(bare.state["qpos"], end.env.data.state.qpos, atol=1e-3 * moved)


def test_figures_of_the_physics():
    [of] = [physics.native(benchmark.WORLD, physics.Size(2, 2), repeats=1, starts=8)]
    assert {"worlds", "control_steps_per_second", "bare_steps_per_second", "target", "peak_memory"} | SHARES <= set(of)
    assert of["worlds"] == 2 and of["opened"] == 0 and of["share"] > 0
    assert of["control_steps_per_second"] == pytest.approx(2 * 2 / of["seconds"]["rollout"][0])


def test_figures_of_the_updates_and_the_table():
    of = helms_offline.updates("red_on_blue", SMALL, 1, 1, 1e6)
    assert {"updates_per_second", "operations_per_second", "products", "target"} | SHARES <= set(of)
    assert of["operations_per_second"] == pytest.approx(of["product_operations"] * of["updates_per_second"])
    start = {"first_update": 2.0, "whole": 3.0, "peak_memory": 2**30}
    found = {
        "machine": {**timing.machine(), "load_after": 0.0},
        "quick": True,
        "physics": {"native": [], "mjx": {"skipped": "no accelerator"}},
        "helms_offline": {"updates": [of], "starts": {"cold": start, "warm": start}},
    }
    lines = "\n".join(benchmark.table(found))
    for said in ("quick", "no accelerator", "HeLMS, K 5", "command to first update, warm", "1.0 GiB"):
        assert said in lines, lines


def test_figures_of_seeds_and_of_devices():
    """On the one device there is here both sides do the same work, and so do two seeds and two runs of one."""
    found = scaling.seeds((1, 2), SMALL, 1, 1)
    assert [of["seeds"] for of in found] == [1, 2]
    for of in found:
        assert of["updates_per_second"] == pytest.approx(of["seeds"] / of["seconds"]["ours"][0])
        assert of["share"] == pytest.approx(of["seeds"] * of["seconds"]["one"][0] / of["seconds"]["ours"][0])
    settings = {"updates": 1, "world": benchmark.WORLD, "worlds": 2, "rows": 2, "starts": 8, "repeats": 1}
    of = scaling.measured(1, SMALL, **settings)
    assert of["control_steps"]["control_steps_per_second"] == 4 / of["control_steps"]["seconds"]["ours"][0]
    lines = "\n".join(benchmark.table({
        "machine": {**timing.machine(), "load_after": 0.0}, "quick": True, "scaling": {"devices": [of], "seeds": found},
    }))  # fmt: skip
    for said in ("1 devices, control steps", "1 devices, updates", "2 seeds in one program, updates"):
        assert said in lines, lines


def test_figures_of_pictures_with_and_without_opengl(monkeypatch):
    """Whether there is OpenGL here or not, our own frames are counted; what there is to compare with is said."""
    pytest.importorskip("dm_control")
    monkeypatch.setattr(pixels, "opengl", lambda: "no OpenGL to compare with (none)")
    one, two = pixels.frames("dmc.pendulum_swingup", (1, 2), 1)
    assert one["frames_per_second"] == pytest.approx(64 / one["seconds"]["ours"][0])
    assert two["frames_per_second"] == pytest.approx(64 / two["seconds"]["ours"][0])
    compared = two | {"world": "dmc.both", "plain_per_second": 2.0, "default_per_second": 1.0}
    compared |= {f"{share}_{kind}": 3.0 for share in SHARES for kind in pixels.TARGETS}
    del compared["skipped"]
    machine = {**timing.machine(), "load_after": 0.0}
    lines = "\n".join(benchmark.table({"machine": machine, "quick": True, "pixels": [one, compared]}))
    for said in ("pendulum_swingup, 1, frames", "no OpenGL to compare with (none)", "both, 2, OpenGL plain"):
        assert said in lines, lines


def test_figures_of_worlds():
    """Episodes of 20 steps take 21 rows with the one that opens: in 21 rows each world opens once."""
    pytest.importorskip("dm_control")
    name = "dmc.pendulum_swingup"
    of = worlds.native(name, 2, 1, 3)
    assert {"world", "worlds", "control_steps_per_second", "share_of_record"} | SHARES <= set(of)
    assert of["target"] == worlds.TARGET and of["rows"] == 3 and of["opened"] == 0
    opening = worlds.resets(name, 20, 21, 1)
    assert opening["opened"] == pytest.approx(1 / 21)
    assert opening["control_steps_per_second"] == pytest.approx(20 * 21 / opening["seconds"]["short"][0])
    cold = worlds.first_step(name, 2)
    parts = [cold.pop(part) for part in ("make", "trace", "compile", "run")]
    assert cold["seconds"] == pytest.approx(sum(parts)) and min(parts) > 0
    found = {"native": [of], "resets": [opening], "cold": [{"world": name, "target": 3.0, "seconds": 9.0}]}
    found["cold"][0] |= dict(zip(("make", "trace", "compile", "run"), parts, strict=True))
    machine, bare = {**timing.machine(), "load_after": 0.0}, {"mjx": {"skipped": "no accelerator"}}
    lines = "\n".join(benchmark.table({"machine": machine, "quick": True, "worlds": found | bare}))
    said = ("pendulum_swingup, 2", "poses and sensors", "pendulum_swingup, resets", "9.00 s", "no accelerator")
    assert all(line in lines for line in said), lines
    fast = of | {"device_memory": None, "worlds": 8}
    assert "pendulum_swingup, mjx, 8" in "\n".join(
        benchmark.table({"machine": machine, "quick": True, "worlds": found | {"mjx": [fast]}})
    )


def test_every_task_of_the_suite_is_measured():
    assert len(worlds.NAMES) == len(set(worlds.NAMES)) == 26 and set(worlds.FEW) < set(worlds.NAMES)
    assert not [name for name in worlds.NAMES if "@" in name]


@pytest.mark.slow
def test_devices_are_measured_in_a_process_of_their_own():
    settings = {"updates": 1, "world": benchmark.WORLD, "worlds": 2, "rows": 2, "starts": 8, "repeats": 1}
    of = scaling.among(2, changes=SMALL, **settings)
    assert of["devices"] == 2 and of["updates"]["share"] > 0 and of["control_steps"]["share"] > 0


@pytest.mark.slow
def test_the_command_leaves_a_whole_file(tmp_path):
    command = [sys.executable, "-m", "experiments.benchmark", "--quick", f"--workdir={tmp_path}"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "benchmark.json").read_text())
    assert [of["worlds"] for of in found["physics"]["native"]] == [2, 3]
    assert [of["worlds"] for of in found["worlds"]["native"]] == [2, 3]
    [cold] = found["worlds"]["cold"]
    assert cold["seconds"] < cold["process"]
    assert [of["worlds"] for of in found["pixels"]] == [1, 2]
    assert [of["devices"] for of in found["scaling"]["devices"]] == [2]
    assert [of["seeds"] for of in found["scaling"]["seeds"]] == [1, 2]
    starts = found["helms_offline"]["starts"]
    assert 0 < starts["warm"]["first_update"] < starts["warm"]["whole"]
    assert starts["warm"]["first_update"] < starts["cold"]["first_update"]  # the cache was of use
    assert starts["cold"]["peak_memory"] > 1e8


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="EGL is chosen on Linux alone")
@pytest.mark.parametrize("library", ["there", "missing"])
def test_egl_is_chosen_only_where_it_can_be_loaded(monkeypatch, library):
    """With MUJOCO_GL=egl and no libEGL the import of mujoco fails, and with it every suite."""

    def load(name):
        if library == "missing":
            raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", load)
    for name in ("MUJOCO_GL", "DISPLAY"):
        monkeypatch.setenv(name, "")  # so that it is as it was afterwards
        monkeypatch.delenv(name)
    benchmarks.use_egl()
    assert os.environ.get("MUJOCO_GL") == ("egl" if library == "there" else None)
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    benchmarks.use_egl()
    assert os.environ["MUJOCO_GL"] == "osmesa"


def test_an_unknown_suite_is_refused_in_one_line():
    command = [sys.executable, "-m", "experiments.benchmark", "--suite=phisics", "--check"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 2
    assert (
        done.stderr.count("\n") == 1
        and "choose one or more of physics, worlds, pixels, helms_offline, scaling" in done.stderr
    )


def test_what_is_measured_is_kept_when_a_later_suite_ends_the_run(tmp_path, monkeypatch):
    def broken(quick):
        raise RuntimeError("a driver gave up")

    monkeypatch.setattr(benchmark, "SUITES", {"first": lambda quick: {"rate": 3.0}, "second": broken})
    monkeypatch.setattr(benchmark.flags, "FLAGS", SimpleNamespace(suite=["first", "second"], quick=True))
    monkeypatch.setattr(benchmark.jax.config, "update", lambda *given: None)
    with pytest.raises(RuntimeError, match="gave up"):
        benchmark.main(cli.Run("benchmark", None, tmp_path))
    assert json.loads((tmp_path / "benchmark.json").read_text())["first"] == {"rate": 3.0}


@pytest.mark.parametrize("probe", ["import os; os.abort()", "raise SystemExit('no screen')"])
def test_a_driver_that_gives_up_is_told_and_ends_nothing(monkeypatch, probe):
    monkeypatch.setattr(pixels, "PROBE", probe)
    assert pixels.opengl().startswith("no OpenGL to compare with (")
    monkeypatch.setattr(pixels, "PROBE", "")
    assert pixels.opengl() is None

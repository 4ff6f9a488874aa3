"""What a sweep hands to clusters: compared with stored files, held to the schema of its kind, and run by a shell.

The files in tests/golden are written anew with SKILLHIER_RENEW_GOLDEN=1.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
import yaml
from cluster_schemas import hold_jobset, hold_script, hold_shell, hold_task

from launch import jobs, runs, sweep
from launch.runs import Run

# Otherwise submitit, when it is imported, has logging close all handlers there are, and absl's closes pytest's stderr.
os.environ["SUBMITIT_LOG_LEVEL"] = "NOCONFIG"
HERE = Path(__file__).parent
BASH = shutil.which("bash") or "/bin/sh"  # a pod has bash
SWEEP = [
    "--experiment=helms_offline", "--config=experiments/configs/helms_offline.py:cpu",
    "--sweep=config.agent.beta_z=0,0.1", "--sweep=config.agent.hidden=(256,256)", "--folder=runs/beta",
    "--config.train.updates=2000",
]  # fmt: skip
TPU = "--accelerator=tpu-v5-lite-podslice"
PLACES = {
    "local": ["--to=local", "--parallel=2"],
    "slurm": ["--to=slurm", "--time=8:30:00", "--partition=gpu", "--gpus=1", "--cpus=8", "--memory=32", "--parallel=4"],
    "skypilot": ["--to=skypilot", "--bucket=gs://runs", "--gpus=1", "--accelerator=L4", "--cpus=8", "--spot"],
    "kubernetes_gpu": ["--to=kubernetes", "--claim=runs", "--gpus=1", "--cpus=8", "--memory=32"],
    "kubernetes_tpu": ["--to=kubernetes", "--claim=runs", "--tpus=4", "--hosts=2", "--topology=2x4", TPU],
}  # fmt: skip
SOURCE = "--source=https://github.com/example/skillhier.git@v0.1.0"


@pytest.fixture
def dry(monkeypatch, tmp_path, capsys):
    """What a dry run prints, with the paths of this machine taken out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "resolve", list)  # tests/test_sweep.py asks the entry point

    def printed(place):
        asked = [*SWEEP, *PLACES[place], *([SOURCE] if place.startswith("kubernetes") else []), "--dry_run"]
        assert sweep.main(asked) == 0
        assert not list(tmp_path.iterdir()), "a dry run writes nothing"
        told = capsys.readouterr().out
        for path, name in ((tmp_path, "HERE"), (sys.executable, "PYTHON"), (runs.ROOT, "PROJECT")):
            told = told.replace(str(path), name)
        return told

    return printed


@pytest.mark.parametrize("place", PLACES)
def test_a_dry_run_prints_what_is_stored(dry, place):
    file = HERE / "golden" / f"sweep_{place}.txt"
    told = dry(place)
    if os.environ.get("SKILLHIER_RENEW_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(told)
    assert told == file.read_text()


def documents(told):
    """The YAML files in what a dry run printed."""
    return list(yaml.safe_load_all(re.sub(r"^# .*\.yaml$", "---", told, flags=re.M).partition("---\n")[2]))


def test_skypilot_takes_its_tasks(dry):
    found = documents(dry("skypilot"))
    assert len(found) == 2 and len({task["name"] for task in found}) == 2
    for task in found:
        hold_task(task)
        hold_shell(task["setup"] + task["run"])
        assert re.fullmatch(r"[a-zA-Z]([-_.a-zA-Z0-9]*[a-zA-Z0-9])?", task["name"])
    for wrong in ({"num_node": 2}, {"workdir": 3}, {"envs": {"A-B": "c"}}):
        with pytest.raises(jsonschema.ValidationError):
            hold_task(found[0] | wrong)
    with pytest.raises(jsonschema.ValidationError):
        hold_task(found[0] | {"file_mounts": {"/mnt/store": {"source": "gs://b", "mode": "CACHED"}}})
    with pytest.raises(jsonschema.ValidationError):
        hold_task(found[0] | {"resources": {"accelerator": "L4"}})


@pytest.mark.parametrize("place", ["kubernetes_gpu", "kubernetes_tpu"])
def test_kubernetes_takes_its_jobsets(dry, place):
    found = documents(dry(place))
    assert len(found) == 2 and len({jobset["metadata"]["name"] for jobset in found}) == 2
    for jobset in found:
        hold_jobset(jobset)
        (container,) = pod(jobset)["containers"]
        hold_shell(container["command"][-1])
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", jobset["metadata"]["name"])
        assert len(f"{jobset['metadata']['name']}-run-0-99") <= 63, "the host name of a pod is a DNS label"
    for spoil in (
        lambda jobset: jobset.update(apiVersion="jobset.x-k8s.io/v1"),
        lambda jobset: jobset["spec"].update(replicas=2),
        lambda jobset: jobset["spec"]["failurePolicy"]["rules"][0].update(action="Retry"),
        lambda jobset: pod(jobset).update(restartpolicy="Never"),
        lambda jobset: pod(jobset)["containers"][0].update(image=3),
        lambda jobset: pod(jobset)["containers"][0]["volumeMounts"][0].pop("mountPath"),
    ):
        wrong = json.loads(json.dumps(found[0]))
        spoil(wrong)
        with pytest.raises(jsonschema.ValidationError):
            hold_jobset(wrong)


def pod(jobset):
    return jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]


def test_hosts_of_a_jobset_find_their_coordinator(dry):
    for jobset in documents(dry("kubernetes_tpu")):
        name, job = jobset["metadata"]["name"], jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
        assert (job["completions"], job["parallelism"], job["completionMode"]) == (2, 2, "Indexed")
        env = {one["name"]: one for one in pod(jobset)["containers"][0]["env"]}
        # the host name that JobSet gives the pod with index 0 of the replicated job `run`, in the set's own subdomain
        assert env["JAX_COORDINATOR_ADDRESS"]["value"] == f"{name}-run-0-0.{name}:8476"
        assert env["JAX_NUM_PROCESSES"]["value"] == "2"
        index = "metadata.labels['batch.kubernetes.io/job-completion-index']"
        assert env["JAX_PROCESS_ID"]["valueFrom"]["fieldRef"]["fieldPath"] == index


def test_slurm_takes_its_script(dry):
    script = dry("slurm")
    hold_script(script)
    assert "#SBATCH --array=0-1%2\n" in script and "#SBATCH --time=510\n" in script
    with pytest.raises(AssertionError):
        hold_script(script.replace("--partition", "--partitoin"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to=skypilot"], "needs --bucket"),
        (["--to=skypilot", "--bucket=gs://b", "--gpus=1"], "of which kind? give --accelerator"),
        (["--to=skypilot", "--bucket=gs://b", "--accelerator=L4"], "how many on each host? give --gpus=1"),
        (["--to=kubernetes"], "needs --claim=NAME"),
        (["--to=kubernetes", "--claim=c", "--gpus=1", "--tpus=4"], "a host has one kind"),
        (["--to=kubernetes", "--claim=c", "--tpus=4"], "--tpus needs --accelerator"),
        (["--to=kubernetes", "--claim=c", "--topology=2x4"], "is of TPUs; give --tpus"),
        (["--to=kubernetes", "--claim=c", "--tpus=4", "--accelerator=x", "--topology=8"], "is no topology"),
        (["--to=kubernetes", "--claim=c", "--tpus=4", TPU, "--topology=4x4"], "has 16 chips, --hosts=1 with"),
        (["--to=kubernetes", "--claim=c", "--source=git@host:x.git"], "cannot be cloned by a pod"),
        (["--to=slurm", "--time=soon"], "is no time limit"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("tools", ["none", "fakes"])
def test_what_does_not_fit_is_one_line(dry, fakes, monkeypatch, capsys, arguments, said, tools):
    """On machines with and without tools alike: values are checked before a tool or an entry point is asked."""
    monkeypatch.setenv("PATH", str(fakes if tools == "fakes" else fakes / "none"))
    monkeypatch.setattr(runs, "resolve", lambda found: pytest.fail("the entry point was asked first"))
    assert sweep.main([*SWEEP, *arguments]) == 2
    told = capsys.readouterr()
    assert said in told.err and told.err.count("\n") == 1 and told.out == "" and not Path("runs").exists()
    assert not (fakes / "called").exists()


@pytest.fixture
def fakes(tmp_path_factory):
    """A folder with stubs of all tools that clusters have, which note that they were called."""
    folder = tmp_path_factory.mktemp("fakes")
    for name in ("srun", "sbatch", "squeue", "kubectl", "sky", "git"):
        (folder / name).write_text(f"#!/bin/sh\necho {name} >> {folder}/called\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize("tools", ["none", "fakes"])
def test_without_a_git_origin_the_source_must_be_named(dry, fakes, monkeypatch, capsys, tools):
    """Where there is no git, and where it knows no origin."""
    monkeypatch.setenv("PATH", str(fakes if tools == "fakes" else fakes / "none"))
    assert sweep.main([*SWEEP, *PLACES["kubernetes_gpu"], "--dry_run"]) == 2
    assert "has no git origin that a pod can clone; give --source=https://" in capsys.readouterr().err
    assert (fakes / "called").exists() == (tools == "fakes")


def test_files_are_written_for_what_is_left_only(dry, tmp_path, capsys):
    asked = [*SWEEP, *PLACES["kubernetes_gpu"], SOURCE]
    assert sweep.main(asked) == 0 and "kubectl apply -f runs/beta/jobs/kubernetes" in capsys.readouterr().out
    folder = tmp_path / "runs" / "beta" / "jobs" / "kubernetes"
    first, second = sorted(folder.iterdir())
    hold_jobset(yaml.safe_load(first.read_text()))
    done = tmp_path / "runs" / "beta" / first.stem
    done.mkdir()
    (done / "config.json").write_text(
        json.dumps({"entry": "helms_offline", "config": {}, "starts": [{"command": ["helms_offline.py"]}]})
    )
    (done / "summary.json").write_text("{}")
    assert sweep.main(asked) == 0 and sorted(folder.iterdir()) == [second]


@pytest.mark.parametrize(("stop", "code", "left"), [(True, 143, "saved"), (False, 3, "")])
def test_a_job_passes_a_stop_on_and_says_that_it_must_go_on(tmp_path, stop, code, left):
    """The lines of a job in a real shell, around something that saves when it is told to go and then ends with 0."""
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    waits = "trap 'printf saved > left; exit 0' TERM; touch begun; for i in $(seq 100); do sleep 0.05; done\n"
    python.write_text(f"#!/bin/sh\n{waits if stop else 'printf > left; exit 3'}\n")
    python.chmod(0o755)
    lines = "set -e\n" + jobs.run_lines(Run("seed=0", Path("s/seed=0"), "toy", (), {}), Path("s"))
    child = subprocess.Popen([BASH, "-c", lines], cwd=tmp_path)
    while stop and not (tmp_path / "begun").exists():
        time.sleep(0.01)
    if stop:
        child.send_signal(signal.SIGTERM)
    assert child.wait(20) == code and (tmp_path / "left").read_text() == left
    assert os.readlink(tmp_path / "datasets") == "/mnt/store/datasets"
    if not stop:
        assert subprocess.run([BASH, "-c", lines], cwd=tmp_path).returncode == code, "again in the same place"


def test_where_pyyaml_is_absent_the_extra_is_named(dry, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert sweep.main([*SWEEP, *PLACES["skypilot"], "--dry_run"]) == 2
    assert "need PyYAML; install the extra `launch`: pip install -e '.[launch]'" in capsys.readouterr().err

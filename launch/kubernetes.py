"""Runs of a sweep as Kubernetes JobSets (jobset.x-k8s.io/v1alpha2), a file each: `kubectl apply -f FOLDER`.

One JobSet is one run: an indexed job with a pod for each host. The runs are kept on a PersistentVolumeClaim. A pod that
is evicted is replaced and goes on; where several hosts work together and one goes, all are started again.
"""

import math
import re
import shlex
import subprocess
from collections.abc import Sequence
from types import SimpleNamespace

from launch import grid, jobs
from launch.grid import Refused
from launch.runs import ROOT, Run

PORT = 8476  # of the coordinator of several hosts
GRACE = 120  # s that a pod has to finish its epoch and save
RESTARTS = {False: 3, True: 20}  # of a run on one host, whose evictions do not count, and on several, where they do


def show(pending: Sequence[Run], asked: SimpleNamespace) -> str:
    """The files that would be written, one after the other."""
    return jobs.show(asked, [(run.name, jobset(run, asked)) for run in pending])


def start(pending: Sequence[Run], asked: SimpleNamespace) -> str:
    """Writes the files; what to do with them."""
    folder = jobs.write(asked, [(run.name, jobset(run, asked)) for run in pending])
    return f"start them: kubectl apply -f {folder}"


def jobset(run: Run, asked: SimpleNamespace) -> dict:
    if not asked.claim:
        raise Refused("--to=kubernetes needs --claim=NAME, a PersistentVolumeClaim on which the runs are kept")
    _fit(asked)
    name = grid.label(f"{asked.folder.name}-{run.name}", 45)  # pods add -run-0-<index> and may have 63 characters
    several = asked.hosts > 1
    rules = [{"action": "FailJob", "onExitCodes": {"containerName": "run", "operator": "In", "values": [2]}}]
    if not several:
        rules.append({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]})
    job = {
        "completionMode": "Indexed",
        "completions": asked.hosts,
        "parallelism": asked.hosts,
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": rules},
        "template": {"spec": _pod(run, asked, name)},
    }
    exclusive = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": name, **({"annotations": exclusive} if asked.tpus and several else {})},
        "spec": {
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "failurePolicy": {
                "maxRestarts": RESTARTS[several],
                # wrong use stays wrong; all else is tried again
                "rules": [{"name": "refused", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}],
            },
            "replicatedJobs": [{"name": "run", "replicas": 1, "template": {"spec": job}}],
        },
    }


def _pod(run: Run, asked: SimpleNamespace, name: str) -> dict:
    extras = "cuda" if asked.gpus else "tpu" if asked.tpus else ""
    lines = "set -e\n" + _fetch(asked) + jobs.install(extras) + jobs.run(run, asked.folder)
    index = {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']"}}
    coordinates = [
        {"name": "JAX_COORDINATOR_ADDRESS", "value": f"{name}-run-0-0.{name}:{PORT}"},
        {"name": "JAX_NUM_PROCESSES", "value": str(asked.hosts)},
        {"name": "JAX_PROCESS_ID", "valueFrom": index},
    ]
    requests = {"cpu": asked.cpus, "memory": f"{asked.memory}G" if asked.memory else None}
    limits = {"nvidia.com/gpu": asked.gpus or None, "google.com/tpu": asked.tpus or None}
    resources = {"requests": _given(requests), "limits": _given(limits)}
    kind = "gke-tpu-accelerator" if asked.tpus else "gke-accelerator"
    nodes = {f"cloud.google.com/{kind}": asked.accelerator, "cloud.google.com/gke-tpu-topology": asked.topology}
    container = {
        "name": "run",
        "image": asked.image,
        "command": ["bash", "-c", lines],
        "env": coordinates if asked.hosts > 1 else None,
        "ports": [{"containerPort": PORT}] if asked.hosts > 1 else None,
        "resources": {name: value for name, value in resources.items() if value} or None,
        "volumeMounts": [{"name": "store", "mountPath": jobs.STORE}],
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE,
        "nodeSelector": _given(nodes) or None,
        "containers": [_given(container)],
        "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": asked.claim}}],
    }
    return _given(pod)


def _fit(asked: SimpleNamespace) -> None:
    """Refuses accelerators that do not go together."""
    if asked.gpus and asked.tpus:
        raise Refused(f"--gpus={asked.gpus} and --tpus={asked.tpus}: a host has one kind; leave out one of the two")
    if not asked.tpus:
        if asked.topology:
            raise Refused(f"--topology={asked.topology} is of TPUs; give --tpus, the chips of each host")
        return
    if not asked.accelerator or not asked.topology:
        raise Refused("--tpus needs --accelerator=tpu-v5-lite-podslice (or another kind) and --topology=2x4")
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)+", asked.topology):
        raise Refused(f"--topology={asked.topology} is no topology; write 2x4 or 2x2x2")
    chips = math.prod(map(int, asked.topology.split("x")))
    if chips != asked.tpus * asked.hosts:
        raise Refused(
            f"--topology={asked.topology} has {chips} chips, --hosts={asked.hosts} with --tpus={asked.tpus} have "
            f"{asked.hosts * asked.tpus}; make them equal"
        )


def _fetch(asked: SimpleNamespace) -> str:
    """Shell lines that end in a folder with this project: cloned at a commit, or one of the image."""
    source = asked.source or f"{_git('remote', 'get-url', 'origin')}@{_git('rev-parse', 'HEAD')}"
    if source.startswith("/"):
        return f"cd {shlex.quote(source)}\n"
    address, at, commit = source.rpartition("@")
    if "://" not in (address if at else source):
        raise Refused(
            f"--source={asked.source or 'the origin of this repository'} cannot be cloned by a pod; "
            "give --source=https://HOST/PROJECT.git@COMMIT, or a folder of the image"
        )
    if not at or "/" in commit:
        address, commit = source, "HEAD"
    address, commit = shlex.quote(address), shlex.quote(commit)
    return f"git clone --quiet {address} project\ncd project\ngit checkout --quiet {commit}\n"


def _git(*command: str) -> str:
    told = subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True)
    return told.stdout.strip()


def _given(settings: dict) -> dict:
    return {name: value for name, value in settings.items() if value is not None}

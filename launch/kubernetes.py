"""Runs of a sweep as Kubernetes JobSets (jobset.x-k8s.io/v1alpha2), a file each: `kubectl apply -f FOLDER`.

One JobSet is one run: an indexed job with a pod for each host. Run folders lie on a PersistentVolumeClaim. A pod that
is evicted is replaced and the run goes on; where several hosts work together and one goes, all are started again.
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


def check(options: SimpleNamespace) -> None:
    """Raises Refused for options that do not fit together. Looks at nothing on this machine."""
    if not options.claim:
        raise Refused("--to=kubernetes needs --claim=NAME, a PersistentVolumeClaim that holds the run folders")
    if options.gpus and options.tpus:
        raise Refused(f"--gpus={options.gpus} and --tpus={options.tpus}: a host has one kind; leave out one of the two")
    if options.source:
        _split_source(options.source)
    if not options.tpus:
        if options.topology:
            raise Refused(f"--topology={options.topology} is of TPUs; give --tpus, the chips of each host")
        return
    if not options.accelerator or not options.topology:
        raise Refused("--tpus needs --accelerator=tpu-v5-lite-podslice (or another kind) and --topology=2x4")
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)+", options.topology):
        raise Refused(f"--topology={options.topology} is no topology; write 2x4 or 2x2x2")
    chips = math.prod(map(int, options.topology.split("x")))
    if chips != options.tpus * options.hosts:
        raise Refused(
            f"--topology={options.topology} has {chips} chips, --hosts={options.hosts} with --tpus={options.tpus} have "
            f"{options.hosts * options.tpus}; make them equal"
        )


def show(pending: Sequence[Run], options: SimpleNamespace) -> str:
    """The files that would be written, one after the other."""
    return jobs.show(options, [(run.name, jobset(run, options)) for run in pending])


def start(pending: Sequence[Run], options: SimpleNamespace) -> str:
    """Writes the files; returns the command that submits them."""
    folder = jobs.write(options, [(run.name, jobset(run, options)) for run in pending])
    return f"start them: kubectl apply -f {shlex.quote(str(folder))}"


def jobset(run: Run, options: SimpleNamespace) -> dict:
    """The JobSet of one run. `options` have passed `check`."""
    name = grid.label(f"{options.folder.name}-{run.name}", 45)  # pods add -run-0-<index> and may have 63 characters
    several = options.hosts > 1
    rules = [{"action": "FailJob", "onExitCodes": {"containerName": "run", "operator": "In", "values": [2]}}]
    if not several:
        rules.append({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]})
    job = {
        "completionMode": "Indexed",
        "completions": options.hosts,
        "parallelism": options.hosts,
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": rules},
        "template": {"spec": _pod(run, options, name)},
    }
    exclusive = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": name, **({"annotations": exclusive} if options.tpus and several else {})},
        "spec": {
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "failurePolicy": {
                "maxRestarts": RESTARTS[several],
                # exit code 2 is wrong use, which a restart does not mend; every other failure is tried again
                "rules": [{"name": "refused", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}],
            },
            "replicatedJobs": [{"name": "run", "replicas": 1, "template": {"spec": job}}],
        },
    }


def _pod(run: Run, options: SimpleNamespace, name: str) -> dict:
    extras = "cuda" if options.gpus else "tpu" if options.tpus else ""
    lines = "set -e\n" + _fetch(options) + jobs.install_lines(extras) + jobs.run_lines(run, options.folder)
    index = {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']"}}
    coordinates = [
        {"name": "JAX_COORDINATOR_ADDRESS", "value": f"{name}-run-0-0.{name}:{PORT}"},
        {"name": "JAX_NUM_PROCESSES", "value": str(options.hosts)},
        {"name": "JAX_PROCESS_ID", "valueFrom": index},
    ]
    requests = {"cpu": options.cpus, "memory": f"{options.memory}G" if options.memory else None}
    limits = {"nvidia.com/gpu": options.gpus or None, "google.com/tpu": options.tpus or None}
    resources = {"requests": _drop_none(requests), "limits": _drop_none(limits)}
    kind = "gke-tpu-accelerator" if options.tpus else "gke-accelerator"
    nodes = {f"cloud.google.com/{kind}": options.accelerator, "cloud.google.com/gke-tpu-topology": options.topology}
    container = {
        "name": "run",
        "image": options.image,
        "command": ["bash", "-c", lines],
        "env": coordinates if options.hosts > 1 else None,
        "ports": [{"containerPort": PORT}] if options.hosts > 1 else None,
        "resources": {name: value for name, value in resources.items() if value} or None,
        "volumeMounts": [{"name": "store", "mountPath": jobs.STORE}],
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE,
        "nodeSelector": _drop_none(nodes) or None,
        "containers": [_drop_none(container)],
        "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": options.claim}}],
    }
    return _drop_none(pod)


def _fetch(options: SimpleNamespace) -> str:
    """Shell lines that end in a folder with this project: cloned at a commit, or a folder of the image."""
    source = options.source or _origin()
    if source.startswith("/"):
        return f"cd {shlex.quote(source)}\n"
    address, commit = map(shlex.quote, _split_source(source))
    return f"git clone --quiet {address} project\ncd project\ngit checkout --quiet {commit}\n"


def _split_source(source: str) -> tuple[str, str]:
    """(address, commit) of 'ADDRESS[@COMMIT]'; a path of the image has no commit. Raises Refused."""
    if source.startswith("/"):
        return source, ""
    address, at, commit = source.rpartition("@")
    if not at or "/" in commit:  # an @ before the host is part of the address
        address, commit = source, "HEAD"
    if "://" not in address:
        raise Refused(
            f"--source={source} cannot be cloned by a pod; "
            "give --source=https://HOST/PROJECT.git@COMMIT, or a folder of the image"
        )
    return address, commit


def _origin() -> str:
    """The git origin of this project at its present commit. Raises Refused where there is none that pods can clone."""
    address, commit = _git("remote", "get-url", "origin"), _git("rev-parse", "HEAD")
    if "://" not in address or not commit:
        raise Refused(
            "this project has no git origin that a pod can clone; "
            "give --source=https://HOST/PROJECT.git@COMMIT, or a folder of the image"
        )
    return f"{address}@{commit}"


def _git(*command: str) -> str:
    """What git prints; nothing where it fails or is not installed."""
    try:
        return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def _drop_none(settings: dict) -> dict:
    return {name: value for name, value in settings.items() if value is not None}

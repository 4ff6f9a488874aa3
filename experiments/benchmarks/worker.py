"""Jobs in another process, each with a time limit, so that a job that hangs or aborts costs nothing but itself.

`Worker` starts `python -m experiments.benchmarks.worker` and sends it one job after the other; starting JAX and its
device is paid once. A job is MODULE:FUNCTION with keyword settings, and returns a dictionary of figures. Lines of JSON
travel over the process's own pipes; whatever jobs print goes to a log, whose end explains a failure.
"""

import contextlib
import faulthandler
import gc
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TAIL = 4000  # characters of the log that a failure keeps
GRACE = 0.5  # s in which a hanging process writes down where it stands


class WorkerLost(RuntimeError):
    """The process ended by itself or had to be ended: one line that says why."""


class WorkerTimeout(WorkerLost):
    """It had to be ended, for it did not answer in time."""


class Worker:
    """A process for jobs. Ends with `close`, or when this process ends."""

    def __init__(self) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
        # The process takes device memory as it needs it: a successor may start before the driver has it all back.
        environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        environment["MUJOCO_GL"] = "disable"  # no job here draws by OpenGL, whose library may be missing
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as the worker)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "experiments.benchmarks.worker"], cwd=ROOT, env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
        )  # fmt: skip
        self.answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.start_of_log = 0

    def _listen(self) -> None:
        with contextlib.suppress(ValueError):  # a line cut short by the end of the process
            for line in self.process.stdout:
                self.answers.put(json.loads(line))
        self.answers.put(None)

    def greeting(self, seconds: float) -> dict[str, Any]:
        """What the process runs on, see `greeting`. Raises WorkerLost."""
        return self._answer(seconds, "did not start")

    def run(self, job: str, settings: dict[str, Any], seconds: float) -> dict[str, Any]:
        """{"figures": what the job returned} or {"error": one line, "usable": whether the process can go on}.

        Raises WorkerLost where the process ends, or has not answered after so many seconds and is ended.
        """
        self.start_of_log = os.fstat(self.log.fileno()).st_size
        try:
            self.process.stdin.write(f"{json.dumps({'job': job, 'settings': settings})}\n")
            self.process.stdin.flush()
        except (OSError, ValueError):  # the process has ended, which its answer says
            pass
        return self._answer(seconds, "did not answer")

    def _answer(self, seconds: float, failing: str) -> dict[str, Any]:
        try:
            answer = self.answers.get(timeout=max(0.0, seconds))
        except queue.Empty:
            self.process.send_signal(signal.SIGUSR1)  # faulthandler writes its stacks to the log
            time.sleep(GRACE)
            self.close()
            raise WorkerTimeout(f"the process {failing} within {seconds:.0f} s") from None
        if answer is None:
            code = self.process.wait()
            how = signal.Signals(-code).name if code < 0 else f"code {code}"
            lines = self.tail().splitlines()
            raise WorkerLost(f"the process ended with {how}: {lines[-1] if lines else 'it said nothing'}")
        return answer

    def tail(self) -> str:
        """The end of what was printed since the last job began."""
        self.log.seek(self.start_of_log)
        return self.log.read().decode(errors="replace").strip()[-TAIL:]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):  # a request that the process no longer read
            self.process.stdin.close()


def greeting() -> dict[str, Any]:
    """Provenance of figures measured in this process, and what it can run."""
    import jax

    from skillhier.train import run_folder

    device = jax.devices()[0]
    platform = f"{device.device_kind} {device.client.platform_version}".lower()
    return {
        "backend": jax.default_backend(),
        "nvidia": jax.default_backend() == "gpu" and ("nvidia" in platform or "cuda" in platform),
        "warp": find_spec("warp") is not None,
        "provenance": {**run_folder.provenance(), "driver": driver(), "warp": version("warp-lang")},
    }


def version(package: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def driver() -> str:
    """The version of NVIDIA's driver, or `unknown`."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else "unknown"


def main() -> None:
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what jobs and libraries print must not mix with answers
    requests: queue.Queue[dict[str, Any]] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            requests.put(json.loads(line))
        os._exit(0)  # whoever asked has ended

    def say(answer: dict[str, Any]) -> None:
        out.write(f"{json.dumps(answer)}\n")
        out.flush()

    threading.Thread(target=listen, daemon=True).start()
    say(greeting())
    while True:
        say(answer(**requests.get()))


def answer(job: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Runs a job: its figures with the device memory it took, or its error in one line."""
    import jax

    module, _, function = job.partition(":")
    gc.collect()  # arrays of an earlier job that only a cycle holds
    before = peak()
    try:
        figures = resolve(module, function)(**settings)
    except Exception as error:
        traceback.print_exc()
        first = next(iter(str(error).splitlines()), "")
        return {"error": f"{type(error).__name__}: {first}"[:300], "usable": usable()}
    finally:
        jax.clear_caches()  # programs of one job are of no use to the next
    after = peak()
    # The allocator's peak is of the whole process: it is this job's own only if the job raised it.
    memory = after if after is not None and after > (before or 0) else None
    return {"figures": {**figures, "device_memory": memory}}


def resolve(module: str, function: str) -> Callable[..., dict[str, Any]]:
    return getattr(importlib.import_module(module), function)


def peak() -> int | None:
    """The most device memory that was in use in this process so far, in bytes; None where JAX does not count it."""
    import jax

    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def usable() -> bool:
    """Whether the device still computes: after some errors of a GPU no call of the process succeeds any more."""
    import jax.numpy as jnp

    try:
        return float(jnp.arange(4.0).sum()) == 6.0
    except Exception:
        return False


if __name__ == "__main__":
    main()

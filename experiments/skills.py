"""The main job: demonstrations in, HeLMS skills out, with baselines and a report.

python -m experiments.skills --config=experiments/configs/skills.py:quickstart --workdir=runs/skills
python -m experiments.skills --config=experiments/configs/skills.py:quickstart --config.data=LOGS     # other data
python -m experiments.skills --config=experiments/configs/skills.py:debug                             # a minute or two

Runs these commands one after the other: collect, helms_offline three times (five skills; one skill; NPMP),
helms_skills, watch. The run folder is that of the five skills; the baselines are in its rivals/. A finished stage is
not run again, so the same command on the same --workdir continues.

Other data may have any entries (experiments/data.py says which settings they need). The last two commands act in the
world that the data are from: that of stacking data, the one that a recording names, or --config.world.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ml_collections import ConfigDict

from experiments.shared import cli, data_contents, run_report, world_settings
from skillhier import files
from skillhier.data import contents, dataset
from skillhier.envs import registry

ROOT = Path(__file__).parent.parent


def main(run: cli.Run) -> None:
    config = run.config
    folder = run.workdir or Path("runs") / f"skills-{time.strftime('%Y%m%d-%H%M%S')}"
    job = Job(folder)
    data = config.data or config.collected
    if not config.data:
        arguments = [f"--config.episodes={config.episodes}", f"--workdir={data}"]
        job.stage(
            "collect",
            "collect",
            f"{cli.CONFIGS}/collect.py:red_on_blue",
            *arguments,
            leaves=Path(data) / "data" / "main_data.hdf5",
        )
    settings, shown = chosen_for(contents.examine(config.data), config) if config.data else ((), True)
    rivals = {name: folder / "rivals" / name for name in ("k1", "npmp")}
    for name, path, agent, *count in (
        ("helms", folder, "helms", "--config.agent.skills=5"),
        ("k1", rivals["k1"], "helms", "--config.agent.skills=1"),
        ("npmp", rivals["npmp"], "npmp_ar1"),
    ):
        file = f"{cli.CONFIGS}/helms_offline.py:{config.preset},task=red_on_blue,agent={agent}"
        arguments = [f"--config.data.path={data}", f"--config.seed={config.seed}", f"--workdir={path}"]
        job.stage(f"train/{name}", "helms_offline", file, *count, *settings, *arguments, leaves=path / "summary.json")
    act = [f"--run={folder}", *([f"--env={config.world}"] if config.world else [])]
    act += [f"--env_from={','.join(run.env_from)}"] if run.env_from else []
    if shown:
        arguments = [*act, f"--episodes={config.rollouts}"]
        job.stage("report/rollouts", "helms_skills", "", *arguments, leaves=folder / "fixed_skills.json")
        size = ["--width=240", "--height=180", "--samples=1"]  # smoother edges would take longer than all else here
        arguments = [*act, "--skill=each", *size, f"--film={str(config.film).lower()}"]
        job.stage("report/watch", "watch", "", *arguments, leaves=folder / "watch" / "episode.json")

    start = time.monotonic()
    own, k1, npmp = (_json(path / "summary.json") for path in (folder, *rivals.values()))
    stacked = folder / "skills.json"
    measures = _json(stacked) if shown and stacked.is_file() else {}  # of worlds where objects are stacked
    summary = {
        "episodes": own["episodes"],
        "expert_success": own.get("expert_success"),
        "expert_return": own.get("expert_return"),
        "train_steps": own["train_steps"],
        "elbo_first": own["elbo_first"],
        "elbo_last": own["elbo_last"],
        "heldout_action_mse": own["heldout_action_mse"],
        "heldout_action_mse_k1": k1["heldout_action_mse"],
        "heldout_action_mse_npmp": npmp["heldout_action_mse"],
        "heldout_explained_variance": own["heldout_explained_variance"],
        "skill_usage": own["skill_usage"],
        "transition_diagonal": own["transition_diagonal"],
        "skill_entropy": own["skill_entropy"],
        "fixed_skill_spread": measures.get("spread"),
        "fixed_skill_noise": measures.get("noise"),
        "seconds": job.seconds(),
    }
    unknown = ("expert_success", "expert_return", "fixed_skill_spread", "fixed_skill_noise") if config.data else ()
    summary = {name: value for name, value in summary.items() if value is not None or name not in unknown}
    files.write_json(folder / "summary.json", summary)  # the report shows it
    page = run_report.write(folder)
    summary["seconds"]["report"] += time.monotonic() - start
    files.write_json(folder / "summary.json", summary)
    width = max(map(len, summary))
    for name, value in summary.items():
        print(f"{name:{width}} {_shown(value)}")
    print(f"report: {page}")


def chosen_for(content: contents.Contents, config: ConfigDict) -> tuple[tuple[str, ...], bool]:
    """(the settings that data need, whether a world is known in which their skills can act). Raises Refused."""
    suggestion = data_contents.suggest(content)
    for remark in suggestion.remarks:
        print(remark, file=sys.stderr)
    if config.world:
        world_settings.check_name("config.world:", config.world)
        return suggestion.settings, True
    world, why = dataset.world(content.about), f"{config.data} does not say which world it is of"
    try:
        shown = bool(registry.check(world)) if world else suggestion.stacking
    except ValueError as error:
        shown, why = False, str(error)
    if not shown:
        print(f"skills are learned, and not rolled out or filmed: {why}; set config.world", file=sys.stderr)
    return suggestion.settings, shown


class Job:
    """Stages of a job, each a command; job.json records their commands, durations and ends."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "job.json"
        self.done = _json(self.file) if self.file.is_file() else {}
        self.stopped: list[int] = []

    def stage(self, name: str, entry: str, config: str, *arguments: str, leaves: Path) -> None:
        """Runs `python -m experiments.<entry>` unless the same command has already finished and `leaves` exists."""
        command = ["-m", f"experiments.{entry}", *([f"--config={config}"] if config else []), *arguments]
        before = self.done.get(name, {"command": command, "seconds": 0.0, "finished": False})
        if before["finished"] and before["command"] == command and leaves.exists():
            return
        print(f"{name}: {entry}, in {leaves.parent}", file=sys.stderr, flush=True)
        start = time.monotonic()
        code = self._spawn([sys.executable, *command])
        spent = before["seconds"] * (before["command"] == command and not before["finished"]) + time.monotonic() - start
        finished = code == 0 and not self.stopped
        self.done[name] = {"command": command, "seconds": spent, "finished": finished}
        files.write_json(self.file, self.done)
        if self.stopped:
            number = signal.Signals(self.stopped[0])
            raise cli.RunStopped(number, f"stopped in stage {name}; the same command continues")
        if not finished:
            raise cli.Refused(f"stage {name} ended with code {code}; its message is above")

    def _spawn(self, command: list[str]) -> int:
        """Runs a command and returns its exit code; signals are passed on to it."""
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        child = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.DEVNULL,  # its results are printed at the end of the job; progress goes to stderr
            start_new_session=True,  # otherwise Ctrl-C would reach it twice
        )

        def pass_on(number: int, _frame: object) -> None:
            self.stopped.append(number)
            child.send_signal(number)

        patience = 60.0  # s that a stage has to save and end after a signal
        former = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        try:
            while child.poll() is None:
                try:
                    child.wait(1.0)
                except subprocess.TimeoutExpired:
                    patience -= bool(self.stopped)
                    if patience < 0:
                        child.kill()
            return child.returncode
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def seconds(self) -> dict[str, float]:
        """Seconds of the stages, by the first part of their names."""
        total = {"collect": 0.0, "train": 0.0, "report": 0.0}
        for name, stage in self.done.items():
            total[name.split("/")[0]] += stage["seconds"]
        return total


def _json(path: Path) -> dict:
    """The content of a file that a stage has left, or this job. Raises Refused."""
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        raise cli.Refused(f"{path} is missing or damaged; delete {path.parent} to make it anew") from None


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{name} {_shown(one)}" for name, one in value.items())
    if isinstance(value, list):
        return "  ".join(map(_shown, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    cli.run(main)

"""An expert, or the agent of a run, at work in simulated worlds, recorded as a data set.

python -m experiments.collect --config=experiments/configs/collect.py:red_on_blue
python -m experiments.collect --config=experiments/configs/collect.py:all_pairs --workdir=datasets/all_pairs
python -m experiments.collect --config=experiments/configs/collect.py:red_on_blue --run=runs/stack
python -m experiments.collect --config=experiments/configs/collect.py:world,task=gymnasium:MountainCarContinuous-v0
python -m experiments.collect --config=experiments/configs/collect.py:debug                      # seconds

--run names a run of any entry point: its agent acts, greedily unless --config.noise or a disturbance says otherwise, in
the worlds of config.tasks, in place of config.policy.

Writes a Minari folder (data/main_data.hdf5, data/metadata.json) and summary.json. A recording that was stopped or
killed goes on with the same command; a larger --config.episodes adds to it. The data set opens with

    MINARI_DATASETS_PATH=datasets python -c "import minari; print(minari.load_dataset('red_on_blue'))"
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.shared import cli, saved, scripted, warm_start, world_settings
from experiments.stacking.worlds import PAIRS
from skillhier import files
from skillhier.data import minari, recorder
from skillhier.envs import registry
from skillhier.train import metrics, run_folder
from skillhier.types import Env, Params, Policy


def main(run: cli.Run) -> None:
    config = run.config
    source = Path(config.run) if config.run else None
    settings = run_folder.settings(source) if source else None
    stack = 1 if settings is None else warm_start.frames_seen(source, settings)
    envs = check_alike({task: world(task, config, stack) for task in config.tasks})
    if source:  # refuses an agent that does not fit before anything is written
        saved.agent(source, settings, envs[config.tasks[0]])
    path, _ = cli.open_run(run, run.workdir or Path(config.folder))
    began = time.perf_counter()
    about = {
        "world": config.tasks[0],
        "worlds": list(config.tasks),
        "algorithm_name": actor_name(config, settings),
        "description": f"{actor_name(config, settings)} in {', '.join(config.tasks)}; options: {dict(config.env)}",
    }
    new, dropped, recording = 0, 0, None
    with listening() as heard:
        try:
            for task in config.tasks:
                env = envs[task]
                policy, params = actor(task, config, env, source, settings)
                recording = recording or minari.Recorder(path, env.spec, about)
                before = len(recording.attributes)
                progress = record(env, policy, params, task, config, recording, heard)
                new, dropped = new + len(recording.attributes) - before, dropped + progress.broken
                if heard:
                    break
        finally:
            if recording:
                recording.finish()
    seconds = time.perf_counter() - began
    summary = {**figures(recording.attributes), "new": new, "dropped": dropped, "seconds": seconds, "folder": str(path)}
    if not heard:
        files.write_json(path / "summary.json", summary)
    for task, counted in summary["tasks"].items():
        print(f"{task:36} {counted['episodes']:5d} episodes  {worth(counted)}")
    line = (
        f"{summary['episodes']} episodes, {worth(summary)}, {new} new in {seconds:.0f} s "
        f"({new / seconds:.2f} episodes/s), {dropped} dropped, in {path}"
    )
    if heard:
        raise cli.RunStopped(signal.Signals(heard[0]), f"stopped: {line}; the same command continues")
    print(line)


def world(task: str, config, stack: int = 1) -> Env:
    """The worlds of one task; no more of them than episodes are wanted. Raises Refused."""
    settings = dict(config.env)
    settings["worlds"] = min(settings["worlds"], wanted(task, config))
    if not task.startswith("sawyer."):
        del settings["timestep"], settings["randomise"]  # these worlds have no such settings; the config refuses them
    try:
        return registry.make(task, stack=stack, **world_settings.suited(task, settings))
    except ValueError as error:
        raise cli.Refused(str(error)) from None


def check_alike(envs: dict[str, Env]) -> dict[str, Env]:
    """`envs` by task. Refuses worlds that show or take other things than the first: a data set has one space."""
    first = next(iter(envs))
    for task, env in envs.items():
        for what, here, there in (("show", shown(env), shown(envs[first])), ("take", taken(env), taken(envs[first]))):
            other = sorted(name for name in {*here, *there} if here.get(name) != there.get(name))
            if other:
                differ = f"{other[0]} {here.get(other[0], 'absent')}, not {there.get(other[0], 'absent')}"
                raise cli.Refused(
                    f"config.tasks: worlds of {task} {what} {differ} as {first}; record them in a data set of their own"
                )
    return envs


def shown(env: Env) -> dict[str, str]:
    """Entry -> its shape and type, but for how many worlds there are."""
    return {name: f"{list(entry.shape[1:])} {entry.dtype}" for name, entry in env.spec.obs.items()}


def taken(env: Env) -> dict[str, str]:
    """The shape and the range of actions."""
    action = env.spec.action
    if not hasattr(action, "low"):  # parts
        return {"actions": str(action)}
    return {"actions": f"{list(action.shape)} in [{action.low:g}, {action.high:g}]"}


def wanted(task: str, config) -> int:
    """Episodes of all tasks that a world of this name counts as."""
    return config.episodes * (len(PAIRS) if ".stack_all." in task else 1)


def record(
    env: Env, policy: Policy, params: Params, task: str, config, recording: minari.Recorder, heard: list[int]
) -> recorder.Count:
    """Episodes of one world, with a progress bar."""
    there = sum(attributes.get("task") == task for attributes in recording.attributes)
    episodes = wanted(task, config)
    if there >= episodes:
        print(f"{task}: {there} episodes are there already")
    bar = metrics.progress(episodes, done=there, terms=("success", "dropped"), label=task, unit="episodes")

    def tell(count: recorder.Count) -> None:
        shown = {"dropped": count.broken}
        if count.episodes and env.spec.success is not None:
            shown["success"] = count.successes / count.episodes
        seen = int(count.episodes + count.under_way)
        bar.write(min(seen, episodes - (count.episodes < episodes)), shown)  # full when the last one is written

    try:
        return recorder.record(
            env,
            policy,
            params,
            recording,
            task=task,
            episodes=episodes,
            seed=config.seed,
            noise=config.noise,
            disturbance=disturbance(config, env, task),
            gust=config.gust,
            calm=config.calm,
            rows=config.rows,
            tell=tell,
            stopped=lambda: bool(heard),
        )
    finally:
        bar.close()


def disturbance(config, env: Env, task: str) -> tuple[float, ...]:
    """Of every part of an action; a Sawyer's gripper is the last."""
    arm, gripper = config.disturbance
    return (arm,) * (env.spec.action.shape[-1] - 1) + (gripper if task.startswith("sawyer.") else arm,)


def actor(task: str, config, env: Env, source: Path | None, settings: dict | None) -> tuple[Policy, Params]:
    """Who acts, and with which parameters. Raises Refused, CheckpointError."""
    if source is None:
        return scripted.make(config.policy, task, env), ()
    agent = saved.agent(source, settings, env)
    return agent.act(), agent.params


def actor_name(config, settings: dict | None) -> str:
    """What a data set calls who acts."""
    return settings["agent"]["name"] if settings else config.policy


def figures(attributes: list[dict]) -> dict:
    """Of all episodes and of every task: how many, their mean return, and the share that succeeded where worlds tell.

    The pairs of a stack_all world are told apart.
    """
    by_task = {}
    for episode in attributes:
        task = str(episode["task"])
        if ".stack_all." in task:
            top, bottom = (registry.COLOURS[i] for i in PAIRS[int(episode["world"]) % len(PAIRS)])
            task = task.replace("all", f"{top}_on_{bottom}")
        by_task.setdefault(task, []).append(episode)
    return counts(attributes) | {"tasks": {task: counts(episodes) for task, episodes in sorted(by_task.items())}}


def counts(episodes: list[dict]) -> dict:
    """How many episodes, and what came of them in the mean."""
    means = {"return": "total_reward", "success": "success"}
    values = {name: [float(e[entry]) for e in episodes if entry in e] for name, entry in means.items()}
    return {"episodes": len(episodes)} | {name: sum(v) / len(v) for name, v in values.items() if v}


def worth(counted: dict) -> str:
    """What came of episodes, in words: success where it is known, else the return."""
    if "success" in counted:
        return f"success {100 * counted['success']:.1f} %"
    return f"return {counted['return']:.4g}" if "return" in counted else "none yet"


@contextmanager
def listening() -> Iterator[list[int]]:
    """The stop signals heard so far. The rows under way are finished first; a second Ctrl-C interrupts at once."""
    heard = []

    def note(number: int, _frame: object) -> None:
        if heard and number == signal.SIGINT:
            raise KeyboardInterrupt
        heard.append(number)

    former = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield heard
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    cli.run(main)

"""Data of another maker, recorded in his own world by his own library, from the file to skills that act there.

OGBench's point maze: what its files hold, skills learned from one, and what they earn beside who made it. The notebook
does the same with Minari and gymnasium's mountain car (test_docs.py).
"""

import json
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from skillhier.data import contents, dataset

pytest.importorskip("dm_control")  # which OGBench needs, and which has no wheel for the newest Python
import ogbench
from ogbench.utils import load_dataset

ROOT = Path(__file__).parents[1]
WORLD = "pointmaze-medium-singletask-v0"
EPISODES, LIMIT = 40, 400


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> tuple[Path, list[float]]:
    """A file as OGBench's own scripts write it, and the returns of its episodes: on the way to the goal, with noise."""
    assert ogbench.__name__ in sys.modules  # which has registered the world
    env, dice = gymnasium.make(WORLD), np.random.default_rng(0)
    maze = env.unwrapped
    rows: dict[str, list] = {"observations": [], "actions": [], "terminals": []}
    returns = []
    for seed in range(EPISODES):
        obs, _ = env.reset(seed=seed)
        total, over = 0.0, False
        for _ in range(LIMIT):
            ahead = maze.get_oracle_subgoal(maze.get_xy(), maze.cur_goal_xy)[0] - maze.get_xy()
            action = np.clip(ahead / (np.linalg.norm(ahead) + 1e-6) + 0.3 * dice.normal(size=2), -1, 1)
            for name, value in (("observations", obs), ("actions", action), ("terminals", False)):
                rows[name].append(value)
            if over:
                break
            obs, reward, over, _, _ = env.step(action)
            total += float(reward)
        rows["terminals"][-1] = True  # of a compact file: the last row has an action that leads nowhere
        returns.append(total)
    path = tmp_path_factory.mktemp("ogbench") / "pointmaze-medium-v0.npz"
    kinds = {"observations": np.float32, "actions": np.float32, "terminals": bool}
    np.savez_compressed(path, **{name: np.array(rows[name], kinds[name]) for name in rows})
    return path, returns


def test_a_file_reads_as_ogbench_reads_it(recorded):
    path, _ = recorded
    theirs = load_dataset(str(path))
    ours = dataset.load(path, {"observation": None})
    assert len(ours.length) == EPISODES and ours.length.sum() == len(theirs["actions"])
    first = np.concatenate([np.arange(a, a + n) for a, n in zip(ours.start, ours.length, strict=True)])
    np.testing.assert_array_equal(ours.obs["observation"][first], theirs["observations"])
    np.testing.assert_array_equal(ours.obs["observation"][first + 1], theirs["next_observations"])
    np.testing.assert_array_equal(ours.action[first], theirs["actions"])
    assert "OGBench" in contents.examine(path).layout


@pytest.mark.slow
def test_skills_learned_from_it_find_the_goal(recorded, tmp_path):
    path, returns = recorded

    def command(entry: str, *arguments: str) -> str:
        result = subprocess.run(
            [sys.executable, "-m", f"experiments.{entry}", *arguments], cwd=ROOT, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    run = tmp_path / "skills"
    printed = command("data", f"--path={path}")
    assert "--config.agent.low=observation" in printed and f"{EPISODES} episodes" in printed
    command(
        "helms_offline", "--config=experiments/configs/helms_offline.py:quickstart", f"--config.data.path={path}",
        "--config.agent.low=observation", "--config.agent.mid=observation", "--config.agent.skills=3",
        "--config.train.updates=800", f"--workdir={run}",
    )  # fmt: skip
    command("helms_skills", f"--run={run}", f"--env=gymnasium:{WORLD}", "--env_from=ogbench", "--episodes=4")
    rows = json.loads((run / "fixed_skills.json").read_text())["skills"]
    earned = {row["skill"]: row["return"] for row in rows}
    print(f"demonstrator {np.mean(returns):.1f}, skills {earned}")
    assert np.mean(returns) > -300
    assert max(earned.values()) > -400  # 1000 steps without the goal are -1000

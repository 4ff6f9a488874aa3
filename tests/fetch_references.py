"""What gymnasium-robotics 1.4.2 does in Fetch's worlds, which tests/test_fetch.py holds ours to. Needs that package.

python tests/fetch_references.py        # writes tests/golden/fetch_*.npz

The package is MIT-licensed, wants PettingZoo and more, and is no dependency here; install it beside the project's
MuJoCo, whose solver decides where the hand settles. It compares numbers of the model with MuJoCo's enums, which were
equal to integers before MuJoCo 3.4 or so: `original` gives it integers. Without that it neither finds its free joint
nor moves its mocap body.

A file holds, in float32, EPISODES episodes of STEPS steps: a scripted hand with more or less noise.
qpos, qvel, action, goal   what was there before each step, [E, T, ...], goals [E, 3]
observation, reward        what the original shows and pays one step after having been placed in exactly that state
opening, block             the first observation of an episode, [E, 25], and where the block was put, [E, 2]
path                       grip and block, [E, T, 6], of the episode as it went, never rounded
mass                       of the robot; damping, armature, inverse_weight of each degree of freedom; in float64
draws                      block x and y, goal x, y and z of RESETS episodes that the original drew itself, [R, 5]
"""

import importlib
import types
from pathlib import Path

import mujoco
import numpy as np

FOLDER = Path(__file__).parent / "golden"
IDS = {"push": "FetchPush-v4", "pick_and_place": "FetchPickAndPlace-v4"}
EPISODES, STEPS, RESETS = 10, 50, 600
NOISE = (0.1, 0.1, 0.3, 0.3, 0.5, 0.5, 1.0, 1.0, 3.0, 3.0)  # of each episode's actions


def original(name: str):
    """The environment, without wrappers."""
    gymnasium = importlib.import_module("gymnasium")
    robotics = importlib.import_module("gymnasium_robotics")
    tools = importlib.import_module("gymnasium_robotics.utils.mujoco_utils")
    enums = {
        enum: types.SimpleNamespace(**{k: int(v) for k, v in getattr(mujoco, enum).__members__.items()})
        for enum in ("mjtJoint", "mjtEq")
    }
    tools.mujoco = types.SimpleNamespace(**{**vars(mujoco), **enums})
    gymnasium.register_envs(robotics)
    return gymnasium.make(IDS[name]).unwrapped


def hand(name: str, shown: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """The action [4] of a scripted hand that sees an observation [25]."""
    grip, block, fingers = shown[:3], shown[3:6], shown[9:11]
    if name == "pick_and_place":
        away = block - grip
        if np.linalg.norm(away) < 0.02:
            return np.array([*(10 * (goal - block if fingers.sum() < 0.052 else away)), -1.0])
        return np.array([*(10 * away[:2]), 10 * (away[2] if np.linalg.norm(away[:2]) < 0.015 else 0.55 - grip[2]), 1.0])
    way = (goal - block)[:2]
    ahead = way / (np.linalg.norm(way) + 1e-9)
    seen = (grip - block)[:2]
    if np.linalg.norm(way) < 0.03:
        return np.zeros(4)
    if seen @ ahead < -0.03 and abs(seen[0] * ahead[1] - seen[1] * ahead[0]) < 0.02:  # behind the block
        return np.array([*(10 * (way - seen - 0.04 * ahead)), 10 * (0.42 - grip[2]), 0.0])
    behind = -0.07 * ahead - seen
    there = np.linalg.norm(behind) < 0.015
    return np.array([*(10 * behind * (there or grip[2] > 0.47)), 10 * ((0.42 if there else 0.5) - grip[2]), 0.0])


def place(env, qpos: np.ndarray, qvel: np.ndarray, opening: bool) -> None:
    """Puts the original in a state; where positions were left at the last physics step's beginning, they are again."""
    data, before = env.data, qpos.copy()
    if not (opening or env.block_gripper):
        mujoco.mj_integratePos(env.model, before, qvel, -env.model.opt.timestep)
    data.qpos[:], data.qvel[:], data.ctrl[:] = before, qvel, 0
    mujoco.mj_forward(env.model, data)
    data.qpos[:], data.qacc_warmstart[:] = qpos, 0


def recorded(name: str) -> dict[str, np.ndarray]:
    """What a file holds."""
    env, noise = original(name), np.random.default_rng(0)
    env.reset(seed=0)
    draws = [
        np.array([*shown["achieved_goal"][:2], *shown["desired_goal"]])
        for shown in (env.reset()[0] for _ in range(RESETS))
    ]
    rows: dict[str, list] = {k: [] for k in ("qpos", "qvel", "action", "goal", "opening", "block", "path")}
    for scale in NOISE:
        shown, _ = env.reset()
        env.goal = np.float64(np.float32(env.goal))
        block = env.data.joint("object0:joint").qpos[:2]
        block[:] = np.float32(block)
        mujoco.mj_forward(env.model, env.data)
        rows["opening"].append(env._get_obs()["observation"])
        rows["block"].append(block.copy())
        rows["goal"].append(env.goal)
        for _ in range(STEPS):
            action = hand(name, env._get_obs()["observation"], env.goal) + scale * noise.normal(size=4)
            action = np.float32(np.clip(action, -1, 1))
            for key, value in (("qpos", env.data.qpos), ("qvel", env.data.qvel), ("action", action)):
                rows[key].append(value.copy())
            rows["path"].append(env.step(np.float64(action))[0]["observation"][:6])
    held = {k: np.float32(v) for k, v in rows.items()}
    held |= {k: held[k].reshape(EPISODES, STEPS, -1) for k in ("qpos", "qvel", "action", "path")}
    shown, paid = np.zeros((EPISODES, STEPS, 25)), np.zeros((EPISODES, STEPS))
    for e, t in np.ndindex(EPISODES, STEPS):
        env.goal = np.float64(held["goal"][e])
        place(env, *(np.float64(held[k][e, t]) for k in ("qpos", "qvel")), opening=t == 0)
        after, paid[e, t], *_ = env.step(np.float64(held["action"][e, t]))
        shown[e, t] = after["observation"]
    held |= {
        "mass": env.model.body("robot0:base_link").subtreemass,
        "damping": env.model.dof_damping,
        "armature": env.model.dof_armature,
        "inverse_weight": env.model.dof_invweight0,
    }
    return held | {"draws": np.float32(draws), "observation": np.float32(shown), "reward": np.float32(paid)}


if __name__ == "__main__":
    for name in IDS:
        np.savez_compressed(FOLDER / f"fetch_{name}.npz", **recorded(name))
        print(name, (FOLDER / f"fetch_{name}.npz").stat().st_size)

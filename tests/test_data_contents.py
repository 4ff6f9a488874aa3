"""What is said of a data set, the command that is printed for it, and that this command is accepted with that data."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import call
from ml_collections import ConfigDict

from experiments import data, helms_offline
from experiments.shared import cli, data_settings
from skillhier.data import contents, dataset, toy
from skillhier.data.faults import DataFault

ROOT = Path(__file__).parent.parent


def robomimic(path, lengths=(40, 30, 50), scale=0.008, **entries):
    """Small actions of which one never moves, a pose with flipping quaternion, a camera, a text, a constant entry."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for i, steps in enumerate(lengths):
            demo = file.create_group(f"data/demo_{i}")
            angle = np.cumsum(rng.normal(0, 0.05, steps))
            pose = np.stack([np.cos(angle), 0 * angle, 0 * angle, np.sin(angle)], -1)
            pose[steps // 2 :] *= -1
            obs = {
                "robot0_joint_pos": rng.normal(0, 1, (steps, 7)),
                "object": np.concatenate([rng.normal(0, 1, (steps, 3)), pose], -1),
                "table_height": np.full((steps, 1), 0.8),
                "tremor": 0.8 + 0.002 * rng.normal(0, 1, (steps, 1)),
                "agentview_image": np.zeros((steps, 4, 4, 3), np.uint8),
            } | {name: np.broadcast_to(value, (steps, 1)) for name, value in entries.items()}
            for name, value in obs.items():
                demo[f"obs/{name}"] = value
            demo["actions"] = np.concatenate([scale * rng.normal(0, 1, (steps, 3)), np.full((steps, 1), 0.5)], -1)
            demo["rewards"] = np.arange(steps) == steps - 1
        file["mask/train"] = np.array([b"demo_0", b"demo_1"])
    return path


def printed(text: str) -> list[str]:
    """The arguments of the command in what was printed."""
    return shlex.split(text[text.index("python -m experiments.helms_offline") :].replace("\\\n", " "))[3:]


def config_of(arguments: list[str]) -> ConfigDict:
    """The config that the command asks for; it raises Refused where the command would."""
    (address,) = [one.removeprefix("--config=") for one in arguments if one.startswith("--config=")]
    changes = [one.removeprefix("--config.").split("=", 1) for one in arguments if one.startswith("--config.")]
    return cli.load_config(address, changes)[0]


def test_a_robomimic_file_is_described_and_its_command_fits(tmp_path, capsys):
    path = robomimic(tmp_path / "low_dim.hdf5")
    code, out, err = call(capsys, data, f"--path={path}")
    assert code == 0 and not err
    for said in (
        f"{path}: robomimic (HDF5)",
        "3 episodes of 29 to 49 steps, 39 in the median, 117 in all",
        "ends: 0 by the task, 3 by the clock",
        "note: no observation follows on the last action of 3 episodes, and so their last rewards are left out: 3 in",
        "agentview_image                 [4, 4, 3]       uint8, read where it is named (pictures: not by skills)",
        "a quaternion from column 3 on, 3 sign flips",
        "actions are learned normalised (config.data.actions=auto), and acting undoes it",
        "\nobject:3: quaternions whose sign flips",
        "\ntremor: nearly constant, deviation at most 0.002",
        "\nobject: by their names not of the body, and so not seen by the low level",
    ):
        assert said in out, said
    table = {line.split()[0]: line for line in out.splitlines() if line.startswith("  ")}
    assert table["table_height"].endswith("constant") and table["tremor"].endswith("nearly constant")
    assert table["3"].endswith("constant") and "0.5 to 0.5" in table["3"] and "0.00" in table["0"]
    config = config_of(printed(out))
    assert config.agent.low == ("robot0_joint_pos", "tremor")
    assert config.agent.mid == ("object", "robot0_joint_pos", "tremor")
    assert config.data.quaternions == ("object:3",) and config.data.least_deviation == 0.002
    loaded, summary = helms_offline.demonstrations(config)
    assert sorted(loaded.obs) == sorted(config.agent.mid) and summary == {"episodes": 3}  # success is not known


def test_short_episodes_and_masks(tmp_path, capsys):
    path = robomimic(tmp_path / "a.hdf5", lengths=(40, 30, 50, 40, 40, 20))
    _, out, _ = call(capsys, data, f"--path={path}")
    config = config_of(printed(out))
    assert config.data.drop_short and "1 of 6 episodes are shorter than a window of 25 steps" in out
    assert len(helms_offline.demonstrations(config)[0].length) == 5
    path = robomimic(tmp_path / "b.hdf5", lengths=(12, 14, 50))
    _, out, _ = call(capsys, data, f"--path={path}", "--subset=train")
    config = config_of(printed(out))
    assert config.data.subset == "train" and config.train.sequence_length == 11 and not config.data.drop_short
    assert helms_offline.demonstrations(config)[0].length.tolist() == [11, 13]


def test_faults_are_listed_and_the_rest_described(tmp_path, capsys):
    path = robomimic(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        file["data/demo_1/obs/object"][3, 2] = np.nan
    code, out, err = call(capsys, data, f"--path={path}")
    assert code == 0 and "2 episodes of 39 to 49 steps" in out and "1 faults, see below" in out
    assert f"fault: {path}: demo_1: obs/object: found NaN at row 3, column 2 (1 such values)" in out
    assert "a run refuses data with faults" in err


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ([], 2, "--path is missing; give the file or the folder of a data set"),
        (["--path=nowhere"], 1, "nowhere: found nothing at this path, needs an .h5, .hdf5 or .npz file"),
        (["--path={}", "--subset=test"], 1, "mask: test: found nothing, needs an array"),
    ],
)
def test_what_cannot_be_described_is_one_line(tmp_path, capsys, change, code, said):
    path = robomimic(tmp_path / "a.hdf5")
    ended, out, err = call(capsys, data, *(one.format(path) for one in change))
    assert ended == code and not out and said in err and len(err.splitlines()) == 1


def test_stacking_data_need_no_settings(tmp_path):
    from experiments.shared import data_contents

    demonstrations = toy.demonstrations(data_contents.stacking.WIDTHS, episodes=3, steps=30)
    content = contents.Contents("made up", {}, {}, demonstrations, ())
    suggestion = data_contents.suggest(content)
    assert suggestion.stacking and suggestion.settings == ()
    few = content._replace(data=dataset.select(demonstrations, np.array([0])))
    with pytest.raises(cli.Refused, match="found 1 episode, needs at least 2"):
        data_contents.suggest(few)
    still = content._replace(data=demonstrations._replace(obs={"a": np.ones((93, 2), np.float32)}))
    with pytest.raises(cli.Refused, match="no vector that varies, and skills are learned from vectors"):
        data_contents.suggest(still)
    hidden = content._replace(
        about={"privileged": ["b"]}, data=demonstrations._replace(obs={"b": demonstrations.obs["gripper.grasp"]})
    )
    with pytest.raises(cli.Refused, match="no vector that varies"):
        data_contents.suggest(hidden)


def test_an_entry_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    path = robomimic(tmp_path / "a.hdf5")
    config, _ = cli.load_config(
        f"{cli.CONFIGS}/helms_offline.py:debug",
        [("data.path", str(path)), ("agent.low", "joints"), ("agent.mid", "joints")],
    )
    with pytest.raises(DataFault) as caught:
        helms_offline.demonstrations(config)
    said = str(caught.value)
    assert "obs/joints: found nothing, needs one of agentview_image, object, robot0_joint_pos, table_height" in said
    assert said.endswith(f"; python -m experiments.data --path={path} says what there is") and "\n" not in said


def test_actions_come_in_the_units_of_the_world_that_a_minari_folder_declares(tmp_path):
    """A world of actions from -2 to 2 takes -1 to 1 here, as adapters have it; and so do its demonstrations."""
    demonstrations = toy.demonstrations({"arm": 3}, action=2, episodes=2, steps=5)
    low, high = np.array([-2.0, 0.0]), np.array([2.0, 1.0])
    moved = dataset.in_bounds(demonstrations._replace(action=np.tile(np.float32([1.0, 0.25]), (12, 1))), low, high)
    np.testing.assert_allclose(moved.action[:5], [[0.5, -0.5]] * 5)
    assert not moved.action[5].any()  # a row without an action
    with pytest.raises(DataFault, match="found 2 action dimensions, needs 3, as in the action_space"):
        dataset.in_bounds(demonstrations, np.zeros(3), np.ones(3))
    folder = tmp_path / "data"
    folder.mkdir()
    with h5py.File(folder / "main_data.hdf5", "w") as file:
        group = file.create_group("episode_0")
        group["observations/arm"], group["actions"] = np.ones((6, 3)), np.full((5, 2), 0.5)
        group["rewards"], group["terminations"], group["truncations"] = np.ones(5), np.zeros(5), np.zeros(5)
    settings = ConfigDict({"path": str(tmp_path)})
    data_settings.add_settings(settings)
    for low, learned in ((-2.0, 0.25), (-1.0, 0.5), (-np.inf, 0.5)):  # a range without ends is none
        space = {"type": "Box", "low": [low] * 2, "high": [-low] * 2}
        (folder / "metadata.json").write_text(json.dumps({"action_space": json.dumps(space)}))
        loaded = data_settings.load(settings, {"arm": None}, min_length=1)
        np.testing.assert_allclose(loaded.action[:5], learned)


@pytest.mark.slow
def test_from_arrays_of_others_to_skills(tmp_path):
    """The printed command, with the sizes of `debug`, on small actions in OGBench's layout."""
    demonstrations = toy.demonstrations({"observations": 6}, action=3, episodes=12, steps=60)
    rows = {"observations": demonstrations.obs["observations"], "actions": 0.008 * demonstrations.action}
    np.savez(tmp_path / "play.npz", **rows, terminals=np.arange(len(demonstrations.reward)) % 61 == 60)

    def run(*command: str) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=600)

    result = run("experiments.data", f"--path={tmp_path}/play.npz")
    assert "12 episodes of 60 to 60 steps" in result.stdout and result.returncode == 0, result.stderr
    arguments = [one.replace(":quickstart", ":debug") for one in printed(result.stdout)]
    result = run("experiments.helms_offline", *arguments, f"--workdir={tmp_path}/run")
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["heldout_explained_variance"] > 0.5 and "expert_success" not in summary

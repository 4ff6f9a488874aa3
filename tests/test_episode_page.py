"""The page of an episode: it holds exactly the poses, fetches nothing, and its shapes are closed and face outward."""

import base64
import hashlib
import json
import re
import shutil
import subprocess

import mujoco
import numpy as np
import pytest

from skillhier.report import episode_page

BOX = {"name": "b", "body": 1, "kind": "box", "size": [1, 2, 3], "pose": [0, 0, 0, 1, 0, 0, 0], "rgba": [1, 0, 0, 1]}
VIEW = {"name": "all", "camera": -1, "follow": -1, "base": [0, 0, 0], "eye": [3, 0, 1], "target": [0, 0, 0], "fovy": 1}
SCENE = {
    "bodies": ["world", "box"],
    "moving": [1],
    "shapes": [BOX],
    "meshes": [],
    "views": [VIEW],
    "sky": {"above": [0, 0, 1], "haze": [1, 1, 1]},
    "extent": 2.0,
}
NASTY = "</script><script>alert(1)</script> & \u2028 <b>"


def episode(rows: int = 5, **changes) -> episode_page.Episode:
    poses = np.random.default_rng(0).normal(size=(rows, 2, 7)).astype(np.float32)
    told = dict(name="1", interval=0.05, poses=poses, reward=np.arange(rows) / 8, skill=np.arange(rows) - 1)
    return episode_page.Episode(**told | changes)


def data(page: str) -> dict:
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)[1])


def test_the_page_holds_exactly_what_was_given():
    first, second = episode(), episode(rows=3, name="two", skill=None)
    found = data(episode_page.page("a title", "about", SCENE, [first, second]))
    assert found["scene"] == SCENE and (found["title"], found["subtitle"]) == ("a title", "about")
    one, two = found["episodes"]
    np.testing.assert_array_equal(episode_page.unpack(one["poses"], 2), first.poses)
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(two["poses"]), "<f4"), second.poses.ravel())
    assert one["reward"] == [0.0, 0.125, 0.25, 0.375, 0.5] and one["skill"] == [-1, 0, 1, 2, 3]
    assert (two["name"], two["skill"], two["interval"]) == ("two", None, 0.05)


def test_nothing_is_fetched_and_only_its_own_script_runs():
    page = episode_page.page("t", "s", SCENE, [episode()])
    assert not re.search(r"https?:|src\s*=|@import|url\(|href|fetch\(|XMLHttp|eval\(", page)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    script = re.search(r"<script>(.*?)</script>", page, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}'" in policy
    assert page.count("<script") == page.count("</script>") == 2


def test_words_from_outside_stay_words():
    told = {**SCENE, "bodies": ["world", NASTY]}
    page = episode_page.page(NASTY, NASTY, told, [episode(name=NASTY)])
    assert page.count("<script") == 2 and "alert(1)</script>" not in page and "<b>" not in page
    found = data(page)
    assert found["title"] == found["episodes"][0]["name"] == found["scene"]["bodies"][1] == NASTY
    player = (episode_page.PARTS / "player.js").read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write", player)


@pytest.mark.parametrize("poses", [np.zeros((5, 3, 7)), np.zeros((4, 2, 7)), np.full((5, 2, 7), np.nan)])
def test_poses_that_do_not_fit_are_refused(poses):
    with pytest.raises(ValueError, match="poses .* are not finite"):
        episode_page.page("t", "s", SCENE, [episode(poses=poses)])


def node(code: str) -> object:
    """What the player's first two scripts and then `code` print, as JSON."""
    if shutil.which("node") is None:
        pytest.skip("no node here to run scripts with")
    scripts = "\n".join((episode_page.PARTS / name).read_text() for name in ("shapes.js", "viewer.js"))
    told = subprocess.run(["node", "-"], input=f"{scripts}\n{code}", capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)


@pytest.mark.parametrize("name", episode_page.SCRIPTS)
def test_scripts_are_scripts(name):
    if shutil.which("node") is None:
        pytest.skip("no node here to look at scripts with")
    told = subprocess.run(["node", "--check", str(episode_page.PARTS / name)], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr


def test_shapes_are_closed_face_outward_and_have_their_volume():
    wanted = {  # m^3, by the formulas of school
        "box": ([0.1, 0.2, 0.3], 8 * 0.1 * 0.2 * 0.3),
        "sphere": ([0.5], 4 / 3 * np.pi * 0.5**3),
        "ellipsoid": ([0.5, 0.2, 0.3], 4 / 3 * np.pi * 0.5 * 0.2 * 0.3),
        "cylinder": ([0.2, 0.4], np.pi * 0.2**2 * 0.8),
        "capsule": ([0.2, 0.4], np.pi * 0.2**2 * 0.8 + 4 / 3 * np.pi * 0.2**3),
    }
    asked = [{"kind": kind, "size": size} for kind, (size, _) in wanted.items()]
    asked.append({"kind": "mesh", "mesh": 0})
    corner = {"corners": [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1], "faces": [0, 2, 1, 0, 1, 3, 0, 3, 2, 1, 2, 3]}
    found = node(
        f"console.log(JSON.stringify({json.dumps(asked)}.map((shape) => Shapes(shape, [{json.dumps(corner)}]))))"
    )
    volumes = [volume for _, volume in wanted.values()] + [1 / 6]
    for shape, triangles, volume in zip(asked, found, volumes, strict=True):
        points, normals = (np.array(triangles[name]).reshape(-1, 3) for name in ("points", "normals"))
        faces = np.array(triangles["faces"]).reshape(-1, 3)
        inside = np.linalg.det(points[faces]).sum() / 6
        assert inside == pytest.approx(volume, rel=0.02), shape["kind"]
        corners = points[faces]
        flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        solid = np.linalg.norm(flat, axis=-1) > 1e-9  # at a pole a triangle has no area
        assert (np.einsum("fd,fcd->fc", flat[solid], normals[faces][solid]) > 0).all(), shape["kind"]


def test_poses_turn_as_mujoco_turns_them():
    poses = episode().poses.reshape(-1, 7)
    found = np.array(node(f"console.log(JSON.stringify({poses.tolist()}.map((p) => [...Matrix.pose(p, 0)])))"))
    for pose, matrix in zip(poses, found.reshape(-1, 4, 4).transpose(0, 2, 1), strict=True):
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, pose[3:] / np.linalg.norm(pose[3:]))
        np.testing.assert_allclose(matrix[:3, :3], turn.reshape(3, 3), atol=1e-5)
        np.testing.assert_allclose(matrix[:, 3], [*pose[:3], 1], atol=1e-6)

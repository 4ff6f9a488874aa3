"""The thirteen objects against the released table: size, volume, inertia, key corners, resting faces."""

import numpy as np
import pytest

from skillhier.envs.sawyer import objects

# id: bounding box (mm), volume (cm^3), unique corners, inertia xx yy zz (1e-5 kg m^2)
TABLE = {
    "s0": ((50, 50, 50), 125.0, 8, (8.33, 8.33, 8.33)),
    "r2": ((49.9, 52.5, 50), 101.3, 20, (7.39, 7.39, 6.45)),
    "b2": ((49.4, 49.4, 50), 101.3, 16, (7.40, 7.40, 6.46)),
    "g2": ((49.4, 57.1, 50), 105.8, 12, (7.56, 7.56, 6.79)),
    "r3": ((38.5, 70.5, 71), 126.0, 8, (12.93, 10.65, 6.77)),
    "b3": ((44.8, 63.9, 63), 134.5, 8, (10.84, 9.83, 7.44)),
    "g3": ((50.6, 59.6, 60), 153.7, 8, (10.40, 10.22, 8.63)),
    "r5": ((50, 95.0, 50), 125.0, 8, (11.71, 8.33, 11.71)),
    "b5": ((50, 80.0, 50), 125.0, 8, (9.84, 8.33, 9.84)),
    "g5": ((50, 68.2, 50), 125.0, 8, (8.89, 8.33, 8.89)),
    "r6": ((29, 29, 150), 126.2, 8, (38.90, 38.90, 2.80)),
    "b6": ((32, 48, 96), 147.5, 8, (19.20, 17.07, 5.55)),
    "g6": ((40, 56, 80), 179.2, 8, (15.89, 13.33, 7.89)),
}
YZ = {"r5": -3.75, "b5": -2.50, "g5": -1.52}  # 1e-5 kg m^2
COM_X = {"r3": -3.41, "b3": -2.53, "g3": -1.49}  # mm


@pytest.mark.parametrize("name", TABLE)
def test_an_object_is_the_released_one(name):
    solid = objects.solid(name)
    box, volume, corners, inertia = TABLE[name]
    np.testing.assert_allclose(2e3 * solid.half_extents, box, atol=0.06)
    assert abs(1e6 * solid.volume - volume) < 0.06
    assert len(np.unique(solid.vertices.round(7), axis=0)) == corners
    np.testing.assert_allclose(1e5 * np.diag(solid.inertia), inertia, atol=0.006)
    assert abs(1e5 * solid.inertia[1, 2] - YZ.get(name, 0.0)) < 0.006
    np.testing.assert_allclose(1e3 * solid.com, (COM_X.get(name, 0.0), 0, 0), atol=0.006)


def test_key_corners():
    r3, r5 = 1e3 * objects.vertices("r3"), 1e3 * objects.vertices("r5")
    wide, narrow = r3[r3[:, 0] < 0], r3[r3[:, 0] > 0]
    np.testing.assert_allclose(np.abs(wide[:, 1]), 35.24, atol=0.01)
    np.testing.assert_allclose(np.abs(narrow[:, 1]), 10.82, atol=0.01)
    np.testing.assert_allclose(r5[r5[:, 2] > 0].mean(0) - r5[r5[:, 2] < 0].mean(0), (0, 2 * 22.51, 50), atol=0.01)


@pytest.mark.parametrize(("name", "heights"), [("r3", (19.3, 19.5, 35.5)), ("r5", (18.6, 25.0)), ("b6", (16, 24, 48))])
def test_faces_are_where_an_object_rests(name, heights):
    solid = objects.solid(name)
    assert {round(1e3 * face.height, 1) for face in solid.faces if face.stable} == set(heights)
    for face in solid.faces:  # outward, and nothing beyond
        assert np.all(solid.vertices @ face.normal <= face.height + 1e-9)
        np.testing.assert_allclose(face.corners @ face.normal, face.height, atol=1e-9)
        loop = np.cross(face.corners[1] - face.corners[0], face.corners[2] - face.corners[1])
        assert loop @ face.normal > 0


def test_a_tall_shear_would_topple(monkeypatch):
    monkeypatch.setitem(objects.PARAMETERS, "leaning", (4, 0.0, 42, (0.05, 0.05, 0.15)))
    faces = objects.solid("leaning").faces
    assert not faces[0].stable and not faces[1].stable


def test_sets_and_unknown_names():
    assert objects.OBJECT_SETS[4] == ("s0", "g5", "b6")
    assert {name for names in objects.OBJECT_SETS.values() for name in names} <= set(objects.PARAMETERS)
    with pytest.raises(ValueError, match="object 'x9' is not known; choose from s0, r2"):
        objects.solid("x9")

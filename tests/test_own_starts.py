"""Starts of a skill's own kind: which rows they are, what is measured from them, and in which words."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.fixed_skills import own_starts
from experiments.stacking import moments, own_measures, skill_measures, skill_rollouts
from skillhier.data import dataset
from skillhier.types import TimeStep, Trajectory


def window(chosen: list[list[int]], first: list[bool]) -> Trajectory:
    """A window [T, B] of one entry that counts rows and episodes, and whose action is what `infer` believes."""
    rows, episodes = np.array(chosen).shape
    number = np.arange(rows)[:, None] + 100 * np.arange(episodes)
    none = jnp.zeros((rows, episodes))
    opens = jnp.zeros((rows, episodes), bool).at[0].set(jnp.array(first))
    step = TimeStep({"row": jnp.array(number, jnp.float32)[:, :, None, None]}, none, none, opens, none > 0)
    return Trajectory(step, jnp.array(chosen), {})


def infer(params, batch):
    return jnp.eye(3)[batch.action]


def test_skill_begins_where_an_episode_opens_with_it_or_it_follows_another_and_stays():
    chosen = np.array([[0, 1], [0, 1], [0, 1], [1, 2], [1, 1], [2, 2], [2, 2], [2, 2]])
    begins = own_starts.begins(chosen, np.array([[True, False], *[[False, False]] * 7]))
    # skill 1 stays for two rows alone, in the second world nothing opens, and what stays to the end counts if three do
    assert np.argwhere(begins).tolist() == [[0, 0], [5, 0], [5, 1]]


def test_beginnings_are_drawn_from_all_windows_and_used_again_where_there_are_too_few():
    one = window([[0, 1], [0, 1], [0, 1], [1, 1], [1, 1], [1, 1]], [True, False])
    two = window([[0, 0], [1, 0], [1, 0], [1, 0], [0, 0], [0, 0]], [False, True])
    begun = own_starts.beginnings(infer, (), [one, two], 4)
    assert begun.number.tolist() == [2, 2, 0]
    np.testing.assert_allclose(begun.share, [3 + 9, 9 + 3, 0] / np.float64(24))
    rows = begun.frames["row"][..., 0]
    assert rows.shape == (3, 4)
    assert sorted(set(rows[0].tolist())) == [0, 100] and sorted(set(rows[1].tolist())) == [1, 3]


def episodes(hand: list, red: list, grasping: list, closed: float) -> dict[str, np.ndarray]:
    """One episode [1, T]: heights of hand and red over one place (m), green and blue elsewhere."""
    up = lambda heights: np.stack([np.zeros(len(heights))] * 2 + [np.array(heights)], -1)[None]  # noqa: E731
    away = [np.broadcast_to([1.0, side, 0.0], (1, len(hand), 3)) for side in (1, -1)]
    return {
        "pinch": up(hand),
        "objects": np.stack([up(red), *away], 2),
        "grasping": np.array(grasping)[None],
        "closed": np.full((1, len(hand)), closed),
        "valid": np.ones((1, len(hand)), bool),
    }


@pytest.mark.parametrize(
    ("hand", "red", "grasping", "closed", "expected", "word"),
    [
        # goes down to red
        ([0.2, 0.1, 0.05, 0.02], [0.0] * 4, [False] * 4, 0.0,
         {"far": 1, "reaches": 1, "grasps": 0, "holds": 0}, "reach red"),
        # stands over red, takes it, lifts it by 6 cm
        ([0.0, 0.0, 0.03, 0.06], [0.0, 0.0, 0.03, 0.06], [False, True, True, True], 0.5,
         {"at": 1, "in_hand": 0, "grasps": 1, "holds": 1, "lifts": 1, "reaches": None, "carries": None},
         "grasp, lift red"),
        # has it, and lets go
        ([0.1] * 4, [0.1, 0.1, 0.0, 0.0], [True, True, False, False], 0.05,
         {"in_hand": 1, "releases": 1, "keeps": 0, "lifts": 0, "grasps": None}, "release red"),
        # fingers that close on nothing hold nothing
        ([0.1] * 4, [0.0] * 4, [True] * 4, 0.9, {"in_hand": 0, "holds": 0, "grasps": 0}, "hold still, closed"),
    ],
)  # fmt: skip
def test_figures_and_words_of_one_episode(hand, red, grasping, closed, expected, word):
    figures = own_measures.figures_of(episodes(hand, red, grasping, closed), interval=0.25)
    assert {name: figures[name] for name in expected} == expected
    assert figures["word"] == word and figures["object"] == "red"


def test_sideways_with_it_in_hand_is_carrying():
    one = episodes([0.1] * 4, [0.1] * 4, [True] * 4, 0.5)
    for name in ("pinch", "objects"):
        one[name] = one[name].copy()
    one["pinch"][0, -1, 0] = one["objects"][0, -1, 0, 0] = 0.05
    figures = own_measures.figures_of(one, interval=0.25)
    assert figures["carries"] == 1 and figures["keeps"] == 1 and figures["word"] == "carry red"


def demonstration(distance: list[float], grasp: list[int]) -> dataset.Dataset:
    """One episode: the hand so far above red (m), readings of the grasp sensor, half closed fingers."""
    rows = len(distance)
    pose = lambda height: np.stack([np.zeros(rows)] * 2 + [np.array(height)] + [np.zeros(rows)] * 4, -1)  # noqa: E731
    obs = {"sawyer.pinch.pose": pose(distance), "gripper.joints.angle": np.full((rows, 1), 120.0)}
    obs |= {"gripper.grasp": np.array(grasp)[:, None], "rgb30_red.abs_pose": pose([0.0] * rows)}
    obs |= {f"rgb30_{name}.abs_pose": pose([5.0] * rows) for name in ("green", "blue")}
    nothing = np.zeros(rows)
    return dataset.Dataset(obs, nothing[:, None], nothing, np.array([0]), np.array([rows - 1]), {})


def test_moments_are_the_hand_at_what_it_takes_and_the_row_where_it_has_it():
    far, at, held = [0.2] * 30, [0.01] * 5, [0.01] * 20
    data = demonstration([*far, *at, *held], [1] * 35 + [2] * 20)
    at_red, in_hand = moments.moments(data)
    assert at_red.tolist() == [30] and in_hand.tolist() == [35]


def test_what_is_in_hand_again_soon_was_not_taken_anew():
    data = demonstration([0.2] * 30 + [0.01] * 50, [1] * 30 + [2] * 15 + [1] * 3 + [2] * 32)
    assert moments.moments(data).in_hand.tolist() == [30]


@pytest.mark.parametrize(
    ("distance", "grasp"),
    [
        ([0.2] * 30 + [0.01] * 25, [1] * 55),
        ([0.2] * 30 + [0.01] * 25, [1] * 35 + [2, 2, 1] + [1] * 17),
        ([0.01] * 55, [2] * 55),
    ],
)
def test_what_is_not_taken_for_long_or_was_always_held_is_no_moment(distance, grasp):
    assert not any(map(len, moments.moments(demonstration(distance, grasp))))


def test_an_episode_takes_what_is_in_hand_for_half_a_second_in_all():
    long = episodes([0.04] * 6, [0.0] * 6, [True, False, True, False, False, False], 0.5)
    short = episodes([0.04] * 6, [0.0] * 6, [True] + [False] * 5, 0.5)
    far = episodes([0.06] * 6, [0.0] * 6, [True] * 6, 0.5)
    together = {name: np.concatenate([each[name] for each in (long, short, far)])[None] for name in long}
    none = np.zeros((1, 3, 6), int)
    rollouts = skill_rollouts.SkillRollouts(
        np.array([0]), **together, action=none[..., None], chosen=none, broken=np.zeros(1), interval=np.float32(0.25)
    )
    assert skill_measures.measure(rollouts)["skills"][0]["takes"] == pytest.approx(1 / 3, abs=1e-4)

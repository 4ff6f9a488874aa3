"""Skills held fixed in a world of any kind: their figures by hand, and what the page shows of them."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.fixed_skills import measures, sections
from experiments.fixed_skills.rollouts import FixedSkills
from experiments.shared import coverage
from experiments.shared.lanes import PRIOR
from skillhier.report.sections import Folder
from skillhier.types import Bounds, Spec

T = 4


def episodes(broken: bool = False) -> FixedSkills:
    """The agent, and two skills that move place by 1 and -2 a row; what stands still tells nothing. Two starts."""
    speed = np.array([0.0, 1.0, -2.0])
    place = speed[:, None, None] * np.arange(T) + np.array([0.0, 10.0, 0.0, 10.0])[None, :, None]
    place = place.copy()
    place[:, 2:] += 0.25  # chance: the second pass over the starts lies beside the first
    valid = np.ones((3, 4, T), bool)
    if broken:
        valid[1, 0, 2:] = False
    return FixedSkills(
        skill=np.array([PRIOR, 0, 1]),
        seen={"still": np.ones((3, 4, T, 2)), "place": place[..., None]},
        reward=np.broadcast_to(np.array([0.0, 1.0, 1.0, 1.0]), (3, 4, T)) * np.array([5.0, 1.0, 2.0])[:, None, None],
        action=np.broadcast_to(speed[:, None, None, None], (3, 4, T, 1)),
        chosen=np.broadcast_to(np.array([1, 0, 1])[:, None, None], (3, 4, T)),
        valid=valid,
        broken=np.array([0, int(broken), 0]),
        interval=0.5,
    )


def test_figures_by_hand():
    figures = measures.measure(episodes())
    assert (figures["episodes"], figures["starts"], figures["seconds_each"]) == (4, 2, 1.5)
    assert figures["entries"]["still"] == {"spread": 0.0, "noise": 0.0, "ratio": None}
    # the mean paths are t and -2 t apart, so 3 t; halves of a skill's episodes lie .25 apart
    assert figures["entries"]["place"]["spread"] == pytest.approx(3 * 1.5)
    assert figures["entries"]["place"]["noise"] == pytest.approx(0.25)
    assert figures["entries"]["place"]["ratio"] == pytest.approx(18.0)
    prior, one, two = figures["skills"]
    assert (prior["skill"], one["skill"], two["skill"]) == (None, 0, 1)
    assert (prior["return"], one["return"], two["return"]) == (15.0, 3.0, 6.0) and two["return_stddev"] == 0.0
    assert (one["covered"]["place"], two["covered"]["place"], two["covered"]["still"]) == (3.0, 6.0, 0.0)
    assert (one["moved"]["place"], two["action_mean"], two["action_stddev"]) == (3.0, [-2.0], [0.0])
    assert prior["shares"] == [0.0, 1.0]
    assert json.loads(json.dumps(figures)) == figures


def test_rows_after_a_world_broke_count_for_nothing():
    one = measures.measure(episodes(broken=True))["skills"][1]
    assert one["return"] == pytest.approx((1 + 3 + 3 + 3) / 4)  # rows 0 and 1 are left of the first
    assert one["covered"]["place"] == one["moved"]["place"] == pytest.approx((1 + 3 + 3 + 3) / 4)
    assert one["broken"] == 1


def test_numbers_are_named_by_how_well_they_tell_skills_apart():
    held = episodes()
    faint = held.seen["place"] * np.array([[[[1.0]]]]) + np.arange(4)[None, :, None, None]  # the same, with more chance
    held = held._replace(seen={"faint": faint, **held.seen})
    assert measures.telling(held, 5) == [("place", 0), ("faint", 0)]
    assert measures.telling(held, 1) == [("place", 0)]


def test_an_episode_that_is_over_keeps_what_it_has_earned():
    curves = measures.measure(episodes(broken=True))["curves"]
    assert curves["seconds"] == [0.0, 0.5, 1.0, 1.5] and list(curves["means"]) == ["return so far", "place [0]"]
    assert curves["means"]["return so far"][1] == [0.0, 1.0, 1.75, 2.5]


def test_the_page_shows_every_skill_and_how_far_they_are_apart(tmp_path):
    content = measures.measure(episodes()) | {"env": "<line>"}
    (tmp_path / sections.FILE).write_text(json.dumps(content))
    page = sections.section(Folder(tmp_path, {}, [], {"expert_return": 7.25}))
    assert "<td>demonstrations</td><td>7.25</td>" in page
    assert "&lt;line&gt;" in page and "<line>" not in page
    for shown in ("skill 0", "skill 1", "prior", "4.5 (18.0)", "place [0]"):
        assert shown in page
    assert sections.section(Folder(tmp_path / "none", {}, [], {})) == ""


def test_pictures_and_privileged_entries_are_no_paths():
    shapes = {"eye": ((1, 4, 4, 3), jnp.uint8), "secret": ((1, 2), jnp.float32), "x": ((1, 2), jnp.float32)}
    obs = {name: jax.ShapeDtypeStruct(*shape) for name, shape in shapes.items()}
    spec = Spec(obs, Bounds((1,), -1.0, 1.0), 1, 0.1, 5, privileged=("secret",))
    figures = coverage.measures(spec)
    assert dict(figures.groups) == {"x": ("x",)} and [column.name for column in figures.columns] == [
        "variance/x",
        "return",
    ]
    won = coverage.measures(spec._replace(success="secret"))
    assert [column.name for column in won.columns] == ["variance/x", "return", "success"]

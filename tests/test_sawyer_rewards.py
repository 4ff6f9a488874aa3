"""Rewards of stacking: hand-worked scenes, the fact sheet's table of pairs, and real logs."""

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.envs.sawyer import objects, rewards
from skillhier.envs.sawyer.rewards import Scene

RED, GREEN, BLUE = range(3)
no = np.zeros


def scene(red, blue, pinch, ticks=0.0, grasp=rewards.NONE, green=(0.5, -0.1, 0.0748), **contacts) -> Scene:
    contacts = {"touching": no((3, 3), bool), "grounded": no(3, bool), "handled": no(3, bool), **contacts}
    array = lambda x: jnp.asarray(x, jnp.float32)  # noqa: E731
    return Scene(array(pinch), array([red, green, blue]), array(ticks), array(grasp), **contacts)


def on_top(height=0.04, pinch=0.1, sideways=0.0, **more) -> Scene:
    blue = np.array([0.6, 0.0, 0.0748])
    red = blue + [sideways, 0.0, height]
    return scene(red, blue, red + [0.0, 0.0, pinch], **more)


def test_a_stack_with_the_hand_above_pays_everything():
    for kind in ("dense", "sparse_staged", "sparse", "stack_leave"):
        np.testing.assert_allclose(rewards.STACKING[kind](on_top(), RED, BLUE, 0.0), 1.0, atol=1e-6, err_msg=kind)


def test_reaching_with_open_fingers_pays_a_tenth():
    # close_fingers(0 ticks) = 1 - 0.95, so the grasp term is 0.025 and r_1 = 0.5 + 0.025 / 2
    world = scene((0.6, 0.0, 0.0748), (0.5, 0.1, 0.0748), (0.6, 0.015, 0.0748))
    np.testing.assert_allclose(rewards.close_fingers(world), 0.05, atol=1e-6)
    np.testing.assert_allclose(rewards.reach_grasp(world, RED), 0.5125, atol=1e-6)
    np.testing.assert_allclose(rewards.dense(world, RED, BLUE), 0.1025, atol=1e-6)
    np.testing.assert_allclose(rewards.sparse_staged(world, RED, BLUE), 0.0, atol=1e-6)


def test_grasping_doubles_reaching_and_only_inward_counts():
    world = scene((0.6, 0.0, 0.0748), (0.5, 0.1, 0.0748), (0.6, 0.0, 0.0748), ticks=120.0, grasp=rewards.INWARD)
    np.testing.assert_allclose(rewards.reach_grasp(world, RED), 1.0, atol=1e-6)
    np.testing.assert_allclose(rewards.sparse_staged(world, RED, BLUE), 0.2, atol=1e-6)
    # tanh^2(2.178272 * 135 / 255) = 0.818812^2 = 0.670454, so half of 0.329546
    outward = world._replace(grasp=jnp.asarray(rewards.OUTWARD))
    np.testing.assert_allclose(rewards.grasp(outward), 0.164773, atol=1e-5)


def test_reach_falls_to_a_twentieth_at_15_cm():
    world = scene((0.6, 0.0, 0.0748), (0.5, 0.1, 0.0748), (0.6, 0.15, 0.0748))
    np.testing.assert_allclose(rewards.reach(world, RED), 0.05, atol=1e-6)
    np.testing.assert_allclose(rewards.dense(world, RED, BLUE), 0.005, atol=1e-6)


@pytest.mark.parametrize(
    ("height", "lift"),
    [(0.1048, 0.0), (0.1273, 0.5), (0.1498, 1.0), (0.2, 1.0), (0.2699, 0.0)],  # the last is above the box
)
def test_lift_rises_from_55_to_100_mm_over_the_floor(height, lift):
    red = (0.6, 0.0, height)
    world = scene(red, (0.5, 0.1, 0.0748), red, grasp=rewards.INWARD)
    np.testing.assert_allclose(rewards.lift(world, RED), lift, atol=1e-5)


def test_lift_pays_nothing_outside_the_ellipsoid():
    red = (0.6 + 0.09, 0.09, 0.1698)  # inside the box, outside its ellipsoid
    world = scene(red, (0.5, 0.1, 0.0748), red, grasp=rewards.INWARD)
    np.testing.assert_allclose(rewards.lift(world, RED), 0.0)


def test_place_needs_10_cm_of_height():
    blue = np.array([0.6, 0.0, 0.0548])
    low, high = (scene(blue + [0.0, 0.0, z], blue, (0, 0, 0)) for z in (0.044, 0.049))
    np.testing.assert_allclose(rewards.place(low, RED, BLUE), 0.0)
    np.testing.assert_allclose(rewards.place(high, RED, BLUE), 1.0)  # 9 mm too high, 10.38 cm up
    far = scene((0.6, 0.2, 0.12), (0.6, 0.0, 0.08), (0, 0, 0))
    np.testing.assert_allclose(rewards.place(far, RED, BLUE), 0.05, atol=1e-5)


# Fact sheet 4.6: height of the top origin over the bottom one when stacked, red on blue.
@pytest.mark.parametrize(
    ("height", "public", "lenient"),
    [
        (0.044, 1, 1),  # set 1: r3 lying on b2
        (0.0605, 0, 0),  # set 1: r3 upright
        (0.0474, 1, 1),  # set 2: r5 on b3
        (0.0501, 0, 1),  # set 2: r5 on its side, on upright b3
        (0.0565, 0, 0),  # set 2: r5 on upright b3
        (0.036, 1, 1),  # set 3: r6 on b5
        (0.041, 1, 1),  # set 4: s0 on flat b6
        (0.049, 1, 1),  # set 4: s0 on b6 on its side
        (0.073, 0, 0),  # set 4: s0 on upright b6
        (0.0502, 0, 1),  # set 5: r2 on s0 exactly at the tolerance, a hair above
        (0.0498, 1, 1),  # set 5: pressed together a little
    ],
)
def test_heights_that_count_as_stacked(height, public, lenient):
    assert rewards.stack(on_top(height), RED, BLUE, 0.0) == public
    assert rewards.stack(on_top(height), RED, BLUE) == lenient


def test_stack_asks_for_centring_and_an_open_hand():
    assert rewards.stack(on_top(sideways=0.029), RED, BLUE) == 1
    assert rewards.stack(on_top(sideways=0.031), RED, BLUE) == 0
    assert rewards.stack(on_top(grasp=rewards.INWARD), RED, BLUE) == 0
    assert rewards.stack(on_top(grasp=rewards.OUTWARD), RED, BLUE) == 1


def test_leaving_pays_by_the_height_of_the_hand():
    world = on_top(pinch=0.05)  # 5 cm below where the hand should be: 0.05 left
    np.testing.assert_allclose(rewards.stack_leave(world, RED, BLUE), 0.05, atol=1e-5)
    np.testing.assert_allclose(rewards.dense(world, RED, BLUE), 0.81, atol=1e-5)
    np.testing.assert_allclose(rewards.sparse_staged(world, RED, BLUE), 0.8, atol=1e-5)


def test_public_success_reads_contacts():
    touching = no((3, 3), bool)
    touching[RED, BLUE] = touching[BLUE, RED] = True
    standing = no(3, bool)
    standing[BLUE] = True
    good = on_top(touching=touching, grounded=standing)
    assert rewards.success(good, RED, BLUE) == 1
    assert rewards.success(good, BLUE, RED) == 0  # upside down
    assert rewards.success(on_top(grounded=standing), RED, BLUE) == 0  # not in touch
    for held in ("grounded", "handled"):
        flags = standing.copy()
        flags[RED] = True
        assert rewards.success(good._replace(**{held: flags}), RED, BLUE) == 0
    assert rewards.success(good._replace(objects=good.objects.at[RED, 0].add(0.049)), RED, BLUE) == 1
    assert rewards.success(good._replace(objects=good.objects.at[RED, 0].add(0.051)), RED, BLUE) == 0


def test_one_program_serves_all_pairs():
    traces = []

    @jax.jit
    def pay(world, top, bottom):
        traces.append(None)
        return rewards.dense(world, top, bottom)

    objects = np.random.default_rng(0).uniform((0.55, -0.05, 0.06), (0.65, 0.05, 0.15), (3, 3))
    world = scene(objects[0], objects[2], (0.6, 0.0, 0.2), green=objects[1])
    paid = [float(pay(world, top, bottom)) for top, bottom in rewards.PAIRS]
    assert len(traces) == 1
    by_hand = [float(rewards.dense(world, top, bottom)) for top, bottom in rewards.PAIRS]
    np.testing.assert_allclose(paid, by_hand, atol=1e-6)


# --- pyramid ---


def pyramid(red=(0.57, 0, 0.0748), green=(0.63, 0, 0.0748), blue=(0.5, 0.1, 0.0748), pinch=(0.6, -0.1, 0.2), **more):
    return scene(red, blue, pinch, green=green, **more)


APART = (0.5, -0.1, 0.0748)
HELD = {"grasp": rewards.INWARD}


@pytest.mark.parametrize(
    ("world", "reached"),
    [
        (pyramid(red=APART), 0),
        (pyramid(red=APART, pinch=APART, **HELD), 1),  # grasps red
        (pyramid(red=(0.6, -0.09, 0.16), pinch=(0.6, -0.09, 0.16), **HELD), 2),  # lifts it
        (pyramid(red=(0.66, 0.0, 0.1148), pinch=(0.66, 0.0, 0.1148), **HELD), 3),  # holds it over green, well aside
        (pyramid(), 4),  # red beside green
        (pyramid(pinch=(0.5, 0.1, 0.0748), **HELD), 5),  # grasps blue
        (pyramid(red=APART, pinch=(0.5, 0.1, 0.0748), **HELD), 0),  # grasps blue before red is placed
        (pyramid(red=APART, blue=(0.6, 0.09, 0.16), pinch=(0.6, 0.09, 0.16), **HELD), 0),  # lifts it too soon
        (pyramid(blue=(0.6, 0.09, 0.16), pinch=(0.6, 0.09, 0.16), **HELD), 6),  # lifts blue
        (pyramid(blue=(0.6, 0.05, 0.1198), pinch=(0.6, 0.05, 0.1198), **HELD), 7),  # over the middle, well aside
        (pyramid(blue=(0.6, 0.01, 0.1198), pinch=(0.6, 0.01, 0.15)), 8),  # stands
        (pyramid(blue=(0.6, 0.01, 0.1198), pinch=(0.6, 0.01, 0.2198)), 9),  # and the hand has gone
        (pyramid(red=(0.56, 0.0, 0.0748), green=(0.65, 0.0, 0.0748), blue=(0.605, 0.0, 0.1198)), 0),  # gap too wide
    ],
)
def test_pyramid_stages_follow_each_other(world, reached):
    sparse = rewards.PYRAMID["sparse_staged"](world, rewards.Pyramid())
    assert np.ceil(float(sparse) * 9 - 1e-4) == reached
    assert rewards.pyramid_success(world) == (reached >= 8)


# --- real logs ---


@pytest.mark.parametrize("number", range(1, 6))
def test_dense_reward_equals_the_logged_one(expert_logs, number):
    """The reward logged with step t is that of observation t + 1."""
    worlds, paid = [], []
    with h5py.File(expert_logs / f"set{number}.h5") as file:
        for episode in file.values():
            seen = lambda name: episode["observations"][name][1:]  # noqa: E731, B023
            positions = [seen(f"rgb30_{colour}.abs_pose")[:, :3] for colour in objects.COLOURS]
            flags = [no((400, 3, 3), bool), no((400, 3), bool), no((400, 3), bool)]
            pinch, ticks = seen("sawyer.pinch.pose")[:, :3], seen("gripper.joints.angle")
            worlds.append(Scene(pinch, np.stack(positions, 1), ticks, seen("gripper.grasp"), *flags))
            paid.append(episode["rewards"][:])
    worlds = jax.tree.map(lambda *leaves: np.concatenate(leaves), *worlds)
    ours = jax.jit(jax.vmap(lambda world: rewards.dense(world, RED, BLUE, 0.0)))(worlds)
    error = np.abs(ours - np.concatenate(paid))
    assert error.size >= 36 * 400
    assert error.max() < 1e-3, f"{(error > 1e-3).sum()} of {error.size} steps differ, worst {error.max():.4f}"

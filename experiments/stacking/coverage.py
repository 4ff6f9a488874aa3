"""What a table of episodes measures in stacking worlds: groups of entries, rewards beside the one that is paid."""

from experiments.shared.coverage import Measures
from skillhier.envs.sawyer.observations import OBJECTS
from skillhier.report.coverage_page import Column
from skillhier.types import Spec

GROUPS = {
    "joints": ("sawyer.joints.angle", "sawyer.joints.velocity"),
    "grasp": ("gripper.grasp",),
    "objects": tuple(name for name in OBJECTS if name.endswith("abs_pose")),
}
COLUMNS = (
    Column(
        "variance/joints", "joint variance", "of the arm's 7 angles (rad²) and 7 velocities (rad²/s²) in an episode"
    ),
    Column("variance/grasp", "grasp variance", "of the grasp sensor: 1 nothing, 2 inward, 3 outward"),
    Column("variance/objects", "object variance", "of the poses of the three objects: positions (m²) and quaternions"),
    Column("return", "dense return", "sum of the dense reward over an episode"),
    Column("return/staged", "staged return", "sum of the sparse staged reward"),
    Column("return/sparse", "sparse return", "sum of the fully sparse reward"),
    Column("held", "ever held", "share of episodes in which sparse staged reward is paid: first for red in the hand"),
    Column("paid", "ever paid", "share of episodes in which the fully sparse reward is paid at all"),
    Column("success", "success", "share of episodes that end stacked, by the public test"),
)


def measures(spec: Spec) -> Measures:
    """All of them."""
    return Measures(GROUPS, totals(spec), GROUPS["objects"], COLUMNS)


def totals(spec: Spec) -> dict[str, tuple[str, int]]:
    """The sparse rewards, whichever is paid: name -> (entry, number in it)."""
    sparse = ("task.stack", 1) if "task.stack" in spec.obs else (spec.success, 0)  # what reward=sparse pays
    return {"staged": ("task.staged", 0), "sparse": sparse}

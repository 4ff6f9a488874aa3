"""Learning curves that others published, by the names of worlds: what `compare --reference` draws beside runs.

All numbers are mean returns of an episode, over frames (control steps of the suite). Worlds @pixels are learned from
pictures, the others from their entries. Nothing is known between the columns of a table.
"""

from experiments.shared import cli
from skillhier.envs import registry
from skillhier.envs.render.pixels import SUFFIX
from skillhier.report.references import Reference

K = 1000
NO = None  # not in the table

# danijar/dreamer, scores/: Dreamer, action repeat 2, 5 seeds
DREAMER = (
    "Dreamer",
    (100 * K, 200 * K, 300 * K, 500 * K, 700 * K, 1000 * K, 2000 * K, 4500 * K),
    {
        "quadruped_walk@pixels": (59, 75, 110, 222, 291, 445, 820, 922),
        "quadruped_run@pixels": (67, 121, 145, 200, 272, 388, 659, 879),
        "walker_walk@pixels": (137, 508, 722, 885, 945, 955, 969, 931),
        "walker_run@pixels": (82, 187, 278, 463, 633, 717, 767, 818),
        "cheetah_run@pixels": (127, 385, 574, 630, 661, 712, 789, 880),
        "hopper_hop@pixels": (0, 10, 33, 120, 194, 265, 348, 465),
        "cartpole_swingup@pixels": (139, 342, 506, 678, 804, 855, 857, 872),
        "pendulum_swingup@pixels": (365, 774, 845, 789, 826, 828, 818, 792),
    },
)

# danijar/dreamerv3, scores/: DreamerV3, 5 seeds
DREAMERV3 = (
    "DreamerV3",
    (100 * K, 250 * K, 500 * K, 1000 * K),
    {
        "walker_walk": (475, 890, 881, NO),
        "walker_run": (243, 536, 656, NO),
        "cheetah_run": (283, 481, 596, NO),
        "hopper_hop": (0, 27, 107, NO),
        "cartpole_swingup": (528, 840, 856, NO),
        "pendulum_swingup": (830, 848, 785, NO),
        "walker_walk@pixels": (601, 894, 940, 959),
        "walker_run@pixels": (216, 434, 612, 700),
        "cheetah_run@pixels": (300, 438, 690, 841),
        "hopper_hop@pixels": (8, 87, 158, 223),
        "quadruped_walk@pixels": (127, 176, 439, 801),
        "quadruped_run@pixels": (111, 136, 379, 597),
        "cartpole_swingup@pixels": (598, 819, 845, 862),
    },
)

# danijar/dreamerv3, scores/: D4PG, 10 seeds
D4PG = (
    "D4PG",
    (100 * K, 250 * K, 500 * K),
    {
        "walker_walk": (361, 925, 961),
        "walker_run": (111, 408, 612),
        "cheetah_run": (132, 411, 630),
        "hopper_hop": (0, 28, 96),
        "cartpole_swingup": (704, 869, 876),
        "pendulum_swingup": (572, 735, 722),
    },
)

# danijar/dreamerv3, scores/: DrQ-v2
DRQV2 = (
    "DrQ-v2",
    (500 * K, 1000 * K),
    {
        "quadruped_walk@pixels": (343, 750),
        "quadruped_run@pixels": (311, 459),
        "walker_walk@pixels": (722, 767),
        "walker_run@pixels": (437, 546),
        "cheetah_run@pixels": (603, 729),
        "hopper_hop@pixels": (116, 224),
    },
)

# nicklashansen/tdmpc2, results/: 3 seeds, at 100k, 200k, 500k, 1M, 2M and 4M of its own steps, each an action that is
# held for 2 frames. That the rows of SAC and DreamerV3 count so too is not said there
TDMPC2_FRAMES = tuple(2 * K * steps for steps in (100, 200, 500, 1000, 2000, 4000))
SAC = (
    "SAC",
    TDMPC2_FRAMES,
    {
        "quadruped_walk": (55, 74, 199, 455, 696, 778),
        "quadruped_run": (51, 77, 119, 257, 341, 464),
        "walker_walk": (708, 923, 953, 957, 966, 974),
        "walker_run": (340, 489, 604, 635, 657, 687),
        "cheetah_run": (310, 574, 595, 730, 764, 771),
        "hopper_hop": (0, 0, 38, 70, 107, 117),
        "cartpole_swingup": (835, 842, 835, 839, 835, 826),
        "pendulum_swingup": (96, 268, 408, 354, 584, 575),
    },
)
TDMPC2 = (
    "TD-MPC2",
    TDMPC2_FRAMES,
    {
        "quadruped_walk": (487, 915, 957, 956, 970, 971),
        "quadruped_run": (239, 759, 940, 938, 948, 954),
        "walker_walk": (962, 973, 979, 980, 984, 981),
        "walker_run": (723, 780, 820, 842, 862, 877),
        "cheetah_run": (519, 614, 758, 844, 860, 896),
        "hopper_hop": (14, 167, 303, 338, 375, 449),
        "cartpole_swingup": (839, 872, 876, 876, 876, 877),
        "pendulum_swingup": (724, 824, 842, 819, 837, 838),
    },
)
DREAMERV3_BY_TDMPC2 = (
    "DreamerV3 (run by TD-MPC2)",
    (*TDMPC2_FRAMES[:-1], 7800 * K),  # its last column is 3.9M steps
    {
        "quadruped_walk": (46, 58, 189, 790, 917, 929),
        "quadruped_run": (126, 69, 239, 768, 716, 793),
        "walker_walk": (630, 802, 878, 821, 927, 904),
        "walker_run": (245, 377, 514, 581, 528, 570),
        "cheetah_run": (336, 353, 494, 638, 649, 757),
        "hopper_hop": (10, 51, 163, 200, 243, 286),
        "cartpole_swingup": (677, 796, 789, 780, 814, 830),
        "pendulum_swingup": (699, 733, 740, 810, 807, 809),
    },
)
# Sharma et al., 2025, Table 1, at second hand. Its frames are not known: five million is the only figure in the paper
MRS = (
    "MRS",
    (5000 * K,),
    {
        "walker_run@pixels": (745,),
        "quadruped_run@pixels": (925,),
        "cheetah_run@pixels": (866,),
        "hopper_hop@pixels": (511,),
        "cartpole_swingup@pixels": (842,),
        "pendulum_swingup@pixels": (526,),
    },
)
TABLES = (DREAMER, DREAMERV3, D4PG, DRQV2, SAC, TDMPC2, DREAMERV3_BY_TDMPC2, MRS)
TASKS = tuple(dict.fromkeys(task for _, _, returns in TABLES for task in returns))


def curves(task: str) -> list[Reference]:
    """What others came to in that task, such as walker_walk or walker_walk@pixels. Raises Refused."""
    cli.pick("--reference:", task, dict.fromkeys(TASKS))
    seen = "pixels" if task.endswith(SUFFIX) else "state"
    references = []
    for method, frames, returns in TABLES:
        known = [(x, y) for x, y in zip(frames, returns.get(task, ()), strict=False) if y is not NO]
        if known:
            references.append(Reference(f"{method}, {seen}", *map(list, zip(*known, strict=True))))
    return references


def task_of(world: str) -> str:
    """The task of a world, by which references are known, whatever is seen of it: dmc.walker_walk@pixels."""
    return registry.canonical(world).removeprefix("dmc.").removesuffix(SUFFIX)

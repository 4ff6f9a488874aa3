"""Flags of entry points that let an agent act and look at it, beside --run (saved.py). Importing it defines them."""

from absl import flags

flags.DEFINE_string("env", None, "the world to act in; by default the one that the run belongs to")
flags.DEFINE_integer("episodes", None, "how many; helms_skills: for each skill, even, 20 if not said", 1, 10**5)
flags.DEFINE_integer("rows", None, "decisions of an episode; by default the world's limit", 1, 10**6)
flags.DEFINE_enum("engine", "auto", ["auto", "native", "mjx", "warp"], "of the physics")
flags.DEFINE_integer("rollout_seed", 0, "of the starts and of the agent's own chance", 0, 2**31 - 1)

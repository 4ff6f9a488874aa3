"""The suites of experiments/benchmark.py: figures beside their references, measured in turns."""

import os
import sys

if sys.platform == "linux" and "DISPLAY" not in os.environ:
    # no window to draw in; said before MuJoCo is imported, which looks once
    os.environ.setdefault("MUJOCO_GL", "egl")

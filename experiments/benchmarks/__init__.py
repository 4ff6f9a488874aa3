"""The suites of experiments/benchmark.py: figures beside their references, measured in turns."""

import ctypes
import os
import sys


def use_egl() -> None:
    """Chooses EGL where there is no display and libEGL can be loaded, unless MUJOCO_GL says otherwise.

    Call it before MuJoCo is imported: it reads MUJOCO_GL once, and its import fails on `egl` without the library.
    """
    if sys.platform != "linux" or "DISPLAY" in os.environ or "MUJOCO_GL" in os.environ:
        return
    try:
        ctypes.CDLL("libEGL.so.1")
    except OSError:
        return
    os.environ["MUJOCO_GL"] = "egl"


use_egl()

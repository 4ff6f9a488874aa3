"""Jobs for the tests of the benchmark's worker: each does one thing that a real job may do."""

import os
import time

FIGURES = {"compile_seconds": 1.5, "seconds_per_call": 0.25, "calls": 3, "per_second": 40.0, "unit": "updates"}


def measures(**changes):
    return {**FIGURES, **changes}


def fails():
    print("half way")
    raise ValueError("a setting is off\nand this is why")


def hangs():
    time.sleep(600)


def aborts():
    os.abort()


def prints_and_measures():
    print('{"figures": "not an answer"}', flush=True)
    return FIGURES | {"process": os.getpid()}

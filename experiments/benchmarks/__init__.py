"""The suites of experiments/benchmark.py: figures beside their references, measured in turns."""

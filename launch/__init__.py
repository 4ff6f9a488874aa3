"""Starts many runs, on this machine or on a cluster. It only starts commands and imports nothing of what they run."""

"""Simulated worlds, and the doors through which those of others come in and ours go out. Nothing here learns."""

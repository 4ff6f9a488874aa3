"""Agents at work, for entry points that look at what they do: from the folder of a run, or by name."""

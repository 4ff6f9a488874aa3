"""Trajectories to a scalar; networks arrive as apply functions."""

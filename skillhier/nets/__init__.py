"""Flax modules and the features they read: arrays in, arrays out; no losses."""

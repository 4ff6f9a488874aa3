"""Fetch: push a block on a table, or lift it, to where a red ball is."""

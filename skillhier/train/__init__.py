"""Runs: the loop, what it saves, what it writes down. Knows neither what is learned nor in which world."""

"""Tasks of the DeepMind control suite; their models come from the installed `dm_control` package."""

"""What entry points share whose data come from worlds while they learn: settings, worlds, and the run itself."""

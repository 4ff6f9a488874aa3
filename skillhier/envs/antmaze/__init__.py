"""Director's egocentric ant mazes."""

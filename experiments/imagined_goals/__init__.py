"""What goals in the memory of a world model look like, and where each kind of them is chosen."""

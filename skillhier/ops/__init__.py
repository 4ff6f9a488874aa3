"""Mathematics on arrays, without parameters, networks or config."""

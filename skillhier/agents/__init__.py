"""Named systems: networks, losses and policies put together."""

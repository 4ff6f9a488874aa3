"""Pictures of worlds: ray casting in JAX (rays.py), pixel observations (pixels.py), data for viewers (viewer.py)."""

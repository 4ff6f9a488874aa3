"""Hierarchies of skills for control, in JAX. Start reading at `types`, then `rollout`."""

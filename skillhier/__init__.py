"""Hierarchies of skills for control, in JAX. Start reading at `types`, then `rollout`."""

from skillhier.envs.adapters import registration

registration.register_with_gymnasium()

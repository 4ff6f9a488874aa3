"""The Sawyer stacking world: arm, gripper, basket and three RGB objects."""

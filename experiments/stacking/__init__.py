"""Skill rollouts in the stacking world: measures, figures, and the sections of a run's page that show them."""

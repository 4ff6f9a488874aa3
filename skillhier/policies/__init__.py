"""Policies: everything that acts."""

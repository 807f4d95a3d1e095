"""A plugin whose command does not load."""

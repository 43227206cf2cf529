"""Captures: all that the rules read of a node, as a tree in one file, without its secrets and without its names."""

"""The verbs, a file each. One with actions is a package, with a file for each action."""

"""What we do; each action checks its result by reading back."""

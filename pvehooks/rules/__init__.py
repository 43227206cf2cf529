"""What it means: pure functions from facts to findings, one subject a file."""

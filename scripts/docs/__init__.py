"""Makes the man pages, the journal's message catalogue and the bash completion from the code's own tables."""

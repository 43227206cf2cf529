"""How we say it: one wording for journal, terminal and JSON."""

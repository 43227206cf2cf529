"""The settings: what can be set (table), how a file is read (file, load), and what holds (effective, sections, compiled)."""

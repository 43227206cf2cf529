"""The settings: the options (table), how a file is read (file, load), and the settings in effect (effective, sections, compiled)."""

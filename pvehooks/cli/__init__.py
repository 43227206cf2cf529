"""The command line: a file a verb, loaded when asked for."""

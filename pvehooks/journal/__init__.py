"""What goes to the journal: the kinds of events, how findings become entries, and which of them are reported now."""

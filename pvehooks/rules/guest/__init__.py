"""Rules on a guest that every audit asks: the daemon, `pvehooks check`, the report."""

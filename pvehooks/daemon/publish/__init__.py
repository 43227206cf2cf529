"""What the daemon publishes beside the journal: figures for Prometheus, and this node's summary for the other nodes."""

"""VMs: their configs, and those that run."""

"""The guard examines the start of a guest with passed-through PCI devices, from the hookscript: see main."""

"""What the host, its containers and other guests use PCI devices for, a subject a file."""

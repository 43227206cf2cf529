"""PCI devices: what they are, who has them, what is bound at boot."""

"""How the node boots: firmware, boot loader, kernel command line, kernels, modules."""

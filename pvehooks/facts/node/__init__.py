"""The node itself: CPU, memory, QEMU, network, USB."""

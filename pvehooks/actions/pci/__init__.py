"""Binding PCI devices to vfio-pci, giving them back, virtual functions, and what is to be done with them at boot."""

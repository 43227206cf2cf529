"""The guard on a real kernel: a machine with an emulated IOMMU, PCI devices in use and idle, and the installed package."""

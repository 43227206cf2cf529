"""Where things are in sysfs."""

from __future__ import annotations


def is_pci_address(name: str) -> bool:
    """Whether it is a PCI device's name: dddd:bb:ss.f, the domain of four digits or more."""
    domain, _, rest = name.partition(":")
    return len(domain) >= 4 and len(rest) == 7 and rest[2] == ":" and rest[5] == "." and not name.startswith("pci")


def pci_device(path: str) -> str:
    """The address of the PCI device that a path in sysfs leads through last, '' for none."""
    return next(filter(is_pci_address, reversed(path.split("/"))), "")

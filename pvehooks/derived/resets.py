"""Whether a device can be reset between two starts of a guest."""

from __future__ import annotations

from collections.abc import Collection

from pvehooks.derived.passthrough import bus
from pvehooks.values import Node, PciDevice, Unread


def beside(device: PciDevice, node: Node) -> list[PciDevice]:
    """The other devices of its bus, which a reset of the bus resets as well; bridges among them."""
    prefix = f"{device.slot.rpartition(':')[0]}:"
    return [other for address, other in bus(node).items() if address.startswith(prefix) and address != device.address and not other.physfn]


def hindrance(device: PciDevice, own: Collection[str], node: Node) -> tuple[str, PciDevice | None]:
    """Why the device cannot be reset when a guest has the devices `own`, as the end of a sentence, and the device that is in the way; '' where it can.

    A function that is not alone on its bus has no method "bus", and often no method at all: QEMU then resets the bus when all that
    is on it is the guest's, or goes to it with an IOMMU group (the kernel's drivers/pci/pci.c, pci_parent_bus_reset;
    drivers/vfio/pci/vfio_pci_core.c, vfio_pci_ioctl_pci_hot_reset).
    """
    methods = device.reset_methods
    if isinstance(methods, Unread) or device.physfn or set(methods) - {"bus"}:
        return "", None
    if device.on_root_bus:
        return ("", None) if methods else ("it has no reset of its own, and no bus of its own that could be reset", None)
    neighbours = beside(device, node)
    if not neighbours:
        return ("", None) if methods else ("the kernel knows no way to", None)
    taken = {bus(node)[address].group for address in own if address in bus(node)} - {""}
    for other in neighbours:
        if other.address not in own and (other.bridge or other.group not in taken):
            return f"it shares its bus with {other.label}, which the VM does not get", other
    return "", None

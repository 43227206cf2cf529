"""The guests that the machine starts, one after the other, and what each start would do."""

from __future__ import annotations

from typing import NamedTuple

IOMMU, NO_IOMMU, REBOOTING, HANDOVER = "iommu", "no-iommu", "rebooting", "handover"
MOUNT, VOLUME, PORT, KERNEL = "mount", "volume", "port", "kernel"
STUB = "local:snippets/pvehooks-guard"


class Case(NamedTuple):
    """A guest. `hostpci` are its entries, with <name> for a device's address and <name/> for that of its slot.

    `harm` is what its start does: takes a mount, a logical volume in use or a port of a bridge from the host, is refused by the
    kernel, or nothing (''). `hooked` says whether its config names the hookscript already; to the others it is for the package to attach it.
    """

    name: str
    vmid: int
    hostpci: tuple[str, ...]
    harm: str = ""
    machine: str = IOMMU
    hooked: bool = True


# Harmless ones first: what a start has taken from the host is gone for those that follow.
CASES = (
    Case("a device without a driver", 102, ("<bare>,pcie=1",)),
    Case("a device alone in its group", 100, ("<clean>",), hooked=False),
    Case("no device", 101, (), hooked=False),
    Case("one of two idle functions", 103, ("<pair>",)),
    Case("all functions of a slot", 104, ("<pair/>,pcie=1",)),
    Case("two devices in two entries", 105, ("<clean>", "<bare>")),
    Case("an idle disk with a guest's LVM", 106, ("<guest-lvm>,pcie=1",)),
    Case("an idle disk with a guest's ZFS", 107, ("<guest-zfs>",)),
    Case("a virtual function", 108, ("<vf0>",)),
    Case("no such device", 109, ("0000:7f:00.0",), KERNEL),
    # vfio-pci takes no physical function while it has virtual ones.
    Case("a physical function with idle virtual ones", 110, ("<pf>",), KERNEL),
    Case("a virtual function in use by a guest", 111, ("<vf0>",), KERNEL),
    Case("a physical function with a virtual one in use", 112, ("<pf>",), KERNEL),
    Case("a device beside the uplink of a bridge", 113, ("<wanted>",), PORT, hooked=False),
    Case("a disk of a running guest's logical volume", 114, ("<vm-lvm>",), VOLUME),
    Case("a disk of a mounted logical volume", 117, ("<host-lvm>",), MOUNT),
    Case("a device beside a mounted disk", 115, ("<beside-mounted>",), MOUNT),
    Case("the disk with the root file system", 116, ("<root>,pcie=1",), MOUNT),
    Case("a device without an IOMMU", 100, ("<clean>",), KERNEL, NO_IOMMU, hooked=False),
    Case("no device and no IOMMU", 101, (), machine=NO_IOMMU),
)
# Another device of the same kind is looked at when this one is bound.
HAS_TWIN = "a device alone in its group"
# These run while the others start: one has the open logical volume for a disk, the other a virtual function.
DISK_HOLDER = 120
VF_HOLDER = Case("holds a virtual function", 121, ("<vf0>",))


def of(machine: str) -> tuple[Case, ...]:
    """The guests of a machine, in the order of their start."""
    return tuple(case for case in CASES if case.machine == machine)

"""The machine's PCI devices: which there are, behind which ports, and where the machine finds them."""

from __future__ import annotations

from typing import NamedTuple


class Disk(NamedTuple):
    """A disk's image: a file of the machine's image directory, or a new, empty one of so many MiB."""

    name: str
    image: str = ""
    mebibytes: int = 64


class Device(NamedTuple):
    """A PCI device. `place` is its way from the root bus, slot and function of each bridge and at last its own."""

    name: str
    place: tuple[str, ...]
    options: str
    disk: Disk | None = None


class Port(NamedTuple):
    """A root port by its slot on the root bus, and what is behind it. Without ACS all of that is one IOMMU group with the port."""

    slot: int
    devices: tuple[Device, ...]
    acs: bool = True


def _nic(name: str, slot: int, options: str = "e1000e", function: int = 0) -> Device:
    # No boot ROM: each costs the firmware seconds.
    return Device(name, (f"{slot:02x}.0", f"00.{function}"), f"{options},romfile=,addr=0x0.{function}")


def _nvme(name: str, slot: int, disk: Disk, options: str = "") -> Device:
    return Device(name, (f"{slot:02x}.0", "00.0"), f"nvme,serial={name.upper()},drive={disk.name}{options}", disk)


def _conventional(name: str, slot: int, number: int) -> Device:
    return Device(name, (f"{slot:02x}.0", "00.0", f"{number:02x}.0"), f"e1000,romfile=,addr={number}")


def _usb(name: str, slot: int) -> Device:
    # It has no serial number: only its place tells it from its twin.
    return Device(name, (f"{slot:02x}.0", "00.0"), "qemu-xhci,addr=0x0")


# The virtual functions come into being when the machine asks for them.
_SRIOV = Port(
    0x19,
    (
        Device(
            "pf",
            ("19.0", "00.0"),
            "nvme,serial=SRIOV,subsys=subsystem,sriov_max_vfs=2,sriov_vq_flexible=4,sriov_vi_flexible=2,max_ioqpairs=8,msix_qsize=16",
        ),
    ),
)
PORTS = (
    Port(0x10, (_nvme("root", 0x10, Disk("root-disk", "root.img")),)),
    Port(0x11, (_nic("clean", 0x11),)),
    Port(0x12, (_nic("twin", 0x12),)),
    # Two conventional cards behind one bridge: the bridge cannot tell them apart.
    Port(0x13, (_conventional("wanted", 0x13, 1), _conventional("uplink", 0x13, 2))),
    Port(0x14, (_nic("pair", 0x14, "e1000e,multifunction=on"), _nic("pair-second", 0x14, function=1)), acs=False),
    Port(
        0x15,
        (_nvme("mounted", 0x15, Disk("data-disk", "data.img"), ",multifunction=on,addr=0x0.0"), _nic("beside-mounted", 0x15, function=1)),
        acs=False,
    ),
    Port(0x16, (_nvme("host-lvm", 0x16, Disk("host-lvm-disk")),)),
    Port(0x1B, (_nvme("vm-lvm", 0x1B, Disk("vm-lvm-disk")),)),
    Port(0x17, (_nvme("guest-lvm", 0x17, Disk("guest-lvm-disk")),)),
    Port(0x18, (_nvme("guest-zfs", 0x18, Disk("guest-zfs-disk", "zfs.img")),)),
    _SRIOV,
    Port(0x1A, (_nic("bare", 0x1A),)),
)

# The machine that is booted several times from one disk. Before the last time a card was replaced, and another one taken out with its
# port: all behind that have the bus numbers, and so the addresses, of those before them. Two disks of one kind have changed their slots.
# A network card with virtual functions, whose driver has a MAC, a VLAN and trust for each.
_CARD = Port(0x14, (_nic("card", 0x14, "igb,mac=52:54:00:00:00:14"),))
_FIRST = (Port(0x10, (_nvme("root", 0x10, Disk("root-disk", "root.img"), ",bootindex=1"),)), _CARD, _SRIOV)
_NAMED = Port(0x1A, (_nic("named", 0x1A, "e1000e,mac=52:54:00:00:00:1a"),))
_REPLACEMENT = Port(0x1A, (_nic("replacement", 0x1A, "virtio-net-pci"),))
_USB = Port(0x1B, (_usb("usb", 0x1B),))
_LAST = (
    Port(0x1C, (_usb("twin-of-usb", 0x1C),)),
    Port(0x1D, (_nic("moved", 0x1D, "e1000e,mac=52:54:00:00:00:1d"),)),
    Port(0x1E, (_nic("twin", 0x1E, "e1000e,mac=52:54:00:00:00:1e"),)),
)
_ONE, _OTHER = Disk("one-disk", mebibytes=16), Disk("other-disk", mebibytes=16)
BOUGHT = (*_FIRST, Port(0x11, (_nvme("one", 0x11, _ONE),)), Port(0x12, (_nvme("other", 0x12, _OTHER),)), _NAMED, _USB, *_LAST)
REBUILT = (*_FIRST, Port(0x11, (_nvme("other", 0x11, _OTHER),)), Port(0x12, (_nvme("one", 0x12, _ONE),)), _REPLACEMENT, *_LAST)
# The machine whose devices go from the node to a guest and back.
HANDOVER = (
    Port(0x10, (_nvme("root", 0x10, Disk("root-disk", "root.img")),)),
    Port(0x11, (_nvme("lent-disk", 0x11, Disk("lent-disk-disk")),)),
    Port(0x12, (_nic("lent-nic", 0x12, "e1000e,mac=52:54:00:00:00:12"),)),
    Port(0x15, (_nic("dying", 0x15, "e1000e,mac=52:54:00:00:00:13"),)),
)
# Behind the conventional bridge's root port.
BRIDGES = {0x13: "pcie-pci-bridge"}
VFS = 2


def places(ports: tuple[Port, ...]) -> dict[str, tuple[str, ...]]:
    """Where each device is, by its name."""
    found = {device.name: device.place for port in ports for device in port.devices}
    found |= {f"vf{number}": ("19.0", f"00.{number + 1}") for number in range(VFS)}
    # As QEMU's igb has them (its VF Offset and VF Stride).
    return found | {f"{name}-vf{number}": (found[name][0], f"10.{2 * number}") for name in found if name == "card" for number in range(VFS)}


PLACES = places(PORTS)


def disks(ports: tuple[Port, ...]) -> tuple[Disk, ...]:
    """All disks."""
    return tuple(device.disk for port in ports for device in port.devices if device.disk)


def arguments(ports: tuple[Port, ...]) -> list[str]:
    """QEMU's arguments for the ports and devices, without those for the disks' files."""
    found = ["-device", "nvme-subsys,id=subsystem"]
    for port in ports:
        bus = f"port{port.slot:x}"
        acs = "" if port.acs else ",disable-acs=true"
        found += ["-device", f"pcie-root-port,id={bus},bus=pcie.0,chassis={port.slot},slot={port.slot},addr={port.slot:#x}{acs}"]
        if port.slot in BRIDGES:
            found += ["-device", f"{BRIDGES[port.slot]},id=bridge{port.slot:x},bus={bus}"]
            bus = f"bridge{port.slot:x}"
        for device in port.devices:
            kind, _, options = device.options.partition(",")
            found += ["-device", f"{kind},id={device.name},bus={bus},{options}".rstrip(",")]
    return found

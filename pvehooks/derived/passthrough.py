"""Which PCI devices a start of a guest would take, who else uses them, and whether they can be reset between two starts.

claim     one hostpciN, or one device in `args`, with the devices that PVE would choose for it
named     a device that a claim gives to the guest
whole     the named devices of a claim that go to vfio-pci, each with its IOMMU group; none for a mediated device, a vGPU or driver=keep
taken     the whole devices of all claims, each once
member    a device that no claim names, and that a start takes because it is in the IOMMU group of a taken one; bridges are none
holder    a running guest that has a device
use       what the host, a container or a guest does with a device
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import wraps

from pvehooks.values import Guest, Holder, HostPci, Iommu, NamedTuple, Node, PciDevice, Unread, Use, Uses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    View = TypeVar("View")

# Drivers under which a device may stay in a group that is passed through (the kernel's Documentation/driver-api/vfio.rst).
_HARMLESS_DRIVERS = ("", "pci-stub", "pcieport", "vfio-pci")


class Claim(NamedTuple):
    """A hostpciN, or a device in `args`, and the devices that PVE would give the guest for it, all functions spelt out."""

    entry: HostPci
    devices: tuple[PciDevice, ...]
    # Whether none of the alternatives of its mapping is left, because other options of the guest have them.
    exhausted: bool = False

    @property
    def whole(self) -> tuple[PciDevice, ...]:
        """The devices that would be bound to vfio-pci, and with each its IOMMU group."""
        return self.devices if self.entry.taken_whole else ()


class ClaimedMember(NamedTuple):
    """A device that a start takes as well: `device` is in the IOMMU group of `claimed`, one of the devices of `claim`."""

    claim: Claim
    claimed: PciDevice
    device: PciDevice


PASSING = ("args", "hostpci")
"""The families of options without which nothing is passed through."""


def passes_through(guest: Guest) -> bool:
    """Whether the guest has passed-through PCI devices that a start would take; a template never starts with them."""
    return guest.passes_through


def pci_devices(node: Node) -> Mapping[str, PciDevice]:
    """The node's PCI devices; none where they cannot be read (hostpci-device-missing reports that)."""
    return {} if isinstance(node.pci, Unread) else node.pci


def working_iommu(node: Node) -> Iommu | None:
    """The node's IOMMU; None where it is off or unknown (iommu-off reports that)."""
    return None if isinstance(node.iommu, Unread) or not node.iommu.active else node.iommu


def devices_at(address: str, node: Node) -> list[PciDevice]:
    """The devices that an address of a config stands for: one, or all functions of a slot."""
    devices = pci_devices(node)
    if "." in address:
        return [devices[address]] if address in devices else []
    return [device for name, device in devices.items() if name.startswith(f"{address}.")]


def other_holders(address: str, guest: Guest, node: Node) -> list[Holder]:
    """The other running guests that hold the device."""
    if isinstance(node.holders, Unread):
        return []
    return [holder for holder in node.holders.get(address, ()) if holder.vmid != guest.vmid]


def holder_phrase(holder: Holder) -> str:
    """How the holder has the device, as the end of a sentence."""
    if holder.how == "starting":
        return f"is reserved for {holder.label}, which is starting"
    if holder.how == "reserved":
        return f"is reserved for {holder.label}"
    return f"is {'in the args' if holder.how == 'args' else holder.how} of {holder.label}"


def holder_phrase_now(holder: Holder) -> str:
    """The same, with what the guest does."""
    return holder_phrase(holder) if holder.state == "starting" else f"{holder_phrase(holder)}, which is running"


def _once(work_out: Callable[[Guest, Node], View]) -> Callable[[Guest, Node], View]:
    """Has what the decorated function works out kept in the node until another guest is asked about: all rules ask about one in a row."""
    key = f"{work_out.__module__}.{work_out.__name__}"

    @wraps(work_out)
    def view(guest: Guest, node: Node) -> View:
        about, found = node.__dict__.get(key, (None, None))
        if about is not guest:
            found = work_out(guest, node)
            node.__dict__[key] = guest, found
        known: View = found
        return known

    return view


@_once
def claims(guest: Guest, node: Node) -> tuple[Claim, ...]:
    """What PVE would take: of alternatives the first that is there and free, else the first (PCI.pm, choose_hostpci_devices)."""
    used: set[str] = set()
    found = []
    for entry in (*guest.hostpci, *guest.args_pci):
        if isinstance(entry.choices, Unread) or not entry.choices:
            continue
        choices = [tuple(device for address in choice for device in devices_at(address, node)) for choice in entry.choices]
        left = [devices for devices in choices if devices and not any(each.address in used for each in devices)]
        free = (devices for devices in left if not any(other_holders(each.address, guest, node) for each in devices))
        several = len(choices) > 1
        chosen = next(free, next(iter(left), choices[0])) if several else choices[0]
        # Many mediated devices can be made of one entry.
        exhausted = several and not left and all(choices) and not entry.mdev
        if not exhausted:
            used.update(device.address for device in chosen)
        found.append(Claim(entry, chosen, exhausted))
    return tuple(found)


def taken(guest: Guest, node: Node) -> Iterator[tuple[Claim, PciDevice]]:
    """The devices that would be bound to vfio-pci, each once, with the first claim to it."""
    seen: set[str] = set()
    for claim in claims(guest, node):
        for device in claim.whole:
            if device.address not in seen:
                seen.add(device.address)
                yield claim, device


@_once
def named(guest: Guest, node: Node) -> Mapping[str, PciDevice]:
    """The devices that the guest itself would get, by address."""
    return {device.address: device for claim in claims(guest, node) for device in claim.devices}


@_once
def group_members(guest: Guest, node: Node) -> tuple[ClaimedMember, ...]:
    """The devices of the claimed devices' IOMMU groups that are neither the guest's nor bridges, each once."""
    found: list[ClaimedMember] = []
    if isinstance(node.iommu, Unread) or not node.iommu.active:
        return ()
    devices = pci_devices(node)
    seen = set(named(guest, node))
    for claim in claims(guest, node):
        for device in claim.whole:
            for address in device.members:
                if address in seen or address not in devices or devices[address].bridge:
                    continue
                seen.add(address)
                found.append(ClaimedMember(claim, device, devices[address]))
    return tuple(found)


def behind_named(device: PciDevice, guest: Guest, node: Node) -> bool:
    """Whether the device hangs off one that the guest itself gets, as the disks behind a VMD controller do."""
    own = named(guest, node)
    return any(address in own for address in device.upstream)


def kernel_change(guest: Guest, node: Node) -> tuple[str, str]:
    """The kernel of the guest's last accepted start and the running one; ("", "") where they are the same, it runs, or one is unknown."""
    before = "" if guest.accepted is None or guest.running else guest.accepted.kernel
    now = node.kernel_release if before else ""
    return ("", "") if isinstance(now, Unread) or not now or now == before else (before, now)


def on_host_driver(device: PciDevice) -> bool:
    """Whether a driver of the host works the device, so that taking it is felt."""
    return device.driver not in _HARMLESS_DRIVERS and not device.vfio


def uses(device: PciDevice, node: Node) -> Uses:
    """What host, containers and guests do with the device."""
    return Uses(unread=(node.uses.why,)) if isinstance(node.uses, Unread) else node.uses.of(device)


def blocking_uses(device: PciDevice, guest: Guest, node: Node) -> list[Use]:
    """The uses that count against giving the device to the guest."""
    return [use for use in uses(device, node).found if not use.remark and use.vmid != guest.vmid]


# -- resets -----------------------------------------------------------------------------------------------------------


def beside(device: PciDevice, node: Node) -> list[PciDevice]:
    """The other devices of its bus, which a reset of the bus resets as well; bridges among them."""
    prefix = f"{device.slot.rpartition(':')[0]}:"
    return [
        other
        for address, other in pci_devices(node).items()
        if address.startswith(prefix) and address != device.address and not other.physfn
    ]


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
    taken = {pci_devices(node)[address].group for address in own if address in pci_devices(node)} - {""}
    for other in neighbours:
        if other.address not in own and (other.bridge or other.group not in taken):
            return f"it shares its bus with {other.label}, which the VM does not get", other
    return "", None

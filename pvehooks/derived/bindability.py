"""Objections to binding a device to vfio-pci by command, releasing it, or changing its virtual functions."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.derived.passthrough import holder_phrase_now, on_host_driver, pci_devices, uses
from pvehooks.values import Holder, NamedTuple, Node, PciDevice, Unread


class Objection(NamedTuple):
    """The reason, going on from the device's name, and the remedy."""

    why: str
    remedy: str


_ONLY_ROOT = "Look again as root"
_NETWORK = 0x02
_FREE = "Free it first: pvehooks takes nothing from the host that is in use"
_FREE_NIC = (
    "Free it first: if the node can be reached without it, take it out of its bridge or bond and remove its address (the node's System, Network,"
    " then Apply Configuration)"
)


def to_binding(device: PciDevice, node: Node) -> Objection | None:
    """The objection to binding the device to vfio-pci, now or at boot; other devices in its IOMMU group are none."""
    if device.bridge:
        return Objection("is a bridge, and bridges stay with the node", "Name the devices behind it: pvehooks host groups")
    if isinstance(node.iommu, Unread):
        return Objection(f"cannot be judged: {node.iommu.why}", _ONLY_ROOT)
    if device.vfio:
        return None
    used = _used(device, node)
    if used:
        return used
    if device.virtfns:
        count = len(device.virtfns)
        why = f"has {count} virtual function{'' if count == 1 else 's'}, which vfio-pci does not allow"
        return Objection(why, f"Take them away, or pass them through instead: pvehooks bind {device.address} --vfs 0 --now --persist")
    return None


def to_binding_now(device: PciDevice, node: Node) -> Objection | None:
    """The objection to binding the device to vfio-pci now, which does not count at boot."""
    if not isinstance(node.iommu, Unread) and not node.iommu.active and not device.vfio:
        return Objection(f"cannot be bound now, {node.name} has no IOMMU groups: {node.iommu.why}", "Note it for later: add --persist")
    return None


def to_release(device: PciDevice, node: Node) -> Objection | None:
    """The objection to taking the device from vfio-pci: the kernel blocks the writer until the device's guest ends."""
    if isinstance(node.holders, Unread):
        return Objection(f"may be held by a VM: {node.holders.why}", _ONLY_ROOT)
    for address in device.members:
        holders = node.holders.get(address, ())
        if holders:
            which = "" if address == device.address else f" shares its IOMMU group with {address}, which"
            return Objection(f"{which} {holder_phrase_now(holders[0])}".strip(), _ending(holders[0]))
    return None


def to_change_of_vfs(device: PciDevice, node: Node) -> Objection | None:
    """The objection to removing the device's virtual functions, or to making other ones."""
    if device.physfn:
        return Objection(f"is a virtual function itself, of {device.physfn}", f"Name that: pvehooks bind {device.physfn} --vfs N")
    if device.vfio:
        return Objection(
            f"is on {device.driver}, and only a driver of the host makes virtual functions", f"pvehooks unbind {device.address}"
        )
    for address in device.virtfns:
        virtual = pci_devices(node).get(address)
        used = _used(virtual, node) if virtual else None
        if used:
            return Objection(f"has a virtual function in use: {address} {used.why}", used.remedy)
    return None


def _ending(holder: Holder) -> str:
    if holder.state == "starting":
        return f"Wait until VM {holder.vmid} has started, or failed to"
    return f"Stop it first: qm shutdown {holder.vmid}"


def _used(device: PciDevice, node: Node) -> Objection | None:
    if isinstance(node.holders, Unread):
        return Objection(f"may be held by a VM: {node.holders.why}", _ONLY_ROOT)
    holders = node.holders.get(device.address, ())
    if holders:
        return Objection(holder_phrase_now(holders[0]), _ending(holders[0]))
    known = uses(device, node)
    use = next((use for use in known.found if not use.remark), None)
    if use:
        free = f"Stop {use.vmid} first" if use.vmid else _FREE_NIC if device.class_code >> 16 == _NETWORK else _FREE
        return Objection(use.sentence, use.remedy or free)
    if known.unread and on_host_driver(device):
        return Objection(f"may be in use, that is unknown: {'; '.join(known.unread)}", _ONLY_ROOT)
    return None


def remarks(device: PciDevice, node: Node) -> Iterator[str]:
    """Remarks on a device that is bound: who shares its group, what the node lacks then."""
    if on_host_driver(device):
        yield from (f"it {use.sentence}" for use in uses(device, node).found if use.remark)
    devices = pci_devices(node)
    for address in device.members:
        member = devices.get(address)
        if member is not None and address != device.address and not member.bridge and member.slot != device.slot:
            driver = f"on {member.driver}" if member.driver else "without a driver"
            yield f"its IOMMU group {device.group} also has {member.label}, {driver}: a VM that gets the one also takes the other"

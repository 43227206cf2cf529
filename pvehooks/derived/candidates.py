"""Which of the node's devices could be passed through, and which should not be, with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pvehooks.derived.passthrough import bus, on_host_driver, uses
from pvehooks.values import NamedTuple, Node, PciDevice, Unread, Use

# Base classes, and classes, that people pass through (pci.ids): storage, network, display, multimedia, wireless, accelerators; USB controllers.
_BASES = frozenset({0x01, 0x02, 0x03, 0x04, 0x0D, 0x12})
_CLASSES = frozenset({0x0C03, 0x0805})
# What a node does not boot without, in the words of facts/uses/diskuses.py.
_BOOTS = ("holds / ", "holds /, ", "holds /boot", "holds /efi", "is an ESP")


class Candidate(NamedTuple):
    """A device that does work: the uses that speak against it, remarks, what could not be read, and the others of its group that are no bridges."""

    device: PciDevice
    uses: tuple[Use, ...]
    remarks: tuple[Use, ...]
    unread: tuple[str, ...]
    company: tuple[PciDevice, ...]


def needed_to_boot(use: Use, node: Node) -> bool:
    """Whether the node does not boot without this use: its root file system, also on a ZFS pool, /boot, an ESP."""
    if use.vmid or use.remark:
        return False
    return use.sentence.startswith(_BOOTS) or any(f" ZFS pool {pool} " in use.sentence for pool in _root_pools(node))


def _root_pools(node: Node) -> set[str]:
    """The ZFS pool that the running kernel was told to find its root file system in."""
    if isinstance(node.command_lines, Unread) or isinstance(node.command_lines.running, Unread):
        return set()
    roots = (word.partition("=")[2] for word in node.command_lines.running if word.startswith("root="))
    return {root[4:].partition("/")[0] for root in roots if root.lower().startswith(("zfs=", "zfs:"))}


def working(device: PciDevice) -> bool:
    """Whether a device is of a kind that people pass through."""
    return not device.bridge and (device.class_code >> 16 in _BASES or device.class_code >> 8 in _CLASSES)


def host_uses(device: PciDevice, node: Node) -> tuple[Use, ...]:
    """The host's own uses that weigh."""
    return tuple(use for use in uses(device, node).found if not use.remark and not use.vmid)


def candidates(node: Node) -> Iterator[Candidate]:
    """The devices that do work, those of VFs left out."""
    devices = bus(node)
    for device in devices.values():
        if device.physfn or not working(device):
            continue
        asked = uses(device, node)
        others = (devices[address] for address in device.members if address != device.address and address in devices)
        yield Candidate(
            device,
            tuple(use for use in asked.found if not use.remark),
            tuple(use for use in asked.found if use.remark),
            asked.unread,
            tuple(other for other in others if not other.bridge),
        )


def described(candidate: Candidate, node: Node, also: Iterable[str] = ()) -> tuple[str, str]:
    """A verdict in a word or two, and the device in a sentence: for who chooses what to pass through.

    `also` is what else is known of the device: what claims it at boot, how many virtual functions it can have.
    """
    device = candidate.device
    parts = [f"group {device.group}" if device.group else "no IOMMU group"]
    company = _company(candidate, node)
    others = [other for other, used in company if used or other.slot != device.slot]
    taken = [use for _, used in company for use in used]
    if others:
        parts.append(_with(others, taken))
    parts.append("vfio has it" if device.vfio else f"driver {device.driver}" if device.driver else "no driver")
    claimed = _claimed(device, node)
    if claimed:
        parts.append(claimed)
    if not isinstance(device.reset_methods, Unread):
        parts.append(f"reset: {', '.join(device.reset_methods)}" if device.reset_methods else "cannot be reset")
    if device.framebuffer:
        parts.append(f"{device.framebuffer} is in its memory")
    parts += [*also, *(use.sentence for use in (*candidate.uses, *candidate.remarks))]
    if any(not use.vmid for use in (*candidate.uses, *taken)):
        return "not for passthrough", "; ".join(parts)
    if candidate.uses or taken:
        return "in use", "; ".join(parts)
    if candidate.unread:
        return "not examined", "; ".join((*parts, *(f"not known: {why}" for why in candidate.unread)))
    if not device.group:
        return "no IOMMU", "; ".join(parts[1:])
    risky = any(on_host_driver(other) and working(other) for other in others)
    return "shared group" if risky else "free", "; ".join(parts)


def _company(candidate: Candidate, node: Node) -> list[tuple[PciDevice, tuple[Use, ...]]]:
    """The others of the device's group, those first that are in use, with the uses that weigh."""
    found = [(other, tuple(use for use in uses(other, node).found if not use.remark)) for other in candidate.company]
    return sorted(found, key=lambda each: not each[1])


def _with(others: list[PciDevice], taken: list[Use]) -> str:
    """The company in words; the first of it is what has the first of the uses, if there are any."""
    which = f", which {taken[0].sentence}" if taken else ""
    return f"with {others[0].address}{which}" + (f" and with {len(others) - 1} more" if len(others) > 1 else "")


def _claimed(device: PciDevice, node: Node) -> str:
    """What claims the device at boot."""
    if device.override:
        return f"driver_override {device.override}"
    bound = () if isinstance(node.bound_ids, Unread) else node.bound_ids
    place = next((each.place for each in bound if (device.vendor, device.device) in each.ids), "")
    return f"vfio-pci claims its ids at boot ({place})" if place else ""

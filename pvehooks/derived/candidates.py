"""Which of the node's devices could be passed through, and which should not be, with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pvehooks.derived import passthrough
from pvehooks.derived.groups import member, named_by_any
from pvehooks.derived.passthrough import holder_phrase_now, pci_devices, uses
from pvehooks.values import NamedTuple, Node, PciDevice, Unread, Use
from pvehooks.values.groups import GroupMember, is_card
from pvehooks.values.pci import does_work

# What a node does not boot without, in the words of facts/uses/diskuses.py.
_BOOTS = ("holds / ", "holds /, ", "holds /boot", "holds /efi", "is an ESP")


class Candidate(NamedTuple):
    """A device of a kind that people pass through, and the others of its group that are no bridges."""

    member: GroupMember
    group_members: tuple[GroupMember, ...]

    @property
    def device(self) -> PciDevice:
        """The device itself."""
        return self.member.device


def needed_to_boot(use: Use, node: Node) -> bool:
    """Whether the node does not boot without this use: its root file system, also on a ZFS pool, /boot, an ESP."""
    if use.vmid or use.remark:
        return False
    return use.sentence.startswith(_BOOTS) or any(f" ZFS pool {pool} " in use.sentence for pool in _root_pools(node))


def _root_pools(node: Node) -> set[str]:
    """The ZFS pool of the root file system, by the running kernel's command line."""
    if isinstance(node.command_lines, Unread) or isinstance(node.command_lines.running, Unread):
        return set()
    roots = (word.partition("=")[2] for word in node.command_lines.running if word.startswith("root="))
    return {root[4:].partition("/")[0] for root in roots if root.lower().startswith(("zfs=", "zfs:"))}


def working(device: PciDevice) -> bool:
    """Whether a device is of a kind that people pass through."""
    return not device.bridge and (does_work(device.class_code) or is_card(device))


def host_uses(device: PciDevice, node: Node) -> tuple[Use, ...]:
    """The host's own uses that weigh."""
    return tuple(use for use in uses(device, node).found if not use.remark and not use.vmid)


def candidates(node: Node) -> Iterator[Candidate]:
    """The devices that do work, and those of any class that a guest or a mapping names; VFs and bridges are left out."""
    devices = pci_devices(node)
    named = named_by_any(node)
    known: dict[str, GroupMember] = {}

    def looked_at(device: PciDevice) -> GroupMember:
        """Once each: in a group of many every one is a member for all others."""
        if device.address not in known:
            known[device.address] = member(device, node)
        return known[device.address]

    for device in devices.values():
        if device.physfn or device.bridge or not (working(device) or device.address in named):
            continue
        others = (devices[address] for address in device.members if address != device.address and address in devices)
        yield Candidate(looked_at(device), tuple(looked_at(other) for other in others if not other.bridge))


def described(candidate: Candidate, node: Node, also: Iterable[str] = ()) -> tuple[str, str]:
    """A verdict in a word or two, and the device in a sentence: for who chooses what to pass through.

    `also` is what else is known of the device: what claims it at boot, how many virtual functions it can have.
    """
    mine = candidate.member
    device = mine.device
    parts = [f"group {device.group}" if device.group else "no IOMMU group"]
    group_members = sorted(candidate.group_members, key=lambda other: not _users(other))
    others = [other for other in group_members if not other.free or other.device.slot != device.slot]
    if others:
        parts.append(_with(others))
    parts.append("vfio has it" if device.vfio else f"driver {device.driver}" if device.driver else "no driver")
    claimed = _claimed(device, node)
    if claimed:
        parts.append(claimed)
    if not isinstance(device.reset_methods, Unread):
        parts.append(f"reset: {', '.join(device.reset_methods)}" if device.reset_methods else _reset(device, node))
    if device.framebuffer:
        parts.append(f"{device.framebuffer} is in its memory")
    parts += [*also, *_users(mine), *(use.sentence for use in mine.uses if use.remark)]
    if mine.kept and mine.kept not in parts:
        parts.append(mine.kept)
    return _verdict(mine, group_members, others, parts)


def _verdict(mine: GroupMember, group_members: list[GroupMember], others: list[GroupMember], parts: list[str]) -> tuple[str, str]:
    """The verdict "free" is what GroupMember.free says, of the device and of all that go with it."""
    every = (mine, *group_members)
    if any(use for each in every for use in each.uses if not use.remark and not use.vmid):
        return "not for passthrough", "; ".join(parts)
    if any(each.holders or each.use for each in every):
        return "in use", "; ".join(parts)
    kept = next((each for each in every if each.kept), None)
    if kept is not None:
        return _kept_verdict(kept), "; ".join(parts)
    unread = [why for each in every for why in each.unread]
    if unread:
        return "not examined", "; ".join((*parts, *(f"not known: {why}" for why in dict.fromkeys(unread))))
    if not mine.device.group:
        return "no IOMMU", "; ".join(parts[1:])
    risky = any(other.on_host and working(other.device) for other in others)
    return "shared group" if risky else "free", "; ".join(parts)


def _kept_verdict(member: GroupMember) -> str:
    """Why an idle device is not free, in a word or two."""
    if member.device.dead:
        return "dead"
    return "not for passthrough" if member.device.reserved else "in use" if member.device.virtfns else "needed at the node"


def _users(member: GroupMember) -> list[str]:
    """The running guests that hold the device, and its uses that weigh, each as a sentence that goes on from its name."""
    return [*map(holder_phrase_now, member.holders), *(use.sentence for use in member.uses if not use.remark)]


def _reset(device: PciDevice, node: Node) -> str:
    """How a device without a method of its own is reset."""
    functions = (f"{device.slot}.{number}" for number in range(8))
    own = {address for address in functions if address in pci_devices(node)}
    return "cannot be reset" if passthrough.hindrance(device, own, node)[0] else "reset: with its whole card"


def _with(others: list[GroupMember]) -> str:
    """The others of the group in words; the first is one in use, if any is."""
    uses = _users(others[0]) or ([others[0].kept] if others[0].kept else [])
    which = f", which {uses[0]}" if uses else ""
    return f"with {others[0].device.address}{which}" + (f" and with {len(others) - 1} more" if len(others) > 1 else "")


def _claimed(device: PciDevice, node: Node) -> str:
    """What claims the device at boot."""
    if device.override:
        return f"driver_override {device.override}"
    bound = () if isinstance(node.bound_ids, Unread) else node.bound_ids
    place = next((each.place for each in bound if (device.vendor, device.device) in each.ids), "")
    return f"vfio-pci claims its ids at boot ({place})" if place else ""

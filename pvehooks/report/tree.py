"""IOMMU groups in words and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pvehooks.values import Unread
from pvehooks.values.groups import Group, GroupMember
from pvehooks.wording import counted, printable

_NOTHING = {"bridges": "bridges", "board": "devices of the board"}


def headline(group: Group) -> str:
    """A group in words: its name, whether it is clean or shared, and whether it can be had."""
    if group.state == "no group":
        return "in no IOMMU group: cannot be passed through"
    if group.state in _NOTHING:
        return f"group {group.name}: {_NOTHING[group.state]} only, nothing to pass through"
    state = (
        "clean"
        if group.state == "clean"
        else f"shared by {len({each.device.slot for each in group.devices})} devices that only go together"
    )
    return f"group {group.name}: {state}, {_availability(group)}"


def _availability(group: Group) -> str:
    if group.free:
        return "free"
    guests = {holder.vmid: holder.label for member in group.devices for holder in member.holders}
    uses = [member.use for member in group.devices if member.use]
    guests = {**{use.vmid: f"VM or container {use.vmid}" for use in uses if use.vmid}, **guests}
    users = ["the host"] if any(not use.vmid for use in uses) else []
    if guests or users:
        return f"in use by {' and '.join((*users, *guests.values()))}"
    if any(member.unread for member in group.devices):
        return "its use is unknown"
    return next((f"not free: {member.device.address} {member.kept}" for member in group.devices if member.kept), "not free")


def whose(member: GroupMember) -> str:
    """Who has the device: guest, host, free, or unknown."""
    if member.holders:
        return "guest"
    if member.use:
        return "guest" if member.use.vmid else "host"
    if member.unread or member.device.dead:
        return "unknown"
    return "host" if member.kept else "free"


def details(member: GroupMember) -> Iterator[str]:
    """A device in words: who uses it, its driver, how it can be reset, what else there is to say."""
    device = member.device
    if device.bridge:
        yield "bridge, stays with the host"
        return
    yield " and ".join(_users(member))
    yield f"driver {device.driver}" if device.driver else "no driver"
    if device.dead:
        return
    methods = device.reset_methods
    yield "reset unknown" if isinstance(methods, Unread) else f"reset {', '.join(methods)}" if methods else "no reset"
    if device.virtfns and (member.holders or member.use):
        yield counted(len(device.virtfns), "virtual function")
    if device.physfn:
        yield f"virtual function of {device.physfn}"
    yield from (use.sentence for use in member.uses if use.remark and use.sentence != member.kept)


def _users(member: GroupMember) -> list[str]:
    """Who uses the device or names it, as a list that is never empty."""
    reserved = ("reserved", "starting")
    uses = [f"{'reserved for' if each.how in reserved else f'{each.how} of'} {each.label}, {each.state}" for each in member.holders]
    if not uses and member.use:
        uses = [f"in use: {member.use.sentence}"]
    if not uses and member.kept:
        uses = ["dead, its config space reads all ones" if member.device.dead else f"not free: {member.kept}"]
    if not uses and member.unread:
        uses = ["whether it is in use is unknown"]
    held = {holder.vmid for holder in member.holders}
    for naming in member.named:
        if naming.vmid not in held:
            uses.append(f"{naming.option} of {naming.label}, {'from its next start on' if naming.running else 'stopped'}")
    return uses or ["idle" if member.on_host or not member.device.driver else "unused"]


def summary(groups: Iterable[Group], node: str) -> str:
    """How many of which: a line."""
    real = [group for group in groups if group.name]
    counts = [(sum(group.state == state for group in real), state) for state in ("clean", "shared")]
    counts.append((sum(group.state in _NOTHING for group in real), "with nothing to pass through"))
    parts = [f"{count} {state}" for count, state in counts if count]
    free = sum(group.free for group in real)
    return f"{counted(len(real), 'IOMMU group')} on {node}: {', '.join(parts) or 'none'}; {free or 'none'} free to be passed through"


def as_json(group: Group) -> dict[str, object]:
    """A group with its devices, for programs."""
    return {
        "group": group.name or None,
        "state": group.state,
        "free": group.free,
        "devices": [_member(member) for member in group.members],
    }


def _member(member: GroupMember) -> dict[str, object]:
    device = member.device
    methods = None if device.bridge or isinstance(device.reset_methods, Unread) else list(device.reset_methods)
    return {
        "address": device.address,
        "words": printable(device.words),
        "id": f"{device.vendor:04x}:{device.device:04x}" if min(device.vendor, device.device) >= 0 else None,
        "class": f"{device.class_code:06x}" if device.class_code >= 0 else None,
        "bridge": device.bridge,
        "driver": device.driver or None,
        "vfio": device.vfio,
        "reset_methods": methods,
        "dead": device.dead,
        "physfn": device.physfn or None,
        "virtfns": list(device.virtfns),
        "free": not device.bridge and member.free,
        "uses": [{"use": printable(use.sentence), "vmid": use.vmid or None, "remark": use.remark} for use in member.uses],
        "guests": _guests(member),
        "unread": [printable(why) for why in member.unread],
    }


def _guests(member: GroupMember) -> list[dict[str, object]]:
    """Those that hold it and those that name it."""
    holding = {holder.vmid for holder in member.holders}
    found = [(holder.vmid, holder.label, holder.how, holder.state == "running", True) for holder in member.holders]
    found += [(each.vmid, each.label, each.option, each.running, False) for each in member.named if each.vmid not in holding]
    keys = ("vmid", "label", "option", "running", "holds")
    return [dict(zip(keys, (vmid, printable(label), *rest), strict=True)) for vmid, label, *rest in found]

"""The picture of the IOMMU groups: what each box shows, and how urgent it is. One meaning for HTML and Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pvehooks.report import tree
from pvehooks.report.content import GuestSeen, Report, ReportedFinding
from pvehooks.values import NamedTuple, Severity, Unread
from pvehooks.values.groups import Group, GroupMember
from pvehooks.wording import and_more

# By urgency: what the box is, in a word or two.
LEVELS = {
    "danger": "in danger",
    "trouble": "a VM cannot start",
    "care": "shared and in use",
    "shared": "shared",
    "guest": "used by a VM or container",
    "named": "meant for a VM",
    "free": "free",
    "host": "used by the host",
    "unknown": "not known",
    "idle": "nothing to pass through",
}
# By whose it is, where the drawing has another name.
ICONS = {"bridge": "none", "named": "guest", "idle": "free"}


class Cell(NamedTuple):
    """A device in a box: `whose` it is, that in a word, and the rest in words.

    `whose` is host, guest, named (a guest names it, and none has it now), free, idle (free, but in no group), unknown or bridge.
    """

    member: GroupMember
    whose: str
    who: str
    details: tuple[str, ...]


class Box(NamedTuple):
    """A group: its urgency, its state in words, its devices, and the findings that say that a start would do harm to them."""

    group: Group
    level: str
    state: str
    cells: tuple[Cell, ...]
    dangers: tuple[ReportedFinding, ...]


def boxes(report: Report) -> tuple[Box, ...]:
    """The groups as boxes, in the order of their numbers."""
    if isinstance(report.groups, Unread):
        return ()
    dangers = _dangers(report.guests)
    return tuple(_box(group, dangers) for group in report.groups)


def _dangers(guests: tuple[GuestSeen, ...]) -> dict[str, list[ReportedFinding]]:
    """Findings that refuse a start, or would if they were not ignored, by the address that they are about."""
    found: dict[str, list[ReportedFinding]] = {}
    for guest in guests:
        for item in guest.findings:
            if item.finding.severity is Severity.BLOCK and item.finding.examined:
                found.setdefault(item.finding.subject, []).append(ReportedFinding(guest, item))
    return found


def _box(group: Group, dangers: Mapping[str, list[ReportedFinding]]) -> Box:
    cells = tuple(_cell(member) for member in group.members)
    mine = tuple(each for member in group.members for each in dangers.get(member.device.address, ()))
    headline = tree.headline(group)
    state = headline.partition(": ")[2] if group.name else headline
    harmful = any(_harms(cell, dangers.get(cell.member.device.address, ())) for cell in cells)
    level = "danger" if harmful else "trouble" if mine else _level(group, cells)
    # A group is clean of other devices; beside a warning it would read as if all were well.
    return Box(group, level, state.removeprefix("clean, ") if mine else state, cells, mine)


def _harms(cell: Cell, refused: Sequence[ReportedFinding]) -> bool:
    """Whether a start would take the device from the host or another guest, or also one that no option names; otherwise the guest fails."""
    named = {naming.vmid for naming in cell.member.named}
    return any(cell.whose in ("host", "guest") or (each.guest is not None and each.guest.vmid not in named) for each in refused)


def _level(group: Group, cells: tuple[Cell, ...]) -> str:
    whose = {cell.whose for cell in cells if cell.whose != "bridge"}
    if group.state not in ("clean", "shared"):
        return "idle"
    if group.state == "shared":
        if whose & {"host", "unknown"}:
            return "care"
        return "guest" if "guest" in whose else "named" if "named" in whose else "shared"
    for level in ("guest", "host", "unknown", "named"):
        if level in whose:
            return level
    return "free" if group.free else "host"


def _cell(member: GroupMember) -> Cell:
    details = list(tree.details(member))
    if member.device.bridge:
        return Cell(member, "bridge", "bridge", ("stays with the host",))
    whose = tree.whose(member)
    if member.named and whose in ("free", "host") and not member.use:
        whose = "named"
    elif whose == "free":
        whose = "free" if member.device.group else "idle"
    return Cell(member, whose, _who(member, whose), tuple(details))


def _who(member: GroupMember, whose: str) -> str:
    """Who has it, short enough for a label."""
    if whose == "named":
        return f"for {_guests('VM', (naming.vmid for naming in member.named))}"
    if whose == "guest":
        if member.holders:
            return _guests("VM", (holder.vmid for holder in member.holders))
        return _guests("VM or container", (use.vmid for use in member.uses if use.vmid and not use.remark))
    return {"host": "host", "free": "free", "idle": "not used", "unknown": "dead" if member.device.dead else "unknown"}[whose]


def _guests(what: str, vmids: Iterable[int]) -> str:
    return f"{what} {and_more([str(vmid) for vmid in dict.fromkeys(vmids)], 3)}"

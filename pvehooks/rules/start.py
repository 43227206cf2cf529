"""The rules that a start is judged by: those on passed-through devices and firmware images. Kept apart because the hookscript loads no others."""

from __future__ import annotations

from pvehooks.rules import devices, firmware, groups, resources
from pvehooks.values import Finding, Guest, Node

BOOKS = (groups.BOOK, devices.BOOK, resources.BOOK, firmware.BOOK)
RULES = frozenset(rule.id for book in BOOKS for rule in book.rules)


def look_at_start(guest: Guest, node: Node) -> tuple[Finding, ...]:
    """What the rules have to say of a guest that is about to start, in catalogue order."""
    rules = [rule for book in BOOKS if book.concerned(guest) for rule in book.rules]
    return tuple(rule.complete(finding, guest.vmid) for rule in rules for finding in rule.look(guest, node))

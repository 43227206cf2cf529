"""All rules, in the order in which they are shown."""

from __future__ import annotations

from pvehooks.rules import config, entropy, injection
from pvehooks.rules.rule import Rule
from pvehooks.values import Finding, Guest, Node

BOOKS = (config.BOOK, entropy.BOOK, injection.BOOK)
RULES: dict[str, Rule] = {rule.id: rule for book in BOOKS for rule in book.rules}


def look(guest: Guest, node: Node) -> tuple[Finding, ...]:
    """What the rules have to say of a guest, in catalogue order."""
    rules = [rule for book in BOOKS if book.concerned(guest) for rule in book.rules]
    return tuple(rule.complete(finding, guest.vmid) for rule in rules for finding in rule.look(guest, node))

"""All rules, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Iterable

from pvehooks.rules import config, entropy, injection
from pvehooks.rules.rule import Rule
from pvehooks.values import Finding, Guest, Node

RULES: dict[str, Rule] = {rule.id: rule for book in (config.BOOK, entropy.BOOK, injection.BOOK) for rule in book.rules}


def look(guest: Guest, node: Node, rules: Iterable[Rule] = RULES.values()) -> tuple[Finding, ...]:
    """What the rules have to say of a guest, in catalogue order."""
    return tuple(finding for rule in rules for finding in rule.findings(guest, node))

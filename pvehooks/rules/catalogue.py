"""All rules, in the order in which they are shown."""

from __future__ import annotations

from pvehooks.rules import config, entropy, hookscript, injection, resources, start
from pvehooks.rules.host import book as host
from pvehooks.rules.rule import Rule
from pvehooks.values import Finding, Guest, Node

BOOKS = (config.BOOK, entropy.BOOK, injection.BOOK, *start.BOOKS, hookscript.BOOK, resources.AUDIT)
# Several books ask the same of a guest.
_QUESTIONS = frozenset(book.concerned for book in BOOKS)
# On the node itself: how it boots, and whether devices can be passed through.
NODE_BOOKS = host.BOOKS
_ALL = (*(book.rules for book in BOOKS), *(book.rules for book in NODE_BOOKS))
RULES: dict[str, Rule] = {rule.id: rule for rules in _ALL for rule in rules}


def look(guest: Guest, node: Node) -> tuple[Finding, ...]:
    """What the rules have to say of a guest, in catalogue order."""
    concerned = {question for question in _QUESTIONS if question(guest)}
    rules = [rule for book in BOOKS if book.concerned in concerned for rule in book.rules]
    return tuple(rule.complete(finding, guest.vmid) for rule in rules for finding in rule.look(guest, node))


def look_at_node(node: Node) -> tuple[Finding, ...]:
    """What the rules have to say of the node itself, in catalogue order."""
    rules = [rule for book in NODE_BOOKS for rule in book.rules]
    return tuple(rule.complete(finding) for rule in rules for finding in rule.look(node))

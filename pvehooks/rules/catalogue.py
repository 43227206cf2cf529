"""All rules, in the order in which they are shown."""

from __future__ import annotations

from functools import lru_cache

from pvehooks.rules import (
    atstart,
    bootorder,
    bridges,
    config,
    display,
    elsewhere,
    entropy,
    firmwareaudit,
    hookscript,
    injection,
    moving,
    paths,
    resources,
    sharedmemory,
    sizes,
    start,
    targets,
    together,
    tpm,
    uefi,
    usb,
    virtiofs,
)
from pvehooks.rules.host import book as host
from pvehooks.rules.rule import Rule
from pvehooks.values import Finding, Guest, Node
from pvehooks.values.summaries import Target

BOOKS = (
    config.BOOK,
    entropy.BOOK,
    injection.BOOK,
    *start.BOOKS,
    hookscript.BOOK,
    resources.AUDIT,
    firmwareaudit.BOOK,
    uefi.BOOK,
    tpm.BOOK,
    bootorder.BOOK,
    together.BOOK,
    elsewhere.BOOK,
    atstart.BOOK,
    paths.BOOK,
    bridges.BOOK,
    sizes.BOOK,
    usb.BOOK,
    virtiofs.BOOK,
    sharedmemory.BOOK,
    display.BOOK,
    moving.BOOK,
)
# Several books ask the same of a guest.
_QUESTIONS = tuple(dict.fromkeys(book.concerned for book in BOOKS))
# On the node itself: how it boots, and whether devices can be passed through.
NODE_BOOKS = host.BOOKS
_ALL = (*(book.rules for book in BOOKS), *(book.rules for book in NODE_BOOKS), targets.BOOK.rules)
RULES: dict[str, Rule] = {rule.id: rule for rules in _ALL for rule in rules}


def look(guest: Guest, node: Node) -> tuple[Finding, ...]:
    """What the rules have to say of a guest, in catalogue order."""
    rules = _rules_for(tuple([bool(question(guest)) for question in _QUESTIONS]))
    found = [rule.complete(finding, guest.vmid) for rule in rules for finding in rule.look(guest, node)]
    return tuple([firmwareaudit.as_it_is(guest, finding) for finding in found])


@lru_cache(maxsize=256)
def _rules_for(answers: tuple[bool, ...]) -> tuple[Rule, ...]:
    """The rules that look at guests with these answers to the questions."""
    concerned = dict(zip(_QUESTIONS, answers, strict=True))
    return tuple(rule for book in BOOKS if concerned[book.concerned] for rule in book.rules)


def look_at_node(node: Node) -> tuple[Finding, ...]:
    """What the rules have to say of the node itself, in catalogue order."""
    rules = [rule for book in NODE_BOOKS for rule in book.rules]
    return tuple(rule.complete(finding) for rule in rules for finding in rule.look(node))


def look_at_target(guest: Guest, target: Target) -> tuple[Finding, ...]:
    """What the rules have to say of a guest that is to start on another node; it must have been read as that node would."""
    return targets.look(guest, target, [book.rules for book in BOOKS if book.concerned(guest)], start.RULES)

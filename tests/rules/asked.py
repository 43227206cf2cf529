"""What all rules find of a guest, also those that wait for options which it does not have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pvehooks.rules.engine import GUEST, START, Rule, rule_sets
from pvehooks.values import Finding, Guest, Node


def rules_about(guest: Guest) -> Iterator[Rule]:
    """The rules whose files look at such guests."""
    return (rule for rules in rule_sets(GUEST, START) if rules.applies_to(guest) for rule in rules.rules)


def findings_of(rules: Iterable[Rule], guest: Guest, node: Node) -> tuple[Finding, ...]:
    """What they find in an audit."""
    found = ((rule, finding) for rule in rules for finding in rule.found(guest, node))
    return tuple(finding if rule.in_audit is None else rule.in_audit(guest, finding) for rule, finding in found)

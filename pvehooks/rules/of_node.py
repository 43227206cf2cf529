"""The rules on the node itself, and what they find. Who asks only these does not load the rules on guests."""

from __future__ import annotations

from collections.abc import Callable

from pvehooks.rules.engine import NODE, rule_sets
from pvehooks.values import Finding, NamedTuple, Node

_NODE = rule_sets(NODE)


class CheckLine(NamedTuple):
    """A line of `pvehooks host check`: its subject, the ids of its rules, and what it says where none of them found anything ('' for nothing)."""

    subject: str
    rules: tuple[str, ...]
    passed: Callable[[Node], str]


def _check_lines() -> tuple[CheckLine, ...]:
    listed: dict[str, tuple[str, ...]] = {}
    for rule in (rule for rules in _NODE for rule in rules.rules):
        listed[rule.line] = (*listed.get(rule.line, ()), rule.id)
    passed = {line: words for rules in _NODE for line, words in rules.all_well_lines.items()}
    return tuple(CheckLine(line, ids, passed.get(line, _nothing)) for line, ids in listed.items())


def _nothing(node: Node) -> str:
    return ""


CHECK_LINES = _check_lines()


def findings_of_node(node: Node) -> tuple[Finding, ...]:
    """What the rules find of the node itself, in the order in which they are listed."""
    return tuple(rule.complete(finding) for rules in _NODE for rule in rules.rules for finding in rule.function(node))


def losses_at_next_boot(node: Node) -> tuple[Finding, ...]:
    """What a restart does to the node itself, beside the guests."""
    return tuple(rule.complete(finding) for rules in _NODE for rule in rules.rules if rule.at_boot for finding in rule.function(node))

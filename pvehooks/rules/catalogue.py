"""All rules, in the order in which they are listed, and what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

from pvehooks.derived.passthrough import devices_at
from pvehooks.rules.engine import BOOT, GUEST, NODE, START, TARGET, Rule, not_examined, rule_sets
from pvehooks.values import Finding, Guest, Node, Severity
from pvehooks.values.summaries import Target

_AUDIT, _NODE, _BOOT, _TARGET = rule_sets(GUEST, START), rule_sets(NODE), rule_sets(BOOT), rule_sets(TARGET)
RULES: dict[str, Rule] = {rule.id: rule for rules in (*_AUDIT, *_NODE, *_BOOT, *_TARGET) for rule in rules.rules}
_FAMILIES = frozenset(family for rules in _AUDIT for rule in rules.rules for family in rule.options or ())
_DIGITS = "0123456789"
# Facts that a node's summary contains.
_BY_SUMMARY = frozenset({"pci", "iommu", "uses", "holders", "hwrng"})


def findings(guest: Guest, node: Node) -> tuple[Finding, ...]:
    """What the rules find of a guest, in the order in which they are listed."""
    found: list[Finding] = []
    there = families(guest)
    for function, rule in _rules_for(there, tuple([question(guest) for question in _questions(there)])):
        # Of forty rules one or two find something: only these cost more than the rule itself.
        for finding in function(guest, node):
            whole = rule.whole(finding, guest, node)
            found.append(whole if rule.in_audit is None else rule.in_audit(guest, whole))
    return tuple(found)


def families(guest: Guest) -> frozenset[str]:
    """Which of the families of options that rules wait for the guest has, live or pending."""
    config = guest.config
    if config is None:
        return frozenset()
    names = (*config.main, *config.pending) if config.pending else config.main
    return frozenset([family for name in names if (family := name.rstrip(_DIGITS)) in _FAMILIES])


@lru_cache(maxsize=256)
def _questions(there: frozenset[str]) -> tuple[Callable[[Guest], bool], ...]:
    """What is asked of a guest with these families of options before its rules are; several files ask the same."""
    return tuple(dict.fromkeys(rules.applies_to for rules in _AUDIT if any(looks_at(rule, there) for rule in rules.rules)))


@lru_cache(maxsize=1024)
def _rules_for(there: frozenset[str], answers: tuple[bool, ...]) -> tuple[tuple[Callable[..., Iterator[Finding]], Rule], ...]:
    """The rules that look at guests with these families of options and these answers to the questions, each with its function."""
    applies_to = dict(zip(_questions(there), answers, strict=True))
    return tuple(
        (rule.function, rule) for rules in _AUDIT if applies_to.get(rules.applies_to) for rule in rules.rules if looks_at(rule, there)
    )


def looks_at(rule: Rule, there: frozenset[str]) -> bool:
    """Whether the rule looks at guests with these families of options."""
    return rule.options is None or not rule.options.isdisjoint(there)


# -- at the next boot -------------------------------------------------------------------------------------------------


def findings_at_next_boot(guest: Guest, node: Node) -> tuple[Finding, ...]:
    """What the rules find of a guest that is to start on the node as it will be, of all that a start depends on.

    The rules of boot/ are asked first, then those that refuse a start and those of start/. What kernel the guest ran with before explains nothing.
    """
    asked = [rule for rules in _BOOT if rules.applies_to(guest) for rule in rules.rules]
    asked += [
        rule
        for rules in _AUDIT
        if rules.applies_to(guest)
        for rule in rules.rules
        if rule.severity is Severity.BLOCK or rule.folder == START
    ]
    return tuple(
        rule.complete(finding, guest.vmid)
        for rule in asked
        for finding in rule.function(guest, node)
        if finding.examined or rule.severity is Severity.BLOCK
    )


# -- on another node --------------------------------------------------------------------------------------------------


def findings_on_target(guest: Guest, target: Target) -> tuple[Finding, ...]:
    """What the rules find of a guest that is to start on another node; it must have been read as that node would.

    The rules of target/ are asked first, then those for any node on which a start depends: those that refuse it, and those of start/. A
    rule that lacks a fact of the other node reports that if it could refuse the start.
    """
    own = [rule.complete(finding, guest.vmid) for rules in _TARGET for rule in rules.rules for finding in rule.function(guest, target)]
    asked = [rule for rules in _AUDIT if rules.applies_to(guest) for rule in rules.rules if _is_asked(rule, target)]
    there = [
        rule.complete(_for_target(finding, rule, target), guest.vmid)
        for rule in asked
        for finding in rule.function(guest, target.node)
        if finding.examined or rule.severity is Severity.BLOCK
    ]
    return (*own, *there)


def _is_asked(rule: Rule, target: Target) -> bool:
    if rule.local or not (rule.severity is Severity.BLOCK or (rule.needs and rule.folder == START)):
        return False
    # Where the devices are unknown, target-devices-unknown says so once for all.
    return target.hardware is not None or not rule.needs & _BY_SUMMARY


def _for_target(finding: Finding, rule: Rule, target: Target) -> Finding:
    """A finding of a rule for any node, with the node's name; a device that is not in a summary may be one that it had no room for."""
    left_out = target.hardware.left_out if target.hardware else 0
    if rule.id == "hostpci-device-missing" and left_out and finding.examined and not devices_at(finding.subject, target.node):
        return not_examined(
            finding.subject, f"the summary of {target.name} leaves out {left_out} of its devices, perhaps {finding.subject}"
        )
    return finding._replace(message=f"on {target.name}: {finding.message}")

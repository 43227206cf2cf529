"""pvehooks rules: the list of all rules."""

from __future__ import annotations

import argparse

from pvehooks.cli import envelope, parsers, terminal
from pvehooks.errors import EXIT_OK, UsageError
from pvehooks.host import Host
from pvehooks.rules import catalogue
from pvehooks.rules.engine import Rule

SUMMARY = "list all rules, one per line"
EXAMPLE = "pvehooks rules"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The verb takes nothing of its own."""


def run(options: argparse.Namespace) -> int:
    """Prints the catalogue."""
    if options.json:
        envelope.show(Host(), None, {"rules": {rule.id: as_json(rule) for rule in catalogue.RULES.values()}})
    else:
        rows = [(rule.id, rule.severity.value, rule.explanation.split("\n")[0]) for rule in catalogue.RULES.values()]
        terminal.table(("rule", "severity", "what it is about"), rows)
    return EXIT_OK


def known(id: str) -> Rule:
    """The rule with this id; raises UsageError."""
    if id not in catalogue.RULES:
        raise UsageError(f"there is no rule '{id}'{parsers.did_you_mean(id, list(catalogue.RULES))}", hint="All rules: pvehooks rules")
    return catalogue.RULES[id]


def as_json(rule: Rule) -> dict[str, str]:
    """A rule as JSON."""
    return {"rule": rule.id, "severity": rule.severity.value, "explanation": rule.explanation, "remedy": remedy(rule)}


def remedy(rule: Rule) -> str:
    """The remedy with VMID for the guest's number."""
    return rule.remedy.replace("{vmid}", "VMID")

"""pvehooks explain: the explanation of a rule."""

from __future__ import annotations

import argparse
import json

from pvehooks.cli.commands.rules import as_json, remedy
from pvehooks.errors import EXIT_OK, UsageError
from pvehooks.rules import catalogue
from pvehooks.settings.table import nearest

SUMMARY = "explain a rule: why it exists, and what to do"
EXAMPLE = "pvehooks explain rng-missing-netboot"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("rule", metavar="RULE", help="the id of a rule; pvehooks rules lists them")


def run(options: argparse.Namespace) -> int:
    """Prints the rule's explanation, remedy, and how to ignore it."""
    rule = catalogue.RULES.get(options.rule)
    if rule is None:
        meant = nearest(options.rule, list(catalogue.RULES))
        raise UsageError(
            f"there is no rule '{options.rule}'" + (f"; did you mean '{meant}'?" if meant else ""), hint="All rules: pvehooks rules"
        )
    if options.json:
        print(json.dumps(as_json(rule), indent=2))
    else:
        print(f"{rule.id} ({rule.severity.value})\n\n{rule.explanation}\n")
        print(f"What to do: {remedy(rule)}")
        if rule.of_node:
            print(f"To lower its severity: [rules] with {rule.id} = info in /etc/pvehooks/pvehooks.conf")
        else:
            print(f"To ignore it for one VM: [guest VMID] with ignore = {rule.id}: REASON in /etc/pvehooks/pvehooks.conf")
    return EXIT_OK

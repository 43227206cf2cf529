"""pvehooks explain: the explanation of a rule."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from pvehooks import wording
from pvehooks.cli import envelope, terminal
from pvehooks.cli.commands.rules import as_json, known, remedy
from pvehooks.errors import EXIT_OK
from pvehooks.host import Host
from pvehooks.rules.engine import Rule
from pvehooks.values import Severity

SUMMARY = "explain a rule: why it exists, and what to do"
EXAMPLE = "pvehooks explain rng-missing-netboot"
# What is no continuation of the line before: an item of a list, the source.
_BEGINS = re.compile(r"\n(?=- |Source: )")


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("rule", metavar="RULE", help="the id of a rule; pvehooks rules lists them")


def run(options: argparse.Namespace) -> int:
    """Prints the rule's explanation, remedy, and how to ignore it."""
    rule = known(options.rule)
    if options.json:
        envelope.show(Host(), None, as_json(rule))
    else:
        for paragraph in _paragraphs(rule):
            for line in terminal.wrapped(paragraph, terminal.text_width(), further="  " if paragraph.startswith("- ") else ""):
                print(line)
    return EXIT_OK


def _paragraphs(rule: Rule) -> Iterator[str]:
    """The rule in words; '' stands between paragraphs."""
    yield f"{rule.id} ({rule.severity.value})"
    for block in rule.explanation.split("\n\n"):
        yield ""
        yield from (" ".join(text.split()) for text in _BEGINS.split(block))
    yield ""
    for number, (words, command) in enumerate(wording.steps(remedy(rule))):
        yield f"{'' if number else 'What to do: '}{words}"
        if command:
            yield f"    {command}"
    if rule.of_node:
        yield f"To lower its severity: [rules] with {rule.id} = info in /etc/pvehooks/pvehooks.conf"
    else:
        if rule.severity is Severity.BLOCK and not rule.only_guard_refuses:
            yield "Ignoring it does not make the VM start: Proxmox VE or QEMU refuses."
        yield f"To ignore it for one VM: [guest VMID] with ignore = {rule.id}: REASON in /etc/pvehooks/pvehooks.conf"

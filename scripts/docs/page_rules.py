"""pvehooks-rules(7): the rules."""

from __future__ import annotations

import sys

from pvehooks.rules.catalogue import RULES
from pvehooks.rules.engine import Rule
from pvehooks.settings.compiled import NODE_FILE
from scripts.docs import words
from scripts.docs.roff import Page

DESCRIPTION = f"""\
A rule checks a VM's config and the node, and reports findings. This page explains for each rule what its findings mean and what to
do. `pvehooks explain RULE` prints the same; `pvehooks check` prints the findings.

If a rule cannot read something that it needs, its finding begins with `not examined` and gives the reason; the rule then decides nothing.

The sections whose titles begin with "The node" contain the rules about the node itself: `pvehooks host check` prints their
findings. The rules about the next boot are evaluated by `pvehooks host check --next-boot` only, those of the last section by
`pvehooks check VMID --target NODE` only.

To ignore a rule for a VM, write below `[guest VMID]` in {NODE_FILE}: `ignore = RULE: REASON`.
To change a rule's severity, write below `[rules]`: `RULE = block`, `warning` or `info`. See pvehooks.conf(5).
"""


def make(date: str) -> str:
    """The page."""
    page = Page("pvehooks-rules", 7, "the rules of pvehooks: what each finding means and what to do", date)
    page.section("Description")
    page.paragraphs(DESCRIPTION)
    page.section("Severities")
    page.definitions(words.SEVERITIES.items())
    for subject in dict.fromkeys(_subject(rule) for rule in RULES.values()):
        page.section(subject)
        for rule in RULES.values():
            if _subject(rule) == subject:
                _rule(page, rule)
    page.see_also("pvehooks-troubleshooting(7)", "pvehooks(8)", "pvehooksd(8)", "pvehooks.conf(5)", "qm(1)", "qm.conf(5)")
    return page.text()


def _subject(rule: Rule) -> str:
    """What the rule's file is about."""
    headline = (sys.modules[rule.function.__module__].__doc__ or "").partition("\n")[0]
    assert headline, f"{rule.function.__module__} has no docstring: its first line is the title of a section"
    return headline.partition(":")[0].rstrip(".")


def _rule(page: Page, rule: Rule) -> None:
    page.subsection(rule.id)
    page.paragraph(f"Severity: `{rule.severity.value}`.")
    page.paragraphs(rule.explanation.replace("\nSource:", "\n\nSource:"))
    page.paragraph(f"What to do: {rule.remedy.replace('{vmid}', 'VMID')}")

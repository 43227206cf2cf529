"""pvehooks-rules(7): the rules."""

from __future__ import annotations

import sys

from pvehooks.rules.catalogue import RULES
from pvehooks.rules.engine import Rule
from pvehooks.settings.compiled import NODE_FILE
from scripts.docs import words
from scripts.docs.roff import Page

DESCRIPTION = f"""\
A rule looks at a guest's config and at the node, and makes findings. This page says for each rule what its findings mean and what to
do. `pvehooks explain RULE` prints the same; `pvehooks check` prints the findings.

A rule that could not read something it needs says `not examined` and why, and decides nothing.

The sections whose titles begin with "The node" hold the rules on the node itself, about no guest: `pvehooks host check` prints their
findings. The rules of the last one are asked by `pvehooks check VMID --target NODE` only.

To ignore a rule for a guest, write below `[guest VMID]` in {NODE_FILE}: `ignore = RULE: REASON`.
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
    page.see_also("pvehooks(8)", "pvehooksd(8)", "pvehooks.conf(5)", "qm(1)", "qm.conf(5)")
    return page.text()


def _subject(rule: Rule) -> str:
    """What the rule's file is about."""
    headline = (sys.modules[rule.look.__module__].__doc__ or "").partition("\n")[0]
    assert headline, f"{rule.look.__module__} does not say what it is about"
    return headline.partition(":")[0].rstrip(".")


def _rule(page: Page, rule: Rule) -> None:
    page.subsection(rule.id)
    page.paragraph(f"Severity: `{rule.severity.value}`.")
    page.paragraphs(rule.explanation.replace("\nSource:", "\n\nSource:"))
    page.paragraph(f"What to do: {rule.remedy.replace('{vmid}', 'VMID')}")

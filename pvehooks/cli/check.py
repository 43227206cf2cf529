"""pvehooks check: findings of this node's guests."""

from __future__ import annotations

import argparse
import json

from pvehooks.cli import look
from pvehooks.errors import EXIT_BLOCKED, EXIT_OK
from pvehooks.report import table, words
from pvehooks.values import Judged, Severity, Verdict

EXAMPLE = "pvehooks check 100 101"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("vmid", nargs="*", type=look.vmid, metavar="VMID", help="only these guests (default: all of this node)")


def run(options: argparse.Namespace) -> int:
    """Prints the findings; the status tells whether anything blocks."""
    seen = look.view(options)
    verdicts = list(seen.verdicts(seen.guest_ids(options.vmid)))
    of_node = [] if options.vmid else [Judged(finding, "") for finding in seen.node_findings(seen.facts())]
    if options.json:
        guests = [_guest(verdict) for verdict in verdicts]
        document = {"version": 1, "node": seen.node, "guests": guests, "node_findings": [_finding(item) for item in words.sort(of_node)]}
        print(json.dumps(document, indent=2))
    else:
        _show(verdicts, of_node, seen.node, bool(options.vmid))
    return EXIT_BLOCKED if any(verdict.blocked for verdict in verdicts) else EXIT_OK


def _guest(verdict: Verdict) -> dict[str, object]:
    return {
        "vmid": verdict.guest.vmid,
        "name": words.printable(verdict.guest.name),
        "verdict": words.outcome(verdict),
        "findings": [_finding(item) for item in words.sort(verdict.findings)],
    }


def _finding(item: Judged) -> dict[str, object]:
    finding = item.finding
    return {
        "rule": finding.rule,
        "severity": finding.severity.value,
        "subject": finding.subject,
        "message": words.printable(finding.message),
        "remedy": words.printable(finding.remedy),
        "ignored": item.ignored or None,
    }


def _show(verdicts: list[Verdict], of_node: list[Judged], node: str, named: bool) -> None:
    rows = [_row(verdict.guest.label, item) for verdict in verdicts for item in words.sort(verdict.findings)]
    # What is good to know of the node is for who asks for the node.
    heavy = [item for item in words.sort(of_node) if item.finding.severity in (Severity.BLOCK, Severity.WARNING)]
    rows += [_row(node, item) for item in heavy]
    if table.on_terminal():
        if rows:
            table.show(("guest", "severity", "rule", "what, and what to do"), rows)
    else:
        for guest, severity, rule, text in rows:
            print(words.printable(f"{guest}: {severity}: {text} [{rule}]"))
    if named:
        for verdict in verdicts:
            if not verdict.findings:
                print(words.printable(f"{verdict.guest.label}: nothing found"))
    print(_summary(verdicts, node))
    if heavy:
        print(f"{words.counted(len(heavy), 'finding')} of {node} itself; all of it: pvehooks host check")


def _row(label: str, item: Judged) -> tuple[str, str, str, str]:
    severity = "ignored" if item.ignored else item.finding.severity.value
    text = words.sentence(item.finding)
    return label, severity, item.finding.rule, f"{text} (ignored: {item.ignored})" if item.ignored else text


def _summary(verdicts: list[Verdict], node: str) -> str:
    counted = [item for verdict in verdicts for item in verdict.findings]
    counts = [
        (sum(item.finding.severity is severity and not item.ignored for item in counted), severity.value)
        for severity in (Severity.BLOCK, Severity.WARNING, Severity.INFO)
    ]
    ignored = sum(bool(item.ignored) for item in counted)
    parts = [f"{count} {name}{'s' if name == 'warning' and count != 1 else ''}" for count, name in (*counts, (ignored, "ignored")) if count]
    return f"{len(verdicts)} VM{'s' if len(verdicts) != 1 else ''} on {node}: {', '.join(parts) or 'nothing found'}"

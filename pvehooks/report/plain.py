"""A report as a short plain text, for a mail: what must be done first, the rest in numbers. It has 72 columns and at most some screens."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterable, Iterator

from pvehooks.report import summary
from pvehooks.report.content import Report, ReportDiff, SharedFinding, all_findings, by_rule, counts, is_unstopped, merged, severity
from pvehooks.values import StartVerdict, Unread
from pvehooks.wording import counted, printable, ranges, steps

_COLUMNS = 72
# Of findings, changes and devices, so many are shown.
_SHOWN = 10
_RANGES = 6
INDENT = "  "


def page(report: Report) -> str:
    """The text; its first line says most of it."""
    parts = [_head(report), _changes(report.changes), _blocking(report), _others(report), _free(report), _end(report)]
    texts = ("\n".join(part) for part in parts)
    return "\n\n".join(filter(None, texts)) + "\n"


def headline(report: Report) -> str:
    """The state in a line, as the subject of a mail."""
    starts = [guest.start for guest in report.guests]
    words = [
        f"{counted(starts.count(verdict), 'VM')} {verdict.value}"
        for verdict in (StartVerdict.MUST_NOT, StartVerdict.WOULD_NOT)
        if verdict in starts
    ]
    found = counts(each.item for each in all_findings(report))
    of_node = counts(report.of_node).get("block", 0)
    words += [f"{counted(of_node, 'finding')} of the node {'forbids' if of_node == 1 else 'forbid'} a start"] if of_node else []
    words += [counted(found["warning"], "warning")] if "warning" in found else []
    return f"pvehooks on {report.node}: {', '.join(words) or 'nothing to do'}"


def wrapped(text: str, first: str = "", further: str = "") -> list[str]:
    """The text in lines; no word is broken, so that it can be copied."""
    return textwrap.wrap(
        printable(text), _COLUMNS, initial_indent=first, subsequent_indent=further, break_long_words=False, break_on_hyphens=False
    )


def when(seconds: int) -> str:
    """A time, as this node's clock has it."""
    return time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(seconds))


def _head(report: Report) -> Iterator[str]:
    yield from wrapped(headline(report))
    yield when(report.time)
    yield ""
    yield from wrapped(summary.paragraph(report))


def first_ones(lines: Iterable[list[str]], noun: str) -> Iterator[str]:
    """The first ones, and how many more there are."""
    every = list(lines)
    for each in every[:_SHOWN]:
        yield from each
    if len(every) > _SHOWN:
        yield f"{INDENT}and {counted(len(every) - _SHOWN, f'more {noun}')}"


def _changes(changes: ReportDiff | None) -> Iterator[str]:
    if changes is None or not changes.items:
        return
    yield f"Changed since {when(changes.since)}:"
    lines = (f"{each.headline}: {each.what}{f': {each.text}' if each.text else ''}" for each in changes.items)
    yield from first_ones((wrapped(line, INDENT, INDENT * 2) for line in lines), "change")


def _blocking(report: Report) -> Iterator[str]:
    """What forbids a start, by what comes of that, with what to type."""
    found = [each for _, listed in by_rule(report) for each in listed if severity(each.item) == "block"]
    parts = {
        "Must not start, and nothing stops it:": [each for each in found if is_unstopped(each)],
        "Would not start:": [each for each in found if each.guest and not is_unstopped(each)],
        f"Of {report.node} itself:": [each for each in found if not each.guest],
    }
    shown = {title: merged(listed) for title, listed in parts.items() if listed}
    for number, (title, listed) in enumerate(shown.items()):
        if number:
            yield ""
        yield title
        yield from first_ones(map(_finding, listed), "finding")


def _finding(each: SharedFinding) -> list[str]:
    finding = each.item.finding
    vmids = [guest.vmid for guest in each.guests]
    who = each.guests[0].label if len(vmids) == 1 else f"VM {ranges(vmids, _RANGES)}"
    lines = wrapped(f"{who}: {finding.message}" if vmids else finding.message, INDENT, INDENT * 2)
    for words, command in steps(finding.remedy):
        lines += wrapped(words, INDENT * 2, INDENT * 2) if words else []
        # A command stays on one line: it is to be copied.
        lines += [f"{INDENT * 4}{printable(command)}"] if command else []
    return lines


def _others(report: Report) -> Iterator[str]:
    """The warnings, a line for each rule."""
    rules = []
    for rule, listed in by_rule(report):
        warned = [each for each in listed if severity(each.item) == "warning"]
        vmids = {each.guest.vmid for each in warned if each.guest}
        if warned:
            who = f"{counted(len(vmids), 'VM')}: {ranges(vmids, _RANGES)}" if vmids else report.node
            rules.append(wrapped(f"{rule} ({who})", INDENT, INDENT * 2))
    if rules:
        yield "Warnings:"
        yield from first_ones(rules, "rule")


def _free(report: Report) -> Iterator[str]:
    if isinstance(report.groups, Unread):
        yield from wrapped(f"What can be passed through is not known: {report.groups.why}")
        return
    devices = [member.device for group in report.groups if group.free for member in group.devices if not member.named]
    if devices:
        yield "Free to be passed through:"
        yield from first_ones((wrapped(f"{device.address} {device.words}", INDENT, INDENT * 2) for device in devices), "device")


def _end(report: Report) -> Iterator[str]:
    unread = summary.unread(report)
    if unread:
        yield f"{counted(len(unread), 'thing')} could not be examined: pvehooks report"
    yield "All of it: pvehooks check; pvehooks host check; pvehooks report --html"

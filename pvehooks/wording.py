"""Common wording: guests, findings and changes as one line, for the journal, a terminal or JSON."""

from __future__ import annotations

from collections.abc import Iterable

from pvehooks.values import Finding, Guest, Judged, Severity, Verdict

ORDER = {Severity.BLOCK: 0, Severity.WARNING: 1, Severity.INFO: 2, Severity.UNSET: 3}


def printable(text: str) -> str:
    """The text on one line, every character that a terminal might interpret escaped; undecodable bytes show as \\xNN."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def sentence(finding: Finding) -> str:
    """The finding's message and its remedy, without the guest."""
    return f"{finding.message}. {finding.remedy}" if finding.remedy else finding.message


def of_guest(guest: Guest, words: str) -> str:
    """The message with the guest's label in front."""
    return f"{guest.label}: {words}"


def sort(findings: Iterable[Judged]) -> list[Judged]:
    """The most severe first; ignored findings last."""
    return sorted(findings, key=lambda item: (bool(item.ignored), ORDER[item.finding.severity]))


def as_json(item: Judged) -> dict[str, object]:
    """A finding for JSON; `ignored` is the reason why it is ignored, or null."""
    found = item.finding
    return {
        "rule": found.rule,
        "severity": found.severity.value,
        "subject": printable(found.subject),
        "message": printable(found.message),
        "remedy": printable(found.remedy),
        "examined": found.examined,
        "ignored": printable(item.ignored) or None,
    }


def outcome(verdict: Verdict) -> str:
    """'block' or 'allow'."""
    return "block" if verdict.blocked else "allow"


def and_more(names: list[str], most: int = 10) -> str:
    """A list for a sentence: "a, b, c and 5 more"."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def counted(number: int, noun: str) -> str:
    """A number of things: "1 VM", "2 VMs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

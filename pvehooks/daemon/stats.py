"""The results of the daemon's reviews in numbers, for the metrics and for the other nodes. Kept in memory only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pvehooks.judge import counts_by_severity
from pvehooks.values import Finding, Severity, StartVerdict, Verdict
from pvehooks.values.base import NamedTuple


class CountedFinding(NamedTuple):
    """A finding as it is counted."""

    rule: str
    severity: Severity
    ignored: bool
    examined: bool


class GuestStats(NamedTuple):
    """A guest at its last review."""

    label: str
    running: bool
    blocked: bool
    # Whether PCI devices of the node are passed through to it.
    passes_through: bool
    # Whether it has the guard.
    guarded: bool
    findings: tuple[CountedFinding, ...]
    # What a start would come to.
    start: StartVerdict = StartVerdict.WOULD
    # Why nothing stops a start that must not happen, else ''.
    why_unguarded: str = ""
    # Its rng0: 'given' if it has the one that it was given, 'lacking' if it needs one and has none, else ''.
    rng0: str = ""

    @property
    def verdict(self) -> str:
        """'block', 'warning' or 'ok': the most severe that counts."""
        if self.blocked:
            return "block"
        return "warning" if any(each.severity is Severity.WARNING and not each.ignored for each in self.findings) else "ok"


class Stats:
    """The guests of this node by VMID, the findings about the node itself, and how often something was done since the start.

    `watched` is the epoch second of the last poll that pmxcfs answered, 0 before the first, `began` that of the start.
    `changes` grows whenever guests or findings change. `events` counts kinds of journal entries ("injected", "attached", "bug", ...).
    `away`: pmxcfs does not answer. `hookscripts` are those that any guest of the cluster names.
    """

    def __init__(self) -> None:
        self.guests: dict[int, GuestStats] = {}
        self.node: tuple[CountedFinding, ...] = ()
        self.events: Counter[str] = Counter()
        self.watched = self.began = 0
        self.changes = 0
        self.away = False
        self.quorate = True
        self.hookscripts: frozenset[str] = frozenset()

    def note(self, verdict: Verdict, guarded: bool) -> None:
        """A guest was reviewed."""
        guest = verdict.guest
        findings = tuple(_counted(item.finding, bool(item.ignored)) for item in verdict.findings)
        now = GuestStats(
            guest.label,
            guest.running,
            verdict.blocked,
            guest.passes_through,
            guarded,
            findings,
            verdict.start,
            verdict.why_unguarded,
            verdict.rng0,
        )
        self.changes += now != self.guests.get(guest.vmid)
        self.guests[guest.vmid] = now

    def note_node(self, findings: Iterable[Finding]) -> None:
        """The node itself was reviewed."""
        now = tuple(_counted(finding, False) for finding in findings)
        self.changes += now != self.node
        self.node = now

    def findings(self) -> dict[str, int]:
        """How many findings of guests count, by severity."""
        return counts_by_severity((each.severity, each.examined, each.ignored) for guest in self.guests.values() for each in guest.findings)

    def forget(self, vmid: int) -> None:
        """The guest is not on this node any more."""
        self.changes += self.guests.pop(vmid, None) is not None


def _counted(finding: Finding, ignored: bool) -> CountedFinding:
    return CountedFinding(finding.rule, finding.severity, ignored, finding.examined)

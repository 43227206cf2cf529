"""What the daemon's looks came to, in numbers: for metrics and for the other nodes. Kept in memory, and only here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from pvehooks.values import Finding, Severity, Verdict


class Counted(NamedTuple):
    """A finding as it is counted."""

    rule: str
    severity: Severity
    ignored: bool
    examined: bool


class OfGuest(NamedTuple):
    """A guest at its last look: `passes_through` and `guarded` tell whether it needs the guard, and whether it has it."""

    label: str
    running: bool
    blocked: bool
    passes_through: bool
    guarded: bool
    findings: tuple[Counted, ...]

    @property
    def verdict(self) -> str:
        """'block', 'warning' or 'ok': the worst that counts."""
        if self.blocked:
            return "block"
        return "warning" if any(each.severity is Severity.WARNING and not each.ignored for each in self.findings) else "ok"


class Tally:
    """The guests of this node by VMID, what is to be said of the node itself, and how often something was done since the start.

    `looked` is the epoch second of the last look at anything, 0 before the first, `watched` that of the last look for changes that
    pmxcfs answered, `began` that of the start. `changes` moves whenever guests or findings do. `done` counts kinds of journal
    entries ("injected", "attached", "bug", "not-injected", ...). `away`: pmxcfs does not answer. `hookscripts` are those that any guest of
    the cluster names.
    """

    def __init__(self) -> None:
        self.guests: dict[int, OfGuest] = {}
        self.node: tuple[Counted, ...] = ()
        self.done: Counter[str] = Counter()
        self.looked = self.watched = self.began = 0
        self.changes = 0
        self.away = False
        self.quorate = True
        self.hookscripts: frozenset[str] = frozenset()

    def note(self, verdict: Verdict, guarded: bool) -> None:
        """A guest was looked at."""
        guest = verdict.guest
        findings = tuple(_counted(item.finding, bool(item.ignored)) for item in verdict.findings)
        now = OfGuest(guest.label, guest.running, verdict.blocked, guest.passes_through, guarded, findings)
        self.changes += now != self.guests.get(guest.vmid)
        self.guests[guest.vmid] = now

    def note_node(self, findings: Iterable[Finding]) -> None:
        """The node itself was looked at."""
        now = tuple(_counted(finding, False) for finding in findings)
        self.changes += now != self.node
        self.node = now

    def forget(self, vmid: int) -> None:
        """The guest is not on this node any more."""
        self.changes += self.guests.pop(vmid, None) is not None


def _counted(finding: Finding, ignored: bool) -> Counted:
    return Counted(finding.rule, finding.severity, ignored, finding.examined)

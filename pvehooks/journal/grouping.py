"""One line for many: findings that several guests have are reported by rule, not by guest and rule.

A finding that refuses a start has a line of its own, unless many guests have it (their bridge or storage is gone). So has one of one or two
guests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from pvehooks import wording
from pvehooks.journal import entries
from pvehooks.journal.entries import Entry
from pvehooks.values import Finding, Guest, Severity
from pvehooks.values.base import NamedTuple

# So many guests with the same have a line each; with what refuses their starts, so many.
_APART = 2
_REFUSED_APART = 10
# So many guests are named, more are numbers; of these so many ranges are shown.
_NAMED = 5
_RANGES = 12
# journald takes no entry with more than 1024 fields (systemd, journal-importer.h: ENTRY_FIELD_COUNT_MAX); each guest has one in ours.
_MOST_GUESTS = 500
_HEAVY = (Severity.BLOCK, Severity.WARNING)

# Each a rule and its subject.
_Keys = Sequence[tuple[str, str]]


class _GroupPart(NamedTuple):
    """One guest's part in an entry: the finding, and its entry if it is reported alone."""

    vmid: int
    label: str
    finding: Finding
    alone: Entry

    @property
    def rule(self) -> str:
        return self.finding.rule

    @property
    def severity(self) -> Severity:
        return self.finding.severity


class _Gone(NamedTuple):
    """The findings of one guest that are gone."""

    vmid: int
    label: str
    findings: _Keys
    alone: Entry


class Grouping:
    """Collects the findings of a review, and makes its entries at the end.

    `explanation` gives a rule's explanation; its first paragraph is one sentence on the problem and its effect.
    """

    def __init__(self, node: str, explanation: Callable[[str], str]) -> None:
        self._node = node
        self._explanation = explanation
        self._found: list[_GroupPart] = []
        self._gone: list[_Gone] = []

    def appeared(self, guest: Guest, found: Finding, verdict: str) -> None:
        """A finding appeared, or changed."""
        alone = entries.finding(guest, found, verdict)
        self._found.append(_GroupPart(guest.vmid, guest.label, found, alone))

    def gone(self, guest: Guest, findings: _Keys) -> None:
        """These findings of the guest are gone."""
        gone = ", ".join(f"{rule} ({subject})" for rule, subject in findings)
        alone = entries.event("mended", f"no longer: {gone}", self._node, guest, rule=findings[0][0])
        self._gone.append(_Gone(guest.vmid, guest.label, findings, alone))

    def flush(self) -> list[Entry]:
        """The entries of the review, most severe first; the next review begins."""
        found = sorted(self._found, key=lambda part: (wording.ORDER[part.severity], part.vmid))
        gone = sorted(self._gone, key=lambda each: each.vmid)
        self._found, self._gone = [], []
        heavy: dict[tuple[Severity, str], list[_GroupPart]] = {}
        for part in found:
            if part.severity in _HEAVY:
                heavy.setdefault((part.severity, part.rule), []).append(part)
        shared = {which: parts for which, parts in heavy.items() if _many(parts, _REFUSED_APART if which[0] is Severity.BLOCK else _APART)}
        alone = [part.alone for part in found if part.severity in _HEAVY and (part.severity, part.rule) not in shared]
        together = [entry for (severity, rule), parts in shared.items() for entry in self._of_rule(severity, rule, parts)]
        advice = self._advice([part for part in found if part.severity not in _HEAVY])
        return [*sorted((*alone, *together), key=lambda entry: entry.priority), *advice, *self._no_longer(gone)]

    def _of_rule(self, severity: Severity, rule: str, parts: list[_GroupPart]) -> Iterator[Entry]:
        messages = {part.finding.message for part in parts}
        what = messages.pop() if len(messages) == 1 else self._explanation(rule).split("\n\n")[0].replace("\n", " ").replace("`", "")
        remedies = {re.sub(rf"\b{part.vmid}\b", "VMID", part.finding.remedy) for part in parts}
        for some in _portions(parts):
            vmids = _vmids(some)
            which = "".join(f" {vmid}" for vmid in vmids) if len(vmids) <= _NAMED else ""
            cure = remedies.copy().pop() if len(remedies) == 1 else f"Each in words, with what to type: pvehooks check{which}"
            sentences = ". ".join(text.rstrip(".") for text in (what, cure, f"More: pvehooks explain {rule}") if text)
            message = f"{_whose(some)}{' would not start' if severity is Severity.BLOCK else ''}: {sentences}"
            entry = entries.of_guests("findings", message, self._node, vmids, rule=rule, findings=_details(some))
            yield entry._replace(priority=entries.PRIORITIES[severity])

    def _advice(self, parts: list[_GroupPart]) -> Iterator[Entry]:
        if not _many(parts):
            yield from (part.alone for part in parts)
            return
        for some in _portions(parts):
            message = (
                f"{_whose(some)}: advice, nothing has to be done: {_by_rule(some)}. In words: pvehooks check. More: pvehooks explain RULE"
            )
            yield entries.of_guests("advice", message, self._node, _vmids(some), rule=_rules(some), findings=_details(some))

    def _no_longer(self, gone: list[_Gone]) -> Iterator[Entry]:
        if len(gone) <= _APART:
            yield from (each.alone for each in gone)
            return
        parts = [
            _GroupPart(each.vmid, each.label, Finding(subject, f"no longer: {subject}", rule=rule), each.alone)
            for each in gone
            for rule, subject in each.findings
        ]
        for some in _portions(parts):
            message = f"{_whose(some)}: no longer: {_by_rule(some)}"
            yield entries.of_guests("findings-gone", message, self._node, _vmids(some), rule=_rules(some), findings=_details(some))


class OldGuests:
    """The guests that are older than pvehooks on the node and lack entropy: one line, whenever they are others than at the last time."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._guests: dict[int, str] = {}
        self._by_name: set[int] = set()
        self._reported: frozenset[int] = frozenset()

    def note(self, guest: Guest, by_name: bool) -> None:
        """One of them; `by_name`: `inject --all` leaves it out."""
        self._guests[guest.vmid] = guest.label
        if by_name:
            self._by_name.add(guest.vmid)

    def forget(self, vmid: int) -> None:
        """It is not one of them, or gone."""
        self._guests.pop(vmid, None)
        self._by_name.discard(vmid)

    def changed(self) -> list[Entry]:
        """The entries on them, if they are others than at the last call."""
        before, self._reported = self._reported, frozenset(self._guests)
        if not self._reported or self._reported == before:
            return []
        vmids, apart = sorted(self._guests), sorted(self._by_name)
        cures = ["Give them their rng0: pvehooks inject --all"] if len(apart) < len(vmids) else []
        if apart:
            which = f" {' '.join(map(str, apart))}" if len(apart) <= _NAMED else ""
            named = _listed({vmid: self._guests[vmid] for vmid in apart})
            gets = "gets" if len(apart) == 1 else "get"
            cures.append(f"{named} {gets} one only by VMID, see why: pvehooks check{which}")
        message = (
            f"{wording.counted(len(vmids), 'UEFI VM')} from before pvehooks may not boot from network or NVMe, because they lack entropy:"
            f" {_listed(self._guests)}. Not changed automatically. {'; '.join(cures)}"
        )
        portions = [vmids[at : at + _MOST_GUESTS] for at in range(0, len(vmids), _MOST_GUESTS)]
        return [entries.of_guests("existing", message, self._node, some) for some in portions]


def _listed(guests: Mapping[int, str]) -> str:
    return ", ".join(guests[vmid] for vmid in sorted(guests)) if len(guests) <= _NAMED else f"VM {wording.ranges(guests, _RANGES)}"


def _whose(parts: Iterable[_GroupPart]) -> str:
    guests = {part.vmid: part.label for part in parts}
    return _listed(guests) if len(guests) <= _NAMED else f"{len(guests)} VMs ({wording.ranges(guests, _RANGES)})"


def _many(parts: Iterable[_GroupPart], apart: int = _APART) -> bool:
    return len({part.vmid for part in parts}) > apart


def _vmids(parts: Iterable[_GroupPart]) -> list[int]:
    return sorted({part.vmid for part in parts})


def _rules(parts: Iterable[_GroupPart]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.rule for part in parts))


def _by_rule(parts: Iterable[_GroupPart]) -> str:
    """The rules with their guests, those with most of them first: "boot-order-legacy (17 VMs), tpm-version-old (VM 104, 120)"."""
    whose: dict[str, set[int]] = {}
    for part in parts:
        whose.setdefault(part.rule if part.finding.examined else f"{part.rule} not examined", set()).add(part.vmid)
    ordered = sorted(whose.items(), key=lambda each: -len(each[1]))
    return ", ".join(
        f"{rule} ({f'VM {wording.ranges(ids, _RANGES)}' if len(ids) <= _APART else f'{len(ids)} VMs'})" for rule, ids in ordered
    )


def _details(parts: Iterable[_GroupPart]) -> str:
    """A line for each guest and finding, as it would be reported alone."""
    return "\n".join(wording.printable(f"{part.label}: {wording.sentence(part.finding)} [{part.rule}]") for part in parts)


def _portions(parts: list[_GroupPart]) -> Iterator[list[_GroupPart]]:
    """The parts of as many guests as an entry takes."""
    vmids = _vmids(parts)
    for at in range(0, len(vmids), _MOST_GUESTS):
        some = frozenset(vmids[at : at + _MOST_GUESTS])
        yield [part for part in parts if part.vmid in some]

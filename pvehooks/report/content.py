"""The content of a report, in no form yet: guests and node with their findings, the rules behind them, groups, facts, changes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from pvehooks import wording
from pvehooks.values import Iommu, Judged, NamedTuple, Refuser, Severity, StartVerdict, Unread, Verdict
from pvehooks.values.boot import Layout, PcieLink, PciSlot
from pvehooks.values.groups import Group
from pvehooks.values.guests import guest_label
from pvehooks.values.usb import UsbDevice

UNEXAMINED = "not examined"
# A number that may be a VMID: no part of a word, of a version or of a value.
_NUMBER = re.compile(r"(?<![\w.:,=-])[0-9]+(?![\w:]|\.\w)")
# The most severe first.
SEVERITIES = ("block", "warning", "info", "ignored", UNEXAMINED)


class GuestSeen(NamedTuple):
    """A guest with its findings; small, since a report holds thousands of them."""

    vmid: int
    name: str
    running: bool
    template: bool
    # 'block' or 'allow'.
    outcome: str
    # The most severe first.
    findings: tuple[Judged, ...]
    # What a start would come to.
    start: StartVerdict = StartVerdict.WOULD
    # Why nothing stops one that must not start, else ''.
    unguarded: str = ""
    # Whether the guard refuses harmful starts of it, None where it needs no guard.
    guarded: bool | None = None
    # As Verdict.rng0.
    rng0: str = ""

    @property
    def label(self) -> str:
        """What messages call it: "VM 100 (web)"."""
        return guest_label(self.vmid, self.name)


class RuleText(NamedTuple):
    """A rule in words: its explanation, its remedy with VMID for a guest's number, whether it is on the node itself."""

    id: str
    explanation: str
    remedy: str
    of_node: bool


class Fact(NamedTuple):
    """A fact of the node by its name ("kernel"), in words; None where it could not be read, and `why` ('' where another fact says so)."""

    name: str
    text: str | None
    why: str = ""


class DiffLine(NamedTuple):
    """Something that differs from the last report."""

    # Of what: node, group, device, guest, finding.
    kind: str
    # 'new', 'gone' or 'changed'.
    how: str
    # Names it.
    what: str
    # Says the rest.
    text: str
    # Whether a guest would not or must not start because of it.
    urgent: bool = False

    @property
    def headline(self) -> str:
        """Of what kind and how: "new VM", "VM gone"."""
        kind = "VM" if self.kind == "guest" else self.kind
        return f"{kind} gone" if self.how == "gone" else f"{self.how} {kind}"


class ReportDiff(NamedTuple):
    """What changed since the report of that time (epoch seconds)."""

    since: int
    items: tuple[DiffLine, ...]


class ReportedHardware(NamedTuple):
    """What is shown of the hardware apart from the groups."""

    # By address.
    links: Mapping[str, PcieLink] | Unread = Unread("they were not read")
    slots: tuple[PciSlot, ...] | Unread = ()
    # By their names in sysfs.
    usb: Mapping[str, UsbDevice] | Unread = Unread("they were not read")
    layout: Layout | Unread = Unread("it was not read")


class Report(NamedTuple):
    """All of a report."""

    pvehooks: str
    node: str
    # Epoch seconds.
    time: int
    facts: tuple[Fact, ...]
    iommu: Iommu | Unread
    groups: tuple[Group, ...] | Unread
    guests: tuple[GuestSeen, ...]
    of_node: tuple[Judged, ...]
    rules: Mapping[str, RuleText]
    # None where there is no earlier report.
    changes: ReportDiff | None = None
    # Why there are none.
    no_changes: str = ""
    # The name of the node's cluster, '' without one.
    cluster: str = ""
    hardware: ReportedHardware = ReportedHardware()


class SharedFinding(NamedTuple):
    """A finding that several guests share word for word (none: the node has it); their own numbers are VMID in the remedy."""

    guests: tuple[GuestSeen, ...]
    item: Judged


class ReportedFinding(NamedTuple):
    """A finding with whom it is about: a guest, or the node itself (`guest` is None)."""

    guest: GuestSeen | None
    item: Judged


class AlikeGuests(NamedTuple):
    """Guests of which the same is to be said: the same state, the same verdict, findings of the same rules as often."""

    guests: tuple[GuestSeen, ...]
    # (rule, severity) and how often.
    rules: tuple[tuple[str, str, int], ...]

    @property
    def urgency(self) -> int:
        """The place of the most severe finding among the severities; behind all of them without any."""
        if self.guests[0].start is not StartVerdict.WOULD:
            return 0
        return min((SEVERITIES.index(name) for _, name, _ in self.rules), default=len(SEVERITIES))


def guest_seen(verdict: Verdict, guarded: bool | None = None) -> GuestSeen:
    """What a report keeps of a verdict."""
    guest = verdict.guest
    findings = tuple(wording.sort(verdict.findings))
    outcome = wording.outcome(verdict)
    return GuestSeen(
        guest.vmid,
        guest.name,
        guest.running,
        guest.template,
        outcome,
        findings,
        verdict.start,
        verdict.why_unguarded,
        guarded,
        verdict.rng0,
    )


def severity(item: Judged) -> str:
    """'block', 'warning', 'info', 'ignored', or 'not examined'."""
    if item.ignored:
        return "ignored"
    if not item.finding.examined:
        return UNEXAMINED
    own: str = item.finding.severity.value
    return own or Severity.INFO.value


def all_findings(report: Report) -> Iterator[ReportedFinding]:
    """All findings: those of the node itself, then those of its guests."""
    for item in report.of_node:
        yield ReportedFinding(None, item)
    for guest in report.guests:
        for item in guest.findings:
            yield ReportedFinding(guest, item)


def is_unstopped(each: ReportedFinding) -> bool:
    """Whether the finding forbids a start that nothing stops."""
    must_not = each.guest is not None and each.guest.start is StartVerdict.MUST_NOT
    return must_not and severity(each.item) == "block" and each.item.finding.refuser is not Refuser.PVE


def by_rule(report: Report) -> list[tuple[str, list[ReportedFinding]]]:
    """The findings by rule id, the most severe rules first, then in the catalogue's order; a rule's findings likewise.

    What could not be examined is not among them: its rule's explanation would read as if it were so.
    """
    found: dict[str, list[ReportedFinding]] = {}
    for each in all_findings(report):
        if severity(each.item) != UNEXAMINED:
            found.setdefault(each.item.finding.rule, []).append(each)
    catalogue = {id: number for number, id in enumerate(report.rules)}
    for listed in found.values():
        listed.sort(key=_weight)
    return sorted(found.items(), key=lambda entry: (_weight(entry[1][0]), catalogue.get(entry[0], len(catalogue))))


def merged(listed: Iterable[ReportedFinding]) -> list[SharedFinding]:
    """Findings of one rule, those in the same words put together."""
    found: dict[tuple[str, str, str, str], list[ReportedFinding]] = {}
    for each in listed:
        finding = each.item.finding
        found.setdefault((finding.message, _for_any(each), each.item.ignored, severity(each.item)), []).append(each)
    return [_shared(key[1], same) for key, same in found.items()]


def _for_any(each: ReportedFinding) -> str:
    """The remedy with VMID for the guest's own number."""
    remedy = each.item.finding.remedy
    vmid = str(each.guest.vmid) if each.guest else ""
    return _NUMBER.sub(lambda found: "VMID" if found[0] == vmid else found[0], remedy) if vmid and vmid in remedy else remedy


def _shared(remedy: str, same: list[ReportedFinding]) -> SharedFinding:
    guests = tuple({each.guest.vmid: each.guest for each in same if each.guest}.values())
    item = same[0].item
    return SharedFinding(guests, item if len(guests) < 2 else item._replace(finding=item.finding._replace(remedy=remedy)))


def _weight(each: ReportedFinding) -> tuple[bool, int]:
    return bool(each.item.ignored), wording.ORDER[each.item.finding.severity]


def alike(report: Report) -> list[AlikeGuests]:
    """The guests with those together of which the same is to be said, the most severe first, then by VMID."""
    found: dict[object, list[GuestSeen]] = {}
    rules: dict[object, tuple[tuple[str, str, int], ...]] = {}
    for guest in report.guests:
        own = Counter((item.finding.rule, severity(item)) for item in guest.findings)
        listed = tuple((rule, name, count) for (rule, name), count in own.items())
        key = (guest.running, guest.template, guest.start, guest.unguarded, guest.guarded, listed)
        found.setdefault(key, []).append(guest)
        rules[key] = listed
    groups = [AlikeGuests(tuple(guests), rules[key]) for key, guests in found.items()]
    return sorted(groups, key=lambda group: (group.urgency, group.guests[0].vmid))


def counts(items: Iterable[Judged]) -> dict[str, int]:
    """How many findings of each severity, of those there are any of: {'block': 1, 'warning': 3}."""
    found = dict.fromkeys(SEVERITIES, 0)
    for item in items:
        found[severity(item)] += 1
    return {name: count for name, count in found.items() if count}


def counts_phrase(found: Mapping[str, int]) -> str:
    """Those counts in words: "1 block, 3 warnings"."""
    return ", ".join(wording.counted(count, name) if name == "warning" else f"{count} {name}" for name, count in found.items())

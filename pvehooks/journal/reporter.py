"""The one place that decides which findings are reported now: at once, in one line with other guests', or not at all."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence

from pvehooks import wording
from pvehooks.host import Host
from pvehooks.journal import entries
from pvehooks.journal.grouping import Grouping, OldGuests
from pvehooks.journal.log import Log
from pvehooks.journal.ratelimit import NEW_GUESTS
from pvehooks.journal.reported import NOTHING, OF_NODE, News, Reported
from pvehooks.judge import RNG0, wants_rng0
from pvehooks.rules.engine import asked_at_start
from pvehooks.settings.sections import RngSettings
from pvehooks.values import Cure, Finding, Rng0Veto, Severity, Verdict
from pvehooks.values.base import NamedTuple


class _Standing(NamedTuple):
    """The findings of a guest, or of the node, as Reported.news takes them."""

    findings: Sequence[Finding]
    held_back: Sequence[Finding]
    identity: str = ""


class Reporter:
    """Takes the verdicts of a review, and logs at its end what is new in them.

    `explanation` gives a rule's explanation. A verdict may be given again and again: what stands is reported once.
    """

    def __init__(self, host: Host, node: str, log: Log, explanation: Callable[[str], str]) -> None:
        self._host = host
        self._node = node
        self._log = log
        self._reported = Reported.load(host)
        self._grouping = Grouping(node, explanation)
        self._old = OldGuests(node)
        # What stood at the last review of what is suppressed now.
        self._suppressed: dict[int, _Standing] = {}

    def guest(
        self, verdict: Verdict, settings: RngSettings, *, rng0_follows: bool = False, guard_follows: bool = False, report_gone: bool = True
    ) -> None:
        """Takes the findings of a guest; logged at flush().

        Findings that the job which follows ends (`rng0_follows`, `guard_follows`) are kept back: it has an entry of its own. So is what is gone
        after such a job: `report_gone` is False then.
        """
        guest = verdict.guest
        findings = standing(verdict)
        with_others = not verdict.rng0_decision.due and any(map(_about_entropy, findings)) and guest.baseline_status.untouched
        self._old.forget(guest.vmid)
        if with_others and _could_be_given(verdict, settings):
            self._old.note(guest, _only_by_name(verdict))
        held_back = [
            each
            for each in findings
            if ((rng0_follows or with_others) and _about_entropy(each))
            or (guard_follows and each.cure in (Cure.ATTACH_GUARD, Cure.DETACH_GUARD))
        ]
        now = [each for each in findings if each not in held_back]
        stands = _Standing(now, held_back, (guest.uuid or "") if now else "")
        news = self._news(guest.vmid, guest.label, stands, report_gone)
        for finding in news.appeared:
            self._grouping.appeared(guest, finding, wording.outcome(verdict))
        if report_gone and news.gone:
            self._grouping.gone(guest, news.gone)

    def of_node(self, findings: Sequence[Finding]) -> None:
        """Logs what is new about the node itself."""
        now = [each for each in findings if each.examined and each.severity is not Severity.INFO]
        news = self._news(OF_NODE, "", _Standing(now, [each for each in findings if not each.examined]), report_gone=True)
        for finding in news.appeared:
            self._log.write(entries.node_finding(self._node, finding))
        if news.gone:
            gone = ", ".join(f"{rule} ({subject})" for rule, subject in news.gone)
            self._log.event("node-mended", f"node {self._node}: no longer: {gone}", rule=news.gone[0][0])
        self._reported.store(self._host)

    def _news(self, origin: int, label: str, now: _Standing, report_gone: bool) -> News:
        """What is new and may be logged; what is suppressed is not noted as reported, so that it is news for the next daemon."""
        if self._log.suppresses(origin):
            if now != self._suppressed.get(origin):
                self._suppressed[origin] = now
                self._log.suppress(origin, "finding")
            return NOTHING
        news = self._reported.compare(origin, *now)
        if news == NOTHING:
            return NOTHING
        causes = [f"{each.rule} ({each.subject})" for each in news.appeared]
        causes += [f"no longer {rule} ({subject})" for rule, subject in news.gone if report_gone]
        if causes and not self._log.admits(origin, label, "finding", causes):
            self._suppressed[origin] = now
            return NOTHING
        return self._reported.news(origin, *now)

    def end_suppression(self, here: Container[int]) -> None:
        """Logs what was suppressed and is so no longer, with what holds now. `here` are the guests of this node."""
        for origin, suppressed in self._log.ended():
            number = ", ".join(f"{kind} {count}" for kind, count in sorted(suppressed.counts.items()))
            last = f" The last: {suppressed.last_message}" if suppressed.last_message else ""
            if isinstance(origin, str):
                self._log.event("no-longer-suppressed", f"entries of the kind {origin} are logged again; suppressed were {number}.{last}")
                continue
            self._note_suppressed(
                [vmid for vmid in self._suppressed if not self._log.suppresses(vmid)] if origin == NEW_GUESTS else [origin]
            )
            if origin == NEW_GUESTS:
                self._log.event(
                    "no-longer-suppressed",
                    f"entries about VMs that are new on this node are logged again; suppressed were {number}.{last} What holds now: pvehooks check",
                )
                continue
            holds = ", ".join(f"{rule} ({subject})" for rule, subject in self._reported.keys(origin)) or "no finding"
            if origin == OF_NODE:
                whose, see = f"findings of node {self._node}", "pvehooks host check"
            else:
                whose, see = f"VM {origin}", f"pvehooks check {origin}"
                if origin not in here:
                    holds, see = "it is not on this node any more", ""
            message = f"entries about {whose} are logged again; suppressed were {number}.{last} What holds now: {holds}"
            self._log.event("no-longer-suppressed", f"{message}. See: {see}" if see else message, vmid=origin)

    def _note_suppressed(self, origins: Iterable[int]) -> None:
        """Notes what stood at their last review as reported."""
        for origin in origins:
            if (standing_then := self._suppressed.pop(origin, None)) is not None:
                self._reported.news(origin, *standing_then)
                self._reported.store(self._host)

    def flush(self) -> None:
        """Logs what the review found; the next review begins."""
        for entry in self._grouping.flush():
            self._log.write(entry)
        self._reported.store(self._host)

    def old_guests(self) -> None:
        """Logs in one line which guests are older than pvehooks here and lack entropy, if that has changed."""
        for entry in self._old.changed():
            self._log.write(entry)

    def forget(self, vmid: int) -> None:
        """The guest is not on this node any more."""
        self._old.forget(vmid)
        self._suppressed.pop(vmid, None)
        self._reported.forget(vmid)
        self._log.left(vmid)

    def forget_others(self, here: frozenset[int]) -> None:
        """Forgets the guests that are not `here`; they went while no daemon ran."""
        self._reported.forget_others(here)

    def count(self) -> int:
        """How many findings of guests stand."""
        return self._reported.count()


def standing(verdict: Verdict) -> list[Finding]:
    """The findings that count; the guard examines at the start what the sandbox hides from the daemon (other processes' files)."""
    findings = [item.finding for item in verdict.findings if not item.ignored]
    return [finding for finding in findings if finding.examined or finding.rule not in asked_at_start()]


def _could_be_given(verdict: Verdict, settings: RngSettings) -> bool:
    """Whether an administrator who asks for it would have the guest given its rng0."""
    wanted = any(wants_rng0(item.finding, settings) and not item.ignored for item in verdict.findings)
    return wanted and not any(item.finding.rng0_veto is Rng0Veto.NEVER for item in verdict.findings)


def _only_by_name(verdict: Verdict) -> bool:
    """Whether that administrator has to name the guest."""
    return any(item.finding.rng0_veto is Rng0Veto.UNLESS_ASKED_BY_NAME and not item.ignored for item in verdict.findings)


def _about_entropy(finding: Finding) -> bool:
    return finding.cure in RNG0 or finding.rng0_veto is not Rng0Veto.NONE

"""A round: the guests that may have changed are read, judged, spoken of, and given what they lack."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from pvehooks import firstlook, records
from pvehooks.actions import rng
from pvehooks.actions.qm import Outcome
from pvehooks.actions.workers import Ended, Job, Workers
from pvehooks.errors import PvehooksError
from pvehooks.facts import guests as guest_facts
from pvehooks.facts import hardware
from pvehooks.facts import node as node_facts
from pvehooks.host import Host
from pvehooks.judge import judge, wants_rng0
from pvehooks.records import RecordsUnavailable
from pvehooks.report import entries, words
from pvehooks.report.ledger import Ledger
from pvehooks.report.sink import Journal, Lines
from pvehooks.rules import catalogue
from pvehooks.settings import Settings
from pvehooks.text import guestconfig
from pvehooks.values import Cure, Finding, Hold, Node, Verdict

# Seconds until a guest that had to wait is tried again.
PAUSES = (2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_BATCH = 100
_BY_NAME = " (only by name)"
LEDGER = "/run/pvehooks/said.json"


class Rounds:
    """What the daemon knows of its guests between two rounds: digests, what was said, what had to wait.

    `again` is called with (vmid, seconds) for guests that are to be looked at again.
    """

    def __init__(
        self,
        host: Host,
        node: str,
        settings: Settings,
        sink: Journal | Lines,
        again: Callable[[int, float], None],
        wake: Callable[[], None],
    ) -> None:
        self.host = host
        self.node = node
        self.settings = settings
        self.sink = sink
        self._again = again
        self.workers = Workers(self._deed, wake)
        self._digests: dict[int, bytes] = {}
        self._tries: dict[int, int] = {}
        self._waits: dict[int, str] = {}
        self._refused: dict[int, str] = {}
        self._existing: dict[int, str] = {}
        self._said_existing: frozenset[int] = frozenset()
        self._first_look: firstlook.FirstLook | None = None
        self._node_facts: Node | None = None
        self.last_change = ""
        self.doubts_pmxcfs = False
        try:
            self.ledger = Ledger(host.read(LEDGER, limit=16 << 20))
        except OSError:
            self.ledger = Ledger()

    # -- looking ------------------------------------------------------------------------------------------------------

    def look(self, vmids: Iterable[int], force: bool = False, pulse: Callable[[], bool] = lambda: True) -> None:
        """Reads and judges the guests; one whose config is as it was at the last look is passed over unless forced.

        `pulse` is called between guests and ends the round by returning False. Raises RecordsUnavailable.
        """
        around = guest_facts.surroundings(self.host, self.node, self._first_look)
        for batch in _batches(vmids):
            # All of a batch is read first: going to and fro between pmxcfs and the rules costs both their caches.
            contents = [(vmid, guest_facts.fetch(self.host, self.node, vmid)) for vmid in batch]
            for vmid, raw in contents:
                if not pulse():
                    return
                try:
                    self._look_at(vmid, raw, force, around)
                except RecordsUnavailable:
                    raise
                except Exception as bug:  # noqa: BLE001 - one guest's config must not end the care for all others; it is reported
                    self._say_bug(bug, f"VM {vmid}: bug while looking at it", vmid)
        self._node_facts = None
        self._store()

    def _look_at(self, vmid: int, raw: bytes | OSError, force: bool, around: guest_facts.Surroundings) -> None:
        if isinstance(raw, FileNotFoundError):
            self.forget(vmid)
            return
        mark = repr(raw).encode() if isinstance(raw, OSError) else _digest(raw)
        if not force and self._digests.get(vmid) == mark:
            return
        if self._digests.get(vmid) != mark:
            self._tries.pop(vmid, None)
        self._digests[vmid] = mark
        guest = guest_facts.understand(self.host, self.node, vmid, raw, around)
        node = self._node_facts
        if node is None:
            node = self._node_facts = hardware.gather(self.host, self.node)
        if vmid in around.recorded:
            rng.confirm(self.host, guest)
        self._judged(judge(guest, catalogue.look(guest, node), self.settings))

    def meet(self) -> None:
        """The first look at this cluster: notes which guests were there before us, once. Raises RecordsUnavailable."""
        if self._first_look is not None and self._first_look.stored:
            return
        self._first_look = firstlook.read(self.host)
        if self._first_look is None:
            there = {}
            models = guest_facts.known_cpu_models(self.host)
            for node in node_facts.node_names(self.host):
                for vmid in node_facts.guest_ids_or_none(self.host, node):
                    try:
                        raw = guest_facts.read_raw(self.host, node, vmid)
                    except OSError:
                        continue
                    there[vmid] = firstlook.fingerprint(guestconfig.parse(raw, models))
            self._first_look = firstlook.create(self.host, self.node, there)
            if self._first_look.stored:
                self._say(
                    "first-look",
                    f"first look at this cluster: VMs that are here already ({len(there)}) are not changed by themselves",
                )

    def _judged(self, verdict: Verdict) -> None:
        guest, injection = verdict.guest, verdict.injection
        due = injection.due and self._refused.get(guest.vmid) != guest.digest
        standing = [item.finding for item in verdict.findings if not item.ignored]
        quiet = not injection.due and any(map(_about_entropy, standing)) and guest.acquaintance.untouched
        unsaid = [finding for finding in standing if _about_entropy(finding)] if due or quiet else []
        if unsaid:
            standing = [finding for finding in standing if not _about_entropy(finding)]
        self._existing.pop(guest.vmid, None)
        if quiet and self._could_be_given(verdict):
            by_name = any(item.finding.hold is Hold.UNASKED and not item.ignored for item in verdict.findings)
            self._existing[guest.vmid] = f"{guest.label}{_BY_NAME}" if by_name else guest.label
        self._tell(verdict, standing, unsaid)
        if due:
            self.workers.submit(Job(guest, injection))

    def _could_be_given(self, verdict: Verdict) -> bool:
        """Whether a person who asks for it would have the guest given its rng0."""
        rng_settings = self.settings.rng(verdict.guest.vmid)
        wanted = any(wants_rng0(item.finding, rng_settings) and not item.ignored for item in verdict.findings)
        return wanted and not any(item.finding.hold is Hold.NEVER for item in verdict.findings)

    def _tell(self, verdict: Verdict, standing: list[Finding], unsaid: Sequence[Finding] = (), gone_too: bool = True) -> None:
        guest = verdict.guest
        news = self.ledger.news(guest.vmid, standing, unsaid, (guest.uuid or "") if standing else "")
        for finding in news.appeared:
            self.sink.say(entries.finding(guest, finding, words.outcome(verdict)))
        if gone_too and news.gone:
            gone = ", ".join(f"{rule} ({subject})" for rule, subject in news.gone)
            self.sink.say(entries.event("mended", f"no longer: {gone}", self.node, guest, rule=news.gone[0][0]))

    def sum_up(self) -> None:
        """Says in one line which guests were there before us and lack entropy, when that has changed."""
        now = frozenset(self._existing)
        if now and now != self._said_existing:
            names = words.and_more([self._existing[vmid] for vmid in sorted(now)])
            by_name = any(label.endswith(_BY_NAME) for label in self._existing.values())
            apart = "; those that boot from the network first only by name: pvehooks inject VMID" if by_name else ""
            self._say(
                "existing",
                f"{words.counted(len(now), 'UEFI guest')} from before pvehooks may not boot from network or NVMe for want of entropy: {names}."
                f" Not changed by themselves. Give them their rng0: pvehooks inject --all{apart}",
            )
        self._said_existing = now

    def forget(self, vmid: int) -> None:
        """The guest is not on this node any more."""
        self._digests.pop(vmid, None)
        self._existing.pop(vmid, None)
        self._settled(vmid)
        self._refused.pop(vmid, None)
        self.ledger.forget(vmid)

    def gone(self, vmid: int) -> None:
        """The guest is not listed here any more; its record goes with it when no node has it."""
        self.forget(vmid)
        if not node_facts.owner(self.host, vmid):
            try:
                records.forget(self.host, vmid)
            except PvehooksError:
                return

    def tidy(self, here: frozenset[int]) -> None:
        """Forgets what was said of guests that are not here, and the records of those that no node has (they went while we did not look)."""
        for vmid in self.ledger.guests() - here:
            self.ledger.forget(vmid)
        try:
            for vmid in records.known_vmids(self.host) - here:
                if not node_facts.owner(self.host, vmid):
                    records.forget(self.host, vmid)
        except RecordsUnavailable:
            return

    def reconsider(self, settings: Settings) -> None:
        """New settings are in force: what was refused under the old ones may be tried again."""
        self.settings = settings
        self._refused.clear()
        self._tries.clear()
        self._waits.clear()

    def waiting(self) -> frozenset[int]:
        """The guests that had to wait and are to be tried when pmxcfs takes writes again."""
        return frozenset(self._waits)

    def _store(self) -> None:
        if not self.ledger.changed:
            return
        try:
            self.host.make_dir("/run/pvehooks")
            self.host.replace(LEDGER, self.ledger.stored(), mode=0o600)
        except OSError:
            # Without it the next process only repeats what this one said.
            return

    # -- acting -------------------------------------------------------------------------------------------------------

    def _deed(self, job: Job) -> rng.Result:
        return rng.inject(self.host, job.guest, self.settings.rng(job.guest.vmid))

    def harvest(self) -> None:
        """Says what became of the deeds that have ended, and has those tried again that had to wait."""
        for end in self.workers.ended():
            if end.result is None:
                self._failed(end)
            elif end.result.done:
                self._done(end.job, end.result)
            else:
                self._not_done(end.job, end.result)
        self._store()

    def _done(self, job: Job, result: rng.Result) -> None:
        guest = job.guest
        later = " It takes effect at its next start, the guest is running." if result.later else ""
        message = f"given rng0 {result.value}, because: {job.injection.why}.{later} Take it back: pvehooks undo {guest.vmid}"
        self._say("injected", message, job, rule=job.injection.rule, device="rng0", digest=result.digest, backup=result.backup)
        self.last_change = f"VM {guest.vmid} given rng0"
        self._settled(guest.vmid)
        self._digests[guest.vmid] = bytes.fromhex(result.digest)
        try:
            around = guest_facts.surroundings(self.host, self.node, self._first_look)
            after = guest_facts.read(self.host, self.node, guest.vmid, around)
            if after.digest == result.digest:
                node = hardware.gather(self.host, self.node)
                verdict = judge(after, catalogue.look(after, node), self.settings)
                self._tell(verdict, [item.finding for item in verdict.findings if not item.ignored], gone_too=False)
        except RecordsUnavailable:
            # pmxcfs went away; its return has all guests looked at.
            return

    def _settled(self, vmid: int) -> None:
        """Nothing waits for this guest any more."""
        self._tries.pop(vmid, None)
        self._waits.pop(vmid, None)

    def _not_done(self, job: Job, result: rng.Result) -> None:
        vmid = job.guest.vmid
        if result.outcome is Outcome.CHANGED:
            self._again(vmid, 0.0)
        elif result.outcome is Outcome.GONE:
            if self.host.exists(node_facts.config_path(self.node, vmid)):
                self._again(vmid, PAUSES[0])
            else:
                self.forget(vmid)
        elif result.outcome in (Outcome.REFUSED, Outcome.LOSSY):
            self._refused[vmid] = job.guest.digest
            rule = "rng-held-lines-dropped" if result.outcome is Outcome.LOSSY else job.injection.rule
            self._say("not-injected", f"not given an rng0: {result.words}", job, rule=rule)
        else:
            self._wait(job, result)

    def _wait(self, job: Job, result: rng.Result) -> None:
        """Tries again later, with growing pauses; says so once per reason."""
        vmid = job.guest.vmid
        pause = PAUSES[min(self._tries.get(vmid, 0), len(PAUSES) - 1)]
        self._tries[vmid] = self._tries.get(vmid, 0) + 1
        reason = f"{result.outcome.name} {result.words}"
        if self._waits.get(vmid) != reason:
            self._waits[vmid] = reason
            if result.outcome is Outcome.WAITING:
                self.doubts_pmxcfs = True
            if result.outcome is Outcome.BROKEN:
                self._say("not-injected", f"not given an rng0 yet: {result.words}. It is tried again later", job, rule=job.injection.rule)
            else:
                self._say("waiting", f"rng0 has to wait: {result.words}. It is tried again by itself", job, rule=job.injection.rule)
        self._again(vmid, pause)

    def _failed(self, end: Ended) -> None:
        error = end.error
        guest = end.job.guest
        raw = guest_facts.fetch(self.host, self.node, guest.vmid)
        # What was written may still lack the rng0: without this mark it would be tried at once again, for ever.
        self._refused[guest.vmid] = guest.digest if isinstance(raw, OSError) else _digest(raw).hex()
        if isinstance(error, PvehooksError):
            self._say("not-verified", f"{error.message}. {error.hint}", None, vmid=guest.vmid, rule=end.job.injection.rule)
        elif error is not None:
            self._say_bug(error, f"{guest.label}: bug while giving rng0", guest.vmid)

    def _say_bug(self, bug: Exception, words: str, vmid: int) -> None:
        import traceback

        self._say("bug", f"{words}: {bug!r}", None, vmid, traceback="".join(traceback.format_exception(bug)))

    def _say(self, kind: str, message: str, job: Job | None = None, vmid: int = 0, **fields: str) -> None:
        self.sink.say(entries.event(kind, message, self.node, job.guest if job else None, vmid, **fields))


def _about_entropy(finding: Finding) -> bool:
    return finding.cure is not Cure.NONE or finding.hold is not Hold.NONE


def _batches(vmids: Iterable[int]) -> Iterator[list[int]]:
    waiting = iter(vmids)
    while batch := list(islice(waiting, _BATCH)):
        yield batch


def _digest(raw: bytes) -> bytes:
    return hashlib.sha1(raw, usedforsecurity=False).digest()

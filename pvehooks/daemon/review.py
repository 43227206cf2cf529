"""A round: the guests that may have changed are read, judged, spoken of, and given what they lack."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType

from pvehooks import records, saying
from pvehooks.actions import accept, attach, rng
from pvehooks.actions.qm import Outcome
from pvehooks.actions.workers import Ended, Job, Workers
from pvehooks.errors import PvehooksError
from pvehooks.facts import guestindex, hardware, members
from pvehooks.facts import guests as guest_facts
from pvehooks.facts import node as node_facts
from pvehooks.host import Host
from pvehooks.judge import judge, weighed
from pvehooks.meeting import Meeting
from pvehooks.presence import Presence
from pvehooks.records import RecordsUnavailable
from pvehooks.report import entries, words
from pvehooks.report.ledger import Ledger
from pvehooks.report.roundup import Existing, Roundup
from pvehooks.report.sink import Journal, Lines
from pvehooks.rules import catalogue, hookscript, passthrough
from pvehooks.settings import Settings
from pvehooks.tally import Tally
from pvehooks.values import Finding, Guest, Injection, Node, Severity, Verdict
from pvehooks.values.digests import sha1
from pvehooks.values.stubs import former_of

# Seconds until a guest that had to wait is tried again.
PAUSES = (2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_BATCH = 100
LEDGER = "/run/pvehooks/said.json"
# How often the node itself is looked at: how it boots changes seldom, and looking at it costs more than at a guest.
_NODE_INTERVAL = 3600.0
# What is said of the node stands in the ledger under no guest's VMID.
_OF_NODE = 0
NOT_DUE = Injection(False, None, "")
NOBODY: Mapping[int, str] = MappingProxyType({})


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
        self._not_attachable: dict[int, str] = {}
        self.tally = Tally()
        self.presence = Presence(host, node, sink, lambda kind: self.tally.done.update((kind,)))
        # Guests that start by themselves and are to be attached to before that; None once they may start.
        self.awaited: dict[int, str] | None = {}
        self._by_ha: frozenset[int] = frozenset()
        self._existing = Existing(node)
        self._roundup = Roundup(node, lambda rule: catalogue.RULES[rule].explanation)
        self._meeting = Meeting(host, node)
        self._came: dict[int, str] = {}
        self._welcomed: set[int] = set()
        self._node_facts: Node | None = None
        self._index = guestindex.Index(host, node)
        self._node_due = 0.0
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
        vmids = tuple(vmids)
        self._welcome()
        around = guest_facts.surroundings(self.host, self.node, self._meeting.look)
        if self.awaited is not None:
            self._by_ha = members.ha_guests(self.host)
        try:
            self._look_at_all(vmids, force, pulse, around)
        finally:
            self._say_roundup()
        self._node_facts = None
        self.tally.looked = int(self.host.now())
        self._store()
        if not self._welcomed.isdisjoint(vmids):
            self._welcomed.difference_update(vmids)
            self.sum_up()

    def _look_at_all(self, vmids: Iterable[int], force: bool, pulse: Callable[[], bool], around: guest_facts.Surroundings) -> None:
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
            node = self._node_facts = hardware.gather(self.host, self.node, self._index)
        if vmid in around.recorded:
            rng.confirm(self.host, guest)
        attach.adopt(self.host, guest)
        if self.presence.came and guest.running and guest.passes_through:
            self._accept_present(guest, node)
        self._judged(judge(guest, catalogue.look(guest, node), self.settings))

    def meet(self, came: Mapping[int, str] = NOBODY, elsewhere: Mapping[int, str] = NOBODY) -> None:
        """Gets to know which guests were there before us, and notes those that have come from another node. Raises RecordsUnavailable.

        `came` are these, `elsewhere` all that are on other nodes: the node by VMID.
        """
        self._came.update(came)
        there = self._meeting.meet(elsewhere)
        self.presence.came = self.presence.came or (self._meeting.new and not self.presence.announced)
        if there is not None:
            again = " after a time without pvehooks" if self._meeting.again else ""
            known = words.counted(there, "VM")
            self._say("first-look", f"first look at node {self.node}{again}, which has {known} already. {self._of_old()}")

    def _welcome(self) -> None:
        """Guests that have come from a node without the package were there before it."""
        from_lacking = {vmid for vmid, node in self._came.items() if node in self.presence.lacking} | self._meeting.moved
        self._meeting.arrived(from_lacking)
        self._meeting.moved = frozenset()
        self._welcomed.update(from_lacking)
        self._came.clear()

    def _of_old(self) -> str:
        if self.settings.rng().existing == "inject":
            return "Those that need an rng0 are given one ([rng] existing = inject)"
        return "They are given no rng0 by themselves until somebody edits them. To give it to all that need one: pvehooks inject --all"

    def _judged(self, verdict: Verdict) -> None:
        guest, injection = verdict.guest, verdict.injection
        self.tally.note(verdict, hookscript.attached(guest))
        due = injection.due and self._refused.get(guest.vmid) != guest.digest
        attachable = verdict.attach and self.presence.may_attach and self._not_attachable.get(guest.vmid) != guest.digest
        quiet = saying.with_others(verdict)
        standing, unsaid = saying.divided(verdict, entropy=due or quiet, guard=attachable)
        self._existing.forget(guest.vmid)
        if quiet and saying.could_be_given(verdict, self.settings.rng(guest.vmid)):
            self._existing.note(guest, saying.only_by_name(verdict))
        self._tell(verdict, standing, unsaid)
        at_boot = self.awaited is not None and verdict.attach and members.starts_by_itself(guest, self._by_ha)
        if self.awaited is not None and at_boot:
            self.awaited[guest.vmid] = guest.label
        if due or attachable:
            self.workers.submit(Job(guest, injection if due else NOT_DUE, attachable), first=at_boot)

    def look_at_node(self) -> None:
        """Says what is wrong with the node itself, where an hour has passed since the last time or the settings are new."""
        if self.host.monotonic() < self._node_due:
            return
        self._node_due = self.host.monotonic() + _NODE_INTERVAL
        try:
            found = [
                weighed(each, self.settings.severities, "bind") for each in catalogue.look_at_node(hardware.gather(self.host, self.node))
            ]
        except Exception as bug:  # noqa: BLE001 - what is wrong with our view of the node must not end the care for its guests; it is reported
            self._say_bug(bug, "bug while looking at the node", _OF_NODE)
            return
        self.tally.note_node(found)
        standing = [each for each in found if each.examined and each.severity is not Severity.INFO]
        news = self.ledger.news(_OF_NODE, standing, [each for each in found if not each.examined])
        for finding in news.appeared:
            self.sink.say(entries.node_finding(self.node, finding))
        if news.gone:
            gone = ", ".join(f"{rule} ({subject})" for rule, subject in news.gone)
            self._say("node-mended", f"node {self.node}: no longer: {gone}", rule=news.gone[0][0])
        self._store()

    def _accept_present(self, guest: Guest, node: Node) -> None:
        """A guest that ran before the package came: what it runs with needs nobody's word at its next start."""
        if guest.accepted is not None:
            return
        present = accept.present(guest, node)
        try:
            accept.note(self.host, guest, present)
        except RecordsUnavailable:
            # Without quorum; its return has all guests looked at.
            return
        company = {address for _, _, member in passthrough.company(guest, node) if (address := member.address)}
        shared = f", among them what shares their groups ({', '.join(sorted(company))})" if company else ""
        self.sink.say(
            entries.event(
                "present-accepted", f"it ran before pvehooks came: its devices as they are now are accepted{shared}", self.node, guest
            )
        )

    def _tell(self, verdict: Verdict, standing: list[Finding], unsaid: Sequence[Finding] = (), gone_too: bool = True) -> None:
        guest = verdict.guest
        news = self.ledger.news(guest.vmid, standing, unsaid, (guest.uuid or "") if standing else "")
        for finding in news.appeared:
            self._roundup.appeared(guest, finding, words.outcome(verdict))
        if gone_too and news.gone:
            self._roundup.gone(guest, news.gone)

    def _say_roundup(self) -> None:
        for entry in self._roundup.end():
            self.sink.say(entry)

    def sum_up(self) -> None:
        """Says in one line which guests were there before us and lack entropy, when that has changed."""
        for entry in self._existing.news():
            self.tally.done["existing"] += 1
            self.sink.say(entry)

    def forget(self, vmid: int) -> None:
        """The guest is not on this node any more."""
        self._digests.pop(vmid, None)
        self._existing.forget(vmid)
        self.tally.forget(vmid)
        self._settled(vmid)
        self._refused.pop(vmid, None)
        self._not_attachable.pop(vmid, None)
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
        for vmid in self.ledger.guests() - here - {_OF_NODE}:
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
        self._node_due = 0.0
        self._refused.clear()
        self._not_attachable.clear()
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
        settings = self.settings.rng(job.guest.vmid)
        if not job.attach:
            return rng.inject(self.host, job.guest, settings)
        result = attach.attach(self.host, job.guest, settings, with_rng0=job.injection.due)
        if job.injection.due and result.outcome is Outcome.REFUSED:
            # What stands against the rng0 must not keep the guard off; the next look tells it.
            return attach.attach(self.host, job.guest, settings)
        return result

    def harvest(self) -> None:
        """Says what became of the deeds that have ended, and has those tried again that had to wait."""
        for end in self.workers.ended():
            if end.result is None:
                self._failed(end)
            elif end.result.done:
                self._done(end.job, end.result)
            else:
                self._not_done(end.job, end.result)
        self._say_roundup()
        self._store()

    def _done(self, job: Job, result: rng.Result) -> None:
        guest = job.guest
        if result.value:
            later = " It takes effect at its next start, the guest is running." if result.later else ""
            message = f"given rng0 {result.value}, because: {job.injection.why}.{later} Take it back: pvehooks undo {guest.vmid}"
            self._say("injected", message, job, rule=job.injection.rule, device="rng0", digest=result.digest, backup=result.backup)
            self.last_change = f"VM {guest.vmid} given rng0"
        if result.volid:
            self._say_attached(job, result)
        self._settled(guest.vmid)
        self._digests[guest.vmid] = bytes.fromhex(result.digest)
        try:
            around = guest_facts.surroundings(self.host, self.node, self._meeting.look)
            after = guest_facts.read(self.host, self.node, guest.vmid, around)
            if after.digest == result.digest:
                node = hardware.gather(self.host, self.node, self._index)
                verdict = judge(after, catalogue.look(after, node), self.settings)
                self.tally.note(verdict, hookscript.attached(after))
                self._tell(verdict, *saying.divided(verdict, entropy=saying.with_others(verdict), guard=False), gone_too=False)
        except RecordsUnavailable:
            # pmxcfs went away; its return has all guests looked at.
            return

    def _say_attached(self, job: Job, result: rng.Result) -> None:
        vmid = job.guest.vmid
        former = former_of(result.volid)
        before = f" Its own hookscript {former} is run by it first, in every phase." if former else ""
        message = f"the guard was attached, it has passed-through devices.{before} Take it out: pvehooks detach {vmid}"
        self._say("attached", message, job, rule="guard-not-attached", device=result.volid, digest=result.digest, backup=result.backup)
        self.last_change = f"guard attached to VM {vmid}"

    # -- the boot -----------------------------------------------------------------------------------------------------

    def awaits(self) -> bool:
        """Whether guests that start by themselves still wait for the guard, and it may come."""
        return bool(self.awaited) and self.presence.may_attach

    def boot_ends(self, why: str) -> None:
        """The guests may start now; says which of them do so without the guard."""
        for vmid, label in sorted((self.awaited or {}).items()):
            reason = self._waits.get(vmid, "").partition(" ")[2] or why
            if not self.presence.may_attach:
                reason = f"pvehooks is not on {', '.join(self.presence.lacking)}"
            self._say(
                "boot-unguarded",
                f"{label}: starts at boot without the guard, so nothing looks what it takes from the host: {reason}",
                vmid=vmid,
                rule="guard-not-attached",
            )
        self.awaited = None

    def _awaited_no_more(self, vmid: int) -> None:
        if self.awaited:
            self.awaited.pop(vmid, None)

    def _settled(self, vmid: int) -> None:
        """Nothing waits for this guest any more."""
        self._awaited_no_more(vmid)
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
            self._refuse(job, result)
        else:
            self._wait(job, result)

    def _refuse(self, job: Job, result: rng.Result) -> None:
        vmid = job.guest.vmid
        self._awaited_no_more(vmid)
        if job.attach:
            self._not_attachable[vmid] = job.guest.digest
            self._say("not-attached", f"the guard was not attached: {result.words}", job, rule="guard-not-attached")
        if job.injection.due:
            self._refused[vmid] = job.guest.digest
            rule = "rng-held-lines-dropped" if result.outcome is Outcome.LOSSY else job.injection.rule
            self._say("not-injected", f"not given an rng0: {result.words}", job, rule=rule)

    def _wait(self, job: Job, result: rng.Result) -> None:
        """Tries again later, with growing pauses; says so once per reason."""
        vmid = job.guest.vmid
        pause = PAUSES[min(self._tries.get(vmid, 0), len(PAUSES) - 1)]
        self._tries[vmid] = self._tries.get(vmid, 0) + 1
        if result.outcome is Outcome.LOCKED:
            # PVE does not start it now either.
            self._awaited_no_more(vmid)
        reason = f"{result.outcome.name} {result.words}"
        if self._waits.get(vmid) != reason:
            self._waits[vmid] = reason
            if result.outcome is Outcome.WAITING:
                self.doubts_pmxcfs = True
            rule = job.injection.rule or "guard-not-attached"
            if result.outcome is not Outcome.BROKEN:
                what = " and ".join(["rng0"] * job.injection.due + ["the guard"] * job.attach)
                have = "have" if " and " in what else "has"
                self._say("waiting", f"{what} {have} to wait: {result.words}. It is tried again by itself", job, rule=rule)
            elif job.attach:
                self._say("not-attached", f"the guard was not attached yet: {result.words}. It is tried again later", job, rule=rule)
            else:
                self._say("not-injected", f"not given an rng0 yet: {result.words}. It is tried again later", job, rule=rule)
        self._again(vmid, pause)

    def _failed(self, end: Ended) -> None:
        error = end.error
        guest = end.job.guest
        self._awaited_no_more(guest.vmid)
        raw = guest_facts.fetch(self.host, self.node, guest.vmid)
        # What was written may still lack the rng0: without this mark it would be tried at once again, for ever.
        self._refused[guest.vmid] = guest.digest if isinstance(raw, OSError) else _digest(raw).hex()
        self._not_attachable[guest.vmid] = self._refused[guest.vmid]
        if isinstance(error, PvehooksError):
            self._say("not-verified", f"{error.message}. {error.hint}", None, vmid=guest.vmid, rule=end.job.injection.rule)
        elif error is not None:
            self._say_bug(error, f"{guest.label}: bug while giving it what it lacks", guest.vmid)

    def _say_bug(self, bug: Exception, words: str, vmid: int) -> None:
        import traceback

        message = f"{words}: {bug!r}. Please report it: journalctl -t pvehooksd -o verbose PVEHOOKS_EVENT=bug"
        self._say("bug", message, None, vmid, traceback="".join(traceback.format_exception(bug)))

    def _say(self, kind: str, message: str, job: Job | None = None, vmid: int = 0, **fields: str) -> None:
        self.tally.done[kind] += 1
        self.sink.say(entries.event(kind, message, self.node, job.guest if job else None, vmid, **fields))


def _batches(vmids: Iterable[int]) -> Iterator[list[int]]:
    waiting = iter(vmids)
    while batch := list(islice(waiting, _BATCH)):
        yield batch


def _digest(raw: bytes) -> bytes:
    return sha1(raw)

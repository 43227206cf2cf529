"""The review of a guest: its config is read, judged and reported, and a job is queued where it lacks something.

It is safe to repeat: what was reported is not reported again, and what was refused is not tried again.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from pvehooks.daemon import guest_changes, urgency
from pvehooks.daemon.jobs import NOT_DUE, Job
from pvehooks.daemon.parts import Parts
from pvehooks.derived import attachment, passthrough, wanted_tag
from pvehooks.errors import PmxcfsAway
from pvehooks.facts import hardware
from pvehooks.facts.cluster import ha
from pvehooks.facts.guests import configs as guest_facts
from pvehooks.facts.guests import index, running
from pvehooks.facts.pci.fingerprints import Fingerprints
from pvehooks.host import Host
from pvehooks.host.readonce import read_once
from pvehooks.judge import judge
from pvehooks.records import guests as records
from pvehooks.rules import catalogue
from pvehooks.settings.effective import Settings
from pvehooks.values import Guest, Node, Verdict
from pvehooks.values.base import NamedTuple, sha1

_BATCH = 100


class Why(enum.Enum):
    """Why guests are reviewed, which decides when one is left out."""

    CHANGED = "left out while its config is as it was"
    FORCED = "never left out"
    AFTER_JOB = "left out when its config is not as the job left it: that change has a review of its own"


class _Due(NamedTuple):
    """A guest that is to be reviewed."""

    vmid: int
    # Its config, or the error that there was instead.
    raw: bytes | OSError
    # What distinguishes that from another one.
    mark: bytes


class _Context:
    """What one call of review() shares among its guests. The node is gathered when first needed."""

    def __init__(
        self,
        why: Why,
        guest_context: guest_facts.GuestContext,
        by_ha: frozenset[int],
        settings: Settings,
        host: Host,
        gather: Callable[[], Node],
    ) -> None:
        self._host = host
        self.settings = settings
        # Each of these is a section put together.
        self.detach_after = settings.watch.detach_after
        self.tags = settings.gui.tags
        self.why = why
        self.guest_context = guest_context
        self.by_ha = by_ha
        self._gather = gather
        self._node: Node | None = None
        self._prints: Fingerprints | None = None

    def prints(self) -> Fingerprints:
        """By what the node's devices are known again; what the sandbox keeps from the daemon, pvehooks-devices.service adds."""
        if self._prints is None:
            self._prints = Fingerprints(self._host, passthrough.pci_devices(self.node()), with_serials=False)
        return self._prints

    def node(self) -> Node:
        """The node's facts."""
        if self._node is None:
            self._node = self._gather()
        return self._node


class Review:
    """Reviews guests."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        # Kept from one review to the next.
        self._index = index.GuestIndex(parts.node, parts.configs.read)

    def review(self, vmids: Iterable[int], why: Why = Why.CHANGED, keep_alive: Callable[[], bool] = lambda: True) -> None:
        """Reviews the guests. `keep_alive` is called between two of them, and ends the review by returning False.

        Raises PmxcfsAway.
        """
        parts = self._parts
        vmids = tuple(vmids)
        parts.arrivals.add_to_baseline()
        host = read_once(parts.host)
        guest_context = guest_facts.gather_context(host, parts.node, parts.baseline.recorded)
        by_ha = frozenset() if parts.gate.is_open else ha.vmids(host)
        context = _Context(why, guest_context, by_ha, parts.settings.current, host, lambda: hardware.gather(host, parts.node, self._index))
        try:
            self._review_all(vmids, context, keep_alive)
        finally:
            parts.reporter.flush()
        if parts.arrivals.reviewed(vmids):
            parts.reporter.old_guests()

    def _review_all(self, vmids: Iterable[int], context: _Context, keep_alive: Callable[[], bool]) -> None:
        for batch in _batches(vmids):
            for due in self._read(batch, context):
                vmid = due.vmid
                if not keep_alive():
                    return
                try:
                    self._review_one(due, context)
                except PmxcfsAway:
                    raise
                except Exception as bug:  # noqa: BLE001 - one guest's config must not end the care for all others; it is reported
                    self._parts.log.bug(bug, f"VM {vmid}: bug while looking at it", vmid)

    def _read(self, batch: Iterable[int], context: _Context) -> list[_Due]:
        """The guests of a batch that are due, all their configs and records read.

        Going to and fro between pmxcfs and the rules for each guest costs both their caches.
        """
        configs = [(vmid, self._parts.configs.read(self._parts.node, vmid)) for vmid in batch]
        found = [_Due(vmid, raw, _mark_of(raw)) for vmid, raw in configs]
        due = [each for each in found if isinstance(each.raw, FileNotFoundError) or not self._can_skip(each, context.why)]
        around = context.guest_context
        recorded = [each.vmid for each in due if each.vmid in around.recorded and not isinstance(each.raw, OSError)]
        context.guest_context = around._replace(records_read={vmid: records.read_raw(self._parts.host, vmid) for vmid in recorded})
        return due

    def _review_one(self, due: _Due, context: _Context) -> None:
        vmid, raw = due.vmid, due.raw
        if isinstance(raw, FileNotFoundError):
            self._parts.departures.gone(vmid)
            return
        had_devices = bool(self._parts.states.of(vmid).devices)
        self._note_config(due)
        guest = guest_facts.parse_guest(self._parts.host, self._parts.node, vmid, raw, context.guest_context)
        node = context.node()
        guest_changes.complete_records(self._parts.host, guest, vmid in context.guest_context.recorded)
        if self._parts.membership.had_no_package and guest.running and guest.passes_through:
            self._accept_present(guest, node)
        self._judged(judge(guest, catalogue.findings(guest, node), context.settings), context)
        if guest.config is not None and (guest.passes_through or had_devices):
            guest_changes.remember_devices(self._parts.host, guest, context.prints())

    def _can_skip(self, due: _Due, why: Why) -> bool:
        """Whether the guest was reviewed with this config already, or, after a job, has another one by now, which is reviewed for itself."""
        same = self._parts.states.of(due.vmid).last_seen == due.mark
        return (why is Why.CHANGED and same) or (why is Why.AFTER_JOB and not same)

    def _note_config(self, due: _Due) -> None:
        state = self._parts.states.of(due.vmid)
        if state.last_seen != due.mark:
            state.tries = 0
        state.last_seen = due.mark
        state.devices = frozenset() if isinstance(due.raw, OSError) else urgency.devices(due.raw)

    def _judged(self, verdict: Verdict, context: _Context) -> None:
        parts = self._parts
        guest = verdict.guest
        parts.stats.note(verdict, attachment.attached(guest))
        leaves_in = parts.jobs.seconds_until_detach(verdict, context.detach_after)
        if leaves_in:
            parts.schedule.after(guest.vmid, leaves_in, forced=True)
        job = parts.jobs.wanted(verdict, parts.membership.may_attach, may_detach=not leaves_in) or self._tag_job(verdict, context.tags)
        parts.reporter.guest(
            verdict,
            context.settings.rng(guest.vmid),
            rng0_follows=job is not None and job.rng0_decision.due,
            guard_follows=bool(leaves_in) or (job is not None and (job.attach or job.detach)),
            report_gone=context.why is not Why.AFTER_JOB,
        )
        at_boot = not parts.gate.is_open and verdict.attach and ha.starts_at_boot(guest, context.by_ha)
        if at_boot:
            parts.gate.wait_for(guest)
        state = parts.states.of(guest.vmid)
        urgent, state.urgent = state.urgent, False
        if job is not None:
            if job.attach and not parts.membership.had_no_package:
                self._report_unguarded(guest, context.node())
            parts.queue.submit(job, first=at_boot or urgent)

    def _tag_job(self, verdict: Verdict, is_on: bool) -> Job | None:
        """The job that changes the guest's tag, if that is due by now."""
        parts, guest = self._parts, verdict.guest
        tag = wanted_tag.wanted(verdict, is_on)
        change = wanted_tag.due(guest, tag, is_on)
        if change is None:
            guest_changes.complete_tag(parts.host, guest, tag, is_on)
        seconds = parts.jobs.seconds_until_tag(guest, change, is_on)
        if seconds:
            parts.schedule.after(guest.vmid, seconds, forced=True)
        return Job(guest, NOT_DUE, tag=change) if seconds == 0 else None

    def _report_unguarded(self, guest: Guest, node: Node) -> None:
        """A start that came before the guard was attached is reported once, with what it took from the node."""
        parts = self._parts
        process = running.process(parts.host, guest.vmid) if guest.running else None
        live = guest.config.main if guest.config else {}
        state = parts.states.of(guest.vmid)
        if process is None or state.reported_unguarded_pid == process[0] or not any(entry.option in live for entry in guest.hostpci):
            return
        state.reported_unguarded_pid = process[0]
        devices = passthrough.pci_devices(node)
        taken = [devices[address].label if address in devices else address for address in passthrough.named(guest, node)]
        taken += [f"{each.device.label}, which shares a group with them" for each in passthrough.group_members(guest, node)]
        what = "; ".join(taken or (f"{entry.option}: {guest.options[entry.option]}" for entry in guest.hostpci))
        message = (
            f"it was started before it had the guard: that start was not checked. It took from this node: {what}. The next one is checked."
            f" See: pvehooks check {guest.vmid}"
        )
        parts.log.event("started-unguarded", message, guest, rule="guard-not-attached")

    def _accept_present(self, guest: Guest, node: Node) -> None:
        """A guest that ran before the package came needs no override at its next start for what it runs with."""
        if guest.accepted is not None:
            return
        try:
            guest_changes.accept_present(self._parts.host, guest, node)
        except PmxcfsAway:
            # Without quorum; its return has all guests reviewed.
            return
        members = {each.device.address for each in passthrough.group_members(guest, node)}
        shared = f", among them what shares their groups ({', '.join(sorted(members))})" if members else ""
        message = f"it ran before pvehooks came: its devices as they are now are accepted{shared}"
        self._parts.log.event("present-accepted", message, guest)


def _batches(vmids: Iterable[int]) -> Iterator[list[int]]:
    waiting = iter(vmids)
    while batch := list(islice(waiting, _BATCH)):
        yield batch


def _mark_of(raw: bytes | OSError) -> bytes:
    """What distinguishes a config from another one: the bytes of its SHA-1, or the error of reading it."""
    return repr(raw).encode() if isinstance(raw, OSError) else sha1(raw)

"""The review of a guest: its config is read, judged and reported, and a job is queued where it lacks something.

It is safe to repeat: what was reported is not reported again, and what was refused is not tried again.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from pvehooks.daemon import work
from pvehooks.daemon.parts import Parts
from pvehooks.derived import attachment, passthrough
from pvehooks.errors import PmxcfsAway
from pvehooks.facts import hardware
from pvehooks.facts.cluster import ha
from pvehooks.facts.guests import configs as guest_facts
from pvehooks.facts.guests import index
from pvehooks.host.readonce import read_once
from pvehooks.judge import judge
from pvehooks.rules import catalogue
from pvehooks.values import Guest, Node, Verdict
from pvehooks.values.base import sha1

_BATCH = 100


class Why(enum.Enum):
    """Why guests are reviewed, which decides when one is left out."""

    CHANGED = "left out while its config is as it was"
    FORCED = "never left out"
    AFTER_JOB = "left out when its config is not as the job left it: that change has a review of its own"


class _Context:
    """What one call of review() shares among its guests. The node is gathered when first needed."""

    def __init__(self, why: Why, around: guest_facts.Surroundings, by_ha: frozenset[int], gather: Callable[[], Node]) -> None:
        self.why = why
        self.around = around
        self.by_ha = by_ha
        self._gather = gather
        self._node: Node | None = None

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
        self._index = index.GuestIndex(parts.node)

    def review(self, vmids: Iterable[int], why: Why = Why.CHANGED, keep_alive: Callable[[], bool] = lambda: True) -> None:
        """Reviews the guests. `keep_alive` is called between two of them, and ends the review by returning False.

        Raises PmxcfsAway.
        """
        parts = self._parts
        vmids = tuple(vmids)
        parts.arrivals.add_to_baseline()
        host = read_once(parts.host)
        around = guest_facts.surroundings(host, parts.node, parts.baseline.recorded)
        by_ha = frozenset() if parts.gate.is_open else ha.vmids(host)
        context = _Context(why, around, by_ha, lambda: hardware.gather(host, parts.node, self._index))
        try:
            self._review_all(vmids, context, keep_alive)
        finally:
            parts.reporter.flush()
        if parts.arrivals.reviewed(vmids):
            parts.reporter.old_guests()

    def _review_all(self, vmids: Iterable[int], context: _Context, keep_alive: Callable[[], bool]) -> None:
        for batch in _batches(vmids):
            # All of a batch is read first: going to and fro between pmxcfs and the rules costs both their caches.
            contents = [(vmid, guest_facts.fetch(self._parts.host, self._parts.node, vmid)) for vmid in batch]
            for vmid, raw in contents:
                if not keep_alive():
                    return
                try:
                    self._review_one(vmid, raw, context)
                except PmxcfsAway:
                    raise
                except Exception as bug:  # noqa: BLE001 - one guest's config must not end the care for all others; it is reported
                    self._parts.log.bug(bug, f"VM {vmid}: bug while looking at it", vmid)

    def _review_one(self, vmid: int, raw: bytes | OSError, context: _Context) -> None:
        if isinstance(raw, FileNotFoundError):
            self._parts.departures.forget(vmid)
            return
        if self._is_left_out(vmid, raw, context.why):
            return
        guest = guest_facts.understand(self._parts.host, self._parts.node, vmid, raw, context.around)
        node = context.node()
        work.complete_records(self._parts.host, guest, vmid in context.around.recorded)
        if self._parts.membership.had_no_package and guest.running and guest.passes_through:
            self._accept_present(guest, node)
        self._judged(judge(guest, catalogue.findings(guest, node), self._parts.settings.now), context)

    def _is_left_out(self, vmid: int, raw: bytes | OSError, why: Why) -> bool:
        """Notes what the config is now, unless the guest is left out."""
        seen = repr(raw).encode() if isinstance(raw, OSError) else sha1(raw)
        state = self._parts.states.of(vmid)
        same = state.last_seen == seen
        if (why is Why.CHANGED and same) or (why is Why.AFTER_JOB and not same):
            return True
        if not same:
            state.tries = 0
        state.last_seen = seen
        return False

    def _judged(self, verdict: Verdict, context: _Context) -> None:
        parts = self._parts
        guest = verdict.guest
        parts.stats.note(verdict, attachment.attached(guest))
        job = parts.jobs.wanted(verdict, parts.membership.may_attach)
        parts.reporter.guest(
            verdict,
            parts.settings.now.rng(guest.vmid),
            rng0=job is not None and job.injection.due,
            guard=job is not None and (job.attach or job.detach),
            gone=context.why is not Why.AFTER_JOB,
        )
        at_boot = not parts.gate.is_open and verdict.attach and ha.starts_at_boot(guest, context.by_ha)
        if at_boot:
            parts.gate.wait_for(guest)
        if job is not None:
            parts.queue.submit(job, first=at_boot)

    def _accept_present(self, guest: Guest, node: Node) -> None:
        """A guest that ran before the package came needs no override at its next start for what it runs with."""
        if guest.accepted is not None:
            return
        try:
            work.accept_present(self._parts.host, guest, node)
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

"""The review of a guest: its config is read, judged and reported, and a job is queued where it lacks something.

It is safe to repeat: what was reported is not reported again, and what was refused is not tried again.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from pvehooks.daemon import work
from pvehooks.daemon.arrivals import Arrivals
from pvehooks.daemon.baseline import NodeBaseline
from pvehooks.daemon.bootgate import BootGate
from pvehooks.daemon.departures import Departures
from pvehooks.daemon.jobs import Jobs
from pvehooks.daemon.membership import Membership
from pvehooks.daemon.settings_in_force import SettingsInForce
from pvehooks.daemon.state import States
from pvehooks.daemon.stats import Stats
from pvehooks.derived import attachment, passthrough
from pvehooks.errors import PmxcfsAway
from pvehooks.facts import hardware
from pvehooks.facts.cluster import ha
from pvehooks.facts.guests import configs as guest_facts
from pvehooks.facts.guests import index
from pvehooks.host import Host
from pvehooks.journal.log import Log
from pvehooks.journal.reporter import Reporter
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


class _Look:
    """What the reviews of several guests share: facts around them, guests of high availability, and the node, gathered when first needed."""

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
    """Reviews guests; each part of the daemon that it needs is given to it."""

    def __init__(
        self,
        host: Host,
        node: str,
        settings: SettingsInForce,
        *,
        states: States,
        jobs: Jobs,
        gate: BootGate,
        baseline: NodeBaseline,
        arrivals: Arrivals,
        membership: Membership,
        departures: Departures,
        reporter: Reporter,
        stats: Stats,
        log: Log,
    ) -> None:
        self._host = host
        self._node = node
        self._settings = settings
        self._states = states
        self._jobs = jobs
        self._gate = gate
        self._baseline = baseline
        self._arrivals = arrivals
        self._membership = membership
        self._departures = departures
        self._reporter = reporter
        self._stats = stats
        self._log = log
        self._index = index.GuestIndex(host, node)

    def review(self, vmids: Iterable[int], why: Why = Why.CHANGED, keep_alive: Callable[[], bool] = lambda: True) -> None:
        """Reviews the guests. `keep_alive` is called between two of them, and ends the review by returning False.

        Raises PmxcfsAway.
        """
        vmids = tuple(vmids)
        self._arrivals.add_to_baseline()
        around = guest_facts.surroundings(self._host, self._node, self._baseline.recorded)
        by_ha = frozenset() if self._gate.is_open else ha.vmids(self._host)
        look = _Look(why, around, by_ha, lambda: hardware.gather(self._host, self._node, self._index))
        try:
            self._review_all(vmids, look, keep_alive)
        finally:
            self._reporter.flush()
        if self._arrivals.reviewed(vmids):
            self._reporter.old_guests()

    def _review_all(self, vmids: Iterable[int], look: _Look, keep_alive: Callable[[], bool]) -> None:
        for batch in _batches(vmids):
            # All of a batch is read first: going to and fro between pmxcfs and the rules costs both their caches.
            contents = [(vmid, guest_facts.fetch(self._host, self._node, vmid)) for vmid in batch]
            for vmid, raw in contents:
                if not keep_alive():
                    return
                try:
                    self._review_one(vmid, raw, look)
                except PmxcfsAway:
                    raise
                except Exception as bug:  # noqa: BLE001 - one guest's config must not end the care for all others; it is reported
                    self._log.bug(bug, f"VM {vmid}: bug while looking at it", vmid)

    def _review_one(self, vmid: int, raw: bytes | OSError, look: _Look) -> None:
        if isinstance(raw, FileNotFoundError):
            self._departures.forget(vmid)
            return
        if self._is_left_out(vmid, raw, look.why):
            return
        guest = guest_facts.understand(self._host, self._node, vmid, raw, look.around)
        node = look.node()
        work.complete_records(self._host, guest, vmid in look.around.recorded)
        if self._membership.had_no_package and guest.running and guest.passes_through:
            self._accept_present(guest, node)
        self._judged(judge(guest, catalogue.findings(guest, node), self._settings.now), look)

    def _is_left_out(self, vmid: int, raw: bytes | OSError, why: Why) -> bool:
        """Notes what the config is now, unless the guest is left out."""
        seen = repr(raw).encode() if isinstance(raw, OSError) else sha1(raw)
        state = self._states.of(vmid)
        same = state.last_seen == seen
        if (why is Why.CHANGED and same) or (why is Why.AFTER_JOB and not same):
            return True
        if not same:
            state.tries = 0
        state.last_seen = seen
        return False

    def _judged(self, verdict: Verdict, look: _Look) -> None:
        guest = verdict.guest
        self._stats.note(verdict, attachment.attached(guest))
        job = self._jobs.wanted(verdict, self._membership.may_attach)
        self._reporter.guest(
            verdict,
            self._settings.now.rng(guest.vmid),
            rng0=job is not None and job.injection.due,
            guard=job is not None and (job.attach or job.detach),
            gone=look.why is not Why.AFTER_JOB,
        )
        at_boot = not self._gate.is_open and verdict.attach and ha.starts_at_boot(guest, look.by_ha)
        if at_boot:
            self._gate.hold(guest)
        if job is not None:
            self._jobs.submit(job, first=at_boot)

    def _accept_present(self, guest: Guest, node: Node) -> None:
        """A guest that ran before the package came needs no override at its next start for what it runs with."""
        if guest.accepted is not None:
            return
        try:
            work.accept_present(self._host, guest, node)
        except PmxcfsAway:
            # Without quorum; its return has all guests reviewed.
            return
        members = {each.device.address for each in passthrough.group_members(guest, node)}
        shared = f", among them what shares their groups ({', '.join(sorted(members))})" if members else ""
        message = f"it ran before pvehooks came: its devices as they are now are accepted{shared}"
        self._log.event("present-accepted", message, guest)


def _batches(vmids: Iterable[int]) -> Iterator[list[int]]:
    waiting = iter(vmids)
    while batch := list(islice(waiting, _BATCH)):
        yield batch

"""Guests that leave this node: what is remembered of them goes."""

from __future__ import annotations

from pvehooks.actions.pci import remember
from pvehooks.daemon.queue import JobQueue
from pvehooks.daemon.state import States
from pvehooks.daemon.stats import Stats
from pvehooks.errors import PmxcfsAway, PvehooksError
from pvehooks.facts.cluster import members, pmxcfs, summaries
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.pci import remembered
from pvehooks.host import Host
from pvehooks.journal.reporter import Reporter
from pvehooks.records import baseline, remove_unfinished
from pvehooks.records import guests as records

# Seconds between two looks for what is left of guests that are gone.
_TIDY_PAUSE = 3600.0


class Departures:
    """Forgets guests in memory, and in pmxcfs those that no node has any more."""

    def __init__(self, host: Host, node: str, states: States, stats: Stats, reporter: Reporter, queue: JobQueue) -> None:
        self._host = host
        self._node = node
        self._states = states
        self._stats = stats
        self._reporter = reporter
        self._queue = queue
        self._tidy_due = 0.0

    def _forget(self, vmid: int) -> None:
        self._states.forget(vmid)
        self._stats.forget(vmid)
        self._queue.forget(vmid)
        self._reporter.forget(vmid)
        remember.forget(self._host, remembered.of_guest(vmid))

    def gone(self, vmid: int) -> None:
        """The guest is not on this node any more; its record goes with it when no node has it."""
        self._forget(vmid)
        files = (records.path(vmid), f"{records.LOCKS}/{vmid}.lock")
        # Most guests that are made and destroyed at once have neither: no node is asked for them.
        if any(map(self._host.exists, files)) and not node_facts.owner(self._host, vmid):
            try:
                records.forget(self._host, vmid)
            except PvehooksError:
                return
            records.forget_lock(self._host, vmid)

    @property
    def tidy_is_due(self) -> bool:
        """Whether it is an hour since tidy()."""
        return self._host.monotonic() >= self._tidy_due

    def tidy(self, here: frozenset[int]) -> None:
        """Forgets the guests that went unseen, or while no daemon ran: what was reported of them, and records and locks of those that no node has.

        What is left of this node's interrupted writes goes as well.
        """
        self._tidy_due = self._host.monotonic() + _TIDY_PAUSE
        remembered_of = (owner.removeprefix("vm-") for owner in remembered.owners(self._host))
        with_memory = (
            {vmid for vmid, _ in self._states} | self._stats.guests.keys() | {int(each) for each in remembered_of if each.isdecimal()}
        )
        for vmid in with_memory - here:
            if not self._host.exists(node_facts.config_path(self._node, vmid)):
                self._forget(vmid)
        self._reporter.forget_others(here)
        there = here | self._listed()
        try:
            for vmid in records.known_vmids(self._host) - there:
                if not node_facts.owner(self._host, vmid):
                    records.forget(self._host, vmid)
            self._remove_unfinished(here)
        except PmxcfsAway:
            return
        for vmid in records.locked_vmids(self._host) - there:
            if not node_facts.owner(self._host, vmid):
                records.forget_lock(self._host, vmid)

    def _listed(self) -> frozenset[int]:
        """The guests of the cluster; none where that cannot be read, and each node is asked for each."""
        try:
            return frozenset(pmxcfs.guests(self._host))
        except PmxcfsAway:
            return frozenset()

    def _remove_unfinished(self, here: frozenset[int]) -> None:
        """The node that has a guest is the only one that writes its record."""
        records.remove_unfinished(self._host, lambda vmid: vmid in here or not node_facts.owner(self._host, vmid))
        baseline.remove_unfinished(self._host, self._node)
        own = {members.presence_path(self._node), summaries.path(self._node)}
        directory = f"{node_facts.NODES}/{self._node}"
        remove_unfinished(self._host, directory, lambda name: f"{directory}/{name}" in own)

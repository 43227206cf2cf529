"""Observing: what inotify reports and what pmxcfs' counters say becomes guests that are due; pmxcfs itself is observed as well."""

from __future__ import annotations

import selectors

from pvehooks.daemon import urgency
from pvehooks.daemon.parts import Parts
from pvehooks.daemon.reload import reload_settings
from pvehooks.daemon.schedule import EVERYTHING, Throttle
from pvehooks.daemon.urgency import Urgency
from pvehooks.daemon.watch import CounterChanges, InotifyChanges, PmxcfsCounters, Watches
from pvehooks.errors import PmxcfsAway
from pvehooks.facts.cluster import pmxcfs
from pvehooks.facts.guests import configs as guest_facts

# How soon the counters are read after the database has changed.
_DATABASE_PAUSE = 0.05
# In a large cluster the database changes all the time. The shares of the time that reading the counters, and reading what the other nodes
# have, may take then, and the seconds until it is done again in any case.
_COUNTERS, _CLUSTER = (0.02, 0.5), (0.02, 10.0)
# How often the counters are read while there is no quorum: its return writes no database.
_QUORUM_PAUSE = 2.0
_NO_QUORUM = "the cluster has no quorum: /etc/pve cannot be written, and what is due waits"


class Observer:
    """Schedules the guests that may have changed. `next_poll` is when the counters are to be read next."""

    def __init__(self, parts: Parts, selector: selectors.BaseSelector) -> None:
        self.next_poll = 0.0
        self._parts = parts
        self._selector = selector
        self._counters = PmxcfsCounters(parts.host, parts.node)
        self._watches: Watches | None = None
        self._watch_troubles: set[str] = set()
        self._tidied = False
        self._pace = Throttle(parts.host.monotonic, *_COUNTERS)
        self._cluster_pace = Throttle(parts.host.monotonic, *_CLUSTER)

    def count(self) -> int:
        """How many guests this node has, as last seen."""
        return self._counters.count()

    def close(self) -> None:
        """Gives back the inotify instance."""
        if self._watches is not None:
            self._watches.close()

    def watch(self) -> None:
        """A fresh inotify instance with all watches; logs once what cannot be watched."""
        if self._watches is not None:
            self._selector.unregister(self._watches.fileno())
            self._watches.close()
            self._watches = None
        try:
            self._watches = Watches(self._parts.host, self._parts.node)
            self._selector.register(self._watches.fileno(), selectors.EVENT_READ)
            troubles = self._watches.troubles
        except OSError as error:
            troubles = [f"no inotify instance: {error.strerror}"]
        for trouble in troubles:
            if trouble not in self._watch_troubles:
                self._watch_troubles.add(trouble)
                interval = self._parts.settings.current.watch.interval
                message = f"a watch could not be had ({trouble}): changes are noticed every {interval} s only"
                self._parts.log.event("watch-limited", message)

    def read_changes(self) -> None:
        """Reads what inotify reported."""
        parts = self._parts
        changes = self._watches.read() if self._watches is not None else InotifyChanges()
        for vmid in changes.guests:
            self._changed(vmid)
        if changes.overflow:
            parts.log.event("watch-overflow", "inotify events were lost; all VMs are looked at anew")
        if changes.overflow or changes.mappings:
            parts.schedule.changed(EVERYTHING)
        if changes.tasks or changes.overflow or changes.lost:
            parts.failures.report_ended_starts()
        if changes.lost:
            self.watch()
        if changes.database_changed or changes.lost:
            self.next_poll = min(self.next_poll, max(parts.host.monotonic() + _DATABASE_PAUSE, self._pace.due))
            if self._watches is not None:
                self._watches.mute_database()
            parts.availability.database_changed()

    def _changed(self, vmid: int) -> None:
        """Schedules the guest: at once where its next start may depend on it, else once it settles."""
        parts = self._parts
        raw = guest_facts.read_raw_or_error(parts.host, parts.node, vmid)
        found = urgency.guest_urgency(b"" if isinstance(raw, OSError) else raw, parts.states.known(vmid))
        if found is not Urgency.NORMAL:
            state = parts.states.of(vmid)
            state.is_being_made, state.urgent = found is Urgency.BEING_CREATED, found is Urgency.URGENT
            if parts.settings.current.rng().writer == "auto":
                parts.writer_process.warm()
        if found is Urgency.URGENT:
            parts.schedule.due_now(vmid)
        else:
            parts.schedule.changed(vmid)

    def poll(self) -> None:
        """Reads pmxcfs' counters and schedules what they say has changed."""
        parts = self._parts
        parts.failures.report_ended_starts()
        parts.ended.look()
        interval = parts.settings.current.watch.interval
        self.next_poll = parts.host.monotonic() + (interval if parts.availability.quorate else min(interval, _QUORUM_PAUSE))
        self.next_poll = min(self.next_poll, parts.ended.next())
        if self._watches is not None:
            self._watches.unmute_database()
        is_first = not self._tidied
        try:
            with self._pace:
                seen = self._counters.poll()
            attachable = self._read_cluster(seen)
        except PmxcfsAway as away:
            self._on_pmxcfs_away(away)
            return
        if parts.availability.answered():
            self._on_pmxcfs_back()
        if seen.restarted or self._watches is None or not self._watches.watches_guests:
            self.watch()
        reload_settings(parts)
        for vmid in seen.gone:
            parts.schedule.forget(vmid)
            parts.departures.gone(vmid)
        for vmid in seen.touched:
            # At the first poll, and after a restart of pmxcfs, those are all.
            if is_first or seen.restarted:
                parts.schedule.changed(vmid)
            else:
                self._changed(vmid)
        if attachable:
            parts.schedule.changed(EVERYTHING, forced=True)
        if seen.cluster:
            self._read_quorum()
        if parts.availability.quorum_becomes_overdue():
            parts.log.event("quorum-lost", f"{_NO_QUORUM}. See: pvecm status")
        parts.stats.watched = int(parts.host.now())

    def _read_cluster(self, seen: CounterChanges) -> bool:
        """Reads what the other nodes have, or has that done later; whether guests may be attached to that could not before. Raises PmxcfsAway."""
        parts, now = self._parts, self._parts.host.monotonic()
        if now < self._cluster_pace.due and not (seen.came or seen.cluster or seen.restarted):
            self.next_poll = min(self.next_poll, self._cluster_pace.due)
            return False
        with self._cluster_pace:
            parts.arrivals.note(seen.came, self._counters.elsewhere)
            attachable = parts.membership.poll()
            self._tidied = True
            if parts.departures.tidy_is_due:
                parts.departures.tidy(self._counters.guests())
        return attachable

    def _on_pmxcfs_away(self, away: Exception) -> None:
        parts = self._parts
        interval = parts.settings.current.watch.interval
        if not parts.availability.away:
            there = self._watches is not None and self._watches.watches_database
            known = "it is waited for" if there else f"there is none here (yet), it is looked for every {interval} s"
            parts.log.event("pmxcfs-away", f"pmxcfs does not answer ({away}): {known}. See: systemctl status pve-cluster")
            parts.queue.pause_all(f"pmxcfs does not answer ({away})", trials=False)
            parts.writer_process.end()
        self.next_poll = parts.host.monotonic() + min(parts.availability.failed(), interval)

    def _on_pmxcfs_back(self) -> None:
        parts = self._parts
        parts.log.event("pmxcfs-back", "pmxcfs answers again; all VMs are looked at anew")
        self.watch()
        reload_settings(parts)
        parts.schedule.changed(EVERYTHING)
        self._retry_waiting()
        if parts.availability.quorate:
            parts.queue.resume_all()

    def _retry_waiting(self) -> None:
        for vmid in self._parts.states.waiting():
            self._parts.schedule.changed(vmid, forced=True)

    def _read_quorum(self) -> None:
        parts = self._parts
        try:
            changed = parts.availability.quorum(pmxcfs.quorate(parts.host))
        except PmxcfsAway:
            return
        if changed and parts.availability.quorate:
            parts.log.event("quorum-back", "the cluster has quorum: what had to wait is done now")
            self._retry_waiting()
            parts.queue.resume_all()
            if parts.membership.had_no_package:
                parts.schedule.changed(EVERYTHING, forced=True)
        elif changed:
            parts.queue.pause_all("the cluster has no quorum", trials=False)
            self.next_poll = min(self.next_poll, parts.host.monotonic() + _QUORUM_PAUSE)
            if not parts.availability.awaits_quorum:
                parts.log.event("quorum-lost", f"{_NO_QUORUM}. See: pvecm status")
            else:
                parts.log.event("quorum-awaited", f"{_NO_QUORUM}. After a boot that is so until enough nodes have come up")

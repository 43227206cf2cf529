"""Observing: what inotify reports and what pmxcfs' counters say becomes guests that are due; pmxcfs itself is observed as well."""

from __future__ import annotations

import selectors
from collections.abc import Callable

from pvehooks.daemon.arrivals import Arrivals
from pvehooks.daemon.availability import Availability
from pvehooks.daemon.departures import Departures
from pvehooks.daemon.jobs import Jobs
from pvehooks.daemon.membership import Membership
from pvehooks.daemon.schedule import EVERYTHING, Schedule
from pvehooks.daemon.settings_in_force import SettingsInForce
from pvehooks.daemon.state import States
from pvehooks.daemon.stats import Stats
from pvehooks.daemon.watch import Changes, Counters, Watches
from pvehooks.errors import PmxcfsAway
from pvehooks.facts.cluster import pmxcfs
from pvehooks.host import Host
from pvehooks.journal.log import Log

# How soon the counters are read after the database has changed, and how often at most.
_DATABASE_PAUSE = 0.05
# How often the counters are read while there is no quorum: its return writes no database.
_QUORUM_PAUSE = 2.0
_NO_QUORUM = "the cluster has no quorum: /etc/pve cannot be written, and what is due waits"


class Observer:
    """Schedules the guests that may have changed. `next_poll` is when the counters are to be read next."""

    def __init__(
        self,
        host: Host,
        node: str,
        settings: SettingsInForce,
        *,
        selector: selectors.BaseSelector,
        schedule: Schedule,
        availability: Availability,
        states: States,
        arrivals: Arrivals,
        membership: Membership,
        departures: Departures,
        stats: Stats,
        jobs: Jobs,
        read_settings: Callable[[], None],
        log: Log,
    ) -> None:
        self.next_poll = 0.0
        self._host = host
        self._node = node
        self._settings = settings
        self._selector = selector
        self._schedule = schedule
        self._availability = availability
        self._states = states
        self._arrivals = arrivals
        self._membership = membership
        self._departures = departures
        self._stats = stats
        self._jobs = jobs
        self._read_settings = read_settings
        self._log = log
        self._counters = Counters(host, node)
        self._watches: Watches | None = None
        self._watch_troubles: set[str] = set()
        self._tidied = False

    def guests(self) -> frozenset[int]:
        """The VMIDs of this node as last seen."""
        return self._counters.guests()

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
            self._watches = Watches(self._host, self._node)
            self._selector.register(self._watches.fileno(), selectors.EVENT_READ)
            troubles = self._watches.troubles
        except OSError as error:
            troubles = [f"no inotify instance: {error.strerror}"]
        for trouble in troubles:
            if trouble not in self._watch_troubles:
                self._watch_troubles.add(trouble)
                interval = self._settings.now.watch.interval
                message = f"a watch could not be had ({trouble}): changes are noticed every {interval} s only"
                self._log.event("watch-limited", message)

    def read_changes(self) -> None:
        """Reads what inotify reported."""
        changes = self._watches.read() if self._watches is not None else Changes()
        for vmid in changes.guests:
            self._schedule.changed(vmid)
        if changes.overflow:
            self._log.event("watch-overflow", "inotify events were lost; all VMs are looked at anew")
        if changes.overflow or changes.mappings:
            self._schedule.changed(EVERYTHING)
        if changes.lost:
            self.watch()
        if changes.database_changed or changes.lost:
            self.next_poll = min(self.next_poll, self._host.monotonic() + _DATABASE_PAUSE)
            self._availability.database_changed()

    def poll(self) -> None:
        """Reads pmxcfs' counters and schedules what they say has changed."""
        interval = self._settings.now.watch.interval
        self.next_poll = self._host.monotonic() + (interval if self._availability.quorate else min(interval, _QUORUM_PAUSE))
        try:
            seen = self._counters.poll()
            self._arrivals.note(seen.came, self._counters.elsewhere)
            attachable = self._membership.poll()
            if not self._tidied:
                self._tidied = True
                self._departures.tidy(self._counters.guests())
        except PmxcfsAway as away:
            self._is_away(away)
            return
        if self._availability.answered():
            self._is_back()
        if seen.restarted or self._watches is None or not self._watches.watches_guests:
            self.watch()
        self._read_settings()
        for vmid in seen.gone:
            self._schedule.forget(vmid)
            self._departures.gone(vmid)
        for vmid in seen.touched:
            self._schedule.changed(vmid)
        if attachable:
            self._schedule.changed(EVERYTHING, forced=True)
        if seen.cluster:
            self._look_at_quorum()
        if self._availability.quorum_is_overdue():
            self._log.event("quorum-lost", f"{_NO_QUORUM}. See: pvecm status")
        self._stats.watched = int(self._host.now())

    def _is_away(self, away: Exception) -> None:
        interval = self._settings.now.watch.interval
        if not self._availability.away:
            there = self._watches is not None and self._watches.watches_database
            known = "it is waited for" if there else f"there is none here (yet), it is looked for every {interval} s"
            self._log.event("pmxcfs-away", f"pmxcfs does not answer ({away}): {known}. See: systemctl status pve-cluster")
            self._jobs.stop(f"pmxcfs does not answer ({away})", trials=False)
        self.next_poll = self._host.monotonic() + min(self._availability.failed(), interval)

    def _is_back(self) -> None:
        self._log.event("pmxcfs-back", "pmxcfs answers again; all VMs are looked at anew")
        self.watch()
        self._read_settings()
        self._schedule.changed(EVERYTHING)
        self._retry_waiting()
        if self._availability.quorate:
            self._jobs.go_on()

    def _retry_waiting(self) -> None:
        for vmid in self._states.waiting():
            self._schedule.changed(vmid, forced=True)

    def _look_at_quorum(self) -> None:
        try:
            changed = self._availability.quorum(pmxcfs.quorate(self._host))
        except PmxcfsAway:
            return
        if changed and self._availability.quorate:
            self._log.event("quorum-back", "the cluster has quorum: what had to wait is done now")
            self._retry_waiting()
            self._jobs.go_on()
            if self._membership.had_no_package:
                self._schedule.changed(EVERYTHING, forced=True)
        elif changed:
            self._jobs.stop("the cluster has no quorum", trials=False)
            self.next_poll = min(self.next_poll, self._host.monotonic() + _QUORUM_PAUSE)
            if not self._availability.awaits_quorum:
                self._log.event("quorum-lost", f"{_NO_QUORUM}. See: pvecm status")
            else:
                self._log.event("quorum-awaited", f"{_NO_QUORUM}. After a boot that is so until enough nodes have come up")

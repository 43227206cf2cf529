"""The loop: waits for inotify, signals and due times, and has the parts of the daemon do what is due.

One thread runs it; jobs run in threads of their own. Nothing below /etc/pve is held open between two turns.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable, Iterable

from pvehooks import __version__, wording
from pvehooks.daemon import service
from pvehooks.daemon.availability import POLL_PAUSES
from pvehooks.daemon.nodecheck import NodeCheck
from pvehooks.daemon.observer import Observer
from pvehooks.daemon.parts import make_parts
from pvehooks.daemon.publish.digest import Digest
from pvehooks.daemon.publish.notes import NodeNotes
from pvehooks.daemon.publish.summary import Publisher
from pvehooks.daemon.publish.textfile import Textfile
from pvehooks.daemon.reload import reload_settings
from pvehooks.daemon.results import ResultCollector
from pvehooks.daemon.review import Review, Why
from pvehooks.daemon.schedule import EVERYTHING
from pvehooks.daemon.signals import QM_GRACE, Signals
from pvehooks.daemon.stall import StallWatch
from pvehooks.daemon.updates import UpdateWatch
from pvehooks.errors import PmxcfsAway
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.host import Host
from pvehooks.journal.output import Journal, Lines
from pvehooks.settings.effective import Settings

# How long guests that start at boot wait for the guard at most.
_BOOT_PATIENCE = 20.0


class Daemon:
    """The loop, and what it drives."""

    def __init__(self, host: Host, node: str, loaded: Settings, output: Journal | Lines, stall: StallWatch | None = None) -> None:
        self._stall = stall or StallWatch(host, output, node)
        self._signals = Signals(host)
        self.parts = make_parts(host, node, loaded, output, self._signals.wake)
        self.review = Review(self.parts)
        self._results = ResultCollector(self.parts)
        self._node_check = NodeCheck(self.parts)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._signals.fileno(), selectors.EVENT_READ)
        self._updates = UpdateWatch(host, self._signals.wake)
        self._observer = Observer(self.parts, self._selector)
        self._watchdog = service.Watchdog(host.monotonic)
        self._textfile = Textfile(host, node)
        self._summary = Publisher(host, node)
        self._notes = NodeNotes(host, node, self._signals.wake)
        self._digest = Digest(host, self.parts.log)
        # What systemd's status line was made from, and the line.
        self._shown: object = None
        self._status = ""
        self.parts.stats.began = int(host.now())

    # -- the loop -----------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Runs until it is asked to end; returns the exit status."""
        self._signals.catch(lambda: self.parts.queue.busy, self._ask_for_time)
        self._observer.watch()
        self._first_review()
        self._await_guests_at_boot()
        self.parts.membership.all_reviewed()
        self.parts.reporter.old_guests()
        guests = wording.counted(self._observer.count(), "VM")
        self.parts.log.event("started", f"pvehooks {__version__} watches {guests} on {self.parts.node}")
        service.notify("READY=1")
        self._stall.ready()
        while not self._signals.stop:
            if self._updates.look():
                self.parts.schedule.changed(EVERYTHING, forced=True)
                self._node_check.due()
            self._node_check.check()
            self._publish()
            self._wait()
            if self._signals.reload:
                self._signals.reload = False
                reload_settings(self.parts, asked=True)
            self._observer.read_changes()
            if self.parts.host.monotonic() >= self._observer.next_poll:
                self._observer.poll()
            self._review()
            self._collect()
            self.parts.reporter.end_suppression(self.parts.stats.guests)
            self._show_status()
        return self._end()

    def _first_review(self) -> None:
        """Reviews all guests. They are watched by now."""
        with self.parts.configs.kept():
            self._observer.poll()
            self._review(float("inf"))

    def _await_guests_at_boot(self) -> None:
        """READY lets the guests start: those that start at boot have the guard by then; waits at most _BOOT_PATIENCE seconds for that."""
        parts = self.parts
        deadline = parts.host.monotonic() + _BOOT_PATIENCE
        if parts.availability.quorate and parts.gate.waits():
            service.ask_for_time(2 * _BOOT_PATIENCE)
        while parts.availability.quorate and parts.gate.waits() and not self._signals.stop and parts.host.monotonic() < deadline:
            self._wait(deadline)
            self._observer.read_changes()
            self._review()
            self._collect()
        late = "that could not be done in time"
        parts.gate.open(late if parts.availability.quorate else "the cluster has no quorum, so no config can be written")

    def _wait(self, until: float = float("inf")) -> None:
        deadline = min(self._observer.next_poll, until, self.parts.schedule.next(), self.parts.queue.next(), self._watchdog.next())
        self._stall.loop_idle()
        self._selector.select(max(0.0, deadline - self.parts.host.monotonic()))
        self._stall.loop_busy()
        self._signals.drain()
        self._watchdog.ping()

    def _keep_alive(self) -> bool:
        """Called between two guests of a long review: keeps the watchdog quiet, and ends the review when the daemon is to stop."""
        self._stall.loop_busy()
        self._watchdog.ping()
        return not self._signals.stop

    def _end(self) -> int:
        """Gives a running qm its time, but no more."""
        parts = self.parts
        service.notify("STOPPING=1")
        parts.queue.drop_waiting()
        self._ask_for_time()
        deadline = parts.host.monotonic() + QM_GRACE
        while parts.queue.busy and parts.host.monotonic() < deadline:
            self._stall.loop_busy()
            self._selector.select(min(0.5, deadline - parts.host.monotonic()))
            self._signals.drain()
            self._watchdog.ping()
            self._collect()
        parts.writer_process.close()
        busy = parts.queue.busy
        parts.log.event("stopped", f"pvehooks ends, as it was asked to{f'; {busy} qm still at work' if busy else ''}")
        self._observer.close()
        return 0

    def _ask_for_time(self) -> None:
        """TimeoutStopSec= is short, because pmxcfs' restart waits for it when we hang with pmxcfs; a qm at work needs longer."""
        if self.parts.queue.busy:
            service.ask_for_time(QM_GRACE + 3)

    # -- reviewing ----------------------------------------------------------------------------------------------------

    def _review(self, until: float | None = None) -> None:
        """Has the guests reviewed that are due; one for which a job runs waits for its end."""
        parts = self.parts
        guests, everything = parts.schedule.take(parts.queue.running(), until)
        if everything is not None:
            guests = {**dict.fromkeys(node_facts.guest_ids_or_none(parts.host, parts.node), everything), **guests}
        if not guests and everything is None:
            return
        for why, forced in ((Why.FORCED, True), (Why.CHANGED, False)):
            if vmids := [vmid for vmid, each in guests.items() if each is forced]:
                self._review_or_wait(vmids, why, self._keep_alive)
        if everything is not None:
            parts.membership.all_reviewed()
            parts.reporter.old_guests()

    def _review_or_wait(self, vmids: Iterable[int], why: Why, keep_alive: Callable[[], bool] = lambda: True) -> None:
        """Reviews the guests; without pmxcfs they wait: the next poll logs that it is away, and its return has all guests reviewed."""
        try:
            self.review.review(vmids, why, keep_alive)
        except PmxcfsAway:
            for vmid in vmids:
                self.parts.schedule.after(vmid, POLL_PAUSES[-1], forced=why is Why.FORCED)
            self._observer.next_poll = self.parts.host.monotonic()

    def _collect(self) -> None:
        """Takes in finished jobs; where one found what concerns all guests, pmxcfs is polled for the cause at once."""
        self.parts.writer_process.collect()
        self._results.try_again()
        changed, doubtful = self._results.collect()
        if changed:
            self._review_or_wait(changed, Why.AFTER_JOB)
        if doubtful:
            self._observer.poll()
            if self.parts.availability.quorate and not self.parts.availability.away:
                self._results.report_cause()

    # -- what is shown ------------------------------------------------------------------------------------------------

    def _publish(self) -> None:
        parts = self.parts
        stats, settings = parts.stats, parts.settings.current
        stats.away, stats.quorate = parts.availability.away, parts.availability.quorate
        stats.hookscripts = parts.membership.hookscripts
        troubles = [self._textfile.publish(stats, settings)]
        if not stats.away and stats.quorate:
            troubles.append(self._summary.publish(stats, settings))
            troubles.append(self._notes.publish(stats, settings))
        for trouble in filter(None, troubles):
            parts.log.event("not-published", trouble)
        self._digest.publish(stats, settings)

    def _show_status(self) -> None:
        """Called after each turn: what has not changed is not added up anew."""
        state = (self._observer.count(), self.parts.stats.changes, self._results.last_change, self.parts.availability.away)
        if state != self._shown:
            self._shown, self._status = state, self._described()
        self._stall.status.show(self._status)

    def _described(self) -> str:
        guests = wording.counted(self._observer.count(), "VM")
        findings = wording.counted_findings(self.parts.stats.findings())
        last = f"; last change: {self._results.last_change}" if self._results.last_change else ""
        away = "; pmxcfs does not answer" if self.parts.availability.away else ""
        return f"{guests} watched, {findings}{last}{away}"

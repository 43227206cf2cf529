"""The loop: waits for inotify, signals and due times, and has the parts of the daemon do what is due.

One thread runs it; jobs (qm) run in threads of their own. Nothing below /etc/pve is held open between two looks.
"""

from __future__ import annotations

import selectors

from pvehooks import __version__, wording
from pvehooks.daemon import service
from pvehooks.daemon.arrivals import Arrivals
from pvehooks.daemon.availability import PAUSES, Availability
from pvehooks.daemon.baseline import NodeBaseline
from pvehooks.daemon.bootgate import BootGate
from pvehooks.daemon.departures import Departures
from pvehooks.daemon.jobs import Jobs
from pvehooks.daemon.membership import Membership
from pvehooks.daemon.nodecheck import NodeCheck
from pvehooks.daemon.observer import Observer
from pvehooks.daemon.publish.summary import Publisher
from pvehooks.daemon.publish.textfile import Textfile
from pvehooks.daemon.results import ResultCollector
from pvehooks.daemon.review import Review, Why
from pvehooks.daemon.schedule import EVERYTHING, Schedule
from pvehooks.daemon.settings_in_force import SettingsInForce
from pvehooks.daemon.signals import QM_GRACE, Signals
from pvehooks.daemon.stall import StallWatch
from pvehooks.daemon.state import States
from pvehooks.daemon.stats import Stats
from pvehooks.daemon.work import work
from pvehooks.errors import PmxcfsAway, SettingsError
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.host import Host
from pvehooks.journal.log import Log
from pvehooks.journal.output import Journal, Lines
from pvehooks.journal.reporter import Reporter
from pvehooks.rules import catalogue
from pvehooks.settings.effective import Settings

# How long guests that start at boot wait for the guard at most.
_BOOT_PATIENCE = 20.0


class Daemon:
    """The parts of the daemon, and the loop that drives them."""

    def __init__(self, host: Host, node: str, loaded: Settings, output: Journal | Lines, stall: StallWatch | None = None) -> None:
        self.host = host
        self.node = node
        self._stall = stall or StallWatch(host, output, node)
        self.log = log = Log(node, output)
        self.settings = settings = SettingsInForce(host, loaded)
        self.states = states = States()
        self.stats = stats = Stats(log.counts)
        self.schedule = Schedule(host.monotonic, loaded.watch.settle)
        self.availability = Availability(host.monotonic)
        self.reporter = reporter = Reporter(host, node, log, lambda rule: catalogue.RULES[rule].explanation)
        self.membership = membership = Membership(host, node, log)
        self.departures = departures = Departures(host, states, stats, reporter)
        self.gate = gate = BootGate(states, membership, log)
        self.signals = Signals(host, lambda: self.jobs.busy, self._ask_for_time)
        self.jobs = jobs = Jobs(states, lambda job: work(host, job, settings.now.rng(job.guest.vmid)), self.signals.wake, host.monotonic)
        baseline = NodeBaseline(host, node)
        self.arrivals = Arrivals(node, baseline, membership, settings, log)
        self.review = self._reviewer(baseline)
        self.results = ResultCollector(host, node, states=states, jobs=jobs, gate=gate, departures=departures, again=self._again, log=log)
        self.node_check = NodeCheck(host, node, settings, reporter, stats, log)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self.signals.fileno(), selectors.EVENT_READ)
        self.observer = self._observer()
        self._watchdog = service.Watchdog(host.monotonic)
        self._status = self._stall.status
        self._textfile = Textfile(host, node)
        self._summary = Publisher(host, node)
        stats.began = int(host.now())

    def _reviewer(self, baseline: NodeBaseline) -> Review:
        return Review(
            self.host,
            self.node,
            self.settings,
            states=self.states,
            jobs=self.jobs,
            gate=self.gate,
            baseline=baseline,
            arrivals=self.arrivals,
            membership=self.membership,
            departures=self.departures,
            reporter=self.reporter,
            stats=self.stats,
            log=self.log,
        )

    def _observer(self) -> Observer:
        return Observer(
            self.host,
            self.node,
            self.settings,
            selector=self._selector,
            schedule=self.schedule,
            availability=self.availability,
            states=self.states,
            arrivals=self.arrivals,
            membership=self.membership,
            departures=self.departures,
            stats=self.stats,
            jobs=self.jobs,
            read_settings=self._read_settings,
            log=self.log,
        )

    # -- the loop -----------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Runs until it is asked to end; returns the exit status."""
        self.signals.catch()
        self.observer.watch()
        self.observer.poll()
        self._review(float("inf"))
        self._await_guests_at_boot()
        self.membership.arrived()
        self.reporter.old_guests()
        guests = wording.counted(len(self.observer.guests()), "VM")
        self.log.event("started", f"pvehooks {__version__} watches {guests} on {self.node}")
        service.notify("READY=1")
        self._stall.ready()
        while not self.signals.stop:
            self.node_check.check()
            self._publish()
            self._wait()
            if self.signals.reload:
                self.signals.reload = False
                self._read_settings(asked=True)
            self.observer.read_changes()
            if self.host.monotonic() >= self.observer.next_poll:
                self.observer.poll()
            self._review()
            self._collect()
            self._show_status()
        return self._end()

    def _await_guests_at_boot(self) -> None:
        """READY lets the guests start: those that start at boot have the guard by then; waits at most _BOOT_PATIENCE seconds for that."""
        deadline = self.host.monotonic() + _BOOT_PATIENCE
        if self.availability.quorate and self.gate.waits():
            service.ask_for_time(2 * _BOOT_PATIENCE)
        while self.availability.quorate and self.gate.waits() and not self.signals.stop and self.host.monotonic() < deadline:
            self._wait(deadline)
            self.observer.read_changes()
            self._review()
            self._collect()
        late = "that could not be done in time"
        self.gate.open(late if self.availability.quorate else "the cluster has no quorum, so no config can be written")

    def _wait(self, until: float = float("inf")) -> None:
        deadline = min(self.observer.next_poll, until, self.schedule.next(), self.jobs.next(), self._watchdog.next())
        self._stall.rests()
        self._selector.select(max(0.0, deadline - self.host.monotonic()))
        self._stall.works()
        self.signals.drain()
        self._watchdog.ping()

    def _keep_alive(self) -> bool:
        """Called between two guests of a long look: keeps the watchdog quiet, and ends the look when the daemon is to stop."""
        self._stall.works()
        self._watchdog.ping()
        return not self.signals.stop

    def _end(self) -> int:
        """Gives a running qm its time, but no more."""
        service.notify("STOPPING=1")
        self.jobs.drop_waiting()
        self._ask_for_time()
        deadline = self.host.monotonic() + QM_GRACE
        while self.jobs.busy and self.host.monotonic() < deadline:
            self._stall.works()
            self._selector.select(min(0.5, deadline - self.host.monotonic()))
            self.signals.drain()
            self._watchdog.ping()
            self._collect()
        busy = self.jobs.busy
        self.log.event("stopped", f"pvehooks ends, as it was asked to{f'; {busy} qm still at work' if busy else ''}")
        self.observer.close()
        return 0

    def _ask_for_time(self) -> None:
        """TimeoutStopSec= is short, because pmxcfs' restart waits for it when we hang with pmxcfs; a qm at work needs longer."""
        if self.jobs.busy:
            service.ask_for_time(QM_GRACE + 3)

    # -- reviewing ----------------------------------------------------------------------------------------------------

    def _again(self, vmid: int, pause: float) -> None:
        self.schedule.after(vmid, max(pause, self.schedule.settling_seconds), forced=True)

    def _review(self, until: float | None = None) -> None:
        """Has the guests reviewed that are due; one for which a job runs waits for its end."""
        guests, everything = self.schedule.take(self.jobs.running(), until)
        if everything is not None:
            guests = {**dict.fromkeys(node_facts.guest_ids_or_none(self.host, self.node), everything), **guests}
        if not guests and everything is None:
            return
        try:
            for why, forced in ((Why.FORCED, True), (Why.CHANGED, False)):
                if vmids := [vmid for vmid, each in guests.items() if each is forced]:
                    self.review.review(vmids, why, self._keep_alive)
        except PmxcfsAway:
            # The next look logs it, and its return has all guests reviewed.
            for vmid, forced in guests.items():
                self.schedule.after(vmid, PAUSES[-1], forced)
            self.observer.next_poll = self.host.monotonic()
        if everything is not None:
            self.membership.arrived()
            self.reporter.old_guests()

    def _collect(self) -> None:
        """Takes in finished jobs; where one found what concerns all guests, pmxcfs is looked at for the cause at once."""
        self.results.try_again()
        changed, doubtful = self.results.collect()
        if changed:
            try:
                self.review.review(changed, Why.AFTER_JOB)
            except PmxcfsAway:
                # The next look logs it, and its return has all guests reviewed.
                pass
        if doubtful:
            self.observer.poll()
            if self.availability.quorate and not self.availability.away:
                self.results.report_cause()

    # -- settings, and what is shown ----------------------------------------------------------------------------------

    def _read_settings(self, asked: bool = False) -> None:
        """Reads the settings anew if that is due; broken ones are logged and the old ones stay."""
        if not self.settings.due(asked):
            return
        service.notify("RELOADING=1")
        try:
            self.settings.read()
        except SettingsError as error:
            for problem in error.problems:
                message = f"settings not read, the old ones stay in force: {problem}. {error.hint}".rstrip()
                self.log.event("settings-broken", message)
        else:
            self.states.reconsider()
            self.node_check.again()
            self.schedule.settling_seconds = self.settings.now.watch.settle
            self.schedule.after(EVERYTHING, 0.0, forced=True)
            self.log.event("settings-read", f"settings read: [rng] mode = {self.settings.now.rng().mode}")
        service.notify("READY=1")

    def _publish(self) -> None:
        stats, settings = self.stats, self.settings.now
        stats.away, stats.quorate = self.availability.away, self.availability.quorate
        stats.hookscripts = self.membership.hookscripts
        troubles = [self._textfile.publish(stats, settings)]
        if not stats.away and stats.quorate:
            troubles.append(self._summary.publish(stats, settings))
        for trouble in filter(None, troubles):
            self.log.event("not-published", trouble)

    def _show_status(self) -> None:
        guests = wording.counted(len(self.observer.guests()), "VM")
        findings = wording.counted_findings(self.stats.findings())
        last = f"; last change: {self.results.last_change}" if self.results.last_change else ""
        away = "; pmxcfs does not answer" if self.availability.away else ""
        self._status.show(f"{guests} watched, {findings}{last}{away}")

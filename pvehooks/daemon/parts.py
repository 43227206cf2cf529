"""The parts of the daemon that its steps share, each made once."""

from __future__ import annotations

from collections.abc import Callable

from pvehooks.actions import writer_process
from pvehooks.actions.writer_process import WriterProcess
from pvehooks.daemon.arrivals import Arrivals
from pvehooks.daemon.availability import Availability
from pvehooks.daemon.baseline import NodeBaseline
from pvehooks.daemon.bootgate import BootGate
from pvehooks.daemon.configs import ConfigReads
from pvehooks.daemon.departures import Departures
from pvehooks.daemon.ended import EndedGuests
from pvehooks.daemon.failures import FailedStartReporter
from pvehooks.daemon.guest_changes import Worker
from pvehooks.daemon.jobs import JobPolicy
from pvehooks.daemon.membership import Membership
from pvehooks.daemon.queue import JobQueue
from pvehooks.daemon.schedule import Schedule
from pvehooks.daemon.settings_in_force import SettingsInForce
from pvehooks.daemon.state import States
from pvehooks.daemon.stats import Stats
from pvehooks.host import Host
from pvehooks.journal.log import Log
from pvehooks.journal.output import Journal, Lines
from pvehooks.journal.reporter import Reporter
from pvehooks.rules import catalogue
from pvehooks.settings.effective import Settings
from pvehooks.values.base import NamedTuple


class Parts(NamedTuple):
    """Observing, reviewing, collecting results and checking the node are given all parts, and take what they need."""

    host: Host
    # The name of this node.
    node: str
    # Reads configs.
    configs: ConfigReads
    # What the journal gets.
    log: Log
    settings: SettingsInForce
    # Whether pmxcfs answers and takes writes.
    availability: Availability
    # When which guest is to be reviewed.
    schedule: Schedule
    # What is remembered of each guest between two reviews.
    states: States
    # The results of reviews in numbers.
    stats: Stats
    # Reports the findings that are new.
    reporter: Reporter
    # This node as a member of the cluster: whether the guard may be attached automatically.
    membership: Membership
    # Which guests are older than the package.
    baseline: NodeBaseline
    # Guests that come to this node.
    arrivals: Arrivals
    # Guests that leave it.
    departures: Departures
    # Proxmox VE's own code, which writes what jobs are for.
    writer_process: WriterProcess
    # Starts that failed.
    failures: FailedStartReporter
    # Guests that ended without their post-stop.
    ended: EndedGuests
    # What READY waits for.
    gate: BootGate
    # Which job is wanted for a guest, and when again.
    jobs: JobPolicy
    # The jobs that wait and run.
    queue: JobQueue


def make_parts(host: Host, node: str, loaded: Settings, output: Journal | Lines, wake: Callable[[], None]) -> Parts:
    """The parts of a daemon that has just begun; `wake` is called in any thread when there is a job to collect."""
    stats = Stats()
    log = Log(node, output, host.monotonic, stats.events, stats.guests)
    settings = SettingsInForce(host, loaded)
    states = States()
    reporter = Reporter(host, node, log, lambda rule: catalogue.RULES[rule].explanation)
    configs = ConfigReads(host, node)
    membership = Membership(host, node, log, configs.read)
    baseline = NodeBaseline(host, node)
    queue = JobQueue(Worker(host, settings).work, wake, host.monotonic)
    code = writer_process.of(host)
    code.report = lambda why: log.event("writer-slow", why)
    return Parts(
        host=host,
        node=node,
        configs=configs,
        log=log,
        settings=settings,
        availability=Availability(host.monotonic),
        schedule=Schedule(host.monotonic, loaded.watch.settle),
        states=states,
        stats=stats,
        reporter=reporter,
        membership=membership,
        baseline=baseline,
        arrivals=Arrivals(node, baseline, membership, settings, log),
        departures=Departures(host, node, states, stats, reporter, queue),
        writer_process=code,
        failures=FailedStartReporter(host, node, log),
        ended=EndedGuests(host),
        gate=BootGate(states, membership, log),
        jobs=JobPolicy(states, host.monotonic),
        queue=queue,
    )

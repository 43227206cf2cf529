"""Parts of the daemon on a fake node, without its loop: jobs are kept instead of run, entries are kept instead of logged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pvehooks.actions.result import Outcome, Result
from pvehooks.daemon.arrivals import Arrivals
from pvehooks.daemon.baseline import NodeBaseline
from pvehooks.daemon.bootgate import BootGate
from pvehooks.daemon.departures import Departures
from pvehooks.daemon.jobs import Job, JobResult, Jobs
from pvehooks.daemon.membership import Membership
from pvehooks.daemon.results import ResultCollector
from pvehooks.daemon.review import Review
from pvehooks.daemon.settings_in_force import SettingsInForce
from pvehooks.daemon.state import States
from pvehooks.daemon.stats import Stats
from pvehooks.host import Host
from pvehooks.journal.entries import Entry
from pvehooks.journal.log import Log
from pvehooks.journal.output import Lines
from pvehooks.journal.reporter import Reporter
from pvehooks.rules import catalogue
from pvehooks.settings.load import checked
from tests.beds.tree import make_fake_tree

NODE = "pve1"
GUESTS = f"etc/pve/nodes/{NODE}/qemu-server"


class Kept(Lines):
    """An output that keeps what is written."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def write(self, entry: Entry) -> None:
        """Keeps the entry."""
        self.entries.append(entry)


class KeptJobs(Jobs):
    """A queue that keeps its jobs; the test says what becomes of them."""

    def __init__(self, states: States) -> None:
        super().__init__(states, lambda job: Result(Outcome.BROKEN, "it is not run"), lambda: None, lambda: 0.0)
        self.kept: list[Job] = []
        self.first: list[int] = []
        self.ended: list[JobResult] = []

    def submit(self, job: Job, first: bool = False) -> None:
        """Keeps the job."""
        self.kept.append(job)
        if first:
            self.first.append(job.guest.vmid)

    def collect_finished(self) -> list[JobResult]:
        """What the test has put there."""
        ended, self.ended = self.ended, []
        return ended


class Parts:
    """A node with these guests (VMID to config), and the parts of the daemon that look at it and act."""

    def __init__(self, directory: Path, guests: Mapping[int, str], settings: str = "") -> None:
        files = {f"{GUESTS}/{vmid}.conf": text for vmid, text in guests.items()}
        root = make_fake_tree(
            directory, {GUESTS: None, "sys/class/net/vmbr0/bridge": None, **files, "etc/pvehooks/pvehooks.conf": settings}
        )
        self.host = Host(str(root))
        self.output = Kept()
        self.log = Log(NODE, self.output)
        self.states = States()
        self.stats = Stats(self.log.counts)
        self.jobs = KeptJobs(self.states)
        self.settings = SettingsInForce(self.host, checked(self.host, catalogue.RULES))
        self.membership = Membership(self.host, NODE, self.log)
        self.reporter = Reporter(self.host, NODE, self.log, lambda rule: catalogue.RULES[rule].explanation)
        self.departures = Departures(self.host, self.states, self.stats, self.reporter)
        self.gate = BootGate(self.states, self.membership, self.log)
        baseline = NodeBaseline(self.host, NODE)
        self.arrivals = Arrivals(NODE, baseline, self.membership, self.settings, self.log)
        self.review = Review(
            self.host,
            NODE,
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
        self.scheduled: list[tuple[int, float]] = []
        self.results = ResultCollector(
            self.host,
            NODE,
            states=self.states,
            jobs=self.jobs,
            gate=self.gate,
            departures=self.departures,
            again=lambda vmid, seconds: self.scheduled.append((vmid, seconds)),
            log=self.log,
        )

    def write(self, vmid: int, text: str) -> None:
        """Somebody edits the guest."""
        Path(self.host.root, GUESTS, f"{vmid}.conf").write_text(text)

    def remove(self, vmid: int) -> None:
        """Somebody destroys the guest."""
        Path(self.host.root, GUESTS, f"{vmid}.conf").unlink()

    def events(self) -> list[str]:
        """The kinds of the entries since the last call, with their guests."""
        entries, self.output.entries = self.output.entries, []
        return [f"{entry.fields['PVEHOOKS_EVENT']} {entry.fields.get('PVEHOOKS_VMID', '')}".strip() for entry in entries]

    def messages(self) -> list[str]:
        """The messages of the entries since the last call."""
        entries, self.output.entries = self.output.entries, []
        return [entry.message for entry in entries]

    def wanted(self) -> list[tuple[int, bool, bool]]:
        """The jobs since the last call: VMID, whether it gives an rng0, whether it attaches the guard."""
        jobs, self.jobs.kept = self.jobs.kept, []
        return [(job.guest.vmid, job.injection.due, job.attach) for job in jobs]

"""Parts of the daemon on a fake node, without its loop: jobs are kept instead of run, entries are kept instead of logged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pvehooks.actions.result import Outcome, Result
from pvehooks.daemon.guest_changes import Worker
from pvehooks.daemon.jobs import Job, JobResult
from pvehooks.daemon.parts import make_parts
from pvehooks.daemon.queue import JobQueue
from pvehooks.daemon.results import ResultCollector
from pvehooks.daemon.review import Review, Why
from pvehooks.daemon.schedule import Schedule
from pvehooks.host import Host
from pvehooks.journal.entries import Entry
from pvehooks.journal.output import Lines
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


class KeptJobs(JobQueue):
    """A queue that keeps its jobs; the test says what becomes of them."""

    def __init__(self) -> None:
        super().__init__(lambda job: Result(Outcome.BROKEN, "it is not run"), lambda: None, lambda: 0.0)
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


class KeptSchedule(Schedule):
    """A schedule that keeps what is to be reviewed again: VMID and seconds."""

    def __init__(self) -> None:
        super().__init__(lambda: 0.0, 0.2)
        self.kept: list[tuple[int, float]] = []

    def again(self, vmid: int, pause: float) -> None:
        """Keeps it."""
        self.kept.append((vmid, pause))


class Parts:
    """A node with these guests (VMID to config), and the parts of the daemon that look at it and act."""

    def __init__(self, directory: Path, guests: Mapping[int, str], settings: str = "") -> None:
        files = {f"{GUESTS}/{vmid}.conf": text for vmid, text in guests.items()}
        root = make_fake_tree(
            directory, {GUESTS: None, "sys/class/net/vmbr0/bridge": None, **files, "etc/pvehooks/pvehooks.conf": settings}
        )
        self.host = Host(str(root))
        self.output = Kept()
        self.jobs, schedule = KeptJobs(), KeptSchedule()
        made = make_parts(self.host, NODE, checked(self.host, catalogue.RULES), self.output, lambda: None)
        parts = made._replace(queue=self.jobs, schedule=schedule)
        self.policy, self.states, self.stats, self.settings = parts.jobs, parts.states, parts.stats, parts.settings
        self.baseline = parts.baseline
        self.membership, self.gate, self.departures, self.reporter = parts.membership, parts.gate, parts.departures, parts.reporter
        self.scheduled, self.schedule = schedule.kept, schedule
        self.worker = Worker(self.host, parts.settings)
        self.review = Review(parts)
        self.results = ResultCollector(parts)

    def work(self) -> list[Job]:
        """Works on the jobs that are kept, and has what follows from them done; the jobs."""
        jobs, self.jobs.kept = self.jobs.kept, []
        self.jobs.ended = [JobResult(job, self.worker.work(job), None) for job in jobs]
        changed, _ = self.results.collect()
        self.review.review(changed, Why.AFTER_JOB)
        return jobs

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
        return [(job.guest.vmid, job.rng0_decision.due, job.attach) for job in jobs]

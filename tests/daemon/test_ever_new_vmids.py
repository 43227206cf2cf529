"""A tenant who may create and destroy VMs has ever new VMIDs: what is kept of them is bounded in all, not for each."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from pvehooks.actions import backups
from pvehooks.daemon.failures import PATH, FailedStartReporter
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.pci import remembered
from pvehooks.host import Host
from pvehooks.journal.ratelimit import OF_GONE
from pvehooks.records import baseline
from pvehooks.records import guests as records
from pvehooks.values import BaselineStatus, Finding, Guest, Judged, Rng0Decision, Severity, Verdict
from tests.beds.tree import make_fake_tree
from tests.daemon.bed import uefi
from tests.daemon.parts import GUESTS, Parts

MANY = 10_000
FIRST = 1000
FOUND = Finding("net0", "it is bad", "", Severity.WARNING, "rng-missing")


class NewGuest(Guest):
    """A guest that is none of the old ones."""

    @property
    def baseline_status(self) -> BaselineStatus:
        return BaselineStatus(untouched=False, old=False)


def verdict(vmid: int) -> Verdict:
    return Verdict(NewGuest(vmid, "pve1", None, (), running=False), False, (Judged(FOUND, ""),), Rng0Decision(False, None, ""))


class Churn:
    """A node with one old guest, on which others are made and destroyed."""

    def __init__(self, directory: Path) -> None:
        self.now = 0.0
        self.parts = Parts(directory, {100: "memory: 512\n"})
        self.log = self.parts.reporter._log
        self.log._limit._clock = lambda: self.now
        self.settings = self.parts.settings.current.rng()
        self.parts.stats.note(verdict(100), guarded=False)

    def made(self, vmid: int) -> None:
        """It is reviewed, and something was done for it."""
        self.parts.stats.note(verdict(vmid), guarded=False)
        self.parts.states.of(vmid)
        self.reported(vmid)
        self.log.event("injected", f"VM {vmid}: given rng0", vmid=vmid)
        self.log.event("started-unguarded", f"VM {vmid}: it was started without the guard", vmid=vmid)

    def reported(self, vmid: int) -> None:
        self.parts.reporter.guest(verdict(vmid), self.settings)
        self.parts.reporter.flush()

    def destroyed(self, vmid: int) -> None:
        """It goes; a start of it that failed is noticed later."""
        self.parts.departures._forget(vmid)
        self.log.event("start-failed", f"VM {vmid}: its start failed", vmid=vmid)

    def run(self, first: int = FIRST, number: int = MANY) -> None:
        """So many guests in turn."""
        for vmid in range(first, first + number):
            self.made(vmid)
            self.destroyed(vmid)


def test_the_journal_and_the_memory_of_the_daemon(tmp_path: Path) -> None:
    """What is logged is limited in all, one line says so, and what nothing has checked is logged all the same."""
    churn = Churn(tmp_path)
    churn.run()
    (message,) = [each.message for each in churn.parts.output.entries if each.fields["PVEHOOKS_EVENT"] == "suppressed"]
    assert message == (
        "entries about VMs that are new on this node are suppressed for an hour at least: there were 1000 about VMs that are gone again within an"
        " hour. Refused starts are logged, and all else goes on. Who makes and destroys them:"
        " grep -E ':qm(create|restore|clone|destroy):' /var/log/pve/tasks/index. What holds now: pvehooks check"
    )
    logged = Counter(event.split()[0] for event in churn.parts.events())
    assert logged.pop("started-unguarded") == MANY, "what protects is always logged"
    assert OF_GONE <= logged.total() <= OF_GONE + 4, logged
    limit, reporter = churn.log._limit, churn.parts.reporter
    assert len(limit._logged) + len(limit._suppressed) + len(limit._gone) <= 3 * OF_GONE
    assert [vmid for vmid, _ in churn.parts.states] == [] and list(churn.parts.stats.guests) == [100]
    assert not reporter._suppressed and not reporter._old._guests and reporter._reported._sums.keys() <= {100}
    # A guest that was here before is not concerned; one that stays is noted as reported once that is over.
    churn.reported(100)
    assert churn.parts.events() == ["finding 100"]
    churn.made(200)
    assert churn.parts.events() == ["started-unguarded 200"]
    # It goes on: an hour later nothing more is logged, nor as long as it lasts.
    churn.now = 3500.0
    churn.run(20_000, 10)
    churn.now = 4000.0
    churn.parts.reporter.end_suppression({100, 200})
    assert churn.parts.events() == [f"started-unguarded {vmid}" for vmid in range(20_000, 20_010)]
    churn.now = 4200.0
    churn.parts.reporter.end_suppression({100, 200})
    (message,) = churn.parts.messages()
    assert message.startswith("entries about VMs that are new on this node are logged again; suppressed were finding ")
    assert message.endswith(" What holds now: pvehooks check")
    churn.reported(200)
    assert churn.parts.events() == [], "that was suppressed, and counts as reported"
    churn.run(30_000, 1)
    assert churn.parts.events() == ["finding 30000", "injected 30000", "started-unguarded 30000", "start-failed 30000"]
    churn.now = 12_000.0
    churn.parts.reporter.end_suppression({100, 200})
    assert not limit._logged and not limit._suppressed


def test_guests_whose_own_limit_is_reached_before_they_go(tmp_path: Path) -> None:
    churn = Churn(tmp_path)
    for vmid in range(FIRST, FIRST + 1000):
        churn.parts.stats.note(verdict(vmid), guarded=False)
        for _ in range(20):
            churn.log.event("injected", "given rng0", vmid=vmid)
        churn.parts.departures.gone(vmid)
    # Each is said to be suppressed, too.
    assert len(churn.parts.events()) <= OF_GONE * 1.2
    churn.now = 5000.0
    churn.parts.reporter.end_suppression({100})
    assert len(churn.parts.events()) <= OF_GONE / 10 + 2


def test_guests_that_stay_are_not_counted(tmp_path: Path) -> None:
    """A node is set up, or all guests of another one are restored on it."""
    churn = Churn(tmp_path)
    for vmid in range(FIRST, FIRST + MANY):
        churn.parts.stats.note(verdict(vmid), guarded=False)
        churn.log.event("injected", f"VM {vmid}: given rng0", vmid=vmid)
    assert Counter(event.split()[0] for event in churn.parts.events()) == {"injected": MANY}


def test_what_is_left_of_a_guest_that_went_unseen(tmp_path: Path) -> None:
    """It was made and destroyed between two looks, or while its job ran: an hour later nothing is left of it."""
    parts = Parts(tmp_path, {100: uefi(), 300: uefi("stays")})
    for vmid in (100, 200, 300):
        parts.states.of(vmid).last_seen = b"x"
        parts.stats.note(verdict(vmid), guarded=False)
        records.write(parts.host, vmid, records.Record(records.Identity(None, None)))
        parts.host.make_dir(remembered.DIRECTORY)
        parts.host.replace(remembered.path(remembered.of_guest(vmid)), b"{}")
    assert parts.departures.tidy_is_due
    parts.departures.tidy(frozenset((100,)))
    assert not parts.departures.tidy_is_due
    # 300 came after the look that was asked.
    assert sorted(vmid for vmid, _ in parts.states) == sorted(parts.stats.guests) == [100, 300]
    assert records.known_vmids(parts.host) == {100, 300} and remembered.owners(parts.host) == ["vm-100", "vm-300"]


def test_a_record_goes_with_its_guest_also_where_no_counter_saw_it(tmp_path: Path) -> None:
    parts = Parts(tmp_path, {100: uefi(), 101: uefi("mail")})
    for vmid in (100, 101):
        parts.review.review([vmid])
        records.write(parts.host, vmid, records.Record(records.Identity(None, None)))
    parts.remove(100)
    other = Path(parts.host.root, GUESTS.replace("pve1", "pve2"))
    other.mkdir(parents=True)
    Path(parts.host.root, GUESTS, "101.conf").rename(other / "101.conf")
    parts.review.review([100, 101])
    assert records.known_vmids(parts.host) == {101}, "the other is on another node now"
    assert [vmid for vmid, _ in parts.states] == []


def test_the_backups(tmp_path: Path) -> None:
    """Those of guests that are there stay; of others the oldest go."""
    vmlist = {"version": 1, "ids": {str(vmid): {"node": "pve2", "type": "qemu", "version": 1} for vmid in (100, 101)}}
    host = Host(str(make_fake_tree(tmp_path, {"etc/pve/.vmlist": json.dumps(vmlist)})))
    for vmid in (100, 101):
        backups.finish(host, backups.save(host, vmid, b"here\n"), used=True)
    directory = Path(host.locate(backups.DIRECTORY))
    for vmid in range(FIRST, FIRST + MANY // 4):
        # As save() leaves it: that waits for the disk.
        file = directory / f"{vmid}-{vmid:040x}.conf"
        file.touch()
        os.utime(file, (vmid, vmid))
        if vmid % 500 == 0:
            backups.finish(host, backups.Backup(vmid, f"{vmid:040x}", vmid, f"{backups.DIRECTORY}/{file.name}", fresh=True), used=True)
            assert len(list(directory.iterdir())) <= 2 + backups.KEPT_OF_GONE + 500
    backups.finish(host, backups.save(host, 100, b"changed\n"), used=True)
    kept = sorted(int(file.name.split("-")[0]) for file in directory.iterdir())
    assert kept[:3] == [100, 100, 101] and len(kept) == 3 + backups.KEPT_OF_GONE and kept[-1] == FIRST + MANY // 4 - 1


def test_failed_starts(tmp_path: Path) -> None:
    host = Parts(tmp_path, {100: "memory: 512\n"}).host
    reporter = FailedStartReporter(host, "pve1", Churn(tmp_path / "other").log)
    for vmid in (100, *range(FIRST, FIRST + MANY)):
        reporter._open[vmid] = "UPID"
    reporter._forget_others()
    reporter._store()
    assert json.loads(host.read(PATH)) == {"100": "UPID"}


def test_jobs_that_wait(tmp_path: Path) -> None:
    """What concerns all stops the queue, for example a full disk: jobs of guests that are gone do not wait with the others."""
    parts = Parts(tmp_path, {100: uefi()})
    parts.review.review([100])
    (job,) = parts.jobs.kept
    queue = parts.departures._queue
    queue.pause_all("the disk is full", trials=False)
    for vmid in range(FIRST, FIRST + MANY):
        queue.submit(job._replace(guest=verdict(vmid).guest))
        parts.departures._forget(vmid)
    queue.submit(job)
    assert queue.waiting == 1


def test_the_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guests that came from a node without the package, and that no node has any more, go with the next that comes."""
    parts = Parts(tmp_path, {100: uefi()})
    parts.baseline.update({})
    monkeypatch.setattr(Host, "now", lambda _: 2_000_000_000.0)
    for vmid in range(FIRST, FIRST + 30):
        parts.write(vmid, uefi("new"))
        parts.baseline.add([vmid])
        parts.remove(vmid)
    stored = baseline.read_file(parts.host, baseline.path("pve1"))
    assert stored is not None and set(stored.guests) <= {100, FIRST + 28, FIRST + 29}
    parts.remove(100)
    assert not node_facts.owner(parts.host, 100)
    parts.write(500, uefi("last"))
    parts.baseline.add([500])
    stored = baseline.read_file(parts.host, baseline.path("pve1"))
    assert stored is not None and set(stored.guests) == {100, 500}, "those of the first look stay: one may be restored"

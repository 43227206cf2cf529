"""Which findings are reported now: those that a job will cure are held back, those of old guests on entropy stand in one line."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from pvehooks.host import Host
from pvehooks.journal.log import Log
from pvehooks.journal.output import Lines
from pvehooks.journal.reporter import Reporter, standing
from pvehooks.rules import catalogue
from pvehooks.rules.engine import asked_at_start
from pvehooks.settings.load import checked
from pvehooks.settings.sections import RngSettings
from pvehooks.values import BaselineStatus, Cure, Finding, Guest, Judged, Rng0Decision, Severity, Verdict

LACKS = Finding("rng0", "it has no rng0", "", Severity.WARNING, "rng-missing", cure=Cure.RNG0)
UNGUARDED = Finding("hookscript", "it has no guard", "", Severity.WARNING, "guard-not-attached", cure=Cure.ATTACH_GUARD)
OTHER = Finding("net0", "it is bad", "", Severity.WARNING, "a-rule")


class BaselineGuest(Guest):
    """A guest of which only its status is known."""

    def __init__(self, vmid: int, status: BaselineStatus) -> None:
        super().__init__(vmid, "pve1", None, (), running=False)
        self._status = status

    @property
    def baseline_status(self) -> BaselineStatus:
        return self._status


def guest(vmid: int, old: bool = False) -> Guest:
    return BaselineGuest(vmid, BaselineStatus(untouched=old, old=old))


def verdict(vmid: int, *findings: Finding, old: bool = False, due: bool = False, ignored: str = "") -> Verdict:
    judged = tuple(Judged(each, ignored) for each in findings)
    return Verdict(guest(vmid, old), False, judged, Rng0Decision(due, None, ""))


class Desk:
    """A reporter whose lines are kept."""

    def __init__(self, root: Path) -> None:
        self.host = Host(str(root))
        self.settings: RngSettings = checked(self.host, catalogue.RULES).rng()
        self.text = io.StringIO()
        self.now = 0.0
        self.log = Log("pve1", Lines(self.text), lambda: self.now)
        self.reporter = Reporter(self.host, "pve1", self.log, lambda rule: "It is bad.")

    def lines(self) -> list[str]:
        """What was logged since the last call, without time and priority."""
        self.reporter.flush()
        lines = [line.split(maxsplit=2)[2] for line in self.text.getvalue().splitlines()]
        self.text.truncate(0)
        self.text.seek(0)
        return lines


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_reported_once_and_when_gone(desk: Desk) -> None:
    for _ in range(2):
        desk.reporter.guest(verdict(100, OTHER), desk.settings)
    assert desk.lines() == ["VM 100: it is bad"] and desk.reporter.count() == 1
    desk.reporter.guest(verdict(100), desk.settings)
    assert desk.lines() == ["VM 100: no longer: a-rule (net0)"] and desk.reporter.count() == 0


def test_what_a_job_will_cure_is_held_back(desk: Desk) -> None:
    desk.reporter.guest(verdict(100, LACKS, UNGUARDED, OTHER, due=True), desk.settings, rng0_follows=True, guard_follows=True)
    assert desk.lines() == ["VM 100: it is bad"]
    desk.reporter.guest(verdict(100, LACKS, UNGUARDED, OTHER, due=True), desk.settings, rng0_follows=True)
    assert desk.lines() == ["VM 100: it has no guard"]
    desk.reporter.guest(verdict(100, LACKS, UNGUARDED, OTHER, due=True), desk.settings)
    assert desk.lines() == ["VM 100: it has no rng0"]


def test_what_a_job_has_cured_is_not_reported_as_gone(desk: Desk) -> None:
    desk.reporter.guest(verdict(100, LACKS, due=True), desk.settings)
    desk.lines()
    desk.reporter.guest(verdict(100), desk.settings, report_gone=False)
    desk.reporter.guest(verdict(100), desk.settings)
    assert desk.lines() == []


def test_what_does_not_count_is_not_reported(desk: Desk) -> None:
    desk.reporter.guest(verdict(100, OTHER, ignored="[guest 100] ignore"), desk.settings)
    assert desk.lines() == []
    unexamined = Finding("group", "not examined", rule=next(iter(asked_at_start())), examined=False)
    assert standing(verdict(100, unexamined, OTHER)) == [OTHER], "the guard examines it at the start"


def test_old_guests_that_lack_entropy_are_one_line(desk: Desk) -> None:
    for vmid in (100, 101, 102):
        desk.reporter.guest(verdict(vmid, LACKS, OTHER if vmid == 100 else LACKS, old=True), desk.settings)
    assert desk.lines() == ["VM 100: it is bad"]
    desk.reporter.old_guests()
    (line,) = desk.lines()
    assert line.startswith("3 UEFI VMs from before pvehooks") and "VM 100, VM 101, VM 102" in line
    desk.reporter.old_guests()
    assert desk.lines() == []
    desk.reporter.guest(verdict(101, LACKS), desk.settings)
    desk.reporter.forget(102)
    desk.reporter.old_guests()
    first, second = desk.lines()
    assert first.startswith("1 UEFI VM from before pvehooks") and second == "VM 101: it has no rng0", "it was edited"


def test_findings_about_the_node(desk: Desk) -> None:
    advice, unread = OTHER._replace(rule="b-rule", severity=Severity.INFO), OTHER._replace(rule="c-rule", examined=False)
    for _ in range(2):
        desk.reporter.of_node([OTHER, advice, unread])
    assert desk.lines() == ["node pve1: net0: it is bad"] and desk.reporter.count() == 0
    desk.reporter.of_node([advice, unread])
    assert desk.lines() == ["node pve1: no longer: a-rule (net0)"] and desk.log.counts == {"node-mended": 1}


def flip(desk: Desk, times: int, vmid: int = 100) -> list[str]:
    """So many reviews of a guest that has a finding and one that has not, by turns; the lines of all of them."""
    for number in range(times):
        desk.reporter.guest(verdict(vmid, OTHER) if number % 2 == 0 else verdict(vmid), desk.settings)
        desk.reporter.flush()
    return desk.lines()


def test_a_guest_that_is_changed_again_and_again_is_suppressed(desk: Desk) -> None:
    lines = flip(desk, 1000)
    assert lines[:20] == ["VM 100: it is bad", "VM 100: no longer: a-rule (net0)"] * 10
    (suppressed,) = lines[20:]
    assert suppressed.startswith(
        "entries about VM 100 are suppressed for an hour at least: there were 10 times a-rule (net0) within an hour."
    )
    assert suppressed.endswith(" What holds now: pvehooks check 100")
    desk.reporter.guest(verdict(101, OTHER), desk.settings)
    assert desk.lines() == ["VM 101: it is bad"], "another guest is not concerned"
    desk.now = 3599.0
    flip(desk, 3)
    desk.now = 4000.0
    desk.reporter.end_suppression({100})
    assert desk.lines() == [], "it was changed a moment ago"
    desk.now = 4200.0
    desk.reporter.end_suppression({100})
    assert desk.lines() == [
        "entries about VM 100 are logged again; suppressed were finding 983. What holds now: a-rule (net0). See: pvehooks check 100"
    ]
    desk.reporter.guest(verdict(100, OTHER), desk.settings)
    assert desk.lines() == [], "that was reported"
    assert flip(desk, 2) == ["VM 100: no longer: a-rule (net0)"]


def test_starts_that_fail_again_and_again_are_suppressed(desk: Desk) -> None:
    for _ in range(50):
        desk.log.event("start-failed", "VM 100: its start failed: no such bridge", vmid=100, cause="bridge-not-there")
    assert len(desk.lines()) == 11 and desk.log.counts["start-failed"] == 50, "figures count all"
    for _ in range(20):
        desk.log.event("started-unguarded", "it was not checked", vmid=100)
    assert desk.lines() == ["it was not checked"] * 20, "what protects is always logged"
    desk.reporter.guest(verdict(100, OTHER), desk.settings)
    assert desk.lines() == []
    desk.now = 4000.0
    desk.reporter.end_suppression(())
    (line,) = desk.lines()
    assert "suppressed were finding 1, start-failed 40. The last: VM 100: its start failed" in line
    assert line.endswith("What holds now: it is not on this node any more")


def test_an_event_of_the_node_that_comes_again_and_again_is_suppressed(desk: Desk) -> None:
    for _ in range(30):
        desk.log.event("watch-overflow", "inotify events were lost")
    assert len(desk.lines()) == 11
    desk.log.event("quorum-lost", "no quorum")
    assert desk.lines() == ["no quorum"]
    desk.now = 4000.0
    desk.reporter.end_suppression(())
    assert desk.lines() == [
        "entries of the kind watch-overflow are logged again; suppressed were watch-overflow 20. The last: inotify events were lost"
    ]


def test_a_guest_has_a_hundred_entries_of_all_causes(desk: Desk) -> None:
    for number in range(300):
        desk.reporter.guest(verdict(100, OTHER._replace(rule=f"rule-{number}", message="x")), desk.settings, report_gone=False)
    assert len(desk.lines()) == 101


def test_entries_an_hour_apart_are_not_counted_together(desk: Desk) -> None:
    for number in range(100):
        desk.now = number * 400.0
        assert flip(desk, 2) == ["VM 100: it is bad", "VM 100: no longer: a-rule (net0)"]


def test_nothing_is_remembered_of_what_was_logged_long_ago(desk: Desk) -> None:
    for vmid in range(100, 150):
        flip(desk, 2, vmid)
    desk.now = 4000.0
    flip(desk, 2, 150)
    desk.reporter.end_suppression(())
    assert desk.log._limit._logged.keys() == {150}


def test_what_was_suppressed_is_news_for_the_next_daemon(desk: Desk, tmp_path: Path) -> None:
    flip(desk, 101)
    again = Desk(tmp_path)
    again.reporter.guest(verdict(100, OTHER), again.settings)
    assert again.lines() == ["VM 100: it is bad"]


def test_the_next_daemon_does_not_repeat_it(desk: Desk, tmp_path: Path) -> None:
    desk.reporter.guest(verdict(100, OTHER), desk.settings)
    desk.reporter.guest(verdict(101, OTHER), desk.settings)
    desk.lines()
    again = Desk(tmp_path)
    again.reporter.forget_others(frozenset((100,)))
    again.reporter.guest(verdict(100, OTHER), again.settings)
    again.reporter.guest(verdict(101, OTHER), again.settings)
    assert again.lines() == ["VM 101: it is bad"]

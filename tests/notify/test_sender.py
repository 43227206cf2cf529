"""The service's program: what it takes, groups, holds back, tries again, gives up, and what a kill leaves of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pvehooks.host import Host
from pvehooks.journal import entries, outbox
from pvehooks.journal.kind import ERR
from pvehooks.notify import pending
from pvehooks.notify.sender import HOUR, Sender
from tests.beds.journald import Journald
from tests.beds.notifying import OUTBOX, NotifyBed

PROJECT = Path(__file__).parents[2]


class Clock(Host):
    """The machine, with a clock that goes on while one waits."""

    time = 1_733_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def host() -> Clock:
    return Clock()


@pytest.fixture
def journal() -> Iterator[Journald]:
    with Journald() as one:
        yield one


def leave(host: Host, vmid: int = 100, option: str = "refused_starts", text: str = "its bridge is gone") -> str:
    fields = {"PVEHOOKS_EVENT": "finding", "PVEHOOKS_NODE": "pve1", "PVEHOOKS_VMID": str(vmid)}
    host.sleep(0.001)
    return outbox.leave(host, entries.Entry(f"VM {vmid}: {text}", "", ERR, fields, option))


def settings(text: str) -> None:
    Path("/etc/pvehooks/pvehooks.conf").write_text(text)


def subjects(bed: NotifyBed) -> list[str]:
    return [body["subject"].removeprefix("pvehooks on pve1: ") for body in bed.web.bodies()]


def run(host: Clock, until: float = 0.0) -> None:
    """Runs it to its end, or for so many seconds."""
    deadline = host.time + until
    sender = Sender(host)
    pending.Store(host).forget_taken()
    while sender.turn() and (not until or host.time < deadline):
        host.sleep(1.0)


def test_what_was_left_is_handed_over_and_it_ends(bed: NotifyBed, host: Clock) -> None:
    bed.with_pve(f"webhook hook {bed.web.url}")
    leave(host)
    began = host.time
    Sender(host).run()
    assert subjects(bed) == ["start refused: VM 100"]
    assert host.time - began < 5
    assert outbox.is_empty(host)
    assert pending.Store(host).pending() == []


def test_a_storm_is_one_message(bed: NotifyBed, host: Clock) -> None:
    bed.with_pve(f"webhook hook {bed.web.url}")
    for vmid in range(100, 340):
        leave(host, vmid)
    run(host)
    (body,) = bed.web.bodies()
    assert body["subject"] == "pvehooks on pve1: starts refused: VM 100-299"
    assert "180 more events are in the journal alone" in body["text"]


def test_what_comes_within_seconds_is_in_the_same_message(bed: NotifyBed) -> None:
    class Busy(Clock):
        def sleep(self, seconds: float) -> None:
            self.time += seconds
            if len(list(OUTBOX.iterdir())) < 3 and seconds > 0.1:
                leave(self, 101 + len(list(OUTBOX.iterdir())))

    host = Busy()
    bed.with_pve(f"webhook hook {bed.web.url}")
    leave(host)
    assert Sender(host).turn() is False
    assert subjects(bed) == ["starts refused: VM 100, 102, 103"]


def test_only_so_many_an_hour_and_the_rest_in_one(bed: NotifyBed, host: Clock) -> None:
    bed.with_pve(f"webhook hook {bed.web.url}")
    settings("[notify]\nper_hour = 2\n")
    for vmid in (100, 101):
        leave(host, vmid)
        run(host)
    for vmid in (102, 103, 104):
        leave(host, vmid)
        run(host, until=60)
    assert subjects(bed) == ["start refused: VM 100", "start refused: VM 101"]
    run(host)
    assert subjects(bed)[2:] == ["starts refused: VM 102-104"]


def test_a_clock_that_was_put_back_holds_nothing_up(bed: NotifyBed, host: Clock) -> None:
    bed.with_pve(f"webhook hook {bed.web.url}")
    settings("[notify]\nper_hour = 1\n")
    leave(host)
    run(host)
    host.time -= 100 * HOUR
    leave(host, 101)
    run(host, until=60)
    assert subjects(bed) == ["start refused: VM 100", "start refused: VM 101"]


def test_what_is_switched_off_is_dropped(bed: NotifyBed, host: Clock) -> None:
    bed.with_pve(f"webhook hook {bed.web.url}")
    settings("[notify]\nrefused_starts = no\n")
    leave(host)
    leave(host, 101, "of-tomorrow")
    (OUTBOX / "5.json").write_text("{ cut short")
    run(host)
    assert not bed.web.posted
    assert outbox.is_empty(host)


def test_settings_that_cannot_be_used_are_reported_all_the_same(bed: NotifyBed, host: Clock) -> None:
    bed.with_pve(f"webhook hook {bed.web.url}")
    settings("[notify]\nerrors = perhaps\n")
    leave(host, 0, "errors", "settings are broken")
    run(host)
    assert subjects(bed) == ["error of pvehooks"]


# -- trouble ----------------------------------------------------------------------------------------------------------


def test_a_target_that_is_down_is_tried_again(bed: NotifyBed, host: Clock, journal: Journald) -> None:
    bed.with_pve(f"webhook hook {bed.web.url}")
    bed.web.status = 503
    leave(host)
    run(host, until=300)
    (waiting,) = pending.Store(host).pending()
    assert waiting.why == {"Proxmox VE": "no target took it: hook: 503 Service Unavailable"}
    tried = len(bed.web.posted)
    assert tried > 3
    bed.web.status = 200
    run(host)
    assert len(bed.web.posted) == tried + 1
    assert not journal.entries("PVEHOOKS_EVENT=not-notified")


def test_after_an_hour_it_is_in_the_journal(bed: NotifyBed, host: Clock, journal: Journald) -> None:
    bed.with_pve(f"webhook hook {bed.web.url}")
    bed.web.status = 503
    leave(host)
    began = host.time
    run(host)
    assert HOUR <= host.time - began < HOUR + 600
    (entry,) = journal.entries("PVEHOOKS_EVENT=not-notified")
    assert entry["MESSAGE"] == (
        "a message was not handed over (pvehooks on pve1: start refused: VM 100): no target took it for an hour: no target took it: hook: 503"
        " Service Unavailable. Try it: pvehooks notify --test"
    )
    assert entry["SYSLOG_IDENTIFIER"] == "pvehooks-notify"


def test_who_has_it_does_not_get_it_again(bed: NotifyBed, host: Clock, journal: Journald, tmp_path: Path) -> None:
    bed.with_pve(f"webhook hook {bed.web.url}")
    bed.program("fails", f"#!/bin/sh\necho x >>{tmp_path}/tried\nexit 1\n")
    leave(host)
    run(host)
    assert len(bed.web.posted) == 1
    assert (tmp_path / "tried").read_text().count("x") > 10
    (entry,) = journal.entries("PVEHOOKS_EVENT=not-notified")
    assert "not all targets took it within an hour: /etc/pvehooks/notify.d/fails ended with 1" in str(entry["MESSAGE"])


def test_one_target_of_two_is_logged_and_the_other_gets_it_once(bed: NotifyBed, host: Clock, journal: Journald) -> None:
    bed.with_pve(f"webhook hook {bed.web.url}", "webhook pager http://127.0.0.1:1/")
    leave(host)
    run(host)
    assert len(bed.web.posted) == 1
    (entry,) = journal.entries("PVEHOOKS_EVENT=not-notified")
    assert "one target did not take it: pager: 599" in str(entry["MESSAGE"])


def test_killed_before_it_emptied_the_outbox(bed: NotifyBed, host: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    bed.with_pve(f"webhook hook {bed.web.url}")
    leave(host)
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "remove", lambda _, names: names and (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            Sender(host).run()
    assert not outbox.is_empty(host)
    Sender(host).run()
    assert subjects(bed) == ["start refused: VM 100"]


def test_killed_while_it_waits_for_a_target(bed: NotifyBed, host: Clock) -> None:
    bed.with_pve(f"webhook hook {bed.web.url}")
    bed.web.status = 503
    leave(host)
    run(host, until=20)
    bed.web.status = 200
    run(host)
    assert subjects(bed)[-1] == "start refused: VM 100"
    assert pending.Store(host).pending() == []


def test_damaged_files_hold_nothing_up(bed: NotifyBed, host: Clock) -> None:
    bed.with_pve(f"webhook hook {bed.web.url}")
    for directory in (pending.DIRECTORY, outbox.DIRECTORY):
        Path(directory).mkdir(exist_ok=True)
        for number, text in enumerate(("", "[]", '{"message": 1}', "\x00")):
            Path(directory, f"{number}.json").write_text(text)
    (Path(outbox.HOME) / "handed-over.json").write_text('{"a": ')
    leave(host)
    run(host)
    assert subjects(bed) == ["start refused: VM 100"]
    assert outbox.is_empty(host)


def test_what_a_killed_writer_left_goes_after_a_minute(bed: NotifyBed) -> None:
    host = Clock()
    stray = OUTBOX / "7.json.tmp.123"
    stray.write_text("{")
    host.time = stray.stat().st_mtime
    assert Sender(host).turn() is True
    host.time += 61
    Sender(host).turn()
    assert not stray.exists()
    assert Sender(host).turn() is False


# -- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def systemd() -> Iterator[None]:
    """Systemd runs here, as far as sd_booted(3) can see."""
    mark = Path("/run/systemd/system")
    was_there = mark.exists()
    mark.mkdir(parents=True, exist_ok=True)
    yield
    if not was_there:
        mark.rmdir()


def test_the_program_and_the_command_line(bed: NotifyBed, systemd: None) -> None:
    bed.with_pve(f"webhook hook {bed.web.url}")
    Path("/etc/pve/nodes/pve1/qemu-server").mkdir(parents=True)
    Path("/etc/pve/local").symlink_to("nodes/pve1")
    python = [sys.executable, "-c", "import sys; sys.path.insert(0, sys.argv.pop(1)); "]
    asked = subprocess.Popen(
        [*python[:2], f"{python[2]}from pvehooks.cli.main import main; sys.exit(main())", str(PROJECT), "notify", "--test"],
        stdout=subprocess.PIPE,
        text=True,
    )
    while not any(OUTBOX.iterdir()):
        assert asked.poll() is None
    subprocess.run([*python[:2], f"{python[2]}from pvehooks.notify.sender import main; sys.exit(main())", str(PROJECT)], check=True)
    out, _ = asked.communicate(timeout=60)
    assert out == "handed over: Proxmox VE's notifications have it, targets: hook\n"
    assert asked.returncode == 0
    (body,) = bed.web.bodies()
    assert body["subject"] == "pvehooks on pve1: test"
    assert body["severity"] == "notice"

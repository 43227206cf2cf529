"""The private journald: what is sent is read back, and none of it reaches the machine's journal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from systemd import journal

from tests.beds.journald import LOGS, SOCKET, Journald
from tests.beds.process import kill_on_failure


@pytest.fixture
def journald() -> Iterator[Journald]:
    with Journald() as running:
        yield running


def test_fields_come_back(journald: Journald) -> None:
    journal.send("two\nlines", PRIORITY=4, PVEHOOKS_VMID="100", SYSLOG_IDENTIFIER="beds", RAW=b"\xff\x00")
    journal.send("other", PVEHOOKS_VMID="101")
    (entry,) = journald.wait_for("PVEHOOKS_VMID=100")
    assert entry["MESSAGE"] == "two\nlines"
    assert (entry["PRIORITY"], entry["SYSLOG_IDENTIFIER"], entry["RAW"]) == ("4", "beds", b"\xff\x00")
    assert (entry["_PID"], entry["_TRANSPORT"]) == (str(os.getpid()), "journal")


def test_order_and_number_are_kept(journald: Journald) -> None:
    for number in range(2000):
        journal.send(f"message {number}", SYSLOG_IDENTIFIER="beds")
    entries = journald.entries("SYSLOG_IDENTIFIER=beds")
    assert [entry["MESSAGE"] for entry in entries] == [f"message {number}" for number in range(2000)]


def test_a_stopped_one_leaves_nothing() -> None:
    with Journald() as journald:
        journal.send("old", SYSLOG_IDENTIFIER="beds")
        assert journald.entries("SYSLOG_IDENTIFIER=beds")
    assert not SOCKET.exists()
    assert list(LOGS.iterdir()) == []
    with Journald() as journald:
        assert journald.entries("SYSLOG_IDENTIFIER=beds") == []


def test_a_missing_entry_is_reported_with_what_there_is(journald: Journald) -> None:
    journal.send("something else", SYSLOG_IDENTIFIER="beds")
    with pytest.raises(AssertionError, match="something else"):
        journald.wait_for("SYSLOG_IDENTIFIER=beds", count=2, timeout=0.1)


def test_it_is_refused_where_it_would_meet_the_machines_own(journald: Journald) -> None:
    with pytest.raises(RuntimeError, match="machine"):
        Journald().start()


def test_other_processes_reach_it_too(journald: Journald) -> None:
    script = "import sys; from systemd import journal; journal.send('from a child', SYSLOG_IDENTIFIER='beds'); sys.stdin.read()"
    # journald looks for the sender's name in /proc when it reads the entry: the sender lives until then.
    with kill_on_failure(subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)) as child:
        entry = journald.wait_for("SYSLOG_IDENTIFIER=beds")[0]
        child.communicate()
    assert entry["_COMM"].startswith("python3")
    assert Path(SOCKET).is_socket()

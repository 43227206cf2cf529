"""The guard on a node: a pmxcfs that hangs or is gone, and what the journal gets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pvehooks.host import Host
from pvehooks.settings import load as settings
from tests.beds.journald import Journald
from tests.beds.pmxcfs import Pmxcfs
from tests.guard import bed
from tests.guard.bed import broken

# No device of any machine has these addresses: the guest's devices are missing, which refuses its start.
CONFIG = bed.CONFIG.replace("0000:01:00,pcie=1", "ffff:1f:1f.7")


@pytest.fixture
def pve() -> Iterator[Pmxcfs]:
    with Pmxcfs(files={"nodes/pve1/qemu-server/100.conf": CONFIG}) as running:
        yield running


def test_a_read_that_hangs_is_killed_at_the_deadline(pve: Pmxcfs) -> None:
    Path("/etc/pvehooks/pvehooks.conf").write_text("[guard]\ndeadline = 1\n")
    # The files' settings cannot be read either; the copy of them says how long to wait.
    settings.compile_to(Host(), settings.load(Host()))
    pve.hang()
    try:
        began = time.monotonic()
        ran = bed.guard("100", "pre-start")
        took = time.monotonic() - began
    finally:
        pve.resume()
        Path("/etc/pvehooks/pvehooks.conf").unlink()
        Path("/var/lib/pvehooks/settings.json").unlink()
    assert ran.status == 1
    assert "was given up" in ran.out and "nor compared with its last accepted start within 3 s" in ran.out
    assert "pvehooks status; dmesg" in ran.out and "damaged" not in ran.out, ran.out
    assert 1 + 3 <= took < 30, "the deadline, then that of the look at what is known; a process that hangs in FUSE is not waited for"


def test_the_journal(pve: Pmxcfs) -> None:
    with Journald() as journal:
        assert bed.guard("100", "pre-start").status == 1
        (entry,) = journal.wait_for("SYSLOG_IDENTIFIER=pvehooks-guard", "PVEHOOKS_RULE=hostpci-device-missing")
        assert entry["PVEHOOKS_VERDICT"] == "block" and entry["PVEHOOKS_VMID"] == "100" and entry["PRIORITY"] == "3"
        assert "VM 100 (gpu): hostpci0: there is no PCI device ffff:1f:1f.7" in entry["MESSAGE"]


def test_the_journal_of_a_start_without_a_look(pve: Pmxcfs) -> None:
    """A file that cannot be read: what was wrong and what became of it, in one entry."""
    with Journald() as journal:
        pve.remote_delete("nodes/pve1/qemu-server/100.conf")
        pve.remote_mkdir("nodes/pve1/qemu-server/100.conf")
        assert bed.guard("100", "pre-start").status == 1
        (entry,) = journal.wait_for("SYSLOG_IDENTIFIER=pvehooks-guard")
        assert entry["PVEHOOKS_EVENT"] == "start-unexamined" and entry["PVEHOOKS_VERDICT"] == "block"
        assert "VM 100 is not started: " in entry["MESSAGE"] and "Is a directory" in entry["MESSAGE"]


def test_a_traceback_is_for_the_journal_only(pve: Pmxcfs) -> None:
    with Journald() as journal:
        status, out = broken(Path("/"), "raise KeyError('secret place')")
        assert status == 1 and "secret" not in out
        (entry,) = journal.wait_for("PVEHOOKS_EVENT=guard-bug")
        assert "in examine" in entry["PVEHOOKS_TRACEBACK"] and "secret place" in entry["PVEHOOKS_TRACEBACK"]


def test_an_allowed_start_is_logged_as_a_warning(pve: Pmxcfs) -> None:
    bed.pvehooks(Path("/"), "allow", "100", "--once", "--reason", "the card comes later", "--node", "pve1")
    with Journald() as journal:
        assert bed.guard("100", "pre-start").status == 0
        (entry,) = journal.wait_for("PVEHOOKS_EVENT=start-allowed")
        assert (entry["PRIORITY"], entry["PVEHOOKS_BY"], entry["PVEHOOKS_REASON"]) == ("4", "jo", "the card comes later")
        assert "It would have been refused: " in entry["MESSAGE"] and "there is no PCI device ffff:1f:1f.7" in entry["MESSAGE"]
    assert bed.guard("100", "pre-start").status == 1

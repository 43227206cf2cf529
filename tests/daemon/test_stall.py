"""A pmxcfs that hangs, stopped or in itself: the daemon says so once, waits, and lets systemd and the boot go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from pvehooks.daemon.stall import StallWatch
from pvehooks.host import Host
from tests.daemon.bed import PROJECT, NodeBed, uefi, wait_until
from tests.daemon.parts import Kept

Make = Callable[..., NodeBed]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PROJECT)}
HURRIED = ("tests.daemon.hurried",)
WAL = "/var/lib/pve-cluster/config.db-wal"


@contextmanager
def stopped(bed: NodeBed) -> Iterator[None]:
    with bed.pve.frozen():
        yield


@contextmanager
def hanging(bed: NodeBed) -> Iterator[None]:
    bed.pve.hang(None)
    try:
        yield
    finally:
        bed.pve.resume()


@pytest.mark.parametrize("trouble", [stopped, hanging])
def test_a_running_daemon_waits_for_it(node: Make, trouble: Callable[[NodeBed], Iterator[None]]) -> None:
    bed = node({"100.conf": uefi()})
    bed.start(watchdog=4.0, program=HURRIED)
    bed.settle()
    assert bed.daemon is not None
    with trouble(bed):  # type: ignore[attr-defined]
        with open(WAL, "ab") as database:
            database.write(b"\0")
        (entry,) = bed.logged("pmxcfs-away")
        pings = len(bed.notify.values("WATCHDOG"))
        wait_until(lambda: len(bed.notify.values("WATCHDOG")) > pings + 8, "the watchdog is kept quiet")
        assert bed.notify.values("STATUS")[-1] == "pmxcfs hangs, and is waited for"
        assert len(bed.logged("pmxcfs-away")) == 1 and bed.daemon.poll() is None
    assert "pmxcfs hangs" in entry["MESSAGE"] and "systemctl restart pve-cluster" in entry["MESSAGE"]
    bed.logged("pmxcfs-back")
    bed.write(100, uefi(name="edited"))
    bed.settle()
    assert "hangs" not in bed.notify.values("STATUS")[-1]
    assert len(bed.messages()) - len(bed.messages("PVEHOOKS_EVENT=finding")) < 8, bed.messages()


@pytest.mark.parametrize("trouble", [stopped, hanging])
def test_a_start_is_ready_although_it_hangs(node: Make, trouble: Callable[[NodeBed], Iterator[None]]) -> None:
    """Guests and dpkg do not wait for the daemon then; it does its work once pmxcfs answers."""
    bed = node({"100.conf": uefi()}, settings="[rng]\nexisting = inject\n")
    with trouble(bed):  # type: ignore[attr-defined]
        bed.start(ready=False, program=HURRIED)
        bed.notify.wait_for("READY", "1")
        bed.logged("pmxcfs-away")
        assert bed.messages("PVEHOOKS_EVENT=started") == []
    bed.logged("started")
    bed.wait_for_rng0(100)


def test_a_loop_that_stands_for_its_own_reason(tmp_path: object) -> None:
    """pmxcfs answers: the watchdog is not kept quiet, and where the loop stands is logged before systemd ends the daemon."""
    kept = Kept()
    found = StallWatch(Host(), kept, "pve1", patience=0.01, answer=5.0)
    found._ask = lambda answered: answered.set()  # type: ignore[method-assign]
    found._since = time.monotonic() - 41
    found._on_standstill()
    found._on_standstill()
    (entry,) = kept.entries
    assert entry.fields["PVEHOOKS_EVENT"] == "bug" and "test_a_loop_that_stands" in str(entry.fields["PVEHOOKS_TRACEBACK"])
    found.loop_busy()
    found._reported_bug = False
    found._on_standstill()
    assert len(kept.entries) == 1, "it works again"


@pytest.mark.parametrize("trouble", [stopped, hanging])
def test_verbs_report_it(node: Make, trouble: Callable[[NodeBed], Iterator[None]]) -> None:
    """Within seconds, from a process that does not hang itself."""
    bed = node({"100.conf": uefi()})
    verbs = ("status", "check 100", "config", "allow 100 --once --reason x", "guest 100", "backups 100", "capture x.tar.xz", "bind 01:00.0")
    with trouble(bed), ThreadPoolExecutor(len(verbs)) as threads:  # type: ignore[attr-defined]
        for verb, done in zip(verbs, threads.map(ended, verbs), strict=True):
            assert (done.returncode, done.stdout) == (3, ""), (verb, done.stderr)
            assert (
                "pmxcfs hangs" in done.stderr and "systemctl restart pve-cluster" in done.stderr and "daemon is not running" in done.stderr
            )


def ended(verb: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pvehooks", *verb.split()]
    return subprocess.run(command, cwd="/", env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)


# -- before a start ---------------------------------------------------------------------------------------------------

WAITS = Path("/run/pvehooks/awaits-pmxcfs")


def ensure_startable() -> int:
    command = [sys.executable, "-m", "pvehooks.daemon", "--may-start"]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, timeout=60, check=False).returncode


@pytest.mark.parametrize("trouble", [stopped, hanging])
def test_it_is_not_started_while_pmxcfs_hangs(node: Make, trouble: Callable[[NodeBed], Iterator[None]]) -> None:
    bed = node()
    with trouble(bed):  # type: ignore[attr-defined]
        assert ensure_startable() == 75
    (entry,) = bed.logged("pmxcfs-away")
    assert "pmxcfs hangs: " in entry["MESSAGE"] and "pvehooks starts once it answers. " in entry["MESSAGE"]
    assert WAITS.exists()
    WAITS.unlink()
    assert ensure_startable() == 0 and not WAITS.exists()
    assert len(bed.logged("pmxcfs-away")) == 1


def test_it_is_not_started_on_a_dead_mount(node: Make) -> None:
    bed = node()
    os.kill(bed.pve.pid, signal.SIGKILL)
    wait_until(lambda: ensure_startable() == 75, "the mount is dead")
    assert "pmxcfs has ended" in bed.logged("pmxcfs-away")[0]["MESSAGE"]
    assert "systemctl restart pve-cluster" in bed.logged("pmxcfs-away")[0]["MESSAGE"]


def test_it_is_started_where_there_is_no_pmxcfs(node: Make) -> None:
    """On a Debian without Proxmox VE, and until pmxcfs has been started."""
    bed = node()
    bed.pve.close()
    assert ensure_startable() == 0

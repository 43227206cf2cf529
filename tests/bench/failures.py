"""Figures of failed starts: what watching Proxmox VE's tasks costs, when a failure is in the journal, and when a person has the message."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pvehooks.host import Host
from pvehooks.journal import entries, outbox
from tests.beds.namespace import mount
from tests.beds.notifying import PROJECT, notify_bed
from tests.beds.tasks import TaskLog
from tests.bench.daemon import cpu_seconds
from tests.bench.figures import Figure
from tests.daemon.bed import NodeBed, wait_until

# Proxmox VE renames the index when it has 50,000 bytes; so many tasks fill both.
IN_THE_INDEX = 1200
AN_HOUR = 1000
WATCHED, FAILURES, MESSAGES = 200, 20, 5
NO_BRIDGE = "bridge 'vmbr9' does not exist\nTASK ERROR: start failed: QEMU exited with code 1\n"
_SENDER = "import sys; sys.path.insert(0, sys.argv.pop(1)); from pvehooks.notify.sender import main; sys.exit(main())"


@contextmanager
def _task_log() -> Iterator[TaskLog]:
    mount("tmpfs", "/var/log", "tmpfs")
    try:
        yield TaskLog()
    finally:
        subprocess.run(["umount", "--lazy", "/var/log"], check=True)


def tasks() -> Iterator[Figure]:
    """What the daemon spends on tasks that are none of its business, and how long a failed start takes to the journal."""
    # One for each failure: what repeats itself ten times within an hour is suppressed.
    vmids = range(100, 100 + FAILURES)
    files = {f"{vmid}.conf": "name: web\nmemory: 512\n" for vmid in vmids}
    with (
        _task_log() as log,
        tempfile.TemporaryDirectory() as directory,
        NodeBed(Path(directory), files, "[watch]\ninterval = 3600\n") as bed,
    ):
        for number in range(IN_THE_INDEX):
            log.failed(100, "TASK OK\n", 1_733_000_000 + number, "vzdump")
        bed.start()
        assert bed.daemon is not None
        time.sleep(1)
        before = cpu_seconds(bed.daemon.pid)
        for number in range(WATCHED):
            log.end(log.begin(100, 1_733_100_000 + number, "vncproxy"), "TASK OK\n")
            time.sleep(0.1)
        each = (cpu_seconds(bed.daemon.pid) - before) / WATCHED
        late = []
        for vmid in vmids:
            upid = log.begin(vmid, 1_733_200_000)
            began = time.monotonic()
            log.end(upid, NO_BRIDGE)
            wait_until(lambda upid=upid: bed.journal.entries(f"PVEHOOKS_UPID={upid}"), "it is in the journal")
            late.append(time.monotonic() - began)
    yield Figure(f"{AN_HOUR} tasks an hour: of a core", 100 * each * AN_HOUR / 3600, 0.5, "%", f"{1000 * each:.1f} ms each, index full")
    yield Figure(
        "a failed start: in the journal after", max(late), 2, "s", f"the slowest of {FAILURES}; median {statistics.median(late):.2f} s"
    )


def message() -> Iterator[Figure]:
    """From an entry to who gets the message, the program's start included."""
    taken = []
    with notify_bed() as bed:
        bed.with_pve(f"webhook hook {bed.web.url}")
        for number in range(1, MESSAGES + 1):
            began = time.monotonic()
            outbox.leave(Host(), entries.event("start-failed", "VM 100: its start failed", "pve1", None, 100))
            subprocess.run([sys.executable, "-c", _SENDER, str(PROJECT)], check=True)
            taken.append(time.monotonic() - began)
            assert len(bed.web.posted) == number
    yield Figure("a message: handed over after", max(taken), 5, "s", f"the slowest of {MESSAGES}; median {statistics.median(taken):.2f} s")

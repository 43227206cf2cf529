"""Locks: a file that its holder removes is no lock any more for who waited for it."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from pvehooks.host import Host


def opened(path: Path) -> int:
    """How often this process has the file open."""
    links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return sum(os.readlink(link) == str(path) for link in links if os.path.lexists(link))


def test_a_waiter_does_not_hold_a_file_that_was_removed(tmp_path: Path) -> None:
    host, path = Host(str(tmp_path)), tmp_path / "run/pvehooks/locks/100.lock"
    same: list[bool] = []

    def wait() -> None:
        with host.lock("/run/pvehooks/locks/100.lock", 20) as lock:
            same.append(path.exists() and os.fstat(lock._descriptor).st_ino == path.stat().st_ino)

    waiter = threading.Thread(target=wait, daemon=True)
    with host.lock("/run/pvehooks/locks/100.lock", 0):
        waiter.start()
        end = time.monotonic() + 10
        while opened(path) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        assert opened(path) == 2, "it waits"
        path.unlink()
    waiter.join(20)
    assert same == [True]

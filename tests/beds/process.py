"""Child processes of tests: a test that fails must not wait for them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

_Child = TypeVar("_Child", bound="subprocess.Popen[bytes] | subprocess.Popen[str]")


@contextmanager
def kill_on_failure(child: _Child) -> Iterator[_Child]:
    """As a with statement of Popen, which waits for the child at its end; where the body fails the child is killed first."""
    with child:
        try:
            yield child
        except BaseException:
            child.kill()
            raise


@contextmanager
def running_guest(vmid: int) -> Iterator[int]:
    """A process that is taken for that of a running guest, by its command line and its pid file; its PID."""
    file = Path(f"/run/qemu-server/{vmid}.pid")
    file.parent.mkdir(exist_ok=True)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "-id", str(vmid)]) as guest:
        try:
            file.write_text(f"{guest.pid}\n")
            yield guest.pid
        finally:
            file.unlink(missing_ok=True)
            guest.kill()

"""A real systemd-journald of the tests' own, in the private mount namespace (see namespace.py)."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from systemd import journal

from .namespace import is_private

JOURNALD = Path("/usr/lib/systemd/systemd-journald")
SOCKET = Path("/run/systemd/journal/socket")
VARLINK = Path("/run/systemd/journal/io.systemd.journal")
LOGS = Path("/run/log/journal")
MACHINE_ID = Path("/etc/machine-id")
SETTINGS = Path("/run/systemd/journald.conf.d/beds.conf")
CONFIGURATION = """\
[Journal]
Storage=volatile
RateLimitIntervalSec=0
SyncIntervalSec=0
ReadKMsg=no
Audit=no
ForwardToSyslog=no
ForwardToWall=no
"""
START_TIMEOUT = 60.0

Entry = dict[str, Any]


class Journald:
    """journald as a context manager: what is logged between its start and its end can be read back."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Journald:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it on the sockets that every program uses; returns when these exist."""
        if not is_private() or SOCKET.exists():
            raise RuntimeError("journald would meet the machine's own: call enter_private_namespace() first")
        SETTINGS.parent.mkdir(parents=True, exist_ok=True)
        SETTINGS.write_text(CONFIGURATION)
        SOCKET.parent.mkdir(parents=True, exist_ok=True)
        LOGS.mkdir(parents=True, exist_ok=True)
        if not MACHINE_ID.exists() or not MACHINE_ID.read_text().strip():
            MACHINE_ID.write_text(uuid.uuid4().hex + "\n")  # containers may lack one; /etc is overlaid
        self._process = subprocess.Popen([JOURNALD], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        atexit.register(self.stop)
        deadline = time.monotonic() + START_TIMEOUT
        while not (SOCKET.exists() and VARLINK.exists() and any(LOGS.glob("*/*.journal"))):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("systemd-journald did not start")
            time.sleep(0.005)

    def stop(self) -> None:
        """End it and remove its sockets and what it wrote."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None
        for directory in (SOCKET.parent, LOGS):
            shutil.rmtree(directory)
            directory.mkdir()
        atexit.unregister(self.stop)

    def entries(self, *matches: str, sync: bool = True) -> list[Entry]:
        """The entries so far, oldest first; `matches` are journalctl's: "PVEHOOKS_VMID=100", "SYSLOG_IDENTIFIER=pvehooksd"...

        A field is text, a list where an entry has it several times, or bytes where it is not UTF-8.
        """
        if sync:
            subprocess.run(["journalctl", "--sync"], check=True, capture_output=True, timeout=60)
        with journal.Reader(path=str(min(LOGS.iterdir()))) as reader:
            # All fields stay text, as the one who sent them wrote them.
            reader.converters = {name: convert for name, convert in reader.converters.items() if name.startswith("__")}
            for match in matches:
                reader.add_match(match)
            return list(reader)

    def wait_for(
        self, *matches: str, count: int = 1, where: Callable[[Entry], bool] = lambda _: True, timeout: float = 60.0
    ) -> list[Entry]:
        """Wait until `count` entries fit; AssertionError with the messages there are instead."""
        deadline = time.monotonic() + timeout
        while True:
            everything = self.entries(*matches, sync=False)
            found = [entry for entry in everything if where(entry)]
            if len(found) >= count:
                return found
            if time.monotonic() > deadline:
                messages = [entry.get("MESSAGE") for entry in everything]
                raise AssertionError(f"{len(found)} of {count} entries: {messages}")
            time.sleep(0.02)

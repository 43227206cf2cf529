"""The way out of the machine: a virtio-serial port that takes a JSON object a line."""

from __future__ import annotations

import errno
import json
import os
import time
from typing import Any

PORT = "/dev/virtio-ports/bed.out"


class Out:
    """Open until closed: once the root disk is gone, nothing can be opened that was not."""

    def __init__(self) -> None:
        self._handle = _opened()
        self._trigger = os.open("/proc/sysrq-trigger", os.O_WRONLY)

    def report(self, **what: Any) -> None:
        """Writes a line."""
        text = json.dumps(what).encode() + b"\n"
        while text:
            text = text[os.write(self._handle, text) :]

    def break_off(self, why: str) -> None:
        """Tells why it cannot go on, and takes the machine down."""
        self.report(what="broken", why=why)
        self.go_down()

    def go_down(self) -> None:
        """At once: there may be no disk left to write to."""
        # What was written has to reach the other side.
        time.sleep(0.5)
        os.write(self._trigger, b"b")

    def close(self) -> None:
        """For the next to open it."""
        os.close(self._handle)
        os.close(self._trigger)


def _opened() -> int:
    """One process at a time has the port open: the one before may just be ending."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return os.open(PORT, os.O_WRONLY)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.2)
